#include "family.h"

#include <stdio.h>
#include <string.h>

/* A matrix of the model or of a layer; a vector has no columns. A norm is a scale and a shift, which older files call gamma and beta. */
#define MATRIX(owner, field, name, rows, columns)                                                                                                              \
    { offsetof(struct owner, field), name, NULL, CX_EXTENT_##rows, CX_EXTENT_##columns }
#define VECTOR(owner, field, name, extent)                                                                                                                     \
    { offsetof(struct owner, field), name, NULL, CX_EXTENT_##extent, CX_EXTENT_NONE }
#define DENSE(owner, field, name, rows, columns) MATRIX(owner, field, name ".weight", rows, columns), VECTOR(owner, field##_bias, name ".bias", rows)
#define NORM(owner, field, name, extent)                                                                                                                       \
    {offsetof(struct owner, field##_scale), name ".weight", name ".gamma", CX_EXTENT_##extent, CX_EXTENT_NONE}, {                                              \
        offsetof(struct owner, field##_shift), name ".bias", name ".beta", CX_EXTENT_##extent, CX_EXTENT_NONE                                                  \
    }

static const struct cx_tensor_row bert_tensors[] = {
    MATRIX(cx_model_weights, word_embedding, "embeddings.word_embeddings.weight", VOCABULARY, HIDDEN),
    MATRIX(cx_model_weights, position_embedding, "embeddings.position_embeddings.weight", POSITIONS, HIDDEN),
    MATRIX(cx_model_weights, token_type_embedding, "embeddings.token_type_embeddings.weight", TOKEN_TYPES, HIDDEN),
    NORM(cx_model_weights, embedding_norm, "embeddings.LayerNorm", HIDDEN),
    DENSE(cx_layer_weights, query, "encoder.layer.#.attention.self.query", HIDDEN, HIDDEN),
    DENSE(cx_layer_weights, key, "encoder.layer.#.attention.self.key", HIDDEN, HIDDEN),
    DENSE(cx_layer_weights, value, "encoder.layer.#.attention.self.value", HIDDEN, HIDDEN),
    DENSE(cx_layer_weights, attention_output, "encoder.layer.#.attention.output.dense", HIDDEN, HIDDEN),
    NORM(cx_layer_weights, attention_norm, "encoder.layer.#.attention.output.LayerNorm", HIDDEN),
    DENSE(cx_layer_weights, intermediate, "encoder.layer.#.intermediate.dense", INTERMEDIATE, HIDDEN),
    DENSE(cx_layer_weights, output, "encoder.layer.#.output.dense", HIDDEN, INTERMEDIATE),
    NORM(cx_layer_weights, output_norm, "encoder.layer.#.output.LayerNorm", HIDDEN),
};

static const char *const bert_prefixes[] = {"", "bert.", NULL};
static const char *const bert_body[] = {"embeddings.", "encoder.", NULL};
/* Buffers with the numbers 0, 1, 2 … and 0, 0, 0 …, which some versions of transformers saved. */
static const char *const bert_ignored[] = {"embeddings.position_ids", "embeddings.token_type_ids", NULL};

static const struct cx_family families[] = {
    {
        .model_type = "bert",
        .prefixes = bert_prefixes,
        .tensors = bert_tensors,
        .tensor_count = sizeof bert_tensors / sizeof *bert_tensors,
        .body = bert_body,
        .ignored = bert_ignored,
        .activation = "gelu",
        .norm_epsilon = 1e-12,
        .token_types = 2,
    },
};

enum { family_count = sizeof families / sizeof *families };

const struct cx_family *cx_family_find(const char *model_type) {
    for (size_t k = 0; k < family_count; k++)
        if (strcmp(families[k].model_type, model_type) == 0)
            return &families[k];
    return NULL;
}

void cx_family_list(char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t k = 0; k < family_count && used < size; k++)
        used += (size_t)snprintf(text + used, size - used, k ? ", %s" : "%s", families[k].model_type);
}

size_t cx_extent_size(enum cx_extent extent, const struct cx_model_config *config) {
    switch (extent) {
    case CX_EXTENT_NONE:
        return 1;
    case CX_EXTENT_HIDDEN:
        return config->hidden_size;
    case CX_EXTENT_INTERMEDIATE:
        return config->intermediate_size;
    case CX_EXTENT_VOCABULARY:
        return config->vocabulary_size;
    case CX_EXTENT_POSITIONS:
        return config->max_positions;
    case CX_EXTENT_TOKEN_TYPES:
        return config->token_types;
    }
    return 0;
}
