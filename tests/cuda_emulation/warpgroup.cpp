/*
 * A product runs at its issue or at the wait for its group, by the seed: early finds an operand that is not there yet, late one that is overwritten before the
 * wait, in shared memory or in registers. A late product's d is NaN until the wait.
 */
#include "warpgroup.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <vector>

#include "device.h"
#include "sanitizers.h"
#include "scheduler.h"

namespace emulation {

namespace {

constexpr unsigned warps_together = 4;

/* What d will be, kept aside while products on it are under way. */
struct Accumulator {
    float *d[32];
    unsigned count;            /* of each lane */
    std::vector<float> values; /* [32, count] */
};

using Group = std::vector<Product>;

struct WarpProducts {
    bool fenced; /* since the last wait */
    Group open;
    std::deque<Group> committed;
    std::vector<Accumulator> accumulators;
    unsigned long steps;
};

struct Step {
    WarpgroupStep step;
    unsigned value;
    uint64_t b;
    int line;
};

/* The steps that not all four warps have done yet. */
struct Warpgroup {
    std::deque<Step> steps;
    unsigned long forgotten;
};

std::vector<WarpProducts> &warp_products = *new std::vector<WarpProducts>;
std::vector<Warpgroup> &warpgroups = *new std::vector<Warpgroup>;
unsigned block_warps, complete_warps; /* of a block: numbers of warps, and those that belong to whole warpgroups */

const char *name_of(WarpgroupStep step) {
    static const char *const names[] = {"wgmma", "wgmma.fence", "wgmma.commit_group", "wgmma.wait_group", "setmaxnreg"};
    return names[static_cast<int>(step)];
}

/* The first warp to come says what the others must do. */
void keep_in_step(unsigned warp, const Step &step) {
    if (warp % block_warps >= complete_warps) {
        fail("line %d: %s needs a warpgroup of 128 threads", step.line, name_of(step.step));
    }
    Warpgroup &group = warpgroups[warp / warps_together];
    const unsigned long index = warp_products[warp].steps++ - group.forgotten;
    if (index == group.steps.size()) {
        group.steps.push_back(step);
    } else {
        const Step &first = group.steps[index];
        if (first.step != step.step || first.line != step.line || first.value != step.value || first.b != step.b) {
            fail("the warps of a warpgroup do different things: %s, line %d (%u, descriptor %lx) and %s, line %d (%u, descriptor %lx)", name_of(first.step),
                 first.line, first.value, static_cast<unsigned long>(first.b), name_of(step.step), step.line, step.value, static_cast<unsigned long>(step.b));
        }
    }
    unsigned long slowest = ~0ul;
    for (unsigned i = 0; i < warps_together; ++i) {
        const unsigned long done = warp_products[warp / warps_together * warps_together + i].steps;
        slowest = done < slowest ? done : slowest;
    }
    for (; group.forgotten < slowest; ++group.forgotten) {
        group.steps.pop_front();
    }
}

Accumulator *accumulator_of(WarpProducts &warp, const float *d) {
    for (Accumulator &accumulator : warp.accumulators) {
        if (accumulator.d[0] == d) {
            return &accumulator;
        }
    }
    return nullptr;
}

void put_aside(WarpProducts &warp, const Product &product) {
    if (accumulator_of(warp, product.d[0])) {
        return;
    }
    const unsigned count = product.shape.columns / 2;
    Accumulator accumulator{{}, count, std::vector<float>(32 * count)};
    for (unsigned lane = 0; lane < 32; ++lane) {
        accumulator.d[lane] = product.d[lane];
        copy_silently(&accumulator.values[lane * count], product.d[lane], count * sizeof(float));
        for (unsigned i = 0; i < count; ++i) {
            product.d[lane][i] = std::numeric_limits<float>::quiet_NaN();
        }
    }
    warp.accumulators.push_back(std::move(accumulator));
}

void perform_late(WarpProducts &warp, const Product &product) {
    Accumulator *accumulator = accumulator_of(warp, product.d[0]);
    float *d[32];
    for (unsigned lane = 0; lane < 32; ++lane) {
        d[lane] = &accumulator->values[lane * accumulator->count];
    }
    product_perform(product, d);
}

/* In order of issue, those not committed last; visits until `visit` says true, which is the result. */
template <typename Visit> bool any_product(const WarpProducts &warp, Visit visit) {
    for (const Group &group : warp.committed) {
        if (std::any_of(group.begin(), group.end(), visit)) {
            return true;
        }
    }
    return std::any_of(warp.open.begin(), warp.open.end(), visit);
}

void give_back(WarpProducts &warp) {
    for (size_t i = 0; i < warp.accumulators.size();) {
        const Accumulator &accumulator = warp.accumulators[i];
        if (any_product(warp, [&](const Product &product) { return product.late && product.d[0] == accumulator.d[0]; })) {
            ++i;
            continue;
        }
        for (unsigned lane = 0; lane < 32; ++lane) {
            copy_silently(accumulator.d[lane], &accumulator.values[lane * accumulator.count], accumulator.count * sizeof(float));
        }
        warp.accumulators.erase(warp.accumulators.begin() + static_cast<long>(i));
    }
}

/* Products on registers that others are still at work on must have the same shape, or hardware promises no order. */
void check_shape(const WarpProducts &warp, const Product &product) {
    any_product(warp, [&](const Product &other) {
        if (other.d[0] == product.d[0] && other.shape.columns != product.shape.columns) {
            fail("line %d: wgmma on registers that a product of another shape (line %d) is at work on", product.shape.line, other.shape.line);
        }
        return false;
    });
}

void announce_as_thread(const Product &product) {
    RaceScope as_thread(self()->race_fibre);
    product_announce(product);
}

void check_alike(const ProductArguments &one, const ProductArguments &other) {
    if (one.b != other.b || one.columns != other.columns || one.transposed != other.transposed || one.accumulate != other.accumulate) {
        fail("line %d: wgmma: the lanes of a warp name different operands", one.line);
    }
}

Product &open_product(WarpProducts &warp, void **arguments) {
    Product &product = warp.open.emplace_back();
    product.shape = *static_cast<ProductArguments *>(arguments[0]);
    for (unsigned lane = 0; lane < 32; ++lane) {
        const ProductArguments &mine = *static_cast<ProductArguments *>(arguments[lane]);
        check_alike(product.shape, mine);
        product.d[lane] = mine.d;
        product.a[lane] = mine.a;
    }
    return product;
}

void combine_product(void **arguments, unsigned mask) {
    if (mask != ~0u) {
        fail("wgmma needs all 32 lanes");
    }
    const unsigned number = current->warp;
    const ProductArguments &shape = *static_cast<ProductArguments *>(arguments[0]);
    keep_in_step(number, {WarpgroupStep::product, shape.columns * 4 + shape.transposed * 2 + shape.accumulate, shape.b, shape.line});
    WarpProducts &warp = warp_products[number];
    if (!warp.fenced) {
        fail("line %d: wgmma without products_fence since the beginning or the last wait", shape.line);
    }
    const bool late = any_product(warp, [](const Product &other) { return other.late; }) || asynchronous_is_late(); /* once one is, those after it are */
    Product &product = open_product(warp, arguments);
    check_shape(warp, product);
    announce_as_thread(product);
    product.late = late;
    if (late) {
        put_aside(warp, product);
    } else {
        product_perform(product, product.d);
    }
}

void finish(WarpProducts &warp, unsigned pending) {
    while (warp.committed.size() > pending) {
        for (const Product &product : warp.committed.front()) {
            if (product.late) {
                perform_late(warp, product);
            }
            announce_as_thread(product);
            warp.fenced = false;
        }
        warp.committed.pop_front();
    }
    give_back(warp);
}

struct StepArguments {
    WarpgroupStep step;
    unsigned value;
    int line;
};

void combine_step(void **arguments, unsigned mask) {
    const StepArguments first = *static_cast<StepArguments *>(arguments[0]);
    if (mask != ~0u) {
        fail("%s needs all 32 lanes", name_of(first.step));
    }
    for (unsigned lane = 1; lane < 32; ++lane) {
        const StepArguments &mine = *static_cast<StepArguments *>(arguments[lane]);
        if (mine.step != first.step || mine.value != first.value) {
            fail("line %d: the lanes of a warp meet in %s and %s", first.line, name_of(first.step), name_of(mine.step));
        }
    }
    keep_in_step(current->warp, {first.step, first.value, 0, first.line});
    WarpProducts &warp = warp_products[current->warp];
    if (first.step == WarpgroupStep::fence) {
        warp.fenced = true;
    } else if (first.step == WarpgroupStep::commit) {
        warp.committed.push_back(std::move(warp.open));
        warp.open.clear();
    } else if (first.step == WarpgroupStep::wait) {
        finish(warp, first.value);
    }
}

} /* namespace */

void product_issue(ProductArguments arguments) {
    if (device().major != 9) {
        fail("line %d: wgmma on a device that has none", arguments.line);
    }
    warp_collective(Collective::product, ~0u, &arguments, combine_product, arguments.line);
}

void warpgroup_step(WarpgroupStep step, unsigned value, int line) {
    StepArguments arguments{step, value, line};
    warp_collective(Collective::warpgroup, ~0u, &arguments, combine_step, line);
}

void warpgroups_begin(unsigned blocks, unsigned threads) {
    const unsigned group_threads = 32 * warps_together;
    complete_warps = threads / group_threads * warps_together;
    block_warps = (threads + group_threads - 1) / group_threads * warps_together;
    warp_products.assign(size_t{blocks} * block_warps, WarpProducts());
    warpgroups.assign(size_t{blocks} * block_warps / warps_together, Warpgroup());
}

unsigned warps_of_block() {
    return block_warps;
}

void warpgroups_end() {
    for (unsigned i = 0; i < warp_products.size(); ++i) {
        const WarpProducts &warp = warp_products[i];
        const WarpProducts &first = warp_products[i / warps_together * warps_together];
        if (warp.steps != first.steps) {
            fail("the block ended, and the warps of warpgroup %u have done %lu and %lu steps of wgmma or setmaxnreg", i / warps_together, first.steps,
                 warp.steps);
        }
        any_product(warp, [](const Product &product) -> bool { fail("the block ended before a product is waited for: wgmma, line %d", product.shape.line); });
    }
}

} /* namespace emulation */
