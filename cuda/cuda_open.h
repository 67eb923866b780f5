/*
 * What host/compute/backend.c, which chooses the backend, sees of this folder. Two files implement it, and CMake takes one of them: cuda_backend.cu, or
 * cuda_absent.c in a build without CUDA.
 */
#ifndef CONTEXTURE_CUDA_OPEN_H
#define CONTEXTURE_CUDA_OPEN_H

#include "contexture/backend.h"

/* Whether this build has the CUDA backend. */
bool cuda_backend_built(void);

/*
 * True if this machine has a GPU that the backend can use. `text` is then that GPU in a few words ("NVIDIA H100 80GB HBM3, compute capability 9.0"),
 * else the reason, as the end of "… because": "this build has no CUDA backend".
 */
bool cuda_backend_usable(char *text, size_t size);

/* Whether several processes could pass numbers between their GPUs by NCCL: its version, else the reason, as the end of "… because". */
bool cuda_team_usable(char *text, size_t size);

/*
 * What the device's own library makes of a product [rows, rows] x [rows, rows], in FLOP/s: what the kernels are measured against. float16 operands, or
 * float32; the median of `repeats` products after one that is not counted.
 */
CX_MUST_USE enum cx_status cuda_backend_product_rate(struct cx_backend *backend, bool is_half, size_t rows, int repeats, double *rate, struct cx_error *error);

/* What the device makes of a large copy in its own memory, in bytes/s, those read and those written; the median of `repeats`. */
CX_MUST_USE enum cx_status cuda_backend_copy_rate(struct cx_backend *backend, size_t bytes, int repeats, double *rate, struct cx_error *error);

/* The CUDA backend on the GPU that cuda_backend_usable() names; CX_ERROR_DEVICE with the reason if there is none. */
CX_MUST_USE enum cx_status cuda_backend_open(const struct cx_backend_options *options, const struct cx_model_config *config, struct cx_backend **backend,
                                             struct cx_error *error);

#endif
