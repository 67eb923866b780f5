/* The kernels for x86-64-v3; cpu.cmake sets the compiler's flags. */
#if defined(__x86_64__)
#define CPU_KERNEL_SET  cpu_kernels_v3
#define CPU_KERNEL_NAME "AVX2"
#include "cpu_kernel_sets.h"
#include "cpu_kernels_body.h"
#else
typedef int cpu_kernels_v3_is_for_x86;
#endif
