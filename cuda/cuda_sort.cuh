/* Sorting on the device, by CUB; the one file that includes it is cuda_sort.cu, since it compiles for a long time. */
#ifndef CONTEXTURE_CUDA_SORT_CUH
#define CONTEXTURE_CUDA_SORT_CUH

#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

/*
 * Sorts `count` keys, with a number each, by the keys' lowest `bits` bits, stably, into other memory. As CUB does it: with `scratch` NULL only *scratch_bytes
 * is set. Keys are 64 bits wide so that one call sorts all sequences of a batch, each its own range of keys: the device is as busy with one long sequence as
 * with many short ones. CUB's segmented sorts give a segment to one block, and a map of 512 tokens is one segment of 262,144.
 */
cudaError_t cuda_sort_pairs(void *scratch, size_t *scratch_bytes, const uint64_t *keys, uint64_t *sorted_keys, const uint32_t *numbers,
                            uint32_t *sorted_numbers, unsigned count, int bits, cudaStream_t stream);

#endif
