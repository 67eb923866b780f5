/* Products of a warpgroup (wgmma), and what its four warps must do alike. */
#ifndef CUDA_EMULATION_WARPGROUP_H
#define CUDA_EMULATION_WARPGROUP_H

#include <cstdint>

#include "emulated_hopper.h"

namespace emulation {

/* One warp's 16 rows of a product. */
struct Product {
    ProductArguments shape; /* d and a are of lane 0 */
    float *d[32];
    const uint32_t *a[32];
    bool late;
};

/* d = a b (+ d) at once; d[lane][…] and a[lane][…] as in cuda/instructions_hopper.cuh. */
void product_perform(const Product &product, float *const (&d)[32]);
/* To ThreadSanitizer the running thread reads the operand in shared memory. */
void product_announce(const Product &product);

void warpgroups_begin(unsigned blocks, unsigned threads);
/* Numbers of warps that a block of the cluster takes up: whole warpgroups. */
unsigned warps_of_block();
/* Fails when the warps of a warpgroup have not done the same, or products are not waited for. */
void warpgroups_end();

} /* namespace emulation */

#endif
