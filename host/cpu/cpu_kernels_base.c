/* The kernels for the instruction set that the whole program is compiled for. */
#define CPU_KERNEL_SET  cpu_kernels_base
#define CPU_KERNEL_NAME "baseline"
#include "cpu_kernel_sets.h"
#include "cpu_kernels_body.h"
