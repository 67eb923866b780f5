/* __syncthreads and the named barriers of a block. */
#ifndef CUDA_EMULATION_BARRIER_H
#define CUDA_EMULATION_BARRIER_H

namespace emulation {

void barriers_begin(unsigned blocks, unsigned threads);
/* Fails when threads are still counted at a barrier. */
void barriers_end();
/* Fails when all `live` threads of the block wait at __syncthreads and the others have ended. Devices since Volta would go on, but whether all
   threads of a block are meant to meet is then a guess. */
void barrier_check_after_exit(unsigned block, unsigned live);

} /* namespace emulation */

#endif
