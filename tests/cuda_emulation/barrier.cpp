#include "barrier.h"

#include "device_threads.h"
#include "sanitizers.h"
#include "scheduler.h"

namespace emulation {

namespace {

struct Barrier {
    unsigned arrived, phase, thread_count;
    int line;
    std::vector<Thread *> waiting;
    char sync[2]; /* two phases, so that a thread far ahead does not order one that still leaves */
};
constexpr unsigned barrier_count = 16;
unsigned block_threads, block_count;
using Barriers = Barrier[barrier_count]; /* of one block */
Barriers *const barriers = new Barriers[most_cluster_blocks]();

void complete(Barrier &barrier) {
    barrier.arrived = 0;
    ++barrier.phase;
    make_ready(barrier.waiting);
}

} /* namespace */

void barriers_begin(unsigned blocks, unsigned threads) {
    block_count = blocks;
    block_threads = threads;
    for (unsigned block = 0; block < blocks; ++block) {
        for (Barrier &barrier : barriers[block]) {
            barrier.arrived = 0;
        }
    }
}

void barriers_end() {
    for (unsigned block = 0; block < block_count; ++block) {
        for (unsigned id = 0; id < barrier_count; ++id) {
            const Barrier &barrier = barriers[block][id];
            if (barrier.arrived) {
                fail("the block ended with %u threads counted at barrier %u, line %d", barrier.arrived, id, barrier.line);
            }
        }
    }
}

void barrier_check_after_exit(unsigned block, unsigned live) {
    const Barrier &barrier = barriers[block][0];
    if (barrier.arrived && barrier.arrived == live) {
        fail("%u threads ended while all others wait at __syncthreads, line %d", block_threads - live, barrier.line);
    }
}

void block_barrier(unsigned id, unsigned thread_count, bool wait, int line) {
    if (id >= barrier_count) {
        fail("line %d: barrier %u; there are %u", line, id, barrier_count);
    }
    const unsigned block = self()->block;
    Barrier &barrier = barriers[block][id];
    if (thread_count % 32) {
        fail("line %d: barrier thread count %u is no multiple of 32", line, thread_count);
    }
    if (barrier.arrived && barrier.thread_count != thread_count) {
        fail("lines %d and %d: one barrier with thread counts %u and %u", barrier.line, line, barrier.thread_count, thread_count);
    }
    if (!thread_count && barrier.arrived && barrier.line != line) {
        fail("threads of one block meet in different __syncthreads: lines %d and %d", barrier.line, line);
    }
    if (!thread_count && live_threads(block) < block_threads) {
        fail("%u threads ended before the others reach __syncthreads, line %d", block_threads - live_threads(block), line);
    }
    barrier.line = line;
    barrier.thread_count = thread_count;
    char *sync = &barrier.sync[barrier.phase % 2];
    __tsan_release(sync);
    {
        RaceScope inside(emulation_race_fibre);
        bool last = ++barrier.arrived == (thread_count ? thread_count : live_threads(block));
        if (last) {
            complete(barrier);
        }
        if (!wait) {
            return;
        }
        if (!last) {
            block_on(barrier.waiting, id ? "a named barrier" : "__syncthreads", line);
        } else if (seed > 3) {
            reschedule();
        }
    }
    __tsan_acquire(sync);
}

} /* namespace emulation */
