#include "cpu_blas.h"

#include <cblas.h>

void cpu_blas_use_one_thread(void) {
#ifdef CX_HAVE_OPENBLAS_SET_NUM_THREADS
    openblas_set_num_threads(1);
#endif
}

void cpu_sgemm(int transpose_b, size_t m, size_t n, size_t k, const float *a, size_t a_stride, const float *b, size_t b_stride, float beta, float *c,
               size_t c_stride) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1.0f, a, (int)a_stride, b, (int)b_stride, beta, c,
                (int)c_stride);
}
