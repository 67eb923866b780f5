/* The part of op_reference.c that is defined pair by pair: parts of targets by source, their norms and sums. */
#include "op_reference.h"

#include <stdlib.h>
#include <string.h>

/* part[k] = Σ_h α^h_ij F_jh[k] (+ x_j[k] if i = j and `residual`). */
static void attention_part(const struct op_data *data, struct pair pair, bool residual, struct sum *part) {
    struct sizes s = sizes_of(data);
    for (size_t k = 0; k < s.d; k++) {
        part[k] = (struct sum){0};
        for (size_t h = 0; h < s.H; h++)
            add_term(&part[k], (double)data->attention[pair.head_index + h * pair.head_stride] * data->head_sources[(pair.j * s.H + h) * s.d + k]);
        if (residual && pair.i == pair.j)
            add_term(&part[k], data->residual[pair.j * s.d + k]);
    }
}

static struct sum norm_of(size_t width, const struct sum *part, const float *scale, double factor) {
    double squares = 0.0, magnitudes = 0.0;
    for (size_t k = 0; k < width; k++) {
        double gain = scale ? scale[k] : 1.0;
        squares += gain * gain * part[k].value * part[k].value;
        magnitudes += gain * gain * part[k].magnitude * part[k].magnitude;
    }
    return (struct sum){.value = factor * sqrt(squares), .magnitude = fabs(factor) * sqrt(magnitudes)};
}

/*
 * The norm of the vector itself. Through the Gram matrix in float64 it loses 2^-53 of Σ|c||G||c|, of which the root is 2^-26.5 of that sum's root: a
 * quarter of a unit of the vector's magnitude where everything cancels, and far less elsewhere. The rest is rounding of the result.
 */
static void attention_norm(const struct op_data *data, const struct op *op, struct pair pair, struct op_expected *expected) {
    struct sum *part = calloc(data->config.hidden_size, sizeof *part);
    if (!part)
        return;
    attention_part(data, pair, (op->variant & 1) != 0, part);
    struct sum result = norm_of(data->config.hidden_size, part, NULL, (op->variant & 2) ? data->inverse_deviation[pair.i] : 1.0);
    result.magnitude = result.value + 0.25 * result.magnitude;
    put(expected, pair.index, result);
    free(part);
}

void reference_attention_norms(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    for_each_pair(data, op, attention_norm, expected);
}

static void attention_part_sums(const struct op_data *data, const struct op *op, struct pair pair, struct op_expected *expected) {
    size_t d = data->config.hidden_size;
    struct sum *part = calloc(d, sizeof *part);
    (void)op;
    for (size_t k = 0; part && k < d; k++) {
        if (k == 0)
            attention_part(data, pair, false, part);
        if (pair.i == pair.j)
            put(&expected[0], pair.i * d + k, part[k]);
        expected[1].value[pair.i * d + k] += part[k].value;
        expected[1].magnitude[pair.i * d + k] += part[k].magnitude;
    }
    free(part);
}

void reference_attention_parts(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    for_each_pair(data, op, attention_part_sums, expected);
}

static void attention_mean_of_pair(const struct op_data *data, const struct op *op, struct pair pair, struct op_expected *expected) {
    struct sum sum = {0};
    (void)op;
    for (size_t h = 0; h < data->config.heads; h++)
        add_term(&sum, data->attention[pair.head_index + h * pair.head_stride] / (double)data->config.heads);
    put(expected, pair.index, sum);
}

void reference_attention_mean(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    for_each_pair(data, op, attention_mean_of_pair, expected);
}

static void head_norms_of_pair(const struct op_data *data, const struct op *op, struct pair pair, struct op_expected *expected) {
    size_t d = data->config.hidden_size;
    (void)op;
    for (size_t h = 0; h < data->config.heads; h++) {
        double squares = 0.0;
        for (size_t k = 0; k < d; k++) {
            double x = data->head_sources[(pair.j * data->config.heads + h) * d + k];
            squares += x * x;
        }
        double value = data->attention[pair.head_index + h * pair.head_stride] * sqrt(squares);
        put(expected, pair.head_index + h * pair.head_stride, (struct sum){value, fabs(value)});
    }
}

void reference_head_norms(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    for_each_pair(data, op, head_norms_of_pair, expected);
}

/* o_ij = (ρ_i ⊙ hidden) W2, with hidden already multiplied by ρ; W2 [d, f]. */
static void through_output(const struct op_data *data, const struct sum *hidden, struct sum *part) {
    struct sizes s = sizes_of(data);
    for (size_t k = 0; k < s.d; k++) {
        part[k] = (struct sum){0};
        for (size_t m = 0; m < s.f; m++) {
            double weight = data->output[k * s.f + m];
            part[k].value += hidden[m].value * weight;
            part[k].magnitude += hidden[m].magnitude * fabs(weight);
        }
    }
}

