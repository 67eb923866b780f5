/*
 * What every operation should give, in float64, written from the definitions in backend.h and DESIGN.md, section 1, alone:
 * no Gram matrix for norms of parts, no centred W2, no blocks.
 */
#include "op_reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double *zeros(size_t count) {
    double *memory = calloc(count ? count : 1, sizeof *memory);
    if (!memory) {
        fprintf(stderr, "not enough memory for the reference\n");
        exit(1);
    }
    return memory;
}

static void embed(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    struct sizes s = sizes_of(data);
    (void)op;
    for (size_t k = 0; k < s.T * s.d; k++) {
        struct sum sum = {0};
        size_t token = k / s.d, column = k % s.d;
        add_term(&sum, data->word[(size_t)data->batch.input_ids[token] * s.d + column]);
        add_term(&sum, data->position[(size_t)data->batch.position_ids[token] * s.d + column]);
        add_term(&sum, data->token_type[(size_t)data->batch.token_type_ids[token] * s.d + column]);
        put(expected, k, sum);
    }
}

static double mean_of(size_t width, const double *x) {
    double sum = 0.0;
    for (size_t k = 0; k < width; k++)
        sum += x[k];
    return sum / (double)width;
}

static void norm(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    struct sizes s = sizes_of(data);
    double *centred = zeros(s.d);
    (void)op;
    for (size_t token = 0; token < s.T; token++) {
        double squares = 0.0;
        for (size_t k = 0; k < s.d; k++)
            centred[k] = data->x[token * s.d + k];
        double mean = mean_of(s.d, centred);
        for (size_t k = 0; k < s.d; k++) {
            centred[k] -= mean;
            squares += centred[k] * centred[k];
        }
        double factor = 1.0 / sqrt(squares / (double)s.d + data->config.norm_epsilon);
        for (size_t k = 0; k < s.d; k++) {
            struct sum sum = {0};
            add_term(&sum, factor * centred[k] * data->scale[k]);
            add_term(&sum, data->shift[k]);
            put(&expected[0], token * s.d + k, sum);
        }
        put(&expected[1], token, (struct sum){factor, factor});
    }
    free(centred);
}

/* One product x W^T + bias + residual; W [out, in]. */
static void product(size_t rows, size_t in, size_t out, const float *x, const float *weight, const float *bias, const float *residual,
                    struct op_expected *expected) {
    for (size_t row = 0; row < rows; row++) {
        for (size_t o = 0; o < out; o++) {
            struct sum sum = {0};
            for (size_t k = 0; k < in; k++)
                add_term(&sum, (double)x[row * in + k] * weight[o * in + k]);
            if (bias)
                add_term(&sum, bias[o]);
            if (residual)
                add_term(&sum, residual[row * out + o]);
            put(expected, row * out + o, sum);
        }
    }
}

static void linear(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    struct sizes s = sizes_of(data);
    bool bias = strstr(op->name, "plain") == NULL && strstr(op->name, "alone") == NULL, residual = strstr(op->name, "residual") != NULL;
    if (strstr(op->name, "d f"))
        product(s.T, s.d, s.f, data->x, data->intermediate, data->bias_f, NULL, expected);
    else if (strstr(op->name, "f d"))
        product(s.T, s.f, s.d, data->hidden, data->output, bias ? data->bias : NULL, data->y, expected);
    else
        product(s.T, s.d, s.d, data->x, data->square, bias ? data->bias : NULL, residual ? data->y : NULL, expected);
}

/* The weights of one target's row for one head, over n sources. An error of a score is a relative error of the weights, hence the factor of the magnitude. */
static void attend_row(const struct op_data *data, size_t first, size_t n, size_t token, size_t head, struct sum *weights) {
    struct sizes s = sizes_of(data);
    double largest = -INFINITY, total = 0.0, largest_magnitude = 0.0;
    for (size_t j = 0; j < n; j++) {
        struct sum score = {0};
        for (size_t k = 0; k < s.e; k++)
            add_term(&score, (double)data->query[token * s.d + head * s.e + k] * data->key[(first + j) * s.d + head * s.e + k] / sqrt((double)s.e));
        weights[j] = score;
        largest = fmax(largest, score.value);
        largest_magnitude = fmax(largest_magnitude, score.magnitude);
    }
    for (size_t j = 0; j < n; j++)
        total += exp(weights[j].value - largest);
    for (size_t j = 0; j < n; j++) {
        double weight = exp(weights[j].value - largest) / total;
        weights[j] = (struct sum){.value = weight, .magnitude = weight * (1.0 + 2.0 * largest_magnitude)};
    }
}

