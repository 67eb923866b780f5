/* What bounds an operation: arithmetic at the rate of a large matrix product, or memory at the rate of a large copy, both measured in the same run. */
#ifndef CONTEXTURE_BENCHMARKS_ROOFLINE_H
#define CONTEXTURE_BENCHMARKS_ROOFLINE_H

#include <stdbool.h>

struct roofline {
    double intensity; /* FLOP a byte that must be moved */
    double bytes_per_second;
    bool is_memory_bound;
    double share; /* of what the bound allows; more than 1 where the data comes from caches */
};

/* product_rate in FLOP/s, copy_rate in bytes/s, those read and those written. */
struct roofline roofline_of(double flop, double bytes, double seconds, double product_rate, double copy_rate);

/* The processor's copy rate with so many threads: the median of several copies of an array much larger than caches; 0 without the memory for it. */
double roofline_processor_copy_rate(int threads);

#endif
