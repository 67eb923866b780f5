/*
 * Useful floating-point operations of one call of an operation, by its arguments: FLOP_<operation>(pass, …). Multiplications and additions of what the formula
 * in backend.h says, those of padding, of masks and of rounding not counted; an element-wise function counts as one. Used by --profile alone.
 */
#ifndef COMPUTE_OPERATION_FLOP_H
#define COMPUTE_OPERATION_FLOP_H

#include "decomposer.h"

/* The sizes of a pass as numbers: T, d, f, H, the pairs and elements of a map that are computed, and the share of pairs whose source has a word with others. */
struct flop_sizes {
    double tokens, width, neurons, heads, pairs, map, in_words;
};

static inline double flop_share_in_words(const struct cx_batch *batch) {
    size_t shared = 0;
    for (size_t sequence = 0; batch->words && sequence < batch->sequences; sequence++) {
        const size_t *first = batch->words->first_token, n = batch->token_offset[sequence + 1] - batch->token_offset[sequence];
        for (size_t word = batch->words->offset[sequence]; word < batch->words->offset[sequence + 1]; word++)
            shared += first[word + 1] - first[word] > 1 ? n * (first[word + 1] - first[word]) : 0;
    }
    return batch->pairs > 0 ? (double)shared / (double)batch->pairs : 0.0;
}

static inline struct flop_sizes flop_sizes(const struct pass *pass) {
    const struct cx_model_config *config = &pass->decomposer->backend->config;
    const struct cx_batch *batch = pass->batch;
    return (struct flop_sizes){(double)batch->tokens,
                               (double)config->hidden_size,
                               (double)config->intermediate_size,
                               (double)config->heads,
                               (double)cx_attended_pairs(config, batch->pairs, batch->tokens),
                               (double)cx_attended_pairs(config, cx_batch_map_elements(batch), batch->tokens),
                               flop_share_in_words(batch)};
}

/* A dense layer is [d, d], but for W1 and W2. */
static inline double flop_linear(const struct pass *pass, size_t rows, const struct cx_matrix *matrix) {
    const struct flop_sizes n = flop_sizes(pass);
    const struct layer_tensors *layer = &pass->decomposer->tensors[pass->layer];
    return 2 * (double)rows * n.width * (matrix == layer->intermediate || matrix == layer->output ? n.neurons : n.width);
}

/* `formula` in terms of the sizes n. */
#define FLOP_BY_SIZES(name, formula)                                                                                                                           \
    static inline double flop_##name(const struct pass *pass) {                                                                                                \
        const struct flop_sizes n = flop_sizes(pass);                                                                                                          \
        return formula;                                                                                                                                        \
    }
FLOP_BY_SIZES(embed, 2 * n.tokens * n.width)
FLOP_BY_SIZES(norm, 7 * n.tokens * n.width)
FLOP_BY_SIZES(attend, 4 * n.pairs * n.width + 4 * n.heads * n.pairs)
FLOP_BY_SIZES(activate, 3 * n.tokens * n.neurons)
FLOP_BY_SIZES(ff_bias, 3 * n.tokens * n.neurons)
FLOP_BY_SIZES(head_sources, 2 * n.tokens * n.width * n.width)
FLOP_BY_SIZES(gram, n.tokens *(n.heads + 1) * (n.heads + 2) * n.width)
FLOP_BY_SIZES(attention_norms, 2 * (1 - n.in_words) * n.pairs * (n.heads + 1) * (n.heads + 1))
FLOP_BY_SIZES(attention_word_norms, 2 * n.in_words * n.pairs * n.heads * n.width)
FLOP_BY_SIZES(attention_parts, 2 * n.pairs * n.heads * n.width + 2 * n.tokens * n.heads * n.width)
FLOP_BY_SIZES(attention_mean, n.heads *n.pairs)
FLOP_BY_SIZES(head_norms, n.heads *n.pairs)
FLOP_BY_SIZES(ff_sources, 2 * n.tokens * n.width * n.neurons)
FLOP_BY_SIZES(ff_pair_norms, 2 * n.map * n.neurons * n.width) /* the product alone, as everywhere where its rate is given */
FLOP_BY_SIZES(stage_summary, 13 * n.tokens * n.width)
FLOP_BY_SIZES(part_vectors, 4 * n.pairs / n.tokens * n.width * n.neurons) /* of a sequence of average length */
#undef FLOP_BY_SIZES

#define FLOP_linear(pass, use, rows, x, w, ...) flop_linear(pass, rows, w)
#define FLOP_add(pass, count, ...)              ((double)(count))
#define FLOP_broadcast(pass, ...)               0.0
#define FLOP_norm_linear(pass, rows, ...)       (6 * (double)(rows)*flop_sizes(pass).width)
#define FLOP_scale_columns(pass, rows, ...)     ((double)(rows)*flop_sizes(pass).width)
#define FLOP_embed(pass, ...)                   flop_embed(pass)
#define FLOP_norm(pass, ...)                    flop_norm(pass)
#define FLOP_attend(pass, ...)                  flop_attend(pass)
#define FLOP_activate(pass, ...)                flop_activate(pass)
#define FLOP_ff_bias(pass, ...)                 flop_ff_bias(pass)
#define FLOP_head_sources(pass, ...)            flop_head_sources(pass)
#define FLOP_gram(pass, ...)                    flop_gram(pass)
#define FLOP_attention_norms(pass, ...)         flop_attention_norms(pass)
#define FLOP_attention_word_norms(pass, ...)    flop_attention_word_norms(pass)
#define FLOP_attention_parts(pass, ...)         flop_attention_parts(pass)
#define FLOP_attention_mean(pass, ...)          flop_attention_mean(pass)
#define FLOP_head_norms(pass, ...)              flop_head_norms(pass)
#define FLOP_ff_sources(pass, ...)              flop_ff_sources(pass)
#define FLOP_ff_pair_norms(pass, ...)           flop_ff_pair_norms(pass)
#define FLOP_stage_summary(pass, ...)           flop_stage_summary(pass)
#define FLOP_part_vectors(pass, ...)            flop_part_vectors(pass)

#endif
