/* Of pairs that come one after the other, those of the largest means and those of the smallest, for each layer and component. */
#ifndef STATS_TOP_PAIRS_H
#define STATS_TOP_PAIRS_H

#include "contexture/stats.h"
#include "kinds.h"

struct top_pair {
    uint64_t key;
    int64_t count;
    double order; /* the mean; times -1 where the smallest come first */
    double mean, std;
};

/* A heap whose first pair is the last in rank. */
struct top_list {
    struct top_pair *pairs;
    size_t count, capacity;
};

struct top_pairs {
    size_t layers, most;
    struct top_list *lists; /* [layers][SINGLE_COMPONENTS][2], the largest first */
};

CX_MUST_USE enum cx_status top_pairs_begin(struct top_pairs *top, size_t layers, size_t most, struct cx_error *error);
void top_pairs_free(struct top_pairs *top);

/* sums: [layers][2 * SINGLE_COMPONENTS] of changes, then of their squares, inside of a layer. Of equal means the one with the smaller key comes first. */
CX_MUST_USE enum cx_status top_pairs_add(struct top_pairs *top, uint64_t key, int64_t count, const double *sums, struct cx_error *error);

/* Appends the pairs in the order of their ranks to a table pair_amplification/top. No pair can be added after that. */
CX_MUST_USE enum cx_status top_pairs_to_table(struct top_pairs *top, const size_t *layer_numbers, struct cx_stats_table *table, struct cx_error *error);

#endif
