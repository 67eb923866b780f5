/* What an analysis is to the shard's accumulation (stats.c): one table of functions each. */
#ifndef STATS_ACCUMULATOR_H
#define STATS_ACCUMULATOR_H

#include "contexture/stats.h"
#include "kinds.h"
#include "ranks.h"
#include "view.h"

enum { most_ranked = 6 }; /* maps, or changes, that are compared with each other */

/* Working memory of one thread, for sequences up to a length. */
struct workspace {
    struct rank_space order;
    size_t capacity;                            /* tokens */
    double *changes[most_ranked];               /* [n²] */
    int32_t *ranks[VARIANTS][most_ranked];      /* [n²] */
    double rank_squares[VARIANTS][most_ranked]; /* sums of the ranks' squares */
    double *inverse_sums[CX_STAGES];            /* [n] of the maps' rows */
};
CX_MUST_USE enum cx_status workspace_reserve(struct workspace *workspace, size_t n, struct cx_error *error);
void workspace_free(struct workspace *workspace);

/* A map of one layer, [n, n]. */
const float *view_map(const struct view *view, unsigned stage, size_t layer);

/* workspace->inverse_sums: 1 / the sum of each map's rows, 1 for raw maps, 0 for a row of zeros. */
void changes_prepare(struct workspace *workspace, const struct view *view, size_t layer, bool raw);

/* change [n²] = the map behind the component less the map before it, rows divided by their sums. */
void changes_of(const struct workspace *workspace, const struct view *view, size_t layer, enum component component, double *change);

/* After a sort of workspace->order: the ranks of map or change k in every variant. */
void workspace_rank(struct workspace *workspace, const struct view *view, size_t k);

/* Spearman's correlation of two that were ranked; NaN if the elements of one are all equal. */
double workspace_spearman(const struct workspace *workspace, const struct view *view, size_t variant, size_t a, size_t b);

/* Sums over sequences, from which a mean and a deviation follow: a table's columns count, sum and sum_squares. NaN is not counted. */
struct moments {
    double count, sum, squares;
};
void moments_add(struct moments *moments, double value);

struct accumulator_kind {
    enum cx_analysis analysis;
    CX_MUST_USE enum cx_status (*create)(const struct cx_stats_options *options, void **state, struct cx_error *error);
    /* The sequence's slots, counts, and all that is no sum over a layer; one thread, in document order. NULL: nothing to do. */
    enum cx_status (*prepare)(void *state, struct view *view, struct cx_error *error);
    /* The sequence's sums of one layer. Layers are added by several threads; those of one layer in document order. */
    void (*add)(void *state, size_t layer, const struct view *view, struct workspace *workspace);
    /* Labels that the tables will name: `name` is called with their ids. NULL: none. */
    enum cx_status (*labels)(void *state, enum cx_status (*name)(void *context, uint32_t label), void *context);
    /* Fills the set's tables. `label` turns an id into the set's number. */
    enum cx_status (*take)(void *state, struct cx_stats_set *set, int32_t (*label)(const void *context, uint32_t id), const void *context,
                           struct cx_error *error);
    void (*clear)(void *state);
    void (*destroy)(void *state);
};

extern const struct accumulator_kind change_accumulator, mixing_accumulator, pair_accumulator, category_accumulator, cancellation_accumulator, norm_accumulator;

#endif
