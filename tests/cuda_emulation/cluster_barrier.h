/* barrier.cluster: all threads of all blocks of the cluster meet. */
#ifndef CUDA_EMULATION_CLUSTER_BARRIER_H
#define CUDA_EMULATION_CLUSTER_BARRIER_H

namespace emulation {

void cluster_barrier_begin();
/* Fails when others have arrived at the barrier, or this thread has and did not wait. Devices count threads that have ended as arrived, but whether all
   threads of a cluster are meant to meet is then a guess, and memory of a block that has ended is nobody's. */
void cluster_barrier_check_after_exit();

} /* namespace emulation */

#endif
