/* The one place that knows which BLAS is linked. */
#ifndef CONTEXTURE_CPU_BLAS_H
#define CONTEXTURE_CPU_BLAS_H

#include <stddef.h>

/* Our own threads call BLAS, so BLAS itself must not start any. Does nothing where the BLAS has no such switch. */
void cpu_blas_use_one_thread(void);

/* c [m, n] = a [m, k] b + beta c; b is [k, n], or [n, k] if `transpose_b`. Row-major; the strides are those of rows. */
void cpu_sgemm(int transpose_b, size_t m, size_t n, size_t k, const float *a, size_t a_stride, const float *b, size_t b_stride, float beta, float *c,
               size_t c_stride);

#endif
