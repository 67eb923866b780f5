/* What stands in for CUB: cuda/cuda_sort.cuh on the standard library. A launch by CUB is one operation of the stream. */
#include <algorithm>
#include <numeric>
#include <vector>

#include "../../cuda/cuda_sort.cuh"
#include "api.h"
#include "device_memory.h"
#include "sanitizers.h"
#include "stream.h"

using namespace emulation;

cudaError_t cuda_sort_pairs(void *scratch, size_t *scratch_bytes, const uint64_t *keys, uint64_t *sorted_keys, const uint32_t *numbers,
                            uint32_t *sorted_numbers, unsigned count, int bits, cudaStream_t stream) {
    CUDA_CALL("cuda_sort_pairs");
    if (!scratch) {
        *scratch_bytes = 256;
        return cudaSuccess;
    }
    enqueue(stream, [=] {
        DeviceAccess access;
        const uint64_t mask = bits < 64 ? (uint64_t{1} << bits) - 1 : ~uint64_t{0};
        announce_read(keys, count * sizeof *keys);
        announce_read(numbers, count * sizeof *numbers);
        announce_write(sorted_keys, count * sizeof *sorted_keys);
        announce_write(sorted_numbers, count * sizeof *sorted_numbers);
        std::vector<unsigned> order(count);
        std::iota(order.begin(), order.end(), 0u);
        std::stable_sort(order.begin(), order.end(), [=](unsigned a, unsigned b) { return (keys[a] & mask) < (keys[b] & mask); });
        for (unsigned k = 0; k < count; ++k) {
            sorted_keys[k] = keys[order[k]];
            sorted_numbers[k] = numbers[order[k]];
        }
    });
    return cudaSuccess;
}
