/*
 * Runs the CUDA threads of one cluster, which mostly is one block, as fibres. A fibre gives way only where it must wait, so the emulation needs no locks
 * of its own; which ready fibre goes on, and whether asynchronous copies happen early or late, is decided by the seed:
 *
 *     seed 0  oldest thread first, copies and stream operations at once
 *     seed 1  newest first, as late as allowed          seed 2  newest first, at once         seed 3  oldest first, late
 *     seed 4… random; odd seeds run mostly the newest, so that one warp gets far ahead
 */
#ifndef CUDA_EMULATION_SCHEDULER_H
#define CUDA_EMULATION_SCHEDULER_H

#include <functional>
#include <vector>

#include "device_threads.h"
#include "fibre.h"

namespace emulation {

constexpr unsigned most_cluster_blocks = 8;

struct PendingCopy {
    void *target;
    const void *source; /* NULL: zeros */
    size_t bytes;
};

/* cp.async: copies not yet made, and where the committed groups among them end. */
struct PendingCopies {
    std::vector<PendingCopy> copies;
    std::vector<size_t> group_ends;
    size_t copied, finished_groups;
};

struct Thread : Fibre, Indices {
    uint3 index, block_index;
    const char *waits_for; /* NULL: it does not wait */
    int waits_line;
    bool has_arrived;       /* at the cluster's barrier, and has not waited yet */
    unsigned cluster_phase; /* at which it arrived */
    PendingCopies pending;
};

struct WarpOperation {
    Collective kind;
    unsigned mask, arrived;
    int line;
    void *arguments[32];
    std::vector<Thread *> waiting;
    char *sync;
};

struct Warp {
    unsigned present, sync_count;
    std::vector<WarpOperation> operations; /* one for each mask in use */
    char sync[64];
};

extern std::vector<Warp> &warps;
extern unsigned seed;
extern void *emulation_race_fibre; /* ThreadSanitizer: of the emulation's own work */

inline Thread *self() {
    return static_cast<Thread *>(current);
}
bool in_kernel();
unsigned live_threads(unsigned block); /* of a block of the cluster, not yet ended */
unsigned cluster_threads();            /* of all blocks, ended or not */

unsigned random_number();
bool asynchronous_is_late();

void make_ready(std::vector<Thread *> &threads);
/* The running thread joins `list` and others go on, until make_ready. */
void block_on(std::vector<Thread *> &list, const char *what, int line);
void reschedule();

/* Runs `body` in `count` threads of each of these blocks, which are a cluster, to the end. */
void run_cluster(const std::vector<uint3> &blocks, unsigned count, const std::function<void()> &body);

/* For the report of a failure: visits every thread that waits. */
void for_each_waiting_thread(const std::function<void(const Thread &)> &visit);

/* ThreadSanitizer: threads of a block begin after block_start and end before grid_end. */
extern char block_start_sync, grid_end_sync;

} /* namespace emulation */

#endif
