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
#include <dlfcn.h>

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

/* The library stays in memory for the process' life: it has threads and exit handlers of its own. The reason is that of the first place. */
static void *open_library(char *reason, size_t size) {
    for (const char *place : places) {
        void *library = dlopen(place, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
        if (library)
            return library;
        const char *text = dlerror();
        if (place == places[0])
            snprintf(reason, size, "cuBLASLt, which comes with CUDA, cannot be opened (%s)", text ? text : place);
    }
    return NULL;
}

static bool find_functions(struct cuda_blas *blas, char *reason, size_t size) {
#define CUDA_BLAS_FIND(name)                                                                                                                                   \
    if (!(blas->name = reinterpret_cast<decltype(blas->name)>(dlsym(blas->library, #name)))) {                                                                 \
        snprintf(reason, size, "the cuBLASLt on this machine has no function " #name);                                                                         \
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
    blas->library = open_library(reason, size);
    if (blas->library && find_functions(blas, reason, size))
        return true;
    cuda_blas_close(blas);
    return false;
}

void cuda_blas_close(struct cuda_blas *blas) {
    if (blas->library)
        (void)dlclose(blas->library);
    *blas = {};
}

#endif
