/* The sets of kernels that this build holds: the same source, cpu_kernels_body.h, for several instruction sets. */
#ifndef CONTEXTURE_CPU_KERNEL_SETS_H
#define CONTEXTURE_CPU_KERNEL_SETS_H

#include "cpu_kernels.h"

extern const struct cpu_kernels cpu_kernels_base;

#if defined(__x86_64__)
extern const struct cpu_kernels cpu_kernels_v3;
extern const struct cpu_kernels cpu_kernels_v4;
#define CPU_KERNELS_V3 &cpu_kernels_v3,
#define CPU_KERNELS_V4 &cpu_kernels_v4,
#else
#define CPU_KERNELS_V3
#define CPU_KERNELS_V4
#endif

#endif
