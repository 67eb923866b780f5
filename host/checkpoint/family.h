/*
 * The model families: one row of `families` each, in family.c. A family says which tensors fill which weight, what may lie beside them, and which
 * keys of config.json it knows. Adding one that computes as BERT does is adding a row.
 */
#ifndef CONTEXTURE_FAMILY_H
#define CONTEXTURE_FAMILY_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/model.h"

/* A size of cx_model_config, as a shape's extent. */
enum cx_extent { CX_EXTENT_NONE, CX_EXTENT_HIDDEN, CX_EXTENT_INTERMEDIATE, CX_EXTENT_VOCABULARY, CX_EXTENT_POSITIONS, CX_EXTENT_TOKEN_TYPES };

/* One weight. In names '#' stands for the layer's number. */
struct cx_tensor_row {
    size_t offset;          /* of the struct cx_weight in cx_layer_weights (a name with '#') or cx_model_weights */
    const char *name;       /* as it is saved today */
    const char *old_name;   /* as old versions saved it, or NULL */
    enum cx_extent extent;  /* a matrix [extent, columns] … */
    enum cx_extent columns; /* … or, with CX_EXTENT_NONE, a vector [extent] */
};

struct cx_family {
    const char *model_type; /* of config.json */
    /* Every tensor's name may stand behind one of these, the same for all; the first is "". Ends with NULL. */
    const char *const *prefixes;
    const struct cx_tensor_row *tensors;
    size_t tensor_count;
    /*
     * The part of the model that contexture computes: a tensor below one of these (behind the prefix) that is neither in `tensors` nor in
     * `ignored` would change the result, and is refused. All other tensors (pooler, language model head, classifier) only read the
     * encoder's output, and are ignored. Both end with NULL.
     */
    const char *const *body;
    const char *const *ignored;
    /* What a missing key of config.json means. */
    const char *activation;
    double norm_epsilon;
    size_t token_types;
};

/* NULL if there is none. */
const struct cx_family *cx_family_find(const char *model_type);

/* "bert", or with more families "bert, roberta": for messages. */
void cx_family_list(char *text, size_t size);

size_t cx_extent_size(enum cx_extent extent, const struct cx_model_config *config);

#endif
