/* The pair product for x86-64-v4; cpu.cmake sets the compiler's flags. */
#include "pair_kernel_sets.h"

#if PAIR_HAS_V4
#define PAIR_KERNEL     pair_kernel_v4
#define PAIR_NAME       "AVX-512"
#define PAIR_LANES      16
#define PAIR_IS_BF16    0
#define PAIR_BLOCK_ROWS 8
#include "pair_kernel_body.h"
#endif
