/* The pair kernels that this build holds: the same source, pair_kernel_body.h, for several instruction sets. */
#ifndef CONTEXTURE_PAIR_KERNEL_SETS_H
#define CONTEXTURE_PAIR_KERNEL_SETS_H

#include "pair_kernel.h"

#if defined(__x86_64__)
#define PAIR_HAS_V3   1
#define PAIR_HAS_V4   1
#define PAIR_HAS_BF16 1
#else
#define PAIR_HAS_V3   0
#define PAIR_HAS_V4   0
#define PAIR_HAS_BF16 0
#endif

extern const struct pair_kernel pair_kernel_base;
#if PAIR_HAS_V3
extern const struct pair_kernel pair_kernel_v3;
#endif
#if PAIR_HAS_V4
extern const struct pair_kernel pair_kernel_v4;
#endif
#if PAIR_HAS_BF16
extern const struct pair_kernel pair_kernel_bf16;
#endif

#endif
