/* Misuse of clusters: kernels of two blocks of 32 threads that get one thing wrong. (misuse.h) */
#include <cuda.h>

#include "instructions_hopper.cuh"
#include "launch.cuh"
#include "misuse.h"

namespace {

/* A tile of 8 rows of 64 halves. */
constexpr unsigned tile_bytes = 8 * 128;

CUtensorMap tile_map() {
    CUtensorMap map;
    cudaDriverEntryPointQueryResult found;
    void *function = nullptr, *matrix = nullptr;
    const cuuint64_t sizes[2] = {64, 8}, strides[1] = {128};
    const cuuint32_t box[2] = {64, 8}, steps[2] = {1, 1};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found));
    check(cudaMalloc(&matrix, tile_bytes));
    check(cudaMemset(matrix, 0, tile_bytes));
    reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function)(&map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, matrix, sizes, strides, box, steps,
                                                                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                                                                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return map;
}

void meet() {
    cluster_arrive();
    cluster_wait();
}

/* Of every block, for its first thread. */
void initialise(uint64_t *barrier, unsigned arrivals) {
    if (threadIdx.x == 0) {
        barrier_initialise(barrier, arrivals);
        barrier_initialise_fence();
    }
}

/* --- the cluster's barrier --- */

void some_do_not_come() {
    if (cluster_rank() == 1 && threadIdx.x < 16)
        return;
    meet();
}
void wait_without_arrival() {
    cluster_wait();
}
void arrival_twice() {
    cluster_arrive();
    cluster_arrive();
}
void arrival_without_wait() {
    cluster_arrive();
}
void number_read_without_meeting(float *result) {
    if (cluster_rank() == 0)
        result[threadIdx.x] = 2.0f;
    else
        result[threadIdx.x + 32] = result[threadIdx.x];
}

/* --- another block's mbarrier --- */

void arrival_at_a_block_that_has_ended() {
    SHARED_ARRAY(uint64_t, barrier, [1]);
    initialise(barrier, 1);
    meet();
    if (cluster_rank() == 1 && threadIdx.x == 0)
        barrier_arrive_at(barrier, 0); /* after block 0's threads, which had met first */
}
void arrival_before_initialisation() {
    SHARED_ARRAY(uint64_t, barrier, [1]);
    if (cluster_rank() == 0)
        barrier_arrive_at(barrier, 1);
    meet();
}
void arrival_without_fence() {
    SHARED_ARRAY(uint64_t, barrier, [1]);
    if (threadIdx.x == 0)
        barrier_initialise(barrier, 1);
    meet();
    if (threadIdx.x == 0)
        barrier_arrive_at(barrier, cluster_rank() ^ 1);
    meet();
}
void arrival_outside_the_cluster() {
    SHARED_ARRAY(uint64_t, barrier, [1]);
    initialise(barrier, 1);
    meet();
    if (threadIdx.x == 0)
        barrier_arrive_at(barrier, 2);
    meet();
}
/* The barrier's own block arrives and expects bytes that do not come, so the phase is not over. */
void arrival_too_many() {
    SHARED_ARRAY(uint64_t, barrier, [1]);
    initialise(barrier, 2);
    meet();
    if (cluster_rank() == 1 && threadIdx.x == 0)
        barrier_expect(barrier, 16);
    meet();
    if (cluster_rank() == 0 && threadIdx.x < 2)
        barrier_arrive_at(barrier, 1);
    meet();
}
/* Block 1 is ahead by a phase, and its second arrival makes block 0's first phase end for a number that is not there yet. */
void arrival_in_the_wrong_phase(float *result) {
    SHARED_ARRAY(uint64_t, barrier, [1]);
    initialise(barrier, 2);
    meet();
    if (cluster_rank() == 1 && threadIdx.x == 0) {
        barrier_arrive_at(barrier, 0);
        barrier_arrive_at(barrier, 0);
    } else if (cluster_rank() == 0 && threadIdx.x == 1) {
        barrier_wait_cluster(barrier, 0);
        result[0] = result[32];
    }
    meet();
    if (cluster_rank() == 0 && threadIdx.x == 0) {
        result[32] = 2.0f;
        barrier_arrive(barrier);
        barrier_arrive(barrier);
    }
    meet();
}

