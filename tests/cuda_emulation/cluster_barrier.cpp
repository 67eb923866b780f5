#include "cluster_barrier.h"

#include "emulated_hopper.h"
#include "sanitizers.h"
#include "scheduler.h"

namespace emulation {

namespace {

struct ClusterBarrier {
    unsigned arrived, phase, ended; /* threads */
    int line;
    std::vector<Thread *> waiting;
    char sync[2]; /* of even and odd phases */
};
ClusterBarrier &barrier = *new ClusterBarrier();

} /* namespace */

void cluster_barrier_begin() {
    barrier.arrived = barrier.ended = 0;
}

void cluster_barrier_check_after_exit() {
    ++barrier.ended;
    if (self()->has_arrived) {
        fail("a thread ended between its arrival at the cluster's barrier, line %d, and its wait", barrier.line);
    }
    if (barrier.arrived) {
        fail("a thread ended, and %u others are at the cluster's barrier, line %d", barrier.arrived, barrier.line);
    }
}

void cluster_barrier_arrive(int line) {
    Thread *thread = self();
    if (thread->has_arrived) {
        fail("line %d: a thread arrives twice at the cluster's barrier without a wait", line);
    }
    if (barrier.ended) {
        fail("%u threads ended before the others reach the cluster's barrier, line %d", barrier.ended, line);
    }
    barrier.line = line;
    thread->has_arrived = true;
    thread->cluster_phase = barrier.phase;
    __tsan_release(&barrier.sync[barrier.phase % 2]);
    RaceScope inside(emulation_race_fibre);
    if (++barrier.arrived == cluster_threads()) {
        barrier.arrived = 0;
        ++barrier.phase;
        make_ready(barrier.waiting);
    }
}

void cluster_barrier_wait(int line) {
    Thread *thread = self();
    if (!thread->has_arrived) {
        fail("line %d: a thread waits at the cluster's barrier without having arrived", line);
    }
    {
        RaceScope inside(emulation_race_fibre);
        while (barrier.phase == thread->cluster_phase) {
            block_on(barrier.waiting, "the cluster's barrier", line);
        }
    }
    thread->has_arrived = false;
    __tsan_acquire(&barrier.sync[thread->cluster_phase % 2]);
}

} /* namespace emulation */
