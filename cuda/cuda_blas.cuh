/* cuBLASLt, opened at run time (cuda_library.cuh). cublasLt.h is included here and nowhere else; cuda_product.cu alone includes this file. */
#ifndef CONTEXTURE_CUDA_BLAS_CUH
#define CONTEXTURE_CUDA_BLAS_CUH

#include <cstddef>

#include <cublasLt.h>

#define CUDA_BLAS_LIST(X)                                                                                                                                      \
    X(cublasLtCreate)                                                                                                                                          \
    X(cublasLtDestroy)                                                                                                                                         \
    X(cublasLtGetVersion)                                                                                                                                      \
    X(cublasLtGetStatusName)                                                                                                                                   \
    X(cublasLtGetStatusString)                                                                                                                                 \
    X(cublasLtMatrixLayoutCreate)                                                                                                                              \
    X(cublasLtMatrixLayoutDestroy)                                                                                                                             \
    X(cublasLtMatrixLayoutSetAttribute)                                                                                                                        \
    X(cublasLtMatmulDescCreate)                                                                                                                                \
    X(cublasLtMatmulDescDestroy)                                                                                                                               \
    X(cublasLtMatmulDescSetAttribute)                                                                                                                          \
    X(cublasLtMatmulPreferenceCreate)                                                                                                                          \
    X(cublasLtMatmulPreferenceDestroy)                                                                                                                         \
    X(cublasLtMatmulPreferenceSetAttribute)                                                                                                                    \
    X(cublasLtMatmulAlgoGetHeuristic)                                                                                                                          \
    X(cublasLtMatmul)

struct cuda_blas {
    void *library; /* NULL on the emulation, whose stand-in is linked */
#define CUDA_BLAS_MEMBER(name) decltype(&::name) name;
    CUDA_BLAS_LIST(CUDA_BLAS_MEMBER)
#undef CUDA_BLAS_MEMBER
};

/* False with the reason, as the end of "… because", if the library is missing or not the one that this build was made for. */
bool cuda_blas_open(struct cuda_blas *blas, char *reason, size_t size);
void cuda_blas_close(struct cuda_blas *blas);

#endif
