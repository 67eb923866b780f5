/* The table of operations of op_cases.h: each calls one function of a backend on the case's inputs. */
#include "op_cases.h"

#define CALL(name, ...) data->backend->operations->name(data->backend, __VA_ARGS__, error)

static double tokens_of(const struct op_data *data) {
    return (double)data->batch.tokens;
}
/* Those that an operation has to compute: half of them in a causal model. */
static double pairs_of(const struct op_data *data) {
    return (double)cx_attended_pairs(&data->config, data->batch.pairs, data->batch.tokens);
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

static enum cx_status run_scale_columns(struct op_data *data, struct cx_error *error) {
    return CALL(scale_columns, data->batch.tokens * data->config.heads, data->on.head_sources, data->on.scale, data->out[0]);
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

static enum cx_status run_pair_norms(bool maps, bool sums, bool check, struct op_data *data, struct cx_error *error) {
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
        .check = check ? data->out[5] : NULL,
    };
    return CALL(ff_pair_norms, &pairs);
}
static enum cx_status run_ff_pair_norms(struct op_data *data, struct cx_error *error) {
    return run_pair_norms(true, true, true, data, error);
}
static enum cx_status run_ff_pair_norms_last_map(struct op_data *data, struct cx_error *error) {
    return run_pair_norms(false, true, true, data, error);
}
/* For the benchmark: what the checksum costs. */
static enum cx_status run_ff_pair_norms_unchecked(struct op_data *data, struct cx_error *error) {
    return run_pair_norms(true, true, false, data, error);
}
static double ff_pair_norms_work(const struct op_data *data) {
    return 2.0 * pairs_of(data) * neurons_of(data) * width_of(data);
}

static enum cx_status run_stage_summary(struct op_data *data, struct cx_error *error) {
    return CALL(stage_summary, data->on.state, data->on.x, data->on.own, data->on.sum, data->out[0], data->out[1], data->out[2]);
}

static enum cx_status run_row_shares(struct op_data *data, struct cx_error *error) {
    return CALL(row_shares, data->on.map, data->out[0]);
}

/* map_ranks' variants: all pairs, or a selection. */
enum { ALL_PAIRS, SOME_PAIRS };

static enum cx_status run_map_ranks(struct op_data *data, struct cx_error *error) {
    return CALL(map_ranks, data->on.map, NULL, true, data->out[0]);
}
static enum cx_status run_map_ranks_some(struct op_data *data, struct cx_error *error) {
    return CALL(map_ranks, data->on.map, data->on.keep, false, data->out[0]);
}

static enum cx_status run_rank_change(struct op_data *data, struct cx_error *error) {
    return CALL(rank_change, data->on.ranks_before, data->on.ranks_after, data->out[0]);
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
    size_t target = op_target(data, 1), s = op_sequence_of(data, target);
    double n = (double)((data->config.causal ? target + 1 : data->batch.token_offset[s + 1]) - data->batch.token_offset[s]);
    return n * (2.0 * heads_of(data) * width_of(data) + 4.0 * width_of(data) * neurons_of(data));
}

static double embed_work(const struct op_data *data) {
    return 2.0 * tokens_of(data) * width_of(data);
}
static double norm_work(const struct op_data *data) {
    return 7.0 * tokens_of(data) * width_of(data);
}
static double add_work(const struct op_data *data) {
    return tokens_of(data) * width_of(data);
}
static double norm_linear_work(const struct op_data *data) {
    return 6.0 * tokens_of(data) * width_of(data);
}
static double norm_linear_heads_work(const struct op_data *data) {
    return heads_of(data) * norm_linear_work(data);
}
static double scale_columns_work(const struct op_data *data) {
    return heads_of(data) * add_work(data);
}
/* activate and ff_bias */
static double neurons_work(const struct op_data *data) {
    return 3.0 * tokens_of(data) * neurons_of(data);
}
/* attention_mean and head_norms */
static double heads_work(const struct op_data *data) {
    return heads_of(data) * pairs_of(data);
}
static double summary_work(const struct op_data *data) {
    return 13.0 * tokens_of(data) * width_of(data);
}
static double shares_work(const struct op_data *data) {
    return 2.0 * (double)data->batch.pairs;
}

/* What ff_pair_norms reads: α, P and Px, ρ, F̂ and x̂, W2c. */
#define PAIR_READS OP_HEAD_PAIRS, OP_THF, OP_TF, OP_TF, OP_THD, OP_TD, OP_DF

/*
 * Tolerances, in units of 2^-24 * magnitude, or 2^-53 of float64 results (op_expected). The error of a float32 sum of K terms is at most K units, and that of
 * random terms grows as √K: over the 10^5 numbers that a case compares, the largest seen is 5 units for K = 32 and 21 for K = 544 (gram, whose reference rounds
 * in the same way). Allowed is about three times that. What a wrong index or a wrong formula changes is thousands of units, and OP_INTEGERS finds it without
 * any tolerance.
 */
const struct op op_table[] = {
    {"embed", "embed", run_embed, {OP_TD}, 4, true, 0, embed_work, {OP_TD, OP_TD, OP_TD}},
    {"norm", "norm", run_norm, {OP_TD, OP_T}, 8, false, 0, norm_work, {OP_TD, OP_D, OP_D}},
    {"linear d d", "linear", run_linear_bias, {OP_TD}, 16, true, SQUARE_BIAS, square_work, {OP_TD, OP_DD, OP_D}},
    {"linear d d + residual", "linear", run_linear_bias_residual, {OP_TD}, 16, true, SQUARE_BIAS_RESIDUAL, square_work, {OP_TD, OP_DD, OP_D, OP_TD}},
    {"linear d d plain", "linear", run_linear_plain, {OP_TD}, 16, true, SQUARE_PLAIN, square_work, {OP_TD, OP_DD}},
    {"linear d f", "linear", run_linear_up, {OP_TF}, 16, true, INTERMEDIATE_BIAS, neuron_work, {OP_TD, OP_DF, OP_F}},
    {"linear f d + residual", "linear", run_linear_down, {OP_TD}, 16, true, OUTPUT_BIAS_RESIDUAL, neuron_work, {OP_TF, OP_DF, OP_D, OP_TD}},
    {"linear f d, residual alone", "linear", run_linear_down_residual, {OP_TD}, 16, true, OUTPUT_RESIDUAL, neuron_work, {OP_TF, OP_DF, OP_TD}},
    {"attend", "attend", run_attend, {OP_HEAD_PAIRS, OP_TD}, 4, false, 0, attend_work, {OP_TD, OP_TD, OP_TD}},
    {"activate", "activate", run_activate, {OP_TF, OP_TF}, 8, false, 0, neurons_work, {OP_TF}},
    {"add", "add", run_add, {OP_TD}, 1, true, 0, add_work, {OP_TD, OP_TD}},
    {"broadcast", "broadcast", run_broadcast, {OP_TD}, 0, true, 0, NULL, {OP_D}},
    {"norm_linear", "norm_linear", run_norm_linear, {OP_TD}, 8, false, 0, norm_linear_work, {OP_TD, OP_D, OP_T, OP_D}},
    {"norm_linear of heads", "norm_linear", run_norm_linear_plain, {OP_THD}, 8, false, 1, norm_linear_heads_work, {OP_THD, OP_D}},
    {"scale_columns", "scale_columns", run_scale_columns, {OP_THD}, 1, true, 0, scale_columns_work, {OP_THD, OP_D}},
    {"ff_bias", "ff_bias", run_ff_bias, {OP_TF}, 4, true, 0, neurons_work, {OP_TF, OP_T, OP_F, OP_F}},
    {"head_sources", "head_sources", run_head_sources, {OP_THD}, 16, true, 0, square_work, {OP_TD, OP_DD}},
    {"gram", "gram", run_gram, {OP_GRAM}, 64, true, 0, gram_work, {OP_THD, OP_TD}},
    {"attention_norms attn", "attention_norms", run_attention_norms_attn, {OP_PAIRS}, 4, false, 0, attention_norms_work, {OP_HEAD_PAIRS, OP_GRAM}},
    {"attention_norms res", "attention_norms", run_attention_norms_res, {OP_PAIRS}, 4, false, 1, attention_norms_work, {OP_HEAD_PAIRS, OP_GRAM}},
    {"attention_norms res_ln", "attention_norms", run_attention_norms_ln, {OP_PAIRS}, 4, false, 3, attention_norms_work, {OP_HEAD_PAIRS, OP_GRAM, OP_T}},
    {"attention_parts", "attention_parts", run_attention_parts, {OP_TD, OP_TD}, 16, true, 0, attention_parts_work, {OP_HEAD_PAIRS, OP_THD}},
    {"attention_mean", "attention_mean", run_attention_mean, {OP_PAIRS}, 8, false, 0, heads_work, {OP_HEAD_PAIRS}},
    {"head_norms", "head_norms", run_head_norms, {OP_HEAD_PAIRS}, 4, false, 0, heads_work, {OP_HEAD_PAIRS, OP_GRAM}},
    {"ff_sources", "ff_sources", run_ff_sources, {OP_THF}, 16, true, 0, neuron_work, {OP_TD, OP_DF}},
    {"ff_pair_norms", "ff_pair_norms", run_ff_pair_norms, {OP_PAIRS, OP_PAIRS, OP_PAIRS, OP_TD, OP_TD, OP_T}, 8, false, 0, ff_pair_norms_work, {PAIR_READS}},
    {"ff_pair_norms last map",
     "ff_pair_norms",
     run_ff_pair_norms_last_map,
     {OP_NONE, OP_NONE, OP_PAIRS, OP_TD, OP_TD, OP_T},
     8,
     false,
     1,
     ff_pair_norms_work,
     {PAIR_READS}},
    {"stage_summary", "stage_summary", run_stage_summary, {OP_T, OP_T, OP_T}, 2, false, 0, summary_work, {OP_TD, OP_TD, OP_TD, OP_TD}},
    {"row_shares", "row_shares", run_row_shares, {OP_PAIRS}, 2, false, 0, shares_work, {OP_PAIRS}},
    {"map_ranks", "map_ranks", run_map_ranks, {OP_RANKS}, 0, false, ALL_PAIRS, NULL, {OP_PAIRS}},
    {"map_ranks, some pairs", "map_ranks", run_map_ranks_some, {OP_RANKS}, 0, false, SOME_PAIRS, NULL, {OP_PAIRS, OP_T}},
    {"rank_change", "rank_change", run_rank_change, {OP_SEQUENCES}, 4, false, 0, NULL, {OP_RANKS, OP_RANKS}},
    {"part_vectors first",
     "part_vectors",
     run_part_vectors_first,
     {OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS},
     8,
     false,
     0,
     NULL,
     {OP_THD, OP_DF, OP_DF}},
    {"part_vectors last",
     "part_vectors",
     run_part_vectors_last,
     {OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS, OP_TARGET_PARTS},
     8,
     false,
     1,
     part_vectors_work,
     {OP_THD, OP_DF, OP_DF}},
    /* For the benchmark alone. */
    {"ff_pair_norms unchecked",
     "ff_pair_norms",
     run_ff_pair_norms_unchecked,
     {OP_PAIRS, OP_PAIRS, OP_PAIRS, OP_TD, OP_TD},
     8,
     false,
     2,
     ff_pair_norms_work,
     {PAIR_READS}},
};
enum { benchmarked_alone = 1 };
const size_t op_bench_count = sizeof op_table / sizeof *op_table, op_table_count = sizeof op_table / sizeof *op_table - benchmarked_alone;