static void attend(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    struct sizes s = sizes_of(data);
    struct sum *weights = calloc(data->batch.longest, sizeof *weights);
    (void)op;
    for (size_t token = 0; weights && token < s.T; token++) {
        size_t q = op_sequence_of(data, token), first = data->batch.token_offset[q], n = data->batch.token_offset[q + 1] - first;
        size_t attended = data->config.causal ? token - first + 1 : n;
        for (size_t head = 0; head < s.H; head++) {
            attend_row(data, first, attended, token, head, weights);
            for (size_t j = 0; j < attended; j++)
                put(&expected[0], s.H * data->batch.pair_offset[q] + (head * n + token - first) * n + j, weights[j]);
            for (size_t k = head * s.e; k < (head + 1) * s.e; k++) {
                struct sum sum = {0};
                for (size_t j = 0; j < attended; j++) {
                    sum.value += weights[j].value * data->value[(first + j) * s.d + k];
                    sum.magnitude += weights[j].magnitude * fabs((double)data->value[(first + j) * s.d + k]);
                }
                put(&expected[1], token * s.d + k, sum);
            }
        }
    }
    free(weights);
}

/* ρ = g(u)/u. The magnitude grows with the exponent of an exponential: an error of the exponent is a relative one of the result. */
static struct sum activation_ratio(enum cx_activation activation, double u) {
    double tanh_argument = sqrt(2.0 / 3.14159265358979323846) * (u + 0.044715 * u * u * u), ratio, exponent = 0.0;
    switch (activation) {
    case CX_GELU:
        ratio = 0.5 * erfc(-u / sqrt(2.0));
        break;
    case CX_GELU_TANH:
        ratio = 1.0 / (1.0 + exp(-2.0 * tanh_argument));
        exponent = fabs(2.0 * tanh_argument);
        break;
    case CX_SILU:
        ratio = 1.0 / (1.0 + exp(-u));
        break;
    default:
        ratio = isnan(u) ? u : u > 0.0 ? 1.0 : 0.0;
    }
    return (struct sum){.value = ratio, .magnitude = ratio * (1.0 + exponent)};
}

static void activate(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    (void)op;
    for (size_t k = 0; k < data->pre_activation_count; k++) {
        double u = data->pre_activation[k];
        struct sum ratio = activation_ratio(data->config.activation, u);
        /* A subnormal ratio is exact to half of the smallest float only, and so is what it is multiplied with. */
        put(&expected[0], k, (struct sum){u * ratio.value, fabs(u) * (ratio.magnitude + 0x1p-126)});
        put(&expected[1], k, ratio);
    }
}

static void add(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    (void)op;
    for (size_t k = 0; k < data->x_count; k++) {
        struct sum sum = {0};
        add_term(&sum, data->x[k]);
        add_term(&sum, data->y[k]);
        put(expected, k, sum);
    }
}

static void broadcast(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    (void)op;
    for (size_t k = 0; k < expected->count; k++)
        put(expected, k, (struct sum){data->bias[k % data->config.hidden_size], 0.0});
}

static void norm_linear(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    size_t d = data->config.hidden_size;
    bool of_heads = op->variant == 1;
    const float *x = of_heads ? data->head_sources : data->x;
    struct sum *row = calloc(d, sizeof *row);
    for (size_t first = 0; row && first < expected->count; first += d) {
        for (size_t k = 0; k < d; k++)
            row[k] = (struct sum){x[first + k], fabs((double)x[first + k])};
        centre_and_scale(d, row, data->scale, of_heads ? 1.0 : data->inverse_deviation[first / d], of_heads ? NULL : data->shift);
        for (size_t k = 0; k < d; k++)
            put(expected, first + k, row[k]);
    }
    free(row);
}

static void scale_columns(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    (void)op;
    for (size_t k = 0; k < expected->count; k++) {
        struct sum sum = {0};
        add_term(&sum, (double)data->scale[k % data->config.hidden_size] * data->head_sources[k]);
        put(expected, k, sum);
    }
}

static void ff_bias(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    size_t f = data->config.intermediate_size;
    (void)op;
    for (size_t k = 0; k < expected->count; k++) {
        struct sum sum = {0};
        add_term(&sum, (double)data->ratio[k] * data->inverse_deviation[k / f] * data->slope[k % f]);
        add_term(&sum, (double)data->ratio[k] * data->bias_f[k % f]);
        put(expected, k, sum);
    }
}

