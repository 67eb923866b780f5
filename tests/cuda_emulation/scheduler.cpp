#include "scheduler.h"

#include <cstdlib>

#include "barrier.h"
#include "cluster_barrier.h"
#include "copy_engine.h"
#include "sanitizers.h"
#include "shared_memory.h"
#include "transaction_barrier.h"
#include "warpgroup.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulation {

Indices *current;
std::vector<Warp> &warps = *new std::vector<Warp>; /* like all containers here never destroyed, which ThreadSanitizer would see */
unsigned seed = [] {
    const char *text = getenv("EMULATION_SEED");
    return text ? static_cast<unsigned>(strtoul(text, nullptr, 10)) : 0u;
}();
void *emulation_race_fibre;
char block_start_sync, grid_end_sync;

namespace {

Thread &host = *new Thread(); /* whoever called the runtime */
std::vector<Thread *> &pool = *new std::vector<Thread *>;
std::vector<Thread *> &ready = *new std::vector<Thread *>;
size_t ready_head;
unsigned live[most_cluster_blocks], live_blocks, threads_started;
[[maybe_unused]] constexpr unsigned race_sets = 3;
[[maybe_unused]] unsigned race_set;
const std::function<void()> *body;
uint64_t random_state = 1;

bool newest_first() {
    return seed == 1 || seed == 2 || (seed > 3 && seed % 2 && random_number() % 16);
}

void make_ready(Thread *thread) {
    thread->waits_for = nullptr;
    ready.push_back(thread);
}

Thread *pick() {
    if (seed > 3 && random_number() % 64 == 0) {
        engine_run_one();
    }
    size_t count = ready.size() - ready_head;
    if (!count && !live_blocks) {
        return &host;
    }
    for (; !count; count = ready.size() - ready_head) {
        if (!engine_run_one()) {
            fail("deadlock: no CUDA thread can run");
        }
    }
    Thread *thread;
    if (newest_first()) {
        thread = ready.back();
        ready.pop_back();
    } else {
        if (seed > 3) {
            std::swap(ready[ready_head], ready[ready_head + random_number() % count]);
        }
        thread = ready[ready_head++];
    }
    if (ready_head == ready.size()) {
        ready.clear();
        ready_head = 0;
    } else if (ready_head > 4096) {
        ready.erase(ready.begin(), ready.begin() + static_cast<long>(ready_head));
        ready_head = 0;
    }
    return thread;
}

void switch_to(Thread *next) {
    Thread *previous = self();
    if (next == previous) {
        return;
    }
    current = next;
    threadIdx = next->index;
    blockIdx = next->block_index;
    fibre_switch(*previous, *next);
}

void thread_main() {
    fibre_entered();
    __tsan_switch_to_fiber(self()->race_fibre, 1);
    __tsan_acquire(&block_start_sync);
    (*body)();
    __tsan_release(&grid_end_sync);
    __tsan_switch_to_fiber(emulation_race_fibre, 1);
    self()->finished = true;
    const unsigned block = self()->block;
    --live[block];
    barrier_check_after_exit(block, live[block]);
    cluster_barrier_check_after_exit();
    if (!live[block]) {
        --live_blocks;
        engine_check_idle(block);
    }
    switch_to(pick());
    abort();
}

/* Three sets of race fibres are drawn from, so that hardly anything orders a thread of one cluster before the same thread of another. */
Thread *pooled_thread(size_t index) {
#ifdef EMULATION_RACES
    index = race_sets * index + race_set;
#endif
    if (index >= pool.size()) {
        pool.resize(index + 1);
    }
    if (!pool[index]) {
        pool[index] = new Thread();
        pool[index]->race_fibre = __tsan_create_fiber(0);
    }
    return pool[index];
}

void start_thread(unsigned block, uint3 block_index, unsigned linear) {
    Thread *thread = pooled_thread(threads_started++);
    thread->linear = linear;
    thread->lane = linear % 32;
    thread->block = block;
    thread->warp = block * warps_of_block() + linear / 32;
    thread->block_index = block_index;
    thread->has_arrived = false;
    thread->index = {linear % blockDim.x, linear / blockDim.x % blockDim.y, linear / blockDim.x / blockDim.y};
    thread->pending.copies.clear();
    thread->pending.group_ends.clear();
    thread->pending.copied = thread->pending.finished_groups = 0;
    fibre_prepare(*thread, thread_main);
    warps[thread->warp].present |= 1u << thread->lane;
    make_ready(thread);
}

} /* namespace */

bool in_kernel() {
    return current && current != &host;
}

unsigned live_threads(unsigned block) {
    return live[block];
}

unsigned cluster_threads() {
    return threads_started;
}

unsigned random_number() {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u * (2 * seed + 1);
    return static_cast<unsigned>(random_state >> 33);
}

bool asynchronous_is_late() {
    return seed == 1 || seed == 3 || (seed > 3 && random_number() % 2);
}

void make_ready(std::vector<Thread *> &threads) {
    for (Thread *thread : threads) {
        make_ready(thread);
    }
    threads.clear();
}

void block_on(std::vector<Thread *> &list, const char *what, int line) {
    self()->waits_for = what;
    self()->waits_line = line;
    list.push_back(self());
    switch_to(pick());
}

void reschedule() {
    make_ready(self());
    switch_to(pick());
}

void yield_thread() {
    RaceScope inside(emulation_race_fibre);
    reschedule();
}

void run_cluster(const std::vector<uint3> &blocks, unsigned count, const std::function<void()> &block_body) {
    const unsigned block_count = static_cast<unsigned>(blocks.size());
    if (!emulation_race_fibre) {
        emulation_race_fibre = __tsan_create_fiber(0);
    }
    shared_memory_forget();
    __tsan_release(&block_start_sync);
    {
        RaceScope inside(emulation_race_fibre);
        race_set = (race_set + 1 + random_number() % 2) % race_sets; /* never the one before */
        current = &host;
        body = &block_body;
        shared_memory_begin(block_count);
        barriers_begin(block_count, count);
        cluster_barrier_begin();
        transaction_barriers_begin();
        warpgroups_begin(block_count, count);
        warps.assign(size_t{block_count} * warps_of_block(), Warp());
        live_blocks = block_count;
        threads_started = 0;
        for (unsigned block = 0; block < block_count; ++block) {
            live[block] = count;
            for (unsigned i = 0; i < count; ++i) {
                start_thread(block, blocks[block], i);
            }
        }
        switch_to(pick());
        barriers_end();
        transaction_barriers_end();
        warpgroups_end();
        shared_memory_end();
    }
}

void for_each_waiting_thread(const std::function<void(const Thread &)> &visit) {
    for (const Thread *thread : pool) {
        if (thread && thread->waits_for) {
            visit(*thread);
        }
    }
}

} /* namespace emulation */