/* --- loads into several blocks --- */

/* `expected` [rank]: bytes, none where it is 0. Block `from` loads, into the blocks of the mask. */
void load(const CUtensorMap &map, const unsigned (&expected)[2], unsigned from, uint16_t mask, bool waits, bool meets) {
    DYNAMIC_SHARED(tile, 1024);
    SHARED_ARRAY(uint64_t, barrier, [1]);
    const unsigned mine = expected[cluster_rank()];
    initialise(barrier, 1);
    meet();
    if (threadIdx.x == 0 && mine > 0)
        barrier_expect(barrier, mine);
    if (cluster_rank() == from && threadIdx.x == 0)
        tensor_load_2d_multicast(tile, &map, 0, 0, barrier, mask);
    if (waits)
        barrier_wait(barrier, 0);
    if (meets)
        meet();
}
void bytes_not_expected(CUtensorMap map) {
    load(map, {tile_bytes, 0}, 0, 3, false, true);
}
void bytes_never_waited_for(CUtensorMap map) {
    load(map, {tile_bytes, 0}, 0, 3, true, true);
}
void bytes_of_half_a_tile(CUtensorMap map) {
    load(map, {tile_bytes / 2, tile_bytes / 2}, 0, 3, true, true);
}
void mask_without_the_other(CUtensorMap map) {
    load(map, {tile_bytes, tile_bytes}, 0, 1, true, true);
}
void mask_outside_the_cluster(CUtensorMap map) {
    load(map, {tile_bytes, tile_bytes}, 0, 7, true, true);
}
void load_into_a_block_that_has_ended(CUtensorMap map) {
    load(map, {0, tile_bytes}, 1, 3, false, false);
}
void end_while_others_load(CUtensorMap map) {
    load(map, {tile_bytes, tile_bytes}, 0, 3, false, false);
}
void tile_read_before_it_is_there(CUtensorMap map, float *result) {
    DYNAMIC_SHARED(tile, 1024);
    SHARED_ARRAY(uint64_t, barrier, [1]);
    initialise(barrier, 1);
    meet();
    if (threadIdx.x == 0) {
        barrier_expect(barrier, tile_bytes);
        if (cluster_rank() == 0)
            tensor_load_2d_multicast(tile, &map, 0, 0, barrier, 3);
    }
    result[cluster_rank() * 32 + threadIdx.x] = 1.0f + __half2float(reinterpret_cast<const __half *>(tile)[threadIdx.x]); /* 0xffff is no number */
    barrier_wait(barrier, 0);
    meet();
}

void run(void (*kernel)()) {
    check(launch_clusters(kernel, 2, dim3(2), dim3(32), 0, nullptr));
    check(cudaDeviceSynchronize());
}
void run(void (*kernel)(float *), float expected) {
    check(launch_clusters(kernel, 2, dim3(2), dim3(32), 0, nullptr, device));
    check(cudaDeviceSynchronize());
    expect_first(expected);
}
void run(void (*kernel)(CUtensorMap)) {
    check(launch_clusters(kernel, 2, dim3(2), dim3(32), tile_bytes, nullptr, tile_map()));
    check(cudaDeviceSynchronize());
}
void run(void (*kernel)(CUtensorMap, float *)) {
    check(launch_clusters(kernel, 2, dim3(2), dim3(32), tile_bytes, nullptr, tile_map(), device));
    check(cudaDeviceSynchronize());
    expect_first(1.0f);
}
void half_a_cluster() {
    check(launch_clusters(arrival_without_wait, 2, dim3(3), dim3(32), 0, nullptr));
}
void cluster_on_another_device() {
    check(setenv("EMULATION_ARCHITECTURE", "89", 1) == 0 ? cudaSuccess : cudaErrorUnknown);
    check(launch_clusters(arrival_without_wait, 2, dim3(2), dim3(32), 0, nullptr));
}

