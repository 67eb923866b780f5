/* The shared memory of the block that runs. */
#ifndef CUDA_EMULATION_SHARED_MEMORY_H
#define CUDA_EMULATION_SHARED_MEMORY_H

#include <cstddef>

namespace emulation {

constexpr size_t static_shared_limit = 48 * 1024;

/* dynamic_bytes: as launched; limit: of the device, static and dynamic together. */
void shared_memory_configure(size_t dynamic_bytes, size_t limit);
void shared_memory_begin();
/* Fails when a red zone was written. */
void shared_memory_end();

} /* namespace emulation */

#endif
