#include "pair_kernel_sets.h"

/* The flags that the compiler was allowed to use by -march=x86-64-v4, as far as the kernels make use of them. */
static bool has_avx512(void) {
#if PAIR_HAS_V4
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

static bool has_avx2(void) {
#if PAIR_HAS_V3
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#else
    return false;
#endif
}

bool pair_kernel_has_bf16(void) {
#if PAIR_HAS_BF16
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

size_t pair_kernels_list(enum cx_pair_precision precision, const struct pair_kernel *kernels[static PAIR_MOST_KERNELS]) {
    size_t count = 0;
    if (precision == CX_PAIR_BF16) {
#if PAIR_HAS_BF16
        if (pair_kernel_has_bf16())
            kernels[count++] = &pair_kernel_bf16;
#endif
        return count;
    }
#if PAIR_HAS_V4
    if (has_avx512())
        kernels[count++] = &pair_kernel_v4;
#endif
#if PAIR_HAS_V3
    if (has_avx2())
        kernels[count++] = &pair_kernel_v3;
#endif
    kernels[count++] = &pair_kernel_base;
    return count;
}