const std::vector<Case> cases = {
    {"some_do_not_come", [] { run(some_do_not_come); }, 0, EVERYWHERE("a thread ended, and 32 others are at the cluster's barrier")},
    {"some_do_not_come, newest first", [] { run(some_do_not_come); }, 1, EVERYWHERE("others are at the cluster's barrier")},
    {"wait_without_arrival", [] { run(wait_without_arrival); }, 0, EVERYWHERE("waits at the cluster's barrier without having arrived")},
    {"arrival_twice", [] { run(arrival_twice); }, 0, EVERYWHERE("arrives twice at the cluster's barrier")},
    {"arrival_without_wait", [] { run(arrival_without_wait); }, 0, EVERYWHERE("a thread ended between its arrival at the cluster's barrier")},
    {"number_read_without_meeting", [] { run(number_read_without_meeting, 2.0f); }, 0, {nullptr, nullptr, race}},

    {"arrival_at_a_block_that_has_ended", [] { run(arrival_at_a_block_that_has_ended); }, 0,
     EVERYWHERE("mbarrier.arrive to block 0 of the cluster, which has ended")},
    {"arrival_before_initialisation", [] { run(arrival_before_initialisation); }, 0, EVERYWHERE("mbarrier used before it is initialised")},
    {"arrival_without_fence", [] { run(arrival_without_fence); }, 0, EVERYWHERE("another block need not see the mbarrier yet")},
    {"arrival_outside_the_cluster", [] { run(arrival_outside_the_cluster); }, 0, EVERYWHERE("to block 2 of a cluster of 2")},
    {"arrival_too_many", [] { run(arrival_too_many); }, 0, EVERYWHERE("more arrivals in a phase than the 2")},
    {"arrival_in_the_wrong_phase", [] { run(arrival_in_the_wrong_phase, 2.0f); }, 0, EVERYWHERE(wrong)},

    {"bytes_not_expected", [] { run(bytes_not_expected); }, 0, EVERYWHERE("in the middle of a phase of an mbarrier")},
    {"bytes_never_waited_for", [] { run(bytes_never_waited_for); }, 0, EVERYWHERE("32 threads (0 to 31) wait at an mbarrier")},
    {"bytes_of_half_a_tile", [] { run(bytes_of_half_a_tile); }, 0, EVERYWHERE("deadlock: no CUDA thread can run")},
    {"mask_without_the_other", [] { run(mask_without_the_other); }, 0, EVERYWHERE("deadlock: no CUDA thread can run")},
    {"mask_outside_the_cluster", [] { run(mask_outside_the_cluster); }, 0, EVERYWHERE("TMA to block 2 of a cluster of 2")},
    {"load_into_a_block_that_has_ended", [] { run(load_into_a_block_that_has_ended); }, 0, EVERYWHERE("TMA to block 0 of the cluster, which has ended")},
    {"end_while_others_load", [] { run(end_while_others_load); }, 3, EVERYWHERE("the block ended while the copy engine still writes to its shared memory")},
    {"tile_read_before_it_is_there, late", [] { run(tile_read_before_it_is_there); }, 3, {wrong, wrong, race}},
    {"tile_read_before_it_is_there, early", [] { run(tile_read_before_it_is_there); }, 0, {nullptr, nullptr, race}},

    {"half_a_cluster", half_a_cluster, 0, EVERYWHERE("cluster misconfiguration")},
    {"cluster_on_another_device", cluster_on_another_device, 0, EVERYWHERE("cluster misconfiguration")},
};

} /* namespace */

int main(int count, char **names) {
    return run_misuses(cases, count, names);
}
