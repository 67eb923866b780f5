#include "contexture/decompose.h"

#include <string.h>

#include "decomposer.h"
#include "operation_flop.h"

/* The hidden states of one layer, and ρ and the deviations σ, on which all parts depend. DESIGN.md, section 1, second column. */
static void forward_layer(struct pass *pass, const struct layer_tensors *layer) {
    const struct cx_model_config *config = &pass->decomposer->backend->config;
    const struct workspace *w = &pass->decomposer->workspace;
    const size_t tokens = pass->batch->tokens, width = config->hidden_size;

    APPLY(pass, linear, CX_LINEAR_FORWARD, tokens, pass->input, layer->query, layer->query_bias, NULL, w->query);
    APPLY(pass, linear, CX_LINEAR_FORWARD, tokens, pass->input, layer->key, layer->key_bias, NULL, w->key);
    APPLY(pass, linear, CX_LINEAR_FORWARD, tokens, pass->input, layer->value, layer->value_bias, NULL, w->value);
    APPLY(pass, attend, w->query, w->key, w->value, pass->attention, w->context);
    APPLY(pass, linear, CX_LINEAR_FORWARD, tokens, w->context, layer->attention_output, layer->attention_output_bias, NULL, w->attention_state);
    APPLY(pass, add, tokens * width, pass->input, w->attention_state, pass->norm_input[0]);
    APPLY(pass, norm, pass->norm_input[0], layer->norm1_scale, layer->norm1_shift, config->norm_epsilon, w->attention_normed, w->inverse_deviation1);
    APPLY(pass, linear, CX_LINEAR_FORWARD, tokens, w->attention_normed, layer->intermediate, layer->intermediate_bias, NULL, w->neurons);
    APPLY(pass, activate, config->activation, w->neurons, w->activated, w->ratio);
    APPLY(pass, linear, CX_LINEAR_FORWARD, tokens, w->activated, layer->output, layer->output_bias, NULL, w->ff_state);
    APPLY(pass, add, tokens * width, w->attention_normed, w->ff_state, pass->norm_input[1]);
    APPLY(pass, norm, pass->norm_input[1], layer->norm2_scale, layer->norm2_shift, config->norm_epsilon, pass->out->state, w->inverse_deviation2);
}

/* attn, attn_res, attn_res_ln. Leaves F̂ in head_sources, and own, sum and bias at the stage attn_res_ln. */
static void decompose_attention_block(struct pass *pass, const struct layer_tensors *layer) {
    const struct cx_model_config *config = &pass->decomposer->backend->config;
    const struct workspace *w = &pass->decomposer->workspace;
    const struct layer_results *out = pass->out;
    const struct cx_tensor *attention = pass->attention, *input = pass->input;
    const size_t tokens = pass->batch->tokens, width = config->hidden_size;

    if (pass_wants(pass, CX_MAP_ATTN_WEIGHT))
        APPLY(pass, attention_mean, attention, out->map[CX_MAP_ATTN_WEIGHT]);
    APPLY(pass, gram, w->head_sources, input, w->gram);
    if (pass->decomposer->options.per_head)
        APPLY(pass, head_norms, attention, w->gram, out->attention_norms);
    if (pass_wants(pass, CX_STAGE_ATTN))
        APPLY(pass, attention_norms, attention, w->gram, false, NULL, out->map[CX_STAGE_ATTN]);
    APPLY(pass, attention_parts, attention, w->head_sources, w->own, w->sum);
    APPLY(pass, broadcast, tokens, layer->attention_output_bias, w->bias);
    pass_summarize(pass, CX_STAGE_ATTN, w->attention_state, w->bias, w->own, w->sum);

    if (pass_wants(pass, CX_STAGE_ATTN_RES))
        APPLY(pass, attention_norms, attention, w->gram, true, NULL, out->map[CX_STAGE_ATTN_RES]);
    pass_attention_norms_without(pass, layer, CX_BEFORE_NORM, input, NULL);
    APPLY(pass, add, tokens * width, w->own, input, w->own);
    APPLY(pass, add, tokens * width, w->sum, input, w->sum);
    pass_summarize(pass, CX_STAGE_ATTN_RES, pass->norm_input[0], w->bias, w->own, w->sum);

    APPLY(pass, norm_linear, tokens * config->heads, w->head_sources, layer->norm1_scale, NULL, NULL, w->head_sources);
    APPLY(pass, norm_linear, tokens, input, layer->norm1_scale, NULL, NULL, w->residual_norm_source);
    if (pass_wants(pass, CX_STAGE_ATTN_RES_LN)) {
        APPLY(pass, gram, w->head_sources, w->residual_norm_source, w->gram);
        APPLY(pass, attention_norms, attention, w->gram, true, w->inverse_deviation1, out->map[CX_STAGE_ATTN_RES_LN]);
    }
    pass_attention_norms_without(pass, layer, CX_AFTER_NORM, w->residual_norm_source, w->inverse_deviation1);
    APPLY(pass, norm_linear, tokens, w->own, layer->norm1_scale, w->inverse_deviation1, NULL, w->own);
    APPLY(pass, norm_linear, tokens, w->sum, layer->norm1_scale, w->inverse_deviation1, NULL, w->sum);
    APPLY(pass, norm_linear, tokens, w->bias, layer->norm1_scale, w->inverse_deviation1, layer->norm1_shift, w->bias);
    pass_summarize(pass, CX_STAGE_ATTN_RES_LN, w->attention_normed, w->bias, w->own, w->sum);
}

