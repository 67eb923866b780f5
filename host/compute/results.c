/* From the backend to the sequences' results: a layer's numbers are sent when they are computed, and handed over when the next layers are under way. */
#include <math.h>
#include <string.h>

#include "contexture/clock.h"
#include "decomposer.h"
#include "operation_flop.h"

bool pass_wants(const struct pass *pass, unsigned map) {
    return pass->decomposer->layers[pass->layer] && (pass->decomposer->options.maps & CX_STAGE_BIT(map));
}

void pass_take_results(struct pass *pass) {
    struct cx_decomposer *decomposer = pass->decomposer;
    struct workspace *w = &decomposer->workspace;
    pass->out = &w->results[decomposer->next_results];
    decomposer->next_results = (decomposer->next_results + 1) % w->result_count;
    while (pass->status == CX_OK && pass->out->is_on_its_way)
        pass->status = results_hand_over(decomposer, pass->error);
    if (pass->status == CX_OK)
        pass->status = layer_results_place(decomposer->backend, &decomposer->options, pass->batch, pass->out, pass->error);
    pass->attention = decomposer->options.per_head ? pass->out->attention : w->attention;
    pass->norm_input[0] = decomposer->options.norm_inputs ? pass->out->norm_input[0] : w->attention_sum;
    pass->norm_input[1] = decomposer->options.norm_inputs ? pass->out->norm_input[1] : w->ff_sum;
}

void pass_summarize(struct pass *pass, enum cx_stage stage, const struct cx_tensor *state, const struct cx_tensor *bias, const struct cx_tensor *own,
                    const struct cx_tensor *sum) {
    const struct layer_results *out = pass->out;
    if (pass_wants(pass, stage))
        APPLY(pass, stage_summary, state, bias, own, sum, out->mixing_ratio[stage], out->bias_norm[stage], out->completeness_error[stage]);
}

void pass_send_results(struct pass *pass, bool has_layer, size_t state_index) {
    struct cx_decomposer *decomposer = pass->decomposer;
    struct layer_results *out = pass->out;
    const bool has_state = decomposer->options.hidden_states;
    const size_t from = has_state ? 0 : out->at.first, to = has_layer ? out->at.end : out->at.first, slot = (size_t)(out - decomposer->workspace.results);
    if (to <= from)
        return;
    CALL(pass, read_begin, slot, out->whole, from, to - from);
    if (pass->status != CX_OK)
        return;
    out->is_on_its_way = true;
    out->copied_from = from;
    out->batch = pass->batch;
    out->results = pass->results;
    out->batch_number = decomposer->batches_begun;
    out->layer = pass->layer;
    out->wanted_index = pass->wanted_index;
    out->state_index = state_index;
    out->has_layer = has_layer;
    out->has_state = has_state;
    decomposer->waiting[decomposer->waiting_count++] = slot;
    while (pass->status == CX_OK && decomposer->waiting_count > decomposer->backend->reads_ahead)
        pass->status = results_hand_over(decomposer, pass->error);
}

void pass_store_vectors(struct pass *pass, size_t sequence, size_t token, struct cx_tensor *const parts[CX_STAGES]) {
    const size_t n = pass->batch->token_offset[sequence + 1] - pass->batch->token_offset[sequence], d = pass->decomposer->backend->config.hidden_size;
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        float *out = pass->results[sequence].vectors[stage];
        if (out)
            CALL(pass, read, parts[stage], 0, n * d, out + (pass->vector_index * n + token) * n * d);
    }
}

/* --- on the host --- */

/* What is handed over: the numbers of one layer, of all sequences of its batch. */
struct arrival {
    const struct cx_decomposer *decomposer;
    const struct layer_results *from;
    const float *values; /* of from->copied_from and what follows */
    struct cx_error *error;
};

static const float *values_at(const struct arrival *arrival, size_t place) {
    return arrival->values + (place - arrival->from->copied_from);
}

static size_t sequence_tokens(const struct cx_batch *batch, size_t sequence) {
    return batch->token_offset[sequence + 1] - batch->token_offset[sequence];
}

static void copy(float *out, const float *values, size_t count) {
    if (out)
        memcpy(out, values, count * sizeof *out);
}

/* Copies, and tells whether all values are finite: x * 0 is 0 for every finite x, and NaN for the others; such a sum needs no branch and is vectorised. */
static bool copy_finite(float *restrict out, const float *restrict values, size_t count) {
    float sum = 0;
    if (!out) {
#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < count; i++)
            sum += values[i] * 0.0f;
        return sum == 0;
    }
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < count; i++) {
        out[i] = values[i];
        sum += values[i] * 0.0f;
    }
    return sum == 0;
}