/* F_jh = v_j^h W_O^h: W_O [out, in] takes the heads' values side by side. */
static void head_sources(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    struct sizes s = sizes_of(data);
    (void)op;
    for (size_t k = 0; k < expected->count; k++) {
        size_t token = k / (s.H * s.d), head = k / s.d % s.H, out = k % s.d;
        struct sum sum = {0};
        for (size_t c = head * s.e; c < (head + 1) * s.e; c++)
            add_term(&sum, (double)data->value[token * s.d + c] * data->square[out * s.d + c]);
        put(expected, k, sum);
    }
}

static void ff_sources(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    struct sizes s = sizes_of(data);
    (void)op;
    for (size_t k = 0; k < expected->count; k++) {
        size_t token = k / (s.H * s.f), head = k / s.f % s.H, neuron = k % s.f;
        struct sum sum = {0};
        for (size_t c = head * s.e; c < (head + 1) * s.e; c++)
            add_term(&sum, (double)data->value[token * s.d + c] * data->value_to_ff[c * s.f + neuron]);
        put(expected, k, sum);
    }
}

static const float *gram_row(const struct op_data *data, size_t token, size_t row) {
    struct sizes s = sizes_of(data);
    return row < s.H ? data->head_sources + (token * s.H + row) * s.d : data->residual + token * s.d;
}

static void gram(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    size_t rows = data->config.heads + 1, d = data->config.hidden_size;
    (void)op;
    for (size_t k = 0; k < expected->count; k++) {
        const float *left = gram_row(data, k / (rows * rows), k / rows % rows), *right = gram_row(data, k / (rows * rows), k % rows);
        struct sum sum = {0};
        for (size_t c = 0; c < d; c++)
            add_term(&sum, (double)left[c] * right[c]);
        put(expected, k, sum);
    }
}

static double share(double part, double whole) {
    return whole == 0.0 ? 0.0 : part / whole;
}

static void stage_summary(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    size_t d = data->config.hidden_size;
    (void)op;
    for (size_t token = 0; token < data->batch.tokens; token++) {
        double others = 0.0, owns = 0.0, biases = 0.0, errors = 0.0, states = 0.0;
        for (size_t k = token * d; k < (token + 1) * d; k++) {
            double state = data->state[k], bias = data->x[k], own = data->own[k];
            others += pow(state - bias - own, 2.0);
            owns += own * own;
            biases += bias * bias;
            errors += pow(data->sum[k] + bias - state, 2.0);
            states += state * state;
        }
        double values[] = {share(sqrt(others), sqrt(others) + sqrt(owns)), sqrt(biases), share(sqrt(errors), sqrt(states))};
        for (size_t k = 0; k < 3; k++)
            put(&expected[k], token, (struct sum){values[k], values[k]});
    }
}

static const struct {
    const char *operation;
    void (*function)(const struct op_data *data, const struct op *op, struct op_expected *expected);
} references[] = {
    {"embed", embed},
    {"norm", norm},
    {"linear", linear},
    {"attend", attend},
    {"activate", activate},
    {"add", add},
    {"broadcast", broadcast},
    {"norm_linear", norm_linear},
    {"scale_columns", scale_columns},
    {"ff_bias", ff_bias},
    {"head_sources", head_sources},
    {"gram", gram},
    {"attention_norms", reference_attention_norms},
    {"attention_parts", reference_attention_parts},
    {"attention_mean", reference_attention_mean},
    {"head_norms", reference_head_norms},
    {"ff_sources", ff_sources},
    {"ff_pair_norms", reference_ff_pair_norms},
    {"stage_summary", stage_summary},
    {"part_vectors", reference_part_vectors},
    {"row_shares", reference_row_shares},
    {"map_ranks", reference_map_ranks},
    {"rank_change", reference_rank_change},
};

bool op_reference(const struct op_data *data, const struct op *op, struct op_expected expected[OP_MAX_OUTPUTS]) {
    memset(expected, 0, OP_MAX_OUTPUTS * sizeof *expected);
    for (size_t r = 0; r < sizeof references / sizeof *references; r++) {
        if (strcmp(references[r].operation, op->operation) != 0)
            continue;
        for (size_t k = 0; k < OP_MAX_OUTPUTS; k++) {
            expected[k].count = op_output_count(data, op, k);
            if (expected[k].count == 0)
                continue;
            expected[k].value = zeros(expected[k].count);
            expected[k].magnitude = zeros(expected[k].count);
        }
        references[r].function(data, op, expected);
        return true;
    }
    return false;
}

void op_expected_free(struct op_expected expected[OP_MAX_OUTPUTS]) {
    for (size_t k = 0; k < OP_MAX_OUTPUTS; k++) {
        free(expected[k].value);
        free(expected[k].magnitude);
        expected[k] = (struct op_expected){0};
    }
}
