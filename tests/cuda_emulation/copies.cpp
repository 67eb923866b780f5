/* cp.async: made at issue or as late as the wait for its group allows. Early finds a buffer that is still read, late a missing wait. */
#include <cstring>

#include "emulated_instructions.h"
#include "sanitizers.h"
#include "scheduler.h"

namespace emulation {

namespace {

void perform(const PendingCopy &copy) {
    announce_write(copy.target, copy.bytes);
    if (copy.source) {
        announce_read(copy.source, copy.bytes);
        memcpy(copy.target, copy.source, copy.bytes);
    } else {
        memset(copy.target, 0, copy.bytes);
    }
}

} /* namespace */

void copy_async(void *shared, const void *global, size_t bytes, int line) {
    shared_offset(shared, bytes);
    if ((reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global)) % bytes) {
        fail("line %d: cp.async: an address is not %zu-byte aligned", line, bytes);
    }
    PendingCopy copy{shared, global, bytes};
    if (!asynchronous_is_late()) {
        perform(copy);
        return;
    }
    RaceScope inside(emulation_race_fibre);
    self()->pending.copies.push_back(copy);
}

void copy_async_commit() {
    RaceScope inside(emulation_race_fibre);
    self()->pending.group_ends.push_back(self()->pending.copies.size());
}

void copy_async_wait(unsigned pending_groups) {
    PendingCopies &pending = self()->pending;
    for (; pending.finished_groups + pending_groups < pending.group_ends.size(); ++pending.finished_groups) {
        for (; pending.copied < pending.group_ends[pending.finished_groups]; ++pending.copied) {
            perform(pending.copies[pending.copied]);
        }
    }
}

} /* namespace emulation */
