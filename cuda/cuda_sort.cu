#include "cuda_sort.cuh"

/* The emulation brings a function of its own. */
#ifndef CUDA_EMULATION
#include <cub/device/device_radix_sort.cuh>

cudaError_t cuda_sort_pairs(void *scratch, size_t *scratch_bytes, const uint64_t *keys, uint64_t *sorted_keys, const uint32_t *numbers,
                            uint32_t *sorted_numbers, unsigned count, int bits, cudaStream_t stream) {
    return cub::DeviceRadixSort::SortPairs(scratch, *scratch_bytes, reinterpret_cast<const unsigned long long *>(keys),
                                           reinterpret_cast<unsigned long long *>(sorted_keys), numbers, sorted_numbers, static_cast<int>(count), 0, bits,
                                           stream);
}
#endif
