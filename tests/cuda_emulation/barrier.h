/* __syncthreads and the named barriers of a block. */
#ifndef CUDA_EMULATION_BARRIER_H
#define CUDA_EMULATION_BARRIER_H

namespace emulation {

void barriers_begin();
/* Fails when threads are still counted at a barrier. */
void barriers_end();
/* Fails when all `live` threads wait at __syncthreads and the others have ended: a device may not notice, a reader should. */
void barrier_check_after_exit(unsigned live);

} /* namespace emulation */

#endif
