#include "copy_engine.h"

#include <utility>
#include <vector>

#include "scheduler.h"

namespace emulation {

namespace {

std::vector<std::function<void()>> &operations = *new std::vector<std::function<void()>>;

} /* namespace */

/* Operations are in no order among themselves. */
bool engine_run_one() {
    if (operations.empty()) {
        return false;
    }
    size_t index = seed > 3 ? random_number() % operations.size() : seed == 1 ? operations.size() - 1 : 0;
    std::function<void()> operation = std::move(operations[index]);
    operations.erase(operations.begin() + static_cast<long>(index));
    operation();
    return true;
}

void engine_check_idle() {
    if (!operations.empty()) {
        fail("the block ended while the copy engine still writes to its shared memory");
    }
}

void engine_issue(std::function<void()> operation) {
    if (asynchronous_is_late()) {
        operations.push_back(std::move(operation));
    } else {
        operation();
    }
}

} /* namespace emulation */
