/*
 * The analysis itself: one packed batch through all layers, with the maps of every stage (DESIGN.md, section 1).
 *
 * A decomposer holds the model's weights on a backend, those derived from them, and the working tensors, which grow to the
 * largest batch seen. One thread uses it at a time.
 */
#ifndef CONTEXTURE_DECOMPOSE_H
#define CONTEXTURE_DECOMPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/backend.h"
#include "contexture/batch.h"
#include "contexture/error.h"
#include "contexture/model.h"
#include "contexture/stage.h"

/* What is wanted of every layer. */
struct cx_decompose_options {
    unsigned maps;             /* a set of maps, see stage.h */
    bool per_head;             /* α and α‖f‖ per head, too */
    bool hidden_states;        /* the layers' inputs and outputs */
    const bool *layers;        /* [config->layers]: which layers' results are wanted; NULL: all */
    const bool *vector_layers; /* [config->layers]: of which layers the parts themselves are wanted; NULL: none */
    bool norm_inputs;          /* the layer norms' inputs */
    const size_t *masked;      /* [L, CX_NORMS, masked_count] dimensions that maps_without leave out, read when opened; NULL: no such maps */
    size_t masked_count;
    bool (*stop)(void *context); /* asked before every layer: true ends the batch with CX_ERROR_INTERRUPTED. NULL: never */
    void *stop_context;
    bool unchecked; /* a wrong checksum, or parts that do not add up, do not end the batch */
    bool profile;   /* operations are timed, see cx_decompose_profile() */
};

/*
 * Where the results of one sequence of n tokens go; the caller owns all of it. Only wanted layers count: L of them, in rising order.
 * A pointer that is NULL is not written.
 */
struct cx_sequence_result {
    const char *name;               /* of the sequence, for sentences; may be NULL */
    float *maps[CX_MAPS];           /* each [L, n, n]: layer, target, source */
    float *head_attention_weight;   /* [L, H, n, n]: α */
    float *head_attention_norm;     /* [L, H, n, n]: α‖f‖ */
    float *mixing_ratio[CX_STAGES]; /* each [n, L] */
    float *bias_norm[CX_STAGES];    /* each [n, L] */
    float *completeness_error;      /* [L]: the largest over stages and tokens of ‖Σ_j part + bias - state‖ / ‖state‖ */
    /* Each [L, n, n]: the maps before and behind each layer norm, of the same parts, but with norms that leave the masked dimensions out. */
    float *maps_without[CX_NORMS][CX_NORM_SIDES];
    float *norm_inputs[CX_NORMS]; /* each [L, n, d]: the states before the layer norms */
    float *hidden_states;         /* [layers + 1, n, d], all layers: layer 0 is the input of the first layer */
    float *vectors[CX_STAGES];    /* each [V, n, n, d]: parts of the V vector layers: layer, target, source, dimension */
};

struct cx_decomposer;

/* Uploads and derives the weights. `weights` and its memory must live until the decomposer is closed. */
CX_MUST_USE enum cx_status cx_decomposer_open(struct cx_backend *backend, const struct cx_model_weights *weights, const struct cx_decompose_options *options,
                                              struct cx_decomposer **decomposer, struct cx_error *error);

/* NULL is allowed. */
void cx_decomposer_close(struct cx_decomposer *decomposer);

/*
 * Begins to run `batch` through the model, which is to fill results[0 .. batch->sequences). With a backend that computes beside the caller, this returns when
 * the last operations are queued and the last layers' results are still to come; cx_decompose_advance() waits for the oldest layer that is, and takes its
 * results. cx_decompose_unfinished() counts the batches begun of which something is still to come: their memory, results included, must stay in place.
 * With several of them the device has work all the time. After a failure nothing is to come any more.
 */
CX_MUST_USE enum cx_status cx_decompose_begin(struct cx_decomposer *decomposer, const struct cx_batch *batch, const struct cx_sequence_result *results,
                                              struct cx_error *error);
CX_MUST_USE enum cx_status cx_decompose_advance(struct cx_decomposer *decomposer, struct cx_error *error);
CX_MUST_USE size_t cx_decompose_unfinished(const struct cx_decomposer *decomposer);

/*
 * Runs `batch` through the model and fills results[0 .. batch->sequences).
 * The forward pass and all sums use the true hidden states, so every part is exact to rounding, and the identity is measured
 * (completeness_error). Fails with CX_ERROR_INPUT if a hidden state is not finite, naming the layer; with CX_ERROR_DEVICE, naming layer and sequence, if parts
 * do not add up by more than any rounding makes, or a row of the feed-forward product does not fit its checksum (contexture/checksum.h): then the device or its
 * memory made a mistake, and its results are not to be written.
 */
CX_MUST_USE enum cx_status cx_decompose(struct cx_decomposer *decomposer, const struct cx_batch *batch, const struct cx_sequence_result *results,
                                        struct cx_error *error);

/* Where the time went so far; waits for all that was begun. All zeros without the option. */
CX_MUST_USE enum cx_status cx_decompose_profile(struct cx_decomposer *decomposer, struct cx_decompose_profile *profile, struct cx_error *error);

/* Useful floating-point operations of one sequence of n tokens through all stages of one layer, and those of the pair product alone: 2 n² f d, in a causal
   model n (n + 1) f d. */
double cx_layer_operations(const struct cx_model_config *config, size_t tokens);
double cx_pair_product_operations(const struct cx_model_config *config, size_t tokens);

#endif
