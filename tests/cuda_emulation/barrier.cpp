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
unsigned block_threads;
Barrier *const barriers = new Barrier[barrier_count]();

void complete(Barrier &barrier) {
    barrier.arrived = 0;
    ++barrier.phase;
    make_ready(barrier.waiting);
}

} /* namespace */

void barriers_begin(unsigned threads) {
    block_threads = threads;
    for (unsigned id = 0; id < barrier_count; ++id) {
        barriers[id].arrived = 0;
    }
}

void barriers_end() {
    for (unsigned id = 0; id < barrier_count; ++id) {
        if (barriers[id].arrived) {
            fail("the block ended with %u threads counted at barrier %u, line %d", barriers[id].arrived, id, barriers[id].line);
        }
    }
}

void barrier_check_after_exit(unsigned live) {
    if (barriers[0].arrived && barriers[0].arrived == live) {
        fail("%u threads ended while all others wait at __syncthreads, line %d", block_threads - live, barriers[0].line);
    }
}

void block_barrier(unsigned id, unsigned thread_count, bool wait, int line) {
    if (id >= barrier_count) {
        fail("line %d: barrier %u; there are %u", line, id, barrier_count);
    }
    Barrier &barrier = barriers[id];
    if (thread_count % 32) {
        fail("line %d: barrier thread count %u is no multiple of 32", line, thread_count);
    }
    if (barrier.arrived && barrier.thread_count != thread_count) {
        fail("lines %d and %d: one barrier with thread counts %u and %u", barrier.line, line, barrier.thread_count, thread_count);
    }
    if (!thread_count && barrier.arrived && barrier.line != line) {
        fail("threads of one block meet in different __syncthreads: lines %d and %d", barrier.line, line);
    }
    if (!thread_count && live_threads() < block_threads) {
        fail("%u threads ended before the others reach __syncthreads, line %d", block_threads - live_threads(), line);
    }
    barrier.line = line;
    barrier.thread_count = thread_count;
    char *sync = &barrier.sync[barrier.phase % 2];
    __tsan_release(sync);
    {
        RaceScope inside(emulation_race_fibre);
        bool last = ++barrier.arrived == (thread_count ? thread_count : live_threads());
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
