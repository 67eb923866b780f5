/* Ranks and rank correlation, exact: ties get the average of their places. */
#ifndef STATS_RANKS_H
#define STATS_RANKS_H

#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

/* Working memory for arrays of up to `capacity` elements; start zeroed. */
struct rank_space {
    size_t capacity;
    uint64_t *keys, *spare; /* a number that rises with the element's value, above the element's place */
};
CX_MUST_USE enum cx_status rank_space_reserve(struct rank_space *space, size_t count, struct cx_error *error);
void rank_space_free(struct rank_space *space);

/*
 * Puts the elements into their order by value, for rank_assign(). Equal values, 0 and -0 among them, stand together. count is at most the space's capacity; no
 * value is NaN. The time is linear in the count.
 */
void rank_sort_floats(struct rank_space *space, const float *values, size_t count);
void rank_sort_doubles(struct rank_space *space, const double *values, size_t count);

/*
 * After a sort: ranks[place] = twice the rank of the element among those for which taken[place] is not 0 (NULL: all), less twice the mean rank: whole numbers
 * that add up to 0. Those of the others are 0.
 */
void rank_assign(const struct rank_space *space, size_t count, const uint8_t *taken, int32_t *ranks);

/* Σ a b of such ranks. Spearman's correlation is that over the root of the two sums of squares; a sum of squares is 0 if all elements are equal. */
double sum_of_rank_products(const int32_t *a, const int32_t *b, size_t count);

/* Spearman's correlation of two arrays from the beginning. */
CX_MUST_USE enum cx_status spearman_correlation(const double *x, const double *y, size_t count, double *correlation, struct cx_error *error);

#endif
