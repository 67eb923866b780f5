/* The shared memory of the blocks of the cluster that runs: of each an arena, all laid out alike. */
#ifndef CUDA_EMULATION_SHARED_MEMORY_H
#define CUDA_EMULATION_SHARED_MEMORY_H

#include <cstddef>

namespace emulation {

constexpr size_t static_shared_limit = 48 * 1024;

/* The memory at a 32-bit shared address of the running thread's block, checked. */
unsigned char *shared_at(unsigned offset, size_t bytes);
/* The same place in another block of the cluster, which must not have ended. */
unsigned char *shared_of_block(unsigned block, const void *pointer, size_t bytes, const char *what, int line);
/* Where the 128-byte swizzle puts the byte of this address: 16-byte pieces of a 1024-byte tile of 8 rows are exchanged within their row. */
inline unsigned swizzled_128(unsigned offset) {
    return offset ^ (offset >> 7 & 7) << 4;
}

/* dynamic_bytes: as launched; limit: of the device, static and dynamic together. */
void shared_memory_configure(size_t dynamic_bytes, size_t limit);
/* For ThreadSanitizer, fresh pages: the accesses of the previous blocks are forgotten. Before the threads of the next ones begin. */
void shared_memory_forget();
void shared_memory_begin(unsigned blocks);
/* Fails when a red zone was written. */
void shared_memory_end();

} /* namespace emulation */

#endif
