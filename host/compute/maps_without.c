/*
 * Maps without some dimensions: the parts are what they are elsewhere, mean and σ over all dimensions included; their norms alone leave the masked ones out.
 *
 * The norms are sums over the kept dimensions, never differences: where a few dimensions hold nearly all of a norm, what remains would be lost in rounding.
 * So the two feed-forward maps take a pair product each: before LN2 one whose vectors v have zeros in the masked dimensions, by zeros in W2's columns there and
 * in the sources of t (identity 3 holds for any W2 and t); behind LN2 one with zeros in γ2, for w is centred with the mean over all dimensions.
 */
#include "decomposer.h"
#include "operation_flop.h"

static void keep_sources(struct pass *pass, const struct cx_tensor *kept, const struct cx_tensor *residual) {
    const struct workspace *w = &pass->decomposer->workspace;
    APPLY(pass, scale_columns, pass->batch->tokens * pass->decomposer->backend->config.heads, w->head_sources, kept, w->head_sources_kept);
    APPLY(pass, scale_columns, pass->batch->tokens, residual, kept, w->residual_kept);
}

void pass_attention_norms_without(struct pass *pass, const struct layer_tensors *layer, enum cx_norm_side side, const struct cx_tensor *residual,
                                  const struct cx_tensor *inverse_deviation) {
    const struct workspace *w = &pass->decomposer->workspace;
    if (!pass->decomposer->options.masked)
        return;
    keep_sources(pass, layer->kept[0], residual);
    APPLY(pass, gram, w->head_sources_kept, w->residual_kept, w->gram);
    APPLY(pass, attention_norms, pass->attention, w->gram, true, inverse_deviation, pass->out->map_without[0][side]);
}

void pass_pair_norms_without(struct pass *pass, const struct layer_tensors *layer, const struct cx_ff_pairs *pairs) {
    const struct workspace *w = &pass->decomposer->workspace;
    const struct layer_results *out = pass->out;
    struct cx_ff_pairs before = *pairs;
    if (!pass->decomposer->options.masked)
        return;
    before.ff = before.ff_res = before.ff_res_ln = before.own = before.sum = NULL;
    struct cx_ff_pairs behind = before;

    keep_sources(pass, layer->kept[1], w->residual_norm_source);
    before.head_norm_sources = w->head_sources_kept;
    before.residual_norm_sources = w->residual_kept;
    before.output = layer->pair_output_kept;
    before.ff_res = out->map_without[1][CX_BEFORE_NORM];
    before.check = out->check[first_pass_without + CX_BEFORE_NORM];
    APPLY(pass, ff_pair_norms, &before);

    behind.norm2_scale = layer->norm2_scale_kept;
    behind.ff_res_ln = out->map_without[1][CX_AFTER_NORM];
    behind.check = out->check[first_pass_without + CX_AFTER_NORM];
    APPLY(pass, ff_pair_norms, &behind);
}
