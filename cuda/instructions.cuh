/*
 * Device instructions that CUDA C++ has no intrinsic for. Each has two bodies of the same name and meaning: inline PTX in
 * instructions_ptx.cuh for nvcc, plain C++ in tests/cuda_emulation/emulated_instructions.h for tests on a CPU.
 *
 *     uint32_t shared_address(pointer)                    the 32-bit address of something in shared memory
 *     copy_async_16(shared, global, valid = true)         cp.async: 16 bytes, both addresses 16-byte aligned; zeros if !valid
 *     copy_async_commit()                                 ends a group of the copies that this thread issued
 *     copy_async_wait<pending>()                          all but the newest `pending` groups of this thread have arrived;
 *                                                         other threads see them after the next barrier
 *     load_matrix_x4<transpose = false>(result[4], row)   ldmatrix: four 8x8 matrices of 16-bit elements; lane i names row
 *                                                         i % 8 of matrix i / 8, and gets elements (lane / 4, lane % 4 * 2 + 0..1)
 *     load_matrix_x2<transpose = false>(result[2], row)   the same with two matrices, rows named by lanes 0..15
 *     multiply_m16n8k16(d[4], a[4], b[2])                 mma.sync: d (16x8, float) += a (16x16, half) * b (16x8, half)
 *     named_barrier_wait(id, threads)                     bar.sync with an id 1..15: joins `threads` threads, a multiple of 32
 *     named_barrier_arrive(id, threads)                   bar.arrive: counts this thread and goes on
 *
 * Fragments of multiply_m16n8k16, group = lane / 4, pair = lane % 4 * 2; each uint32_t holds two halves, lower column first:
 *     a[0] (group, pair)   a[1] (group + 8, pair)   a[2] (group, pair + 8)   a[3] (group + 8, pair + 8)       row, column k
 *     b[0] (pair, group)   b[1] (pair + 8, group)                                                            k, column
 *     d[0], d[1] (group, pair), (group, pair + 1)   d[2], d[3] the same in row group + 8
 */
#ifndef CONTEXTURE_CUDA_INSTRUCTIONS_CUH
#define CONTEXTURE_CUDA_INSTRUCTIONS_CUH

#ifdef CUDA_EMULATION
#include "emulated_instructions.h"
#else
#include "instructions_ptx.cuh"
#endif

#endif