/* ff, ff_res, ff_res_ln, from F̂ in head_sources and own, sum and bias at the stage attn_res_ln. */
static void decompose_feed_forward_block(struct pass *pass, const struct layer_tensors *layer) {
    const struct workspace *w = &pass->decomposer->workspace;
    const struct layer_results *out = pass->out;
    const size_t tokens = pass->batch->tokens, width = pass->decomposer->backend->config.hidden_size;
    /* Of the forward pass, u and g(u) are not needed any more; they are large, so their memory serves again. */
    struct cx_tensor *const residual_ff_source = w->neurons, *const bias_activated = w->activated;
    const struct cx_ff_pairs pairs = {
        .attention = pass->attention,
        .inverse_deviation1 = w->inverse_deviation1,
        .ratio = w->ratio,
        .head_ff_sources = w->head_ff_sources,
        .residual_ff_sources = residual_ff_source,
        .head_norm_sources = w->head_sources,
        .residual_norm_sources = w->residual_norm_source,
        .output = layer->pair_output,
        .norm2_scale = layer->norm2_scale,
        .inverse_deviation2 = w->inverse_deviation2,
        .ff = out->map[CX_STAGE_FF],
        .ff_res = out->map[CX_STAGE_FF_RES],
        .ff_res_ln = out->map[CX_STAGE_FF_RES_LN],
        .own = w->ff_own,
        .sum = w->ff_parts_sum,
        .check = out->check[pass_of_maps],
    };

    APPLY(pass, ff_sources, w->value, layer->value_to_ff, w->head_ff_sources);
    APPLY(pass, linear, CX_LINEAR_PARTS, tokens, w->residual_norm_source, layer->intermediate, NULL, NULL, residual_ff_source);
    APPLY(pass, ff_pair_norms, &pairs);
    pass_pair_norms_without(pass, layer, &pairs);

    APPLY(pass, ff_bias, w->ratio, w->inverse_deviation1, layer->ff_bias_slope, layer->ff_bias_offset, bias_activated);
    APPLY(pass, linear, CX_LINEAR_PARTS, tokens, bias_activated, layer->output, layer->output_bias, NULL, w->ff_bias);
    pass_summarize(pass, CX_STAGE_FF, w->ff_state, w->ff_bias, w->ff_own, w->ff_parts_sum);

    APPLY(pass, add, tokens * width, w->own, w->ff_own, w->own);
    APPLY(pass, add, tokens * width, w->sum, w->ff_parts_sum, w->sum);
    APPLY(pass, add, tokens * width, w->bias, w->ff_bias, w->bias);
    pass_summarize(pass, CX_STAGE_FF_RES, pass->norm_input[1], w->bias, w->own, w->sum);

    APPLY(pass, norm_linear, tokens, w->own, layer->norm2_scale, w->inverse_deviation2, NULL, w->own);
    APPLY(pass, norm_linear, tokens, w->sum, layer->norm2_scale, w->inverse_deviation2, NULL, w->sum);
    APPLY(pass, norm_linear, tokens, w->bias, layer->norm2_scale, w->inverse_deviation2, layer->norm2_shift, w->bias);
    pass_summarize(pass, CX_STAGE_FF_RES_LN, out->state, w->bias, w->own, w->sum);
}

/* The parts themselves, one target at a time: needs F, so before the attention block's decomposition turns it into F̂. */
static void decompose_vectors(struct pass *pass, const struct layer_tensors *layer) {
    const struct workspace *w = &pass->decomposer->workspace;
    struct cx_tensor *const parts[CX_STAGES] = {w->part_attn, w->part_attn_res, w->part_attn_res_ln, w->part_ff, w->part_ff_res, w->part_ff_res_ln};
    const struct cx_part_inputs inputs = {
        .attention = pass->attention,
        .head_sources = w->head_sources,
        .residual = pass->input,
        .norm1_scale = layer->norm1_scale,
        .inverse_deviation1 = w->inverse_deviation1,
        .intermediate = layer->intermediate,
        .ratio = w->ratio,
        .output = layer->output,
        .norm2_scale = layer->norm2_scale,
        .inverse_deviation2 = w->inverse_deviation2,
    };
    for (size_t sequence = 0; sequence < pass->batch->sequences; sequence++) {
        const size_t first = pass->batch->token_offset[sequence], end = pass->batch->token_offset[sequence + 1];
        for (size_t target = first; target < end; target++) {
            APPLY(pass, part_vectors, &inputs, target, parts);
            pass_store_vectors(pass, sequence, target - first, parts);
        }
    }
}

