/*
 * A Transformer encoder as the compute part sees it: shapes, and views of its weights.
 *
 * Nothing here knows of files. checkpoint.h fills these structures from a Hugging Face directory; tests and benchmarks fill
 * them with random numbers.
 */
#ifndef CONTEXTURE_MODEL_H
#define CONTEXTURE_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/error.h"

enum cx_dtype { CX_FLOAT32, CX_FLOAT16, CX_BFLOAT16 };

/* Bytes of one element: 4, 2, 2. */
size_t cx_dtype_size(enum cx_dtype dtype);

enum cx_activation {
    CX_GELU,      /* u Φ(u), with the error function */
    CX_GELU_TANH, /* the tanh approximation: gelu_new, gelu_pytorch_tanh */
    CX_RELU,
    CX_SILU, /* u sigmoid(u) */
};

/* Shapes and constants. All sizes are at least 1, and heads * head_size == hidden_size. */
struct cx_model_config {
    size_t layers;
    size_t heads;
    size_t head_size;
    size_t hidden_size;
    size_t intermediate_size;
    size_t vocabulary_size;
    size_t max_positions;
    size_t token_types;
    double norm_epsilon;
    enum cx_activation activation;
    bool causal; /* a token attends to itself and to tokens before it: α_ij = 0, and every part of source j in target i, for j > i */
};

/* Of the `pairs` (Σ n²) of target and source of sequences with `tokens` (Σ n) tokens, those in which the target attends to the source. */
static inline size_t cx_attended_pairs(const struct cx_model_config *config, size_t pairs, size_t tokens) {
    return config->causal ? (pairs + tokens) / 2 : pairs;
}

/*
 * A view of one tensor, row-major, in Hugging Face's layout: a dense layer's weight is [out, in], so y = x W^T + b, and
 * `rows` is the output width. A vector has rows == 1. The memory belongs to whoever made the view.
 */
struct cx_weight {
    const char *name;
    const void *data;
    enum cx_dtype dtype;
    size_t rows;
    size_t columns;
    int file;                  /* a descriptor of a file that has the same bytes from file_offset on; 0: there is none */
    unsigned long file_offset; /* see cx_weight_row() */
};

/* One post-LN layer, as BERT names its parts (d = hidden_size, f = intermediate_size). */
struct cx_layer_weights {
    struct cx_weight query, query_bias;                          /* [d, d], [d] */
    struct cx_weight key, key_bias;                              /* [d, d], [d] */
    struct cx_weight value, value_bias;                          /* [d, d], [d] */
    struct cx_weight attention_output, attention_output_bias;    /* [d, d], [d]: W_O, b_O */
    struct cx_weight attention_norm_scale, attention_norm_shift; /* [d]: γ1, β1 */
    struct cx_weight intermediate, intermediate_bias;            /* [f, d], [f]: W1, b1 */
    struct cx_weight output, output_bias;                        /* [d, f], [d]: W2, b2 */
    struct cx_weight output_norm_scale, output_norm_shift;       /* [d]: γ2, β2 */
};

struct cx_model_weights {
    struct cx_weight word_embedding;                             /* [vocabulary_size, d] */
    struct cx_weight position_embedding;                         /* [max_positions, d] */
    struct cx_weight token_type_embedding;                       /* [token_types, d] */
    struct cx_weight embedding_norm_scale, embedding_norm_shift; /* [d] */
    struct cx_layer_weights *layers;                             /* [layers] */
};

/* Writes `weight` as float32 into out[rows * columns]. */
void cx_weight_to_float(const struct cx_weight *weight, float *out);

/*
 * Writes row `row` as float32 into out[columns]. It is read from the file, if there is one: to show a single row of a mapped table the kernel maps up to
 * 2 MiB around it, and a few hundred words have all of the table in memory.
 */
CX_MUST_USE enum cx_status cx_weight_row(const struct cx_weight *weight, size_t row, float *out, struct cx_error *error);

#endif
