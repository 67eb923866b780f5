/* Has cuBLASLt's names, says to be of MADE_UP_VERSION, and does nothing; 0: has nothing. */
#include <stddef.h>

#if MADE_UP_VERSION
size_t cublasLtGetVersion(void) {
    return MADE_UP_VERSION;
}

#define MADE_UP(name)                                                                                                                                          \
    int name(void) {                                                                                                                                           \
        return 1;                                                                                                                                              \
    }
MADE_UP(cublasLtCreate)
MADE_UP(cublasLtDestroy)
MADE_UP(cublasLtGetStatusName)
MADE_UP(cublasLtGetStatusString)
MADE_UP(cublasLtMatrixLayoutCreate)
MADE_UP(cublasLtMatrixLayoutDestroy)
MADE_UP(cublasLtMatrixLayoutSetAttribute)
MADE_UP(cublasLtMatmulDescCreate)
MADE_UP(cublasLtMatmulDescDestroy)
MADE_UP(cublasLtMatmulDescSetAttribute)
MADE_UP(cublasLtMatmulPreferenceCreate)
MADE_UP(cublasLtMatmulPreferenceDestroy)
MADE_UP(cublasLtMatmulPreferenceSetAttribute)
MADE_UP(cublasLtMatmulAlgoGetHeuristic)
MADE_UP(cublasLtMatmul)
#endif
