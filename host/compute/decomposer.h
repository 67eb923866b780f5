/* What decompose.c (the layer sequence) and results.c (where its numbers go) share. */
#ifndef COMPUTE_DECOMPOSER_H
#define COMPUTE_DECOMPOSER_H

#include "contexture/decompose.h"
#include "weights.h"
#include "workspace.h"

struct cx_decomposer {
    struct cx_backend *backend;
    const struct cx_model_weights *weights;
    struct cx_decompose_options options; /* its two lists are those below */
    bool *layers, *vector_layers;
    size_t layer_count;            /* L: wanted layers */
    size_t layers_needed;          /* the first so many layers are run */
    struct layer_tensors *tensors; /* [config.layers] */
    struct cx_tensor *embedding_norm_scale, *embedding_norm_shift;
    struct workspace workspace;
    float *staging; /* one tensor, on its way from the backend to the sequences' results */
    size_t staging_capacity;
};

/*
 * One batch on its way through the layers. After the first failure every further operation does nothing, so that the layer
 * sequence reads as a list of operations; the caller looks at `status` in the end.
 */
struct pass {
    struct cx_decomposer *decomposer;
    const struct cx_batch *batch;
    const struct cx_sequence_result *results;
    size_t layer;        /* 0 … config.layers - 1 */
    size_t wanted_index; /* index of the layer among the wanted ones */
    size_t vector_index; /* and among those whose vectors are wanted */
    enum cx_status status;
    struct cx_error *error;
};

/* Runs one operation of the backend, unless an earlier one failed. */
#define APPLY(pass, operation, ...)                                                                                                                            \
    do {                                                                                                                                                       \
        struct cx_backend *apply_backend = (pass)->decomposer->backend;                                                                                        \
        if ((pass)->status == CX_OK)                                                                                                                           \
            (pass)->status = apply_backend->operations->operation(apply_backend, __VA_ARGS__, (pass)->error);                                                  \
    } while (0)

/* Whether any map of the feed-forward block is wanted. */
bool wants_feed_forward(const struct cx_decompose_options *options);

/* True if the map is wanted of the layer at hand. */
bool pass_wants(const struct pass *pass, unsigned map);

/* The layer's map [pairs], to results[…].maps[map]. */
void pass_store_map(struct pass *pass, unsigned map, const struct cx_tensor *tensor);

/* A map per head [H, pairs], to head_attention_weight or head_attention_norm. */
void pass_store_head_map(struct pass *pass, bool is_norm, const struct cx_tensor *tensor);

/* Mixing ratio, bias norm and completeness error of a stage, from its state, bias part, own parts and their sum. */
void pass_store_summary(struct pass *pass, enum cx_stage stage, const struct cx_tensor *state, const struct cx_tensor *bias, const struct cx_tensor *own,
                        const struct cx_tensor *sum);

/* Hidden states [T, d] as number `index` of layers + 1. */
void pass_store_hidden_state(struct pass *pass, size_t index, const struct cx_tensor *state);

/* The parts of target `token` of sequence `sequence`, [n, d] each. */
void pass_store_vectors(struct pass *pass, size_t sequence, size_t token, struct cx_tensor *const parts[CX_STAGES]);

#endif
