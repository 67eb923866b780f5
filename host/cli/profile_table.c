#include "profile_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static double ratio(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

/* The rate that operations are held against: the fastest of the device. */
static double best_rate(const struct cx_run_profile *profile) {
    return profile->product_rate_half > profile->product_rate ? profile->product_rate_half : profile->product_rate;
}

static void print_operation(const struct cx_run_profile *profile, unsigned operation, double busy) {
    const uint64_t calls = profile->decompose.times.operations[operation].calls;
    const double seconds = profile->decompose.times.operations[operation].seconds, flop = profile->decompose.operations_flop[operation];
    (void)fprintf(stderr, "%-18s %9" PRIu64 " %10.3f %6.1f %% %12.1f %10.1f %7.1f %%\n", cx_operation_name(operation), calls, seconds,
                  100 * ratio(seconds, busy), 1e-9 * flop, 1e-9 * ratio(flop, seconds), 100 * ratio(ratio(flop, seconds), best_rate(profile)));
}

static void print_operations(const struct cx_run_profile *profile) {
    double busy = 0;
    bool printed[CX_OPERATIONS] = {false};
    for (unsigned k = 0; k < CX_OPERATIONS; k++)
        busy += profile->decompose.times.operations[k].seconds;
    (void)fprintf(stderr, "%-18s %9s %10s %8s %12s %10s %9s\n", "operation", "calls", "seconds", "share", "GFLOP", "GFLOP/s", "of rate");
    for (unsigned count = 0; count < CX_OPERATIONS; count++) {
        unsigned longest = CX_OPERATIONS;
        for (unsigned k = 0; k < CX_OPERATIONS; k++)
            if (!printed[k] &&
                (longest == CX_OPERATIONS || profile->decompose.times.operations[k].seconds > profile->decompose.times.operations[longest].seconds))
                longest = k;
        printed[longest] = true;
        if (profile->decompose.times.operations[longest].calls > 0)
            print_operation(profile, longest, busy);
    }
    const double idle = profile->decompose.times.idle_seconds;
    (void)fprintf(stderr, "%-18s %9s %10.3f %6.1f %% of the pipeline's time, %.1f %% from the first operation to the last\n", "all", "", busy,
                  100 * ratio(busy, profile->seconds), 100 * ratio(busy, busy + idle));
}

static void print_step(const char *name, double seconds, double whole) {
    (void)fprintf(stderr, "%-18s %9s %10.3f %6.1f %%\n", name, "", seconds, 100 * ratio(seconds, whole));
}

void profile_print(const struct cx_run_report *report) {
    const struct cx_run_profile *profile = &report->profile;
    const double waited = profile->decompose.wait_seconds;
    (void)fprintf(stderr, "rate of a large matrix product: %.1f GFLOP/s float32", 1e-9 * profile->product_rate);
    if (profile->product_rate_half > 0)
        (void)fprintf(stderr, ", %.1f GFLOP/s float16", 1e-9 * profile->product_rate_half);
    (void)fprintf(stderr, "\n");
    print_operations(profile);
    (void)fprintf(stderr, "%-18s %9s %10s %8s\n", "step", "", "seconds", "busy");
    print_step("read and tokenize", report->step_seconds[CX_STEP_READ], profile->seconds);
    print_step("decompose, host", report->step_seconds[CX_STEP_DECOMPOSE] - waited, profile->seconds);
    print_step("wait for device", waited, profile->seconds);
    print_step("compress", profile->store.compress, profile->seconds);
    print_step("statistics", profile->statistics, profile->seconds);
    print_step("write", profile->store.write, profile->seconds);
    print_step("sync", profile->store.sync, profile->seconds);
    print_step("check", profile->store.check, profile->seconds);
    print_step("pipeline", profile->seconds, profile->seconds);
}
