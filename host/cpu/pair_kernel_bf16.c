/* The pair product for x86-64-v4 with AVX512-BF16; cpu.cmake sets the compiler's flags. */
#include "pair_kernel_sets.h"

#if PAIR_HAS_BF16
#define PAIR_KERNEL     pair_kernel_bf16
#define PAIR_NAME       "AVX-512 BF16"
#define PAIR_LANES      16
#define PAIR_IS_BF16    1
#define PAIR_BLOCK_ROWS 8
#include "pair_kernel_body.h"
#endif
