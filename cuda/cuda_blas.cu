#include "cuda_blas.cuh"

#ifdef CUDA_EMULATION

bool cuda_blas_open(struct cuda_blas *blas, char *, size_t) {
    *blas = {};
#define CUDA_BLAS_FIND(name) blas->name = &::name;
    CUDA_BLAS_LIST(CUDA_BLAS_FIND)
#undef CUDA_BLAS_FIND
    return true;
}

void cuda_blas_close(struct cuda_blas *) {}

#else

#include <cstdio>

#include "cuda_library.cuh"

#define AS_TEXT(number)  #number
#define TEXT_OF(number)  AS_TEXT(number)
#define BLAS_WITH_NUMBER "libcublasLt.so." TEXT_OF(CUBLAS_VER_MAJOR)

static const char *const places[] = {
    BLAS_WITH_NUMBER,
    "libcublasLt.so",
#ifdef CX_CUBLAS_FOLDER /* of the toolkit that the program was built with, which the loader need not know */
    CX_CUBLAS_FOLDER "/" BLAS_WITH_NUMBER,
#endif
};

static bool find_functions(struct cuda_blas *blas, char *reason, size_t size) {
#define CUDA_BLAS_FIND(name)                                                                                                                                   \
    if (!(blas->name = reinterpret_cast<decltype(blas->name)>(cuda_library_find(blas->library, "cuBLASLt", #name, reason, size)))) {                           \
        return false;                                                                                                                                          \
    }
    CUDA_BLAS_LIST(CUDA_BLAS_FIND)
#undef CUDA_BLAS_FIND
    const size_t version = blas->cublasLtGetVersion(), major = version / 10000;
    if (major == CUBLAS_VER_MAJOR)
        return true;
    snprintf(reason, size, "the cuBLASLt on this machine is version %zu.%zu, and this build was made for %d", major, version % 10000 / 100, CUBLAS_VER_MAJOR);
    return false;
}

bool cuda_blas_open(struct cuda_blas *blas, char *reason, size_t size) {
    *blas = {};
    blas->library = cuda_library_open("cuBLASLt, which comes with CUDA,", places, sizeof places / sizeof *places, reason, size);
    if (blas->library && find_functions(blas, reason, size))
        return true;
    cuda_blas_close(blas);
    return false;
}

void cuda_blas_close(struct cuda_blas *blas) {
    cuda_library_close(blas->library);
    *blas = {};
}

#endif