/* A map of the batch, numbers of which are `values`, to the layer's place in a sequence's maps. */
static bool copy_map(const struct arrival *arrival, size_t sequence, const float *values, float *maps) {
    const struct layer_results *from = arrival->from;
    const size_t n = sequence_tokens(from->batch, sequence);
    return copy_finite(maps ? maps + from->wanted_index * n * n : NULL, values + from->batch->pair_offset[sequence], n * n);
}

static enum cx_status fail_infinite(const struct arrival *arrival, unsigned map) {
    return cx_fail(arrival->error, CX_ERROR_INPUT,
                   "layer %zu, map %s: a norm is not finite in a batch of %zu sequences; the model's weights overflow float32 on this input",
                   arrival->from->layer, cx_map_name(map), arrival->from->batch->sequences);
}

static enum cx_status hand_over_map(const struct arrival *arrival, unsigned map) {
    const struct layer_results *from = arrival->from;
    const float *values = values_at(arrival, from->at.map[map]);
    bool finite = true;
    for (size_t sequence = 0; sequence < from->batch->sequences; sequence++)
        finite &= copy_map(arrival, sequence, values, from->results[sequence].maps[map]);
    return finite ? CX_OK : fail_infinite(arrival, map);
}

static enum cx_status hand_over_map_without(const struct arrival *arrival, unsigned norm, enum cx_norm_side side) {
    const struct layer_results *from = arrival->from;
    const float *values = values_at(arrival, from->at.map_without[norm][side]);
    bool finite = true;
    for (size_t sequence = 0; sequence < from->batch->sequences; sequence++)
        finite &= copy_map(arrival, sequence, values, from->results[sequence].maps_without[norm][side]);
    return finite ? CX_OK : fail_infinite(arrival, cx_norm_stages[norm][side]);
}

static void hand_over_heads(const struct arrival *arrival) {
    const struct layer_results *from = arrival->from;
    const struct cx_batch *batch = from->batch;
    const size_t heads = arrival->decomposer->backend->config.heads;
    const float *weights = values_at(arrival, from->at.attention), *norms = values_at(arrival, from->at.attention_norms);
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        const size_t n = sequence_tokens(batch, sequence), block = heads * n * n, first = heads * batch->pair_offset[sequence];
        const struct cx_sequence_result *result = &from->results[sequence];
        copy(result->head_attention_weight ? result->head_attention_weight + from->wanted_index * block : NULL, weights + first, block);
        copy(result->head_attention_norm ? result->head_attention_norm + from->wanted_index * block : NULL, norms + first, block);
    }
}

/* Per-token values [T] to the [n, L] table of every sequence. */
static void hand_over_token_values(const struct arrival *arrival, const float *values, enum cx_stage stage, bool is_mixing_ratio) {
    const struct layer_results *from = arrival->from;
    const struct cx_batch *batch = from->batch;
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        const size_t n = sequence_tokens(batch, sequence), first = batch->token_offset[sequence];
        const struct cx_sequence_result *result = &from->results[sequence];
        float *out = is_mixing_ratio ? result->mixing_ratio[stage] : result->bias_norm[stage];
        for (size_t token = 0; out && token < n; token++)
            out[token * arrival->decomposer->layer_count + from->wanted_index] = values[first + token];
    }
}

static const char *name_of(const struct cx_sequence_result *result) {
    return result->name ? result->name : "without a name";
}

/*
 * Parts that add up to a state have an error of some 1e-6 in float32 and 1e-4 where operands of products are of 16 bits; cancellation in a strange model may
 * make it a hundred times that. More is no rounding any more.
 */
static const float completeness_limit = 1e-2f;

#define DEVICE_ADVICE                                                                                                                                          \
    "the device or its memory made a mistake. Nothing wrong was written: the same command goes on from the last whole part, if need be elsewhere, and "        \
    "--no-checks lets such numbers pass"

static enum cx_status check_products(const struct arrival *arrival, unsigned product) {
    const struct layer_results *from = arrival->from;
    const struct cx_batch *batch = from->batch;
    const float *values = values_at(arrival, from->at.check[product]);
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        for (size_t token = batch->token_offset[sequence]; token < batch->token_offset[sequence + 1]; token++) {
            if (!(values[token] <= 1.0f))
                return cx_fail(
                    arrival->error, CX_ERROR_DEVICE,
                    "layer %zu, sequence %s: a row of the feed-forward product, of token %zu as target, misses its checksum by %.3g times what rounding "
                    "allows: " DEVICE_ADVICE,
                    from->layer, name_of(&from->results[sequence]), token - batch->token_offset[sequence], (double)values[token]);
        }
    }
    return CX_OK;
}

