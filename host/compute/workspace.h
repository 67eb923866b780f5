/*
 * The working tensors of one layer, made once and made anew only when a larger batch comes.
 *
 * T, H, d, f, pairs as in backend.h; n = tokens of the longest sequence; what is wanted, struct workspace says, as 0 or 1; a
 * tensor that is not needed for it is NULL.
 */
#ifndef COMPUTE_WORKSPACE_H
#define COMPUTE_WORKSPACE_H

#include <stdbool.h>

#include "contexture/backend.h"
#include "contexture/stage.h"
#include "layer_results.h"

/* name, element type, number of elements */
#define WORKSPACE_LIST(X)                                                                                                                                      \
    /* the forward pass */                                                                                                                                     \
    X(query, FLOAT, T *d)                             /* q */                                                                                                  \
    X(key, FLOAT, T *d)                               /* k */                                                                                                  \
    X(value, FLOAT, T *d)                             /* v */                                                                                                  \
    X(attention, FLOAT, H *pairs *(1 - heads_wanted)) /* α, unless it is a result */                                                                          \
    X(context, FLOAT, T *d)                           /* Σ α v, heads side by side */                                                                        \
    X(attention_state, FLOAT, T *d)                   /* state of stage attn */                                                                                \
    X(attention_sum, FLOAT, T *d)                     /* attn_res */                                                                                           \
    X(attention_normed, FLOAT, T *d)                  /* attn_res_ln: h */                                                                                     \
    X(inverse_deviation1, FLOAT, T)                   /* 1/σ1 */                                                                                              \
    X(neurons, FLOAT, T *f)                           /* u */                                                                                                  \
    X(activated, FLOAT, T *f)                         /* g(u) */                                                                                               \
    X(ratio, FLOAT, T *f)                             /* ρ */                                                                                                 \
    X(ff_state, FLOAT, T *d)                          /* ff */                                                                                                 \
    X(ff_sum, FLOAT, T *d)                            /* ff_res */                                                                                             \
    X(inverse_deviation2, FLOAT, T)                   /* 1/σ2 */                                                                                              \
    /* what came from a source token */                                                                                                                        \
    X(head_sources, FLOAT, T *H *d *parts_wanted)       /* F, later F̂ in its place */                                                                        \
    X(residual_norm_source, FLOAT, T *d *maps_wanted)   /* x̂ */                                                                                              \
    X(gram, DOUBLE, T *(H + 1) * (H + 1) * maps_wanted) /* G of F and x, later of F̂ and x̂ */                                                               \
    X(head_ff_sources, FLOAT, T *H *f *ff_wanted)       /* P */                                                                                                \
    X(head_sources_kept, FLOAT, T *H *d *masked_wanted) /* F or F̂ with zeros for masked dimensions */                                                        \
    X(residual_kept, FLOAT, T *d *masked_wanted)        /* x or x̂, likewise */                                                                               \
    /* a token's own part, the sum of all parts, the bias part: of the stage at hand, and of the feed-forward block alone */                                   \
    X(own, FLOAT, T *d *maps_wanted)                                                                                                                           \
    X(sum, FLOAT, T *d *maps_wanted)                                                                                                                           \
    X(bias, FLOAT, T *d *maps_wanted)                                                                                                                          \
    X(ff_own, FLOAT, T *d *ff_wanted)                                                                                                                          \
    X(ff_parts_sum, FLOAT, T *d *ff_wanted)                                                                                                                    \
    X(ff_bias, FLOAT, T *d *ff_wanted)                                                                                                                         \
    /* the parts themselves */                                                                                                                                 \
    X(part_attn, FLOAT, n *d *vectors_wanted)                                                                                                                  \
    X(part_attn_res, FLOAT, n *d *vectors_wanted)                                                                                                              \
    X(part_attn_res_ln, FLOAT, n *d *vectors_wanted)                                                                                                           \
    X(part_ff, FLOAT, n *d *vectors_wanted)                                                                                                                    \
    X(part_ff_res, FLOAT, n *d *vectors_wanted)                                                                                                                \
    X(part_ff_res_ln, FLOAT, n *d *vectors_wanted)

struct workspace {
    size_t tokens, pairs, longest;               /* the batch it has room for */
    bool parts_wanted;                           /* maps, norms per head or vectors: anything but the forward pass */
    bool maps_wanted, ff_wanted;                 /* maps or norms per head; maps of the feed-forward block */
    bool heads_wanted, vectors_wanted;           /* norms per head; the parts themselves */
    bool masked_wanted;                          /* maps without some dimensions */
    struct layer_results results[CX_READ_SLOTS]; /* those of result_count are used; see decomposer.h */
    size_t result_count;
#define WORKSPACE_MEMBER(name, element, count) struct cx_tensor *name;
    WORKSPACE_LIST(WORKSPACE_MEMBER)
#undef WORKSPACE_MEMBER
};

/* Makes room for `batch`. After a failure the workspace is empty, and may be used again. */
CX_MUST_USE enum cx_status workspace_fit(struct cx_backend *backend, struct workspace *workspace, const struct cx_decompose_options *options,
                                         const struct cx_batch *batch, struct cx_error *error);
bool workspace_fits(const struct workspace *workspace, const struct cx_batch *batch);
void workspace_destroy(struct cx_backend *backend, struct workspace *workspace);

#endif
