/*
 * What a layer gives, on the backend: one tensor with all results of the layer behind one another, so that one copy takes them to the host, while the next
 * layer is computed into another. There are a few of them, which take turns.
 */
#ifndef COMPUTE_LAYER_RESULTS_H
#define COMPUTE_LAYER_RESULTS_H

#include <stdbool.h>

#include "contexture/decompose.h"

/* The pair product is run for the maps, and again for each map without dimensions: before and behind LN2. */
enum { pass_of_maps, first_pass_without, pair_passes = first_pass_without + CX_NORM_SIDES };

struct layer_results {
    struct cx_tensor *whole;

    /* its parts, for the batch at hand; NULL where not wanted */
    struct cx_tensor *state;           /* [T, d]: the layer's output, and the next one's input; always there */
    struct cx_tensor *map[CX_MAPS];    /* [cx_batch_map_elements()] */
    struct cx_tensor *attention;       /* α [H, pairs] */
    struct cx_tensor *attention_norms; /* α‖f‖ [H, pairs] */
    struct cx_tensor *mixing_ratio[CX_STAGES], *bias_norm[CX_STAGES], *completeness_error[CX_STAGES]; /* [T] */
    struct cx_tensor *check[pair_passes];                                                             /* [T]: see struct cx_ff_pairs */
    struct cx_tensor *map_without[CX_NORMS][CX_NORM_SIDES];                                           /* likewise */
    struct cx_tensor *norm_input[CX_NORMS];                                                           /* [T, d] */

    /* where they begin */
    struct result_places {
        size_t map[CX_MAPS], attention, attention_norms;
        size_t mixing_ratio[CX_STAGES], bias_norm[CX_STAGES], completeness_error[CX_STAGES], check[pair_passes];
        size_t map_without[CX_NORMS][CX_NORM_SIDES], norm_input[CX_NORMS];
        size_t first, end; /* of all but the state, which begins at 0 */
    } at;

    /* while they are on their way to the host */
    bool is_on_its_way;
    size_t copied_from; /* first element of the copy */
    const struct cx_batch *batch;
    const struct cx_sequence_result *results;
    uint64_t batch_number;
    size_t layer, wanted_index, state_index;
    bool has_layer, has_state;
};

/* Turns the parts to where a batch of this size has them, and makes them if need be. */
CX_MUST_USE enum cx_status layer_results_place(struct cx_backend *backend, const struct cx_decompose_options *options, const struct cx_batch *batch,
                                               struct layer_results *results, struct cx_error *error);

/* Makes room for batches of `tokens` and `pairs`; the parts have no place then. */
CX_MUST_USE enum cx_status layer_results_create(struct cx_backend *backend, const struct cx_decompose_options *options, size_t tokens, size_t pairs,
                                                struct layer_results *results, struct cx_error *error);
void layer_results_destroy(struct cx_backend *backend, struct layer_results *results);

#endif
