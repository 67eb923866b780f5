/* What the two files of the reference share: sums with their magnitudes, and a way through all pairs of a batch. */
#ifndef CONTEXTURE_TESTS_OP_REFERENCE_H
#define CONTEXTURE_TESTS_OP_REFERENCE_H

#include <math.h>
#include <stddef.h>

#include "op_cases.h"

/* A sum and the sum of its terms' absolute values. */
struct sum {
    double value, magnitude;
};

static inline void add_term(struct sum *sum, double term) {
    sum->value += term;
    sum->magnitude += fabs(term);
}

static inline void put(struct op_expected *expected, size_t index, struct sum sum) {
    expected->value[index] = sum.value;
    expected->magnitude[index] = sum.magnitude;
}

/* The sizes of a case, and where its sequences lie. */
struct sizes {
    size_t T, H, d, e, f, P;
};

static inline struct sizes sizes_of(const struct op_data *data) {
    return (struct sizes){.T = data->batch.tokens,
                          .H = data->config.heads,
                          .d = data->config.hidden_size,
                          .e = data->config.head_size,
                          .f = data->config.intermediate_size,
                          .P = data->batch.pairs};
}

/* A pair of tokens of one sequence; in a causal model with j <= i. */
struct pair {
    size_t i, j;        /* in the batch */
    size_t index;       /* in a map */
    size_t head_index;  /* of head 0 in a per-head map … */
    size_t head_stride; /* … and from head to head */
};

typedef void pair_function(const struct op_data *data, const struct op *op, struct pair pair, struct op_expected *expected);

static inline void for_each_pair(const struct op_data *data, const struct op *op, pair_function *function, struct op_expected *expected) {
    for (size_t s = 0; s < data->batch.sequences; s++) {
        size_t first = data->batch.token_offset[s], n = data->batch.token_offset[s + 1] - first, at = data->batch.pair_offset[s];
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < (data->config.causal ? i + 1 : n); j++)
                function(data, op,
                         (struct pair){
                             .i = first + i, .j = first + j, .index = at + i * n + j, .head_index = data->config.heads * at + i * n + j, .head_stride = n * n},
                         expected);
        }
    }
}

/* y = factor * scale ⊙ (x - mean x) + shift of one row of vectors with magnitudes; shift may be NULL. */
static inline void centre_and_scale(size_t width, struct sum *x, const float *scale, double factor, const float *shift) {
    double mean = 0.0, mean_magnitude = 0.0;
    for (size_t k = 0; k < width; k++) {
        mean += x[k].value / (double)width;
        mean_magnitude += x[k].magnitude / (double)width;
    }
    for (size_t k = 0; k < width; k++) {
        double gain = scale[k] * factor, constant = shift ? shift[k] : 0.0;
        x[k] = (struct sum){.value = gain * (x[k].value - mean) + constant, .magnitude = fabs(gain) * (x[k].magnitude + mean_magnitude) + fabs(constant)};
    }
}

/* --- op_reference_ranks.c: statistics of maps --- */
void reference_row_shares(const struct op_data *data, const struct op *op, struct op_expected *expected);
void reference_map_ranks(const struct op_data *data, const struct op *op, struct op_expected *expected);
void reference_rank_change(const struct op_data *data, const struct op *op, struct op_expected *expected);

/* --- op_reference_parts.c: what is defined pair by pair --- */
void reference_attention_norms(const struct op_data *data, const struct op *op, struct op_expected *expected);
void reference_attention_parts(const struct op_data *data, const struct op *op, struct op_expected *expected);
void reference_attention_mean(const struct op_data *data, const struct op *op, struct op_expected *expected);
void reference_head_norms(const struct op_data *data, const struct op *op, struct op_expected *expected);
void reference_ff_pair_norms(const struct op_data *data, const struct op *op, struct op_expected *expected);
void reference_part_vectors(const struct op_data *data, const struct op *op, struct op_expected *expected);

#endif
