/*
 * Spearman's correlation of two maps from their ranks R, S, multiples of 1/2, by integers: with m ranks of mean (m + 1)/2 each,
 *
 *     correlation = Σ (2R - m - 1)(2S - m - 1) / √(Σ (2R - m - 1)² Σ (2S - m - 1)²)
 *
 * A row's sums are exact in 64 bits for up to 4096 tokens; the rows' are added in float64, in order. What all backends share, so that they give the same bits.
 */
#ifndef CONTEXTURE_RANK_SUMS_H
#define CONTEXTURE_RANK_SUMS_H

#include <math.h>
#include <stdint.h>

#include "contexture/attributes.h"

enum { CX_RANKED_TOKENS_MOST = 4096 };

/* Of one row: how many ranks, and sums over them of twice R, twice S, and products of these. count is CX_RANK_NONE if one of them is no number. */
struct cx_rank_sums {
    uint64_t count, before, after, before_squares, after_squares, products;
};
#define CX_RANK_NONE UINT64_MAX

/* Adds a pair's; one that is not selected has two ranks of 0. */
static inline CX_DEVICE void cx_rank_add(struct cx_rank_sums *sums, double before, double after) {
    if (!(before >= 0.0 && after >= 0.0)) {
        sums->count = CX_RANK_NONE;
        return;
    }
    const uint64_t first = (uint64_t)(2.0 * before), second = (uint64_t)(2.0 * after);
    sums->count += sums->count != CX_RANK_NONE && first > 0;
    sums->before += first;
    sums->after += second;
    sums->before_squares += first * first;
    sums->after_squares += second * second;
    sums->products += first * second;
}

/* Σ (x - top)(y - top) over a row, in integers that may go around on the way. */
static inline CX_DEVICE double cx_rank_centred(uint64_t products, uint64_t sum, uint64_t count, uint64_t top) {
    return (double)(int64_t)(products - top * sum + count * top * top);
}

/* 1 - the correlation, from the sums of all rows. */
static inline CX_DEVICE double cx_rank_change(const struct cx_rank_sums *rows, unsigned row_count) {
    double before = 0.0, after = 0.0, products = 0.0;
    uint64_t count = 0;
    for (unsigned row = 0; row < row_count; row++) {
        if (rows[row].count == CX_RANK_NONE)
            return NAN;
        count += rows[row].count;
    }
    for (unsigned row = 0; row < row_count; row++) {
        const struct cx_rank_sums *sums = &rows[row];
        before += cx_rank_centred(sums->before_squares, 2 * sums->before, sums->count, count + 1);
        after += cx_rank_centred(sums->after_squares, 2 * sums->after, sums->count, count + 1);
        products += cx_rank_centred(sums->products, sums->before + sums->after, sums->count, count + 1);
    }
    return before > 0.0 && after > 0.0 ? 1.0 - products / sqrt(before * after) : NAN;
}

#endif
