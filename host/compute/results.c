#include <math.h>
#include <string.h>

#include "contexture/memory.h"
#include "decomposer.h"

bool pass_wants(const struct pass *pass, unsigned map) {
    return pass->decomposer->layers[pass->layer] && (pass->decomposer->options.maps & CX_STAGE_BIT(map));
}

/* The first `count` elements of a tensor in the staging buffer, or NULL after a failure. */
static const float *fetch(struct pass *pass, const struct cx_tensor *tensor, size_t count) {
    struct cx_decomposer *decomposer = pass->decomposer;
    if (pass->status == CX_OK)
        pass->status = cx_reserve(&decomposer->staging, &decomposer->staging_capacity, count, sizeof(float), "results of a batch", pass->error);
    if (pass->status == CX_OK)
        APPLY(pass, read, tensor, 0, count, decomposer->staging);
    return pass->status == CX_OK ? decomposer->staging : NULL;
}

static size_t sequence_tokens(const struct pass *pass, size_t sequence) {
    return pass->batch->token_offset[sequence + 1] - pass->batch->token_offset[sequence];
}

/* x * 0 is 0 for every finite x, and NaN for the others; a sum of such products needs no branch and is vectorised. */
static bool all_finite(const float *values, size_t count) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < count; i++)
        sum += values[i] * 0.0f;
    return sum == 0;
}

void pass_store_map(struct pass *pass, unsigned map, const struct cx_tensor *tensor) {
    if (!pass_wants(pass, map))
        return;
    const float *values = fetch(pass, tensor, pass->batch->pairs);
    if (values && !all_finite(values, pass->batch->pairs)) {
        pass->status = cx_fail(pass->error, CX_ERROR_INPUT,
                               "layer %zu, map %s: a norm is not finite in a batch of %zu sequences; the model's weights overflow float32 on this input",
                               pass->layer, cx_map_name(map), pass->batch->sequences);
        return;
    }
    for (size_t sequence = 0; values && sequence < pass->batch->sequences; sequence++) {
        const size_t n = sequence_tokens(pass, sequence);
        float *out = pass->results[sequence].maps[map];
        if (out)
            memcpy(out + pass->wanted_index * n * n, values + pass->batch->pair_offset[sequence], n * n * sizeof *out);
    }
}

void pass_store_head_map(struct pass *pass, bool is_norm, const struct cx_tensor *tensor) {
    const size_t heads = pass->decomposer->backend->config.heads;
    if (!pass->decomposer->options.per_head || !pass->decomposer->layers[pass->layer])
        return;
    const float *values = fetch(pass, tensor, heads * pass->batch->pairs);
    for (size_t sequence = 0; values && sequence < pass->batch->sequences; sequence++) {
        const size_t n = sequence_tokens(pass, sequence), block = heads * n * n;
        float *out = is_norm ? pass->results[sequence].head_attention_norm : pass->results[sequence].head_attention_weight;
        if (out)
            memcpy(out + pass->wanted_index * block, values + heads * pass->batch->pair_offset[sequence], block * sizeof *out);
    }
}

/* Per-token values [T] to the [n, L] table of every sequence. */
static void store_token_values(struct pass *pass, const float *values, enum cx_stage stage, bool is_mixing_ratio) {
    for (size_t sequence = 0; values && sequence < pass->batch->sequences; sequence++) {
        const size_t n = sequence_tokens(pass, sequence), first = pass->batch->token_offset[sequence];
        const struct cx_sequence_result *result = &pass->results[sequence];
        float *out = is_mixing_ratio ? result->mixing_ratio[stage] : result->bias_norm[stage];
        for (size_t token = 0; out && token < n; token++)
            out[token * pass->decomposer->layer_count + pass->wanted_index] = values[first + token];
    }
}

static void store_completeness(struct pass *pass, const float *values, enum cx_stage stage) {
    for (size_t sequence = 0; values && sequence < pass->batch->sequences; sequence++) {
        float *out = pass->results[sequence].completeness_error;
        for (size_t token = pass->batch->token_offset[sequence]; token < pass->batch->token_offset[sequence + 1]; token++) {
            if (!isfinite(values[token])) {
                pass->status = cx_fail(pass->error, CX_ERROR_INPUT,
                                       "layer %zu, stage %s: the state of token %zu of a sequence of %zu tokens is not finite; the model's weights overflow "
                                       "float32 on this input",
                                       pass->layer, cx_map_name(stage), token - pass->batch->token_offset[sequence], sequence_tokens(pass, sequence));
                return;
            }
            if (out && values[token] > out[pass->wanted_index])
                out[pass->wanted_index] = values[token];
        }
    }
}

void pass_store_summary(struct pass *pass, enum cx_stage stage, const struct cx_tensor *state, const struct cx_tensor *bias, const struct cx_tensor *own,
                        const struct cx_tensor *sum) {
    const struct workspace *w = &pass->decomposer->workspace;
    const size_t tokens = pass->batch->tokens;
    if (!pass_wants(pass, stage))
        return;
    APPLY(pass, stage_summary, state, bias, own, sum, w->mixing_ratio, w->bias_norm, w->completeness_error);
    store_token_values(pass, fetch(pass, w->mixing_ratio, tokens), stage, true);
    store_token_values(pass, fetch(pass, w->bias_norm, tokens), stage, false);
    store_completeness(pass, fetch(pass, w->completeness_error, tokens), stage);
}

void pass_store_hidden_state(struct pass *pass, size_t index, const struct cx_tensor *state) {
    const size_t d = pass->decomposer->backend->config.hidden_size;
    if (!pass->decomposer->options.hidden_states)
        return;
    const float *values = fetch(pass, state, pass->batch->tokens * d);
    for (size_t sequence = 0; values && sequence < pass->batch->sequences; sequence++) {
        const size_t n = sequence_tokens(pass, sequence);
        float *out = pass->results[sequence].hidden_states;
        if (out)
            memcpy(out + index * n * d, values + pass->batch->token_offset[sequence] * d, n * d * sizeof *out);
    }
}

void pass_store_vectors(struct pass *pass, size_t sequence, size_t token, struct cx_tensor *const parts[CX_STAGES]) {
    const size_t n = sequence_tokens(pass, sequence), d = pass->decomposer->backend->config.hidden_size;
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        float *out = pass->results[sequence].vectors[stage];
        const float *values = out ? fetch(pass, parts[stage], n * d) : NULL;
        if (values)
            memcpy(out + (pass->vector_index * n + token) * n * d, values, n * d * sizeof *out);
    }
}
