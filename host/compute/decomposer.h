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

    /* Results on their way to the host, the oldest first: numbers of workspace.results, which are those of the backend's slots, too. */
    size_t waiting[CX_READ_SLOTS];
    size_t waiting_count;
    size_t next_results; /* those that the next layer takes */
    uint64_t batches_begun;

    double operations_flop[CX_OPERATIONS], wait_seconds; /* for a profile */
};

/*
 * One batch on its way through the layers. After the first failure every further operation does nothing, so that the layer
 * sequence reads as a list of operations; the caller looks at `status` in the end.
 */
struct pass {
    struct cx_decomposer *decomposer;
    const struct cx_batch *batch;
    const struct cx_sequence_result *results;
    const struct cx_tensor *input;          /* [T, d]: the layer's */
    struct layer_results *out;              /* the layer's */
    struct cx_tensor *attention;            /* α [H, pairs]: among the results, if it is one */
    struct cx_tensor *norm_input[CX_NORMS]; /* [T, d]: the states attn_res and ff_res, likewise */
    size_t layer;                           /* 0 … config.layers - 1 */
    size_t wanted_index;                    /* index of the layer among the wanted ones */
    size_t vector_index;                    /* and among those whose vectors are wanted */
    enum cx_status status;
    struct cx_error *error;
};

/* Calls a function of the backend, unless an earlier one failed. */
#define CALL(pass, function, ...)                                                                                                                              \
    do {                                                                                                                                                       \
        struct cx_backend *call_backend = (pass)->decomposer->backend;                                                                                         \
        if ((pass)->status == CX_OK)                                                                                                                           \
            (pass)->status = call_backend->operations->function(call_backend, __VA_ARGS__, (pass)->error);                                                     \
    } while (0)

/* The same of one that computes, timed where a profile is wanted. */
#define APPLY(pass, operation, ...)                                                                                                                            \
    do {                                                                                                                                                       \
        if ((pass)->decomposer->options.profile)                                                                                                               \
            pass_time_begin(pass, CX_OPERATION_##operation, FLOP_##operation(pass, __VA_ARGS__));                                                              \
        CALL(pass, operation, __VA_ARGS__);                                                                                                                    \
        if ((pass)->decomposer->options.profile)                                                                                                               \
            CALL(pass, time_end, CX_OPERATION_##operation);                                                                                                    \
    } while (0)

/* Whether any map or norm is wanted; any of the feed-forward block. */
bool wants_maps(const struct cx_decompose_options *options);
bool wants_feed_forward(const struct cx_decompose_options *options);

void pass_time_begin(struct pass *pass, enum cx_operation operation, double flop);

/* True if the map is wanted of the layer at hand. */
bool pass_wants(const struct pass *pass, unsigned map);

/* Takes the next results for the layer at hand, whose earlier contents are handed over before. */
void pass_take_results(struct pass *pass);

/* Mixing ratio, bias norm and completeness error of a stage, from its state, bias part, own parts and their sum. */
void pass_summarize(struct pass *pass, enum cx_stage stage, const struct cx_tensor *state, const struct cx_tensor *bias, const struct cx_tensor *own,
                    const struct cx_tensor *sum);

/* The maps before or behind LN1 without LN1's masked dimensions, if they are wanted: from F and x, or F̂, x̂ and 1/σ1. Overwrites the Gram matrices. */
void pass_attention_norms_without(struct pass *pass, const struct layer_tensors *layer, enum cx_norm_side side, const struct cx_tensor *residual,
                                  const struct cx_tensor *inverse_deviation);

/* The maps before and behind LN2 without LN2's masked dimensions, if they are wanted, from what the three feed-forward maps are made of. */
void pass_pair_norms_without(struct pass *pass, const struct layer_tensors *layer, const struct cx_ff_pairs *pairs);

/* Sends what is wanted of the results to the host: the layer's, and its state as number `state_index` of layers + 1. */
void pass_send_results(struct pass *pass, bool has_layer, size_t state_index);

/* The parts of target `token` of sequence `sequence`, [n, d] each. */
void pass_store_vectors(struct pass *pass, size_t sequence, size_t token, struct cx_tensor *const parts[CX_STAGES]);

/* Waits for the oldest results on their way, and hands them over to the sequences. There must be some. */
CX_MUST_USE enum cx_status results_hand_over(struct cx_decomposer *decomposer, struct cx_error *error);

/* Forgets what is on its way, after a failure. */
void results_drop(struct cx_decomposer *decomposer);

#endif
