#include "copy_engine.h"

#include <utility>
#include <vector>

#include "scheduler.h"

namespace emulation {

namespace {

struct Operation {
    unsigned block;
    std::function<void()> run;
};

std::vector<Operation> &operations = *new std::vector<Operation>;

} /* namespace */

/* Operations are in no order among themselves. */
bool engine_run_one() {
    if (operations.empty()) {
        return false;
    }
    size_t index = seed > 3 ? random_number() % operations.size() : seed == 1 ? operations.size() - 1 : 0;
    Operation operation = std::move(operations[index]);
    operations.erase(operations.begin() + static_cast<long>(index));
    operation.run();
    return true;
}

void engine_check_idle(unsigned block) {
    for (const Operation &operation : operations) {
        if (operation.block == block) {
            fail("the block ended while the copy engine still writes to its shared memory");
        }
    }
}

void engine_issue(unsigned block, std::function<void()> operation) {
    if (asynchronous_is_late()) {
        operations.push_back({block, std::move(operation)});
    } else {
        operation();
    }
}

} /* namespace emulation */
