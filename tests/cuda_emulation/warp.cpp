/* What the lanes of one warp do together. */
#include "device_threads.h"
#include "sanitizers.h"
#include "scheduler.h"

namespace emulation {

namespace {

const char *const names[] = {"__syncwarp", "a shuffle", "a vote", "ldmatrix", "mma", "wgmma", "an instruction of the warpgroup"};

WarpOperation &operation_of(Warp &warp, unsigned mask) {
    for (WarpOperation &operation : warp.operations) {
        if (operation.mask == mask) {
            return operation;
        }
    }
    RaceScope inside(emulation_race_fibre);
    warp.operations.reserve(64); /* references stay valid while lanes wait; more masks at a time do not occur */
    if (warp.operations.size() == 64) {
        fail("more than 64 different lane masks in one warp");
    }
    warp.operations.push_back(WarpOperation{Collective::sync_warp, mask, 0, 0, {}, {}, nullptr});
    return warp.operations.back();
}

} /* namespace */

void warp_collective(Collective kind, unsigned mask, void *argument, Combine combine, int line) {
    const char *name = names[static_cast<int>(kind)];
    Thread *thread = self();
    Warp &warp = warps[thread->warp];
    mask &= warp.present;
    if (!(mask >> thread->lane & 1)) {
        fail("line %d: %s by a lane outside its mask", line, name);
    }
    WarpOperation &operation = operation_of(warp, mask);
    if (!operation.arrived) {
        operation.kind = kind;
        operation.line = line;
        operation.sync = &warp.sync[warp.sync_count++ % 64];
    }
    if (operation.kind != kind || operation.line != line) {
        fail("lanes of one warp meet in different operations: %s, line %d and %s, line %d", names[static_cast<int>(operation.kind)], operation.line, name,
             line);
    }
    /* Only __syncwarp orders memory; shuffles and matrix instructions do not. */
    char *sync = kind == Collective::sync_warp ? operation.sync : nullptr;
    if (sync) {
        __tsan_release(sync);
    }
    operation.arguments[thread->lane] = argument;
    operation.arrived |= 1u << thread->lane;
    {
        RaceScope inside(emulation_race_fibre);
        if (operation.arrived == mask) {
            if (combine) {
                combine(operation.arguments, mask);
            }
            operation.arrived = 0;
            make_ready(operation.waiting);
            if (seed > 3 && random_number() % 4 == 0) {
                reschedule();
            }
        } else {
            block_on(operation.waiting, name, line);
        }
    }
    if (sync) {
        __tsan_acquire(sync);
    }
}

void combine_shuffle(void **arguments, unsigned mask) {
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (mask >> lane & 1) {
            Exchange *exchange = static_cast<Exchange *>(arguments[lane]);
            if (!(mask >> exchange->source & 1)) {
                fail("shuffle: lane %u reads lane %u, which takes no part", lane, exchange->source);
            }
            exchange->result = static_cast<Exchange *>(arguments[exchange->source])->value;
        }
    }
}

void combine_vote(void **arguments, unsigned mask) {
    unsigned result = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
        if ((mask >> lane & 1) && static_cast<Exchange *>(arguments[lane])->value) {
            result |= 1u << lane;
        }
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (mask >> lane & 1) {
            static_cast<Exchange *>(arguments[lane])->result = result;
        }
    }
}

} /* namespace emulation */
