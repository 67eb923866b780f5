/* Clusters: their barrier, arrivals at another block's mbarrier, loads into several blocks, and a ring of tiles that two blocks fill together. */
#include "hopper_cases.cuh"

namespace {

constexpr unsigned most_blocks = 4;

/* --- the cluster's barrier --- */

/* Every round each block leaves a number and reads its right neighbour's; the second barrier keeps numbers until all have read them. */
__global__ void meeting_kernel(int *numbers, unsigned blocks, int *result) {
#ifdef HOPPER
    const unsigned rank = cluster_rank(), cluster = blockIdx.x / blocks;
    int *mine = numbers + (cluster * blocks + rank) * blockDim.x, *next = numbers + (cluster * blocks + (rank + 1) % blocks) * blockDim.x;
    int sum = 0;
    for (unsigned round = 0; round < 3; ++round) {
        mine[threadIdx.x] = static_cast<int>(100 * blockIdx.x + 10 * round + threadIdx.x % 10);
        cluster_arrive();
        cluster_wait();
        sum += next[blockDim.x - 1 - threadIdx.x];
        cluster_arrive();
        cluster_wait();
    }
    result[blockIdx.x * blockDim.x + threadIdx.x] = sum;
#endif
}

void test_meeting(unsigned blocks) {
    constexpr unsigned clusters = 3, threads = 48;
    const unsigned all = clusters * blocks;
    Array<int> numbers(all * threads), result(all * threads);
    must(launch_clusters(meeting_kernel, blocks, dim3(all), dim3(threads), 0, nullptr, numbers.device, blocks, result.device), "meeting_kernel");
    result.get();
    bool good = true;
    for (unsigned block = 0; block < all; ++block) {
        const unsigned next = block / blocks * blocks + (block + 1) % blocks;
        for (unsigned thread = 0; thread < threads; ++thread)
            good &= result.host[block * threads + thread] == static_cast<int>(3 * (100 * next + (threads - 1 - thread) % 10) + 30);
    }
    char what[80];
    snprintf(what, sizeof what, "cluster's barrier and ranks, %u blocks", blocks);
    expect(good, what);
}

/* --- another block's mbarrier --- */

/* The blocks of a cluster take turns: each waits at its own barrier, adds to the number, and arrives at the next one's. */
__global__ void turns_kernel(int *number, unsigned rounds, int *result) {
#ifdef HOPPER
    SHARED_ARRAY(uint64_t, barriers, [1]);
    const unsigned rank = cluster_rank(), blocks = gridDim.x;
    if (threadIdx.x == 0)
        initialise(barriers, 1, 32);
    cluster_arrive();
    cluster_wait();
    for (unsigned round = 0; round < rounds; ++round) {
        if (round > 0 || rank > 0)
            barrier_wait_cluster(barriers, (rank > 0 ? round : round - 1) % 2);
        number[threadIdx.x] = 2 * number[threadIdx.x] + static_cast<int>(rank);
        if (round + 1 < rounds || rank + 1 < blocks)
            barrier_arrive_at(barriers, (rank + 1) % blocks);
    }
    cluster_arrive();
    cluster_wait();
    result[rank * 32 + threadIdx.x] = number[threadIdx.x];
#endif
}

void test_turns() {
    constexpr unsigned rounds = 5;
    Array<int> number(32), result(most_blocks * 32);
    number.put();
    must(launch_clusters(turns_kernel, most_blocks, dim3(most_blocks), dim3(32), 0, nullptr, number.device, rounds, result.device), "turns_kernel");
    result.get();
    int wanted = 0;
    for (unsigned turn = 0; turn < rounds * most_blocks; ++turn)
        wanted = 2 * wanted + static_cast<int>(turn % most_blocks);
    bool good = true;
    for (int found : result.host)
        good &= found == wanted;
    expect(good, "arrivals at the next block's mbarrier");
}

/* --- loads into several blocks --- */

/* Each block loads its part of a tile into every block of `masks` [rank]; who gets what is seen in what arrives. A block expects its bytes before or after it
   loads, so that the others' may come first. */
__global__ void multicast_kernel(const __grid_constant__ CUtensorMap map, const uint16_t *masks, unsigned part_halves, __half *result) {
#ifdef HOPPER
    DYNAMIC_SHARED(tile, 1024);
    SHARED_ARRAY(uint64_t, barriers, [1]);
    const unsigned rank = cluster_rank(), blocks = gridDim.x;
    __half *halves = reinterpret_cast<__half *>(tile);
    for (unsigned i = threadIdx.x; i < blocks * part_halves; i += blockDim.x)
        halves[i] = __float2half(-1.0f);
    if (threadIdx.x == 0)
        initialise(barriers, 1, 1);
    cluster_arrive();
    cluster_wait();
    if (threadIdx.x == 0) {
        unsigned bytes = 0;
        for (unsigned from = 0; from < blocks; ++from)
            bytes += masks[from] >> rank & 1 ? part_halves * 2 : 0;
        if (rank % 2 == 0)
            barrier_expect(barriers, bytes);
        tensor_load_2d_multicast(halves + rank * part_halves, &map, 0, static_cast<int>(rank * part_halves / 64), barriers, masks[rank]);
        if (rank % 2 == 1)
            barrier_expect(barriers, bytes);
    }
    barrier_wait(barriers, 0);
    for (unsigned i = threadIdx.x; i < blocks * part_halves; i += blockDim.x)
        result[rank * blocks * part_halves + i] = halves[i];
    cluster_arrive();
    cluster_wait();
#endif
}

void test_multicast(const char *what, unsigned blocks, const std::vector<uint16_t> &wanted) {
    constexpr unsigned part_rows = 16, part = part_rows * 64;
    const Matrix matrix(blocks * part_rows, 64, 64);
    Array<uint16_t> masks(blocks);
    Array<__half> result(blocks * blocks * part);
    masks.host = wanted;
    masks.put();
    must(launch_clusters(multicast_kernel, blocks, dim3(blocks), dim3(64), blocks * part * 2, nullptr, box_of(matrix, 64, part_rows, true), masks.device, part,
                         result.device),
         "multicast_kernel");
    result.get();
    bool good = true;
    for (unsigned block = 0; block < blocks; ++block) {
        for (unsigned row = 0; row < blocks * part_rows; ++row) {
            for (unsigned column = 0; column < 64; ++column) {
                const bool comes = wanted[row / part_rows] >> block & 1;
                const float found = __half2float(result.host[(block * blocks * part_rows + row) * 64 + ((column / 8) ^ (row % 8)) * 8 + column % 8]);
                good &= found == (comes ? matrix.at(row, column) : -1.0f);
            }
        }
    }
    expect(good, what);
}

/* --- a ring of tiles that two blocks fill together --- */

[[maybe_unused]] constexpr unsigned stages = 3, tile_rows = 32, tile_bytes = tile_rows * 128;

/* Sums of all tiles' columns: each block loads half of a tile for both, and a warp of each adds up, in its own order. */
__global__ void shared_ring_kernel(const __grid_constant__ CUtensorMap map, unsigned tiles, float *result) {
#ifdef HOPPER
    DYNAMIC_SHARED(ring, 1024);
    SHARED_ARRAY(uint64_t, full, [stages]);
    SHARED_ARRAY(uint64_t, empty, [stages]);
    const unsigned rank = cluster_rank(), lane = threadIdx.x % 32;
    if (threadIdx.x == 0) {
        initialise(full, stages, 1);
        initialise(empty, stages, 2);
    }
    cluster_arrive();
    cluster_wait();
    if (threadIdx.x == 32) {
        for (unsigned tile = 0; tile < tiles; ++tile) {
            const unsigned stage = tile % stages;
            barrier_wait_cluster(&empty[stage], tile / stages % 2 ^ 1);
            barrier_expect(&full[stage], tile_bytes);
            tensor_load_2d_multicast(ring + stage * tile_bytes + rank * tile_bytes / 2, &map, 0, static_cast<int>(tile * tile_rows + rank * tile_rows / 2),
                                     &full[stage], 3);
        }
    } else if (threadIdx.x < 32) {
        float sums[2] = {0.0f, 0.0f};
        for (unsigned tile = 0; tile < tiles; ++tile) {
            const unsigned stage = tile % stages;
            barrier_wait(&full[stage], tile / stages % 2);
            for (unsigned row = 0; row < tile_rows; ++row) {
                const __half *line = reinterpret_cast<const __half *>(ring + stage * tile_bytes + row * 128);
                for (unsigned k = 0; k < 2; ++k) {
                    const unsigned column = lane + 32 * k;
                    sums[k] += __half2float(line[((column / 8) ^ (row % 8)) * 8 + column % 8]) * static_cast<float>(rank + 1);
                }
            }
            __syncwarp();
            if (lane < 2)
                barrier_arrive_at(&empty[stage], lane);
        }
        result[rank * 64 + lane] = sums[0];
        result[rank * 64 + lane + 32] = sums[1];
    }
    cluster_arrive();
    cluster_wait();
#endif
}

void test_shared_ring() {
    constexpr unsigned tiles = 8;
    const Matrix matrix(tiles * tile_rows, 64, 64);
    Array<float> result(2 * 64);
    must(launch_clusters(shared_ring_kernel, 2, dim3(2), dim3(64), stages * tile_bytes, nullptr, box_of(matrix, 64, tile_rows / 2, true), tiles, result.device),
         "shared_ring_kernel");
    result.get();
    bool good = true;
    for (unsigned column = 0; column < 64; ++column) {
        float sum = 0.0f;
        for (unsigned row = 0; row < tiles * tile_rows; ++row)
            sum += matrix.at(row, column);
        good &= result.host[column] == sum && result.host[64 + column] == 2 * sum;
    }
    expect(good, "a ring of tiles that two blocks fill together");
}

void test_occupancy() {
#ifdef CUDA_EMULATION
    cudaLaunchAttribute attribute;
    int clusters = 0, multiprocessors = 0;
    const cudaLaunchConfig_t configuration = cluster_configuration(2, dim3(2), dim3(384), 200 * 1024, nullptr, &attribute);
    const void *kernel = reinterpret_cast<const void *>(meeting_kernel);
    must(allow_shared(kernel, 200 * 1024), "allow_shared");
    must(cudaOccupancyMaxActiveClusters(&clusters, kernel, &configuration), "cudaOccupancyMaxActiveClusters");
    must(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0), "multiprocessors");
    expect(clusters == multiprocessors / 2, "clusters that run at the same time");
#endif
}

void run_tests() {
    test_meeting(2);
    test_meeting(most_blocks);
    test_turns();
    test_multicast("halves of a tile to both blocks", 2, {3, 3});
    test_multicast("quarters of a tile to some of four blocks", 4, {1, 10, 15, 6});
    test_shared_ring();
    test_occupancy();
}

} /* namespace */

int main() {
    return run_device_cases(run_tests, 90);
}
