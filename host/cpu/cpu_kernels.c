#include "cpu_kernels.h"

#include "cpu_kernel_sets.h"

const struct cpu_kernels *cpu_kernels_select(void) {
    const struct cpu_kernels *const *sets = cpu_kernels_all();
    return sets[0];
}

const struct cpu_kernels *const *cpu_kernels_all(void) {
    static const struct cpu_kernels *const best_v4[] = {CPU_KERNELS_V4 CPU_KERNELS_V3 & cpu_kernels_base, NULL};
    static const struct cpu_kernels *const best_v3[] = {CPU_KERNELS_V3 & cpu_kernels_base, NULL};
    static const struct cpu_kernels *const baseline[] = {&cpu_kernels_base, NULL};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("fma"))
        return best_v4;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return best_v3;
#else
    (void)best_v4;
    (void)best_v3;
#endif
    return baseline;
}
