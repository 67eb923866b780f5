/* open_blas REASON: opens the cuBLASLt that the loader finds. REASON is a part of why it cannot be used; empty: it can. */
#include <cstdio>
#include <cstring>

#include "cuda_blas.cuh"

int main(int, char **arguments) {
    struct cuda_blas blas;
    char reason[512] = "";
    const bool opened = cuda_blas_open(&blas, reason, sizeof reason), expected = arguments[1][0] == '\0';
    printf("%s: %s\n", opened ? "opened" : "not opened", reason);
    if (opened)
        cuda_blas_close(&blas);
    return opened == expected && strstr(reason, arguments[1]) && !blas.library ? 0 : 1;
}
