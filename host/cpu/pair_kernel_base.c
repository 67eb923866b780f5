/* The pair product for the instruction set that the whole program is compiled for. */
#define PAIR_KERNEL  pair_kernel_base
#define PAIR_NAME    "baseline"
#define PAIR_LANES   4
#define PAIR_IS_BF16 0
#if defined(__aarch64__)
#define PAIR_BLOCK_ROWS 8
#else
#define PAIR_BLOCK_ROWS 4
#endif
#include "pair_kernel_body.h"
#include "pair_kernel_sets.h"