/* o_ij and t_ij from what ff_pair_norms reads: z = ρ_i ⊙ (Σ_h α P_jh + [i = j] Px_j)/σ1_i, and the same weights on the normed sources. */
static void ff_parts(const struct op_data *data, struct pair pair, struct sum *hidden, struct sum *output, struct sum *normed) {
    struct sizes s = sizes_of(data);
    double factor = data->inverse_deviation[pair.i];
    for (size_t m = 0; m < s.f; m++) {
        double gain = factor * data->ratio[pair.i * s.f + m];
        hidden[m] = (struct sum){0};
        for (size_t h = 0; h < s.H; h++)
            add_term(&hidden[m], gain * data->attention[pair.head_index + h * pair.head_stride] * data->head_ff_sources[(pair.j * s.H + h) * s.f + m]);
        if (pair.i == pair.j)
            add_term(&hidden[m], gain * data->residual_ff_sources[pair.j * s.f + m]);
    }
    through_output(data, hidden, output);
    attention_part(data, pair, true, normed);
    for (size_t k = 0; k < s.d; k++) {
        normed[k].value *= factor;
        normed[k].magnitude *= fabs(factor);
    }
}

/* v = o + t replaces o once that has been used, then w = γ2 ⊙ (v - mean v)/σ2. */
static void ff_norms_of_pair(const struct op_data *data, const struct op *op, struct pair pair, struct op_expected *expected) {
    struct sizes s = sizes_of(data);
    struct sum *hidden = calloc(s.f + 2 * s.d, sizeof *hidden), *part = hidden + s.f, *normed = part + s.d;
    if (!hidden)
        return;
    ff_parts(data, pair, hidden, part, normed);
    for (size_t k = 0; k < s.d; k++) {
        if (pair.i == pair.j)
            put(&expected[3], pair.i * s.d + k, part[k]);
        expected[4].value[pair.i * s.d + k] += part[k].value;
        expected[4].magnitude[pair.i * s.d + k] += part[k].magnitude;
    }
    if (op->outputs[0] != OP_NONE)
        put(&expected[0], pair.index, norm_of(s.d, part, NULL, 1.0));
    for (size_t k = 0; k < s.d; k++) {
        part[k].value += normed[k].value;
        part[k].magnitude += normed[k].magnitude;
    }
    if (op->outputs[1] != OP_NONE)
        put(&expected[1], pair.index, norm_of(s.d, part, NULL, 1.0));
    centre_and_scale(s.d, part, data->scale, data->inverse_deviation2[pair.i], NULL);
    put(&expected[2], pair.index, norm_of(s.d, part, NULL, 1.0));
    free(hidden);
}

void reference_ff_pair_norms(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    for_each_pair(data, op, ff_norms_of_pair, expected);
    /* What is checked has no error in float64, and in float32 one of less than 1. */
    for (size_t k = 0; k < expected[5].count; k++)
        put(&expected[5], k, (struct sum){.value = 0.0, .magnitude = 0x1p24 / op->tolerance});
}

/* All six parts of one pair; `work` holds f + 2 d sums. */
static void put_parts(const struct op_data *data, struct pair pair, size_t row, struct sum *work, struct op_expected *expected) {
    struct sizes s = sizes_of(data);
    struct sum *hidden = work, *part = work + s.f, *normed = part + s.d;
    for (size_t stage = 0; stage < 6; stage++) {
        if (stage == 0 || stage == 1)
            attention_part(data, pair, stage == 1, part);
        if (stage == 2) {
            centre_and_scale(s.d, part, data->scale, data->inverse_deviation[pair.i], NULL);
            memcpy(normed, part, s.d * sizeof *part);
        }
        if (stage == 3) {
            for (size_t m = 0; m < s.f; m++) {
                hidden[m] = (struct sum){0};
                for (size_t k = 0; k < s.d; k++) {
                    double gain = (double)data->ratio[pair.i * s.f + m] * data->intermediate[m * s.d + k];
                    hidden[m].value += gain * normed[k].value;
                    hidden[m].magnitude += fabs(gain) * normed[k].magnitude;
                }
            }
            through_output(data, hidden, part);
        }
        if (stage == 4) {
            for (size_t k = 0; k < s.d; k++)
                part[k] = (struct sum){part[k].value + normed[k].value, part[k].magnitude + normed[k].magnitude};
        }
        if (stage == 5)
            centre_and_scale(s.d, part, data->scale, data->inverse_deviation2[pair.i], NULL);
        for (size_t k = 0; k < s.d; k++)
            put(&expected[stage], row * s.d + k, part[k]);
    }
}

void reference_part_vectors(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    struct sizes s = sizes_of(data);
    size_t i = op_target(data, op->variant), q = op_sequence_of(data, i), first = data->batch.token_offset[q];
    size_t n = data->batch.token_offset[q + 1] - first, at = data->config.heads * data->batch.pair_offset[q] + (i - first) * n;
    struct sum *work = calloc(s.f + 2 * s.d, sizeof *work);
    for (size_t j = 0; work && j < (data->config.causal ? i - first + 1 : n); j++)
        put_parts(data, (struct pair){.i = i, .j = first + j, .head_index = at + j, .head_stride = n * n}, j, work, expected);
    free(work);
}