static enum cx_status hand_over_completeness(const struct arrival *arrival, enum cx_stage stage) {
    const struct layer_results *from = arrival->from;
    const struct cx_batch *batch = from->batch;
    const float *values = values_at(arrival, from->at.completeness_error[stage]);
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        float *out = from->results[sequence].completeness_error;
        for (size_t token = batch->token_offset[sequence]; token < batch->token_offset[sequence + 1]; token++) {
            if (!isfinite(values[token]))
                return cx_fail(arrival->error, CX_ERROR_INPUT,
                               "layer %zu, stage %s: the state of token %zu of a sequence of %zu tokens is not finite; the model's weights overflow "
                               "float32 on this input",
                               from->layer, cx_map_name(stage), token - batch->token_offset[sequence], sequence_tokens(batch, sequence));
            if (!arrival->decomposer->options.unchecked && values[token] > completeness_limit)
                return cx_fail(arrival->error, CX_ERROR_DEVICE,
                               "layer %zu, sequence %s, stage %s: the parts of token %zu miss its state by %.3g of it: " DEVICE_ADVICE, from->layer,
                               name_of(&from->results[sequence]), cx_map_name(stage), token - batch->token_offset[sequence], (double)values[token]);
            if (out && values[token] > out[from->wanted_index])
                out[from->wanted_index] = values[token];
        }
    }
    return CX_OK;
}

/* A state [T, d] of a sequence, to its place among those that the sequence has room for. */
static void copy_state(const struct arrival *arrival, size_t sequence, const float *values, float *states, size_t index) {
    const struct cx_batch *batch = arrival->from->batch;
    const size_t d = arrival->decomposer->backend->config.hidden_size, count = sequence_tokens(batch, sequence) * d;
    copy(states ? states + index * count : NULL, values + batch->token_offset[sequence] * d, count);
}

static void hand_over_state(const struct arrival *arrival) {
    const struct layer_results *from = arrival->from;
    for (size_t sequence = 0; sequence < from->batch->sequences; sequence++)
        copy_state(arrival, sequence, values_at(arrival, 0), from->results[sequence].hidden_states, from->state_index);
}

static void hand_over_norm_input(const struct arrival *arrival, unsigned norm) {
    const struct layer_results *from = arrival->from;
    const float *values = values_at(arrival, from->at.norm_input[norm]);
    for (size_t sequence = 0; sequence < from->batch->sequences; sequence++)
        copy_state(arrival, sequence, values, from->results[sequence].norm_inputs[norm], from->wanted_index);
}

static enum cx_status hand_over_layer(const struct arrival *arrival) {
    const struct cx_decompose_options *options = &arrival->decomposer->options;
    enum cx_status status = CX_OK;
    for (unsigned product = 0; product < pair_passes && status == CX_OK; product++)
        if (arrival->from->check[product])
            status = check_products(arrival, product);
    for (unsigned map = 0; map < CX_MAPS && status == CX_OK; map++)
        if (options->maps & CX_STAGE_BIT(map))
            status = hand_over_map(arrival, map);
    for (unsigned norm = 0; norm < CX_NORMS && status == CX_OK; norm++) {
        for (unsigned side = 0; side < CX_NORM_SIDES && status == CX_OK && options->masked; side++)
            status = hand_over_map_without(arrival, norm, side);
        if (status == CX_OK && options->norm_inputs)
            hand_over_norm_input(arrival, norm);
    }
    if (status == CX_OK && options->per_head)
        hand_over_heads(arrival);
    for (unsigned stage = 0; stage < CX_STAGES && status == CX_OK; stage++) {
        if (!(options->maps & CX_STAGE_BIT(stage)))
            continue;
        hand_over_token_values(arrival, values_at(arrival, arrival->from->at.mixing_ratio[stage]), stage, true);
        hand_over_token_values(arrival, values_at(arrival, arrival->from->at.bias_norm[stage]), stage, false);
        status = hand_over_completeness(arrival, stage);
    }
    return status;
}

enum cx_status results_hand_over(struct cx_decomposer *decomposer, struct cx_error *error) {
    const size_t slot = decomposer->waiting[0];
    struct layer_results *from = &decomposer->workspace.results[slot];
    struct arrival arrival = {.decomposer = decomposer, .from = from, .error = error};
    const double begin = decomposer->options.profile ? cx_monotonic_seconds() : 0;
    enum cx_status status = decomposer->backend->operations->read_wait(decomposer->backend, slot, &arrival.values, error);
    if (decomposer->options.profile)
        decomposer->wait_seconds += cx_monotonic_seconds() - begin;
    if (status != CX_OK)
        return status;
    from->is_on_its_way = false;
    decomposer->waiting_count--;
    memmove(decomposer->waiting, decomposer->waiting + 1, decomposer->waiting_count * sizeof decomposer->waiting[0]);
    if (from->has_state)
        hand_over_state(&arrival);
    return from->has_layer ? hand_over_layer(&arrival) : CX_OK;
}

void results_drop(struct cx_decomposer *decomposer) {
    for (size_t k = 0; k < decomposer->workspace.result_count; k++)
        decomposer->workspace.results[k].is_on_its_way = false;
    decomposer->waiting_count = 0;
}
