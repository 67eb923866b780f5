/* The shared memory of the block that runs. */
#ifndef CUDA_EMULATION_SHARED_MEMORY_H
#define CUDA_EMULATION_SHARED_MEMORY_H

#include <cstddef>

namespace emulation {

constexpr size_t static_shared_limit = 48 * 1024;

/* The memory at a 32-bit shared address, checked. */
unsigned char *shared_at(unsigned offset, size_t bytes);
/* Where the 128-byte swizzle puts the byte of this address: 16-byte pieces of a 1024-byte tile of 8 rows are exchanged within their row. */
inline unsigned swizzled_128(unsigned offset) {
    return offset ^ (offset >> 7 & 7) << 4;
}

/* dynamic_bytes: as launched; limit: of the device, static and dynamic together. */
void shared_memory_configure(size_t dynamic_bytes, size_t limit);
/* For ThreadSanitizer, fresh pages: the accesses of the previous block are forgotten. Before the threads of the next one begin. */
void shared_memory_forget();
void shared_memory_begin();
/* Fails when a red zone was written. */
void shared_memory_end();

} /* namespace emulation */

#endif
