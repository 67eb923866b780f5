/* The kernels for x86-64-v4; cpu.cmake sets the compiler's flags. */
#if defined(__x86_64__)
#define CPU_KERNEL_SET  cpu_kernels_v4
#define CPU_KERNEL_NAME "AVX-512"
#include "cpu_kernel_sets.h"
#include "cpu_kernels_body.h"
#else
typedef int cpu_kernels_v4_is_for_x86;
#endif
