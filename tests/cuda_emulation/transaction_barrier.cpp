#include "transaction_barrier.h"

#include <cstring>
#include <unordered_map>

#include "emulated_hopper.h"
#include "sanitizers.h"
#include "scheduler.h"
#include "shared_memory.h"

namespace emulation {

namespace {

/* The state lies beside the 8 bytes that the kernel keeps for it; there is only a mark, to see that nobody writes to them. */
struct TransactionBarrier {
    unsigned expected, pending; /* arrivals */
    int64_t bytes;              /* still to come; below zero when they came before they were expected */
    unsigned phase;
    int line;               /* where it was initialised */
    const Thread *unfenced; /* who initialised it and has not fenced */
    std::vector<Thread *> waiting;
    char sync[2]; /* of even and odd phases */
};

constexpr uint64_t mark = 0x6d62617272696572, most_bytes = (1 << 20) - 1;
constexpr unsigned most_arrivals = (1 << 20) - 1;

std::unordered_map<const void *, TransactionBarrier> &barriers = *new std::unordered_map<const void *, TransactionBarrier>;

void check_place(const uint64_t *barrier, int line) {
    shared_offset(barrier, sizeof *barrier);
    if (reinterpret_cast<uintptr_t>(barrier) % sizeof *barrier) {
        fail("line %d: mbarrier: the address is not 8-byte aligned", line);
    }
}

TransactionBarrier &find(const uint64_t *address, int line) {
    auto position = barriers.find(address);
    if (position == barriers.end()) {
        fail("line %d: mbarrier used before it is initialised", line);
    }
    if (*address != mark) {
        fail("line %d: the memory of an mbarrier was written", line);
    }
    return position->second;
}

/* Called by the engines and the running thread alike. */
void settle(TransactionBarrier &barrier, int line) {
    if (barrier.bytes > static_cast<int64_t>(most_bytes) || barrier.bytes < -static_cast<int64_t>(most_bytes)) {
        fail("line %d: mbarrier: more than 2^20 - 1 bytes in one phase", line);
    }
    if (!barrier.pending && !barrier.bytes) {
        barrier.pending = barrier.expected;
        ++barrier.phase;
        make_ready(barrier.waiting);
    }
}

} /* namespace */

void transaction_barriers_begin() {
    barriers.clear();
}

void transaction_barriers_end() {
    for (const auto &[address, barrier] : barriers) {
        if (barrier.bytes || barrier.pending != barrier.expected) {
            fail("the block ended in the middle of a phase of an mbarrier, initialised in line %d: %u of %u arrivals and %ld bytes are missing", barrier.line,
                 barrier.pending, barrier.expected, static_cast<long>(barrier.bytes));
        }
    }
}

void transaction_initialise(uint64_t *address, unsigned arrivals, int line) {
    check_place(address, line);
    if (!arrivals || arrivals > most_arrivals) {
        fail("line %d: mbarrier.init with %u arrivals", line, arrivals);
    }
    announce_write(address, sizeof *address);
    RaceScope inside(emulation_race_fibre);
    if (!barriers.try_emplace(address, TransactionBarrier{arrivals, arrivals, 0, 0, line, self(), {}, {}}).second) {
        fail("line %d: mbarrier initialised twice", line);
    }
    *address = mark;
}

void transaction_initialise_fence() {
    for (auto &[address, barrier] : barriers) {
        if (barrier.unfenced == self()) {
            barrier.unfenced = nullptr;
        }
    }
}

namespace {

void arrive(uint64_t *address, TransactionBarrier &barrier, unsigned bytes, int line) {
    if (!barrier.pending) {
        fail("line %d: mbarrier: more arrivals in a phase than the %u it was initialised for", line, barrier.expected);
    }
    announce_read(address, sizeof *address); /* that it is initialised must be known to this thread */
    __tsan_release(&barrier.sync[barrier.phase % 2]);
    RaceScope inside(emulation_race_fibre);
    barrier.bytes += bytes;
    --barrier.pending;
    settle(barrier, line);
}

} /* namespace */

void transaction_arrive(uint64_t *address, unsigned bytes, int line) {
    check_place(address, line);
    arrive(address, find(address, line), bytes, line);
}

void transaction_arrive_at(uint64_t *address, unsigned block, int line) {
    check_place(address, line);
    uint64_t *remote = reinterpret_cast<uint64_t *>(shared_of_block(block, address, sizeof *address, "mbarrier.arrive", line));
    TransactionBarrier &barrier = find(remote, line);
    if (barrier.unfenced) {
        fail("line %d: another block need not see the mbarrier yet: barrier_initialise_fence is missing", line);
    }
    arrive(remote, barrier, 0, line);
    if (seed > 3 && random_number() % 4 == 0) {
        yield_thread();
    }
}

void transaction_wait(uint64_t *address, unsigned parity, int line) {
    if (parity > 1) {
        fail("line %d: mbarrier: parity %u; it is 0 or 1", line, parity);
    }
    check_place(address, line);
    TransactionBarrier &barrier = find(address, line);
    announce_read(address, sizeof *address);
    {
        RaceScope inside(emulation_race_fibre);
        if (seed > 3 && random_number() % 4 == 0) {
            reschedule();
        }
        while (barrier.phase % 2 == parity) {
            block_on(barrier.waiting, "an mbarrier", line);
        }
    }
    __tsan_acquire(&barrier.sync[parity]);
}

void transaction_announce(uint64_t *address, int line) {
    TransactionBarrier &barrier = find(address, line);
    if (barrier.unfenced) {
        fail("line %d: the copy engine need not see the mbarrier yet: barrier_initialise_fence is missing", line);
    }
    announce_read(address, sizeof *address);
    __tsan_release(&barrier.sync[barrier.phase % 2]);
}

void transaction_complete(uint64_t *address, unsigned bytes, int line) {
    TransactionBarrier &barrier = find(address, line);
    barrier.bytes -= bytes;
    settle(barrier, line);
}

} /* namespace emulation */
