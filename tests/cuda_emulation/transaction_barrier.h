/* mbarrier: phases that end when all arrivals and all expected bytes are there. */
#ifndef CUDA_EMULATION_TRANSACTION_BARRIER_H
#define CUDA_EMULATION_TRANSACTION_BARRIER_H

#include <cstdint>

namespace emulation {

void transaction_barriers_begin();
/* Fails when a phase has begun and is not over. */
void transaction_barriers_end();

/* A copy that will count its bytes at the barrier, which may be another block's; what the thread did before is seen by those who wait for this phase. */
void transaction_announce(uint64_t *barrier, int line);
/* Its bytes have arrived. */
void transaction_complete(uint64_t *barrier, unsigned bytes, int line);

} /* namespace emulation */

#endif
