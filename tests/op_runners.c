/* The table of operations of op_cases.h: each calls one function of a backend on the case's inputs. */
#include "op_cases.h"

#define CALL(name, ...) data->backend->operations->name(data->backend, __VA_ARGS__, error)

static double tokens_of(const struct op_data *data) {
    return (double)data->batch.tokens;
}
static double pairs_of(const struct op_data *data) {
    return (double)data->batch.pairs;
}
static double width_of(const struct op_data *data) {
    return (double)data->config.hidden_size;
}
static double neurons_of(const struct op_data *data) {
    return (double)data->config.intermediate_size;
}
static double heads_of(const struct op_data *data) {
    return (double)data->config.heads;
}

static enum cx_status run_embed(struct op_data *data, struct cx_error *error) {
    size_t d = data->config.hidden_size;
    struct cx_weight word = {"word", data->word, CX_FLOAT32, OP_VOCABULARY, d, 0, 0}, type = {"token_type", data->token_type, CX_FLOAT32, 2, d, 0, 0};
    struct cx_weight position = {"position", data->position, CX_FLOAT32, data->batch.longest, d, 0, 0};
    return CALL(embed, &word, &position, &type, data->out[0]);
}

static enum cx_status run_norm(struct op_data *data, struct cx_error *error) {
    return CALL(norm, data->on.x, data->on.scale, data->on.shift, data->config.norm_epsilon, data->out[0], data->out[1]);
}

/* linear's variants: which matrix, and what is added. */
enum { SQUARE_BIAS, SQUARE_BIAS_RESIDUAL, SQUARE_PLAIN, INTERMEDIATE_BIAS, OUTPUT_BIAS_RESIDUAL, OUTPUT_RESIDUAL };

static enum cx_status run_linear(const struct cx_tensor *x, const struct cx_matrix *matrix, const struct cx_tensor *bias, const struct cx_tensor *residual,
                                 struct op_data *data, struct cx_error *error) {
    return CALL(linear, CX_LINEAR_FORWARD, data->batch.tokens, x, matrix, bias, residual, data->out[0]);
}
static enum cx_status run_linear_bias(struct op_data *data, struct cx_error *error) {
    return run_linear(data->on.x, data->on.square_matrix, data->on.bias, NULL, data, error);
}
static enum cx_status run_linear_bias_residual(struct op_data *data, struct cx_error *error) {
    return run_linear(data->on.x, data->on.square_matrix, data->on.bias, data->on.y, data, error);
}
static enum cx_status run_linear_plain(struct op_data *data, struct cx_error *error) {
    return run_linear(data->on.x, data->on.square_matrix, NULL, NULL, data, error);
}
static enum cx_status run_linear_up(struct op_data *data, struct cx_error *error) {
    return run_linear(data->on.x, data->on.intermediate_matrix, data->on.bias_f, NULL, data, error);
}
static enum cx_status run_linear_down(struct op_data *data, struct cx_error *error) {
    return run_linear(data->on.hidden, data->on.output_matrix, data->on.bias, data->on.y, data, error);
}
static enum cx_status run_linear_down_residual(struct op_data *data, struct cx_error *error) {
    return run_linear(data->on.hidden, data->on.output_matrix, NULL, data->on.y, data, error);
}

static double square_work(const struct op_data *data) {
    return 2.0 * tokens_of(data) * width_of(data) * width_of(data);
}
static double neuron_work(const struct op_data *data) {
    return 2.0 * tokens_of(data) * width_of(data) * neurons_of(data);
}

static enum cx_status run_attend(struct op_data *data, struct cx_error *error) {
    return CALL(attend, data->on.query, data->on.key, data->on.value, data->out[0], data->out[1]);
}
static double attend_work(const struct op_data *data) {
    return 4.0 * pairs_of(data) * width_of(data);
}

static enum cx_status run_activate(struct op_data *data, struct cx_error *error) {
    return CALL(activate, data->config.activation, data->on.pre_activation, data->out[0], data->out[1]);
}

static enum cx_status run_add(struct op_data *data, struct cx_error *error) {
    return CALL(add, data->x_count, data->on.x, data->on.y, data->out[0]);
}

static enum cx_status run_broadcast(struct op_data *data, struct cx_error *error) {
    return CALL(broadcast, data->batch.tokens, data->on.bias, data->out[0]);
}

static enum cx_status run_norm_linear(struct op_data *data, struct cx_error *error) {
    return CALL(norm_linear, data->batch.tokens, data->on.x, data->on.scale, data->on.inverse_deviation, data->on.shift, data->out[0]);
}
static enum cx_status run_norm_linear_plain(struct op_data *data, struct cx_error *error) {
    return CALL(norm_linear, data->batch.tokens * data->config.heads, data->on.head_sources, data->on.scale, NULL, NULL, data->out[0]);
}

