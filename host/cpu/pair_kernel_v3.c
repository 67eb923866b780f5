/* The pair product for x86-64-v3; cpu.cmake sets the compiler's flags. */
#include "pair_kernel_sets.h"

#if PAIR_HAS_V3
#define PAIR_KERNEL     pair_kernel_v3
#define PAIR_NAME       "AVX2"
#define PAIR_LANES      8
#define PAIR_IS_BF16    0
#define PAIR_BLOCK_ROWS 4
#include "pair_kernel_body.h"
#endif
