/* The model's weights on a backend, and what is derived from them once (DESIGN.md, identities 2 and 3). */
#ifndef COMPUTE_WEIGHTS_H
#define COMPUTE_WEIGHTS_H

#include "contexture/backend.h"
#include "contexture/stage.h"

struct layer_tensors {
    struct cx_matrix *query, *key, *value, *attention_output, *intermediate, *output;
    struct cx_tensor *query_bias, *key_bias, *value_bias, *attention_output_bias, *intermediate_bias, *output_bias;
    struct cx_tensor *norm1_scale, *norm1_shift, *norm2_scale, *norm2_shift;
    /* of layers whose feed-forward maps are wanted */
    struct cx_pair_matrix *pair_output; /* W2c and w̄ */
    struct cx_tensor *value_to_ff;      /* M [d, f] = (W_O, centred over its outputs, times γ1) W1: from a head's values to the neurons */
    struct cx_tensor *ff_bias_slope;    /* [f] = (γ1 ⊙ (b_O - mean b_O)) W1 */
    struct cx_tensor *ff_bias_offset;   /* [f] = β1 W1 + b1 */
    /* of layers whose maps without some dimensions are wanted */
    struct cx_tensor *kept[CX_NORMS];        /* [d]: 1, and 0 for the layer norm's masked dimensions */
    struct cx_tensor *norm2_scale_kept;      /* γ2, and 0 for those of LN2 */
    struct cx_pair_matrix *pair_output_kept; /* of W2 with zeros for those of LN2 */
};

/* Uploads one layer and, with_feed_forward, derives what its maps need. After a failure everything is released and *tensors is zeroed. */
CX_MUST_USE enum cx_status layer_tensors_create(struct cx_backend *backend, const struct cx_layer_weights *weights, bool with_feed_forward,
                                                struct layer_tensors *tensors, struct cx_error *error);
/* Derives what maps without dimensions need: `masked` [CX_NORMS, count] of this layer. After a failure, destroy *tensors. */
CX_MUST_USE enum cx_status layer_tensors_mask(struct cx_backend *backend, const struct cx_layer_weights *weights, const size_t *masked, size_t count,
                                              struct layer_tensors *tensors, struct cx_error *error);
void layer_tensors_destroy(struct cx_backend *backend, struct layer_tensors *tensors);

/* A vector's tensor: [columns]. */
CX_MUST_USE enum cx_status vector_upload(struct cx_backend *backend, const struct cx_weight *weight, struct cx_tensor **tensor, struct cx_error *error);

#endif