static enum cx_status run_ff_bias(struct op_data *data, struct cx_error *error) {
    return CALL(ff_bias, data->on.ratio, data->on.inverse_deviation, data->on.slope, data->on.bias_f, data->out[0]);
}

static enum cx_status run_head_sources(struct op_data *data, struct cx_error *error) {
    return CALL(head_sources, data->on.value, data->on.square_matrix, data->out[0]);
}

static enum cx_status run_gram(struct op_data *data, struct cx_error *error) {
    return CALL(gram, data->on.head_sources, data->on.residual, data->out[0]);
}
static double gram_work(const struct op_data *data) {
    return tokens_of(data) * (heads_of(data) + 1.0) * (heads_of(data) + 2.0) * width_of(data);
}

/* `variant` of attention_norms: bit 0 the residual, bit 1 the deviation. */
static enum cx_status run_attention_norms(bool residual, const struct cx_tensor *deviation, struct op_data *data, struct cx_error *error) {
    return CALL(attention_norms, data->on.attention, data->on.gram, residual, deviation, data->out[0]);
}
static enum cx_status run_attention_norms_attn(struct op_data *data, struct cx_error *error) {
    return run_attention_norms(false, NULL, data, error);
}
static enum cx_status run_attention_norms_res(struct op_data *data, struct cx_error *error) {
    return run_attention_norms(true, NULL, data, error);
}
static enum cx_status run_attention_norms_ln(struct op_data *data, struct cx_error *error) {
    return run_attention_norms(true, data->on.inverse_deviation, data, error);
}
static double attention_norms_work(const struct op_data *data) {
    return pairs_of(data) * heads_of(data) * (heads_of(data) + 1.0);
}

static enum cx_status run_attention_parts(struct op_data *data, struct cx_error *error) {
    return CALL(attention_parts, data->on.attention, data->on.head_sources, data->out[0], data->out[1]);
}
static double attention_parts_work(const struct op_data *data) {
    return 2.0 * pairs_of(data) * heads_of(data) * width_of(data);
}

static enum cx_status run_attention_mean(struct op_data *data, struct cx_error *error) {
    return CALL(attention_mean, data->on.attention, data->out[0]);
}

static enum cx_status run_head_norms(struct op_data *data, struct cx_error *error) {
    return CALL(head_norms, data->on.attention, data->on.gram, data->out[0]);
}

static enum cx_status run_ff_sources(struct op_data *data, struct cx_error *error) {
    return CALL(ff_sources, data->on.value, data->on.value_to_ff, data->out[0]);
}

static enum cx_status run_pair_norms(bool maps, bool sums, struct op_data *data, struct cx_error *error) {
    struct cx_ff_pairs pairs = {
        .attention = data->on.attention,
        .inverse_deviation1 = data->on.inverse_deviation,
        .ratio = data->on.ratio,
        .head_ff_sources = data->on.head_ff_sources,
        .residual_ff_sources = data->on.residual_ff_sources,
        .head_norm_sources = data->on.head_sources,
        .residual_norm_sources = data->on.residual,
        .output = data->on.pair_matrix,
        .norm2_scale = data->on.scale,
        .inverse_deviation2 = data->on.inverse_deviation2,
        .ff = maps ? data->out[0] : NULL,
        .ff_res = maps ? data->out[1] : NULL,
        .ff_res_ln = data->out[2],
        .own = sums ? data->out[3] : NULL,
        .sum = sums ? data->out[4] : NULL,
    };
    return CALL(ff_pair_norms, &pairs);
}
static enum cx_status run_ff_pair_norms(struct op_data *data, struct cx_error *error) {
    return run_pair_norms(true, true, data, error);
}
static enum cx_status run_ff_pair_norms_last_map(struct op_data *data, struct cx_error *error) {
    return run_pair_norms(false, true, data, error);
}
static double ff_pair_norms_work(const struct op_data *data) {
    return 2.0 * pairs_of(data) * neurons_of(data) * width_of(data);
}

static enum cx_status run_stage_summary(struct op_data *data, struct cx_error *error) {
    return CALL(stage_summary, data->on.state, data->on.x, data->on.own, data->on.sum, data->out[0], data->out[1], data->out[2]);
}

static enum cx_status run_part_vectors(size_t target, struct op_data *data, struct cx_error *error) {
    struct cx_part_inputs inputs = {
        .attention = data->on.attention,
        .head_sources = data->on.head_sources,
        .residual = data->on.residual,
        .norm1_scale = data->on.scale,
        .inverse_deviation1 = data->on.inverse_deviation,
        .intermediate = data->on.intermediate_matrix,
        .ratio = data->on.ratio,
        .output = data->on.output_matrix,
        .norm2_scale = data->on.scale,
        .inverse_deviation2 = data->on.inverse_deviation2,
    };
    return CALL(part_vectors, &inputs, target, data->out);
}
static enum cx_status run_part_vectors_first(struct op_data *data, struct cx_error *error) {
    return run_part_vectors(op_target(data, 0), data, error);
}
static enum cx_status run_part_vectors_last(struct op_data *data, struct cx_error *error) {
    return run_part_vectors(op_target(data, 1), data, error);
}
/* Of one target. */
static double part_vectors_work(const struct op_data *data) {
    size_t s = op_sequence_of(data, op_target(data, 1));
    double n = (double)(data->batch.token_offset[s + 1] - data->batch.token_offset[s]);
    return n * (2.0 * heads_of(data) * width_of(data) + 4.0 * width_of(data) * neurons_of(data));
}

