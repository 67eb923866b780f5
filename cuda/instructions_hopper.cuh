/*
 * Hopper's own instructions (sm_90a): transaction barriers, clusters, the bulk tensor copy engine, warpgroup products, register reallocation. As in
 * instructions.cuh each has two bodies of the same meaning: inline PTX below, plain C++ in tests/cuda_emulation/emulated_hopper.h.
 *
 *     barrier_initialise(barrier, arrivals)               mbarrier.init: a phase is over after so many arrivals and all the bytes expected in it
 *     barrier_initialise_fence()                          the initialised barriers are seen by the copy engine
 *     barrier_arrive(barrier)                             one arrival
 *     barrier_expect(barrier, bytes)                      one arrival, and so many bytes more are expected in this phase
 *     barrier_wait(barrier, parity)                       until the phase of this parity (0 first) is over; what was copied is then seen by this thread
 *
 *     cluster_rank()                                      %cluster_ctarank: this block's number in its cluster
 *     cluster_arrive(), cluster_wait()                    barrier.cluster: all threads of the cluster; what was done before the arrival is seen after the wait
 *     barrier_arrive_at(barrier, rank)                    one arrival at the barrier in the same place of that block of the cluster (mapa)
 *     barrier_wait_cluster(barrier, parity)               barrier_wait where other blocks arrive
 *         A block must not end while others may still arrive at its barriers or write to its shared memory, nor may they before it has begun.
 *
 *     tensor_load_2d(shared, map, x, y, barrier)          cp.async.bulk.tensor: the box of the map whose first element is column x of row y; its bytes are
 *                                                         counted at `barrier`. Elements outside of the tensor arrive as zeros, and are counted
 *     tensor_load_2d_multicast(…, blocks)                 the same into the same place of all these blocks of the cluster (a bit each), counted in each at
 *                                                         its own barrier in the place of `barrier`
 *
 *     matrix_descriptor(shared, swizzled rows)            what a product has to know of an operand in shared memory, see below
 *     products_fence()                                    before the first product, and whenever registers it uses were written by other instructions
 *     products_commit(), products_wait<pending>()         the products of this warpgroup so far are one group; all but the newest `pending` groups are done
 *     multiply_warpgroup<columns>(d, a, b, accumulate)    wgmma m64nNk16: d (64 x columns, float) = a (64 x 16, half) b (16 x columns, half) (+ d).
 *                                                         a: four registers a thread; b: a descriptor, K-major
 *     multiply_warpgroup_transposed<columns>(…)           the same with b MN-major: 16 rows of `columns` neighbours
 *     start_warpgroup_transposed<columns>(d, a, b)        the same, never adding: d may be without a value before
 *     registers_release<count>(), registers_claim<count>()  setmaxnreg
 *
 * Fragments, warp w = thread / 32 % 4 of the warpgroup, group = lane / 4, pair = lane % 4 * 2:
 *     d[4 c + 0, 1] row 16 w + group, columns 8 c + pair, + 1;   d[4 c + 2, 3] the same in row 16 w + group + 8
 *     a[0] (16 w + group, pair)  a[1] (row + 8, pair)  a[2] (row, pair + 8)  a[3] (row + 8, pair + 8)        row, k; two halves each, lower k first
 *
 * Operands in shared memory lie as the copy engine writes boxes of 64 halves (128 bytes) a row with 128-byte swizzle: 16-byte piece p of row r is found at
 * piece p ^ (r % 8). Tiles begin at multiples of 1024 bytes.
 *     K-major, a row is 64 of k of one column: the next 16 of k are 32 bytes further on (add 2 to the descriptor)
 *     MN-major, a row is 64 columns of one k: 64 columns more are one box further on
 */
#ifndef CONTEXTURE_CUDA_INSTRUCTIONS_HOPPER_CUH
#define CONTEXTURE_CUDA_INSTRUCTIONS_HOPPER_CUH

#include "instructions.cuh"

#ifdef CUDA_EMULATION
#include "emulated_hopper.h"
#else
#include "instructions_hopper_ptx.cuh"
#endif

#endif