/* Computes the layer at hand; true if there is more to send than its state. */
static bool decompose_layer(struct pass *pass) {
    struct cx_decomposer *decomposer = pass->decomposer;
    const struct layer_tensors *layer = &decomposer->tensors[pass->layer];
    const bool is_wanted = decomposer->layers[pass->layer], has_maps = is_wanted && wants_maps(&decomposer->options);
    const bool wants_vectors = decomposer->vector_layers[pass->layer];

    forward_layer(pass, layer);
    if (has_maps || wants_vectors)
        APPLY(pass, head_sources, decomposer->workspace.value, layer->attention_output, decomposer->workspace.head_sources);
    if (wants_vectors)
        decompose_vectors(pass, layer);
    if (has_maps)
        decompose_attention_block(pass, layer);
    if (has_maps && wants_feed_forward(&decomposer->options))
        decompose_feed_forward_block(pass, layer);
    return has_maps || (is_wanted && decomposer->options.norm_inputs);
}

/* x of the first layer. */
static void embed_tokens(struct pass *pass) {
    const struct cx_decomposer *decomposer = pass->decomposer;
    const struct cx_model_weights *weights = decomposer->weights;
    const struct workspace *w = &decomposer->workspace;
    struct cx_tensor *const sum = w->ff_sum; /* free so far */

    APPLY(pass, embed, &weights->word_embedding, &weights->position_embedding, &weights->token_type_embedding, sum);
    APPLY(pass, norm, sum, decomposer->embedding_norm_scale, decomposer->embedding_norm_shift, decomposer->backend->config.norm_epsilon, pass->out->state,
          w->inverse_deviation1);
}

static void run_layers(struct pass *pass) {
    const struct cx_decomposer *decomposer = pass->decomposer;
    for (pass->layer = 0; pass->layer < decomposer->layers_needed && pass->status == CX_OK; pass->layer++) {
        if (decomposer->options.stop && decomposer->options.stop(decomposer->options.stop_context)) {
            pass->status = cx_fail(pass->error, CX_ERROR_INTERRUPTED, "stopped before layer %zu", pass->layer);
            return;
        }
        pass->input = pass->out->state;
        pass_take_results(pass);
        if (pass->status != CX_OK)
            return;
        const bool has_maps = decompose_layer(pass);
        pass_send_results(pass, has_maps, pass->layer + 1);
        pass->wanted_index += decomposer->layers[pass->layer];
        pass->vector_index += decomposer->vector_layers[pass->layer];
    }
}

/* Larger tensors, when nothing is on its way from the old ones. */
static enum cx_status make_room(struct cx_decomposer *decomposer, const struct cx_batch *batch, struct cx_error *error) {
    enum cx_status status = CX_OK;
    if (workspace_fits(&decomposer->workspace, batch))
        return CX_OK;
    while (decomposer->waiting_count > 0 && status == CX_OK)
        status = results_hand_over(decomposer, error);
    return status == CX_OK ? workspace_fit(decomposer->backend, &decomposer->workspace, &decomposer->options, batch, error) : status;
}

enum cx_status cx_decompose_begin(struct cx_decomposer *decomposer, const struct cx_batch *batch, const struct cx_sequence_result *results,
                                  struct cx_error *error) {
    struct pass pass = {.decomposer = decomposer, .batch = batch, .results = results, .error = error};
    for (size_t sequence = 0; sequence < batch->sequences; sequence++)
        if (results[sequence].completeness_error)
            memset(results[sequence].completeness_error, 0, decomposer->layer_count * sizeof(float));
    decomposer->batches_begun++;
    pass.status = make_room(decomposer, batch, error);
    CALL(&pass, batch_begin, batch);
    pass_take_results(&pass);
    if (pass.status == CX_OK) {
        embed_tokens(&pass);
        pass_send_results(&pass, false, 0);
        run_layers(&pass);
    }
    if (pass.status != CX_OK)
        results_drop(decomposer);
    return pass.status;
}

size_t cx_decompose_unfinished(const struct cx_decomposer *decomposer) {
    if (decomposer->waiting_count == 0)
        return 0;
    return (size_t)(decomposer->batches_begun - decomposer->workspace.results[decomposer->waiting[0]].batch_number) + 1;
}

enum cx_status cx_decompose_advance(struct cx_decomposer *decomposer, struct cx_error *error) {
    enum cx_status status = decomposer->waiting_count > 0 ? results_hand_over(decomposer, error) : CX_OK;
    if (status != CX_OK)
        results_drop(decomposer);
    return status;
}

enum cx_status cx_decompose(struct cx_decomposer *decomposer, const struct cx_batch *batch, const struct cx_sequence_result *results, struct cx_error *error) {
    enum cx_status status = cx_decompose_begin(decomposer, batch, results, error);
    while (status == CX_OK && cx_decompose_unfinished(decomposer) > 0)
        status = cx_decompose_advance(decomposer, error);
    return status;
}
