/* What the accumulation of changes by category holds: categories.c fills it, categories_take.c makes tables of it. */
#ifndef STATS_CATEGORIES_H
#define STATS_CATEGORIES_H

#include "accumulator.h"
#include "slots.h"

/* Of one layer, component and category: over pairs, and over sequences with S a sequence's sum and n its pairs. */
struct change_sums {
    double sum, squares, sum_squares /* Σ S² */, sum_count /* Σ S n */;
};

/* The same for every layer and component. */
struct pair_counts {
    double count, sequences, count_squares /* Σ n² */;
};

/* A category's pairs at one distance, or at any. */
enum { ANY_DISTANCE = DISTANCES, GROUPS };

/*
 * What the bootstrap draws: every category at any distance, and at each distance those that findings are about and those that they are compared with. The
 * latter are kept for the sum over layers alone, since they would be most of a part otherwise.
 */
enum { controlled_count = 3, CELLS = CATEGORIES + controlled_count * DISTANCES, no_cell = -1 };

/* Where the replicates of a category and group are; no_cell: there are none. */
int category_cell(size_t category, size_t group);

struct category_state {
    struct cx_stats_options options;
    struct change_sums (*sums)[COMPONENTS][CATEGORIES][GROUPS]; /* [layer_count] */
    struct pair_counts counts[CATEGORIES][GROUPS];
    double *replicates;        /* [layer_count][COMPONENTS][CELLS][bootstrap] */
    int64_t *replicate_counts; /* [CELLS][bootstrap] */
    struct slots pos;          /* key: target's label, source's label; sums: change_sums of the components, then sequences and Σ n² */
};

enum { sums_per_component = 4, pos_width = COMPONENTS * sums_per_component + 2 };

/* As in struct accumulator_kind. */
CX_MUST_USE enum cx_status categories_take(void *state, struct cx_stats_set *set, int32_t (*label)(const void *context, uint32_t id), const void *context,
                                           struct cx_error *error);

#endif