/*
 * Tolerances, in units of 2^-24 * magnitude (op_expected). The error of a float32 sum of K terms is at most K units, and that of random terms grows as √K:
 * over the 10^5 numbers that a case compares, the largest seen is 5 units for K = 32 and 21 for K = 544 (gram, whose reference rounds in the same way). Allowed
 * is about three times that. What a wrong index or a wrong formula changes is thousands of units, and OP_INTEGERS finds it without any tolerance.
 */
const struct op op_table[] = {
    {"embed", "embed", run_embed, {OP_TD}, 4, true, 0, NULL},
    {"norm", "norm", run_norm, {OP_TD, OP_T}, 8, false, 0, NULL},
    {"linear d d", "linear", run_linear_bias, {OP_TD}, 16, true, SQUARE_BIAS, square_work},
    {"linear d d + residual", "linear", run_linear_bias_residual, {OP_TD}, 16, true, SQUARE_BIAS_RESIDUAL, square_work},
    {"linear d d plain", "linear", run_linear_plain, {OP_TD}, 16, true, SQUARE_PLAIN, square_work},
    {"linear d f", "linear", run_linear_up, {OP_TF}, 16, true, INTERMEDIATE_BIAS, neuron_work},
    {"linear f d + residual", "linear", run_linear_down, {OP_TD}, 16, true, OUTPUT_BIAS_RESIDUAL, neuron_work},
    {"linear f d, residual alone", "linear", run_linear_down_residual, {OP_TD}, 16, true, OUTPUT_RESIDUAL, neuron_work},
    {"attend", "attend", run_attend, {OP_HEAD_PAIRS, OP_TD}, 4, false, 0, attend_work},
    {"activate", "activate", run_activate, {OP_TF, OP_TF}, 8, false, 0, NULL},
    {"add", "add", run_add, {OP_TD}, 1, true, 0, NULL},
    {"broadcast", "broadcast", run_broadcast, {OP_TD}, 0, true, 0, NULL},
    {"norm_linear", "norm_linear", run_norm_linear, {OP_TD}, 8, false, 0, NULL},
    {"norm_linear of heads", "norm_linear", run_norm_linear_plain, {OP_THD}, 8, false, 1, NULL},
    {"ff_bias", "ff_bias", run_ff_bias, {OP_TF}, 4, true, 0, NULL},
    {"head_sources", "head_sources", run_head_sources, {OP_THD}, 16, true, 0, square_work},
    {"gram", "gram", run_gram, {OP_GRAM}, 64, true, 0, gram_work},
    {"attention_norms attn", "attention_norms", run_attention_norms_attn, {OP_PAIRS}, 4, false, 0, attention_norms_work},
    {"attention_norms res", "attention_norms", run_attention_norms_res, {OP_PAIRS}, 4, false, 1, attention_norms_work},
    {"attention_norms res_ln", "attention_norms", run_attention_norms_ln, {OP_PAIRS}, 4, false, 3, attention_norms_work},
    {"attention_parts", "attention_parts", run_attention_parts, {OP_TD, OP_TD}, 16, true, 0, attention_parts_work},
    {"attention_mean", "attention_mean", run_attention_mean, {OP_PAIRS}, 8, false, 0, NULL},
    {"head_norms", "head_norms", run_head_norms, {OP_HEAD_PAIRS}, 4, false, 0, NULL},
    {"ff_sources", "ff_sources", run_ff_sources, {OP_THF}, 16, true, 0, neuron_work},
    {"ff_pair_norms", "ff_pair_norms", run_ff_pair_norms, {OP_PAIRS, OP_PAIRS, OP_PAIRS, OP_TD, OP_TD}, 8, false, 0, ff_pair_norms_work},
    {"ff_pair_norms last map", "ff_pair_norms", run_ff_pair_norms_last_map, {OP_NONE, OP_NONE, OP_PAIRS, OP_TD, OP_TD}, 8, false, 1, ff_pair_norms_work},
    {"stage_summary", "stage_summary", run_stage_summary, {OP_T, OP_T, OP_T}, 2, false, 0, NULL},
    {"part_vectors first",
     "part_vectors",
     run_part_vectors_first,
     {OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS},
     8,
     false,
     0,
     NULL},
    {"part_vectors last",
     "part_vectors",
     run_part_vectors_last,
     {OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS},
     8,
     false,
     1,
     part_vectors_work},
};
const size_t op_table_count = sizeof op_table / sizeof *op_table;
