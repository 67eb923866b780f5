/* --mask-dims: the dimensions of each layer norm that the analysis norm_dimensions leaves out of the norms. */
#ifndef CONTEXTURE_RUN_MASK_DIMS_H
#define CONTEXTURE_RUN_MASK_DIMS_H

#include <jansson.h>

#include "contexture/backend.h"
#include "contexture/stats.h"

/* Sequences, the first of the corpus, that activation:P is measured on. */
enum { calibration_sequences = 64 };

/* Owned by whoever has it; start zeroed. */
struct mask_dims {
    enum cx_mask_choice choice;
    size_t count;
    size_t *named;      /* [count] rising; of CX_MASK_DIMENSIONS alone */
    size_t *dimensions; /* [stored layers, CX_NORMS, count] rising; NULL until they are chosen */
};

/* What the option's text asks for, of a model of that width. CX_ERROR_USAGE says what is wrong with it. */
CX_MUST_USE enum cx_status mask_dims_parse(const char *text, size_t width, struct mask_dims *mask, struct cx_error *error);
void mask_dims_free(struct mask_dims *mask);

/* Takes the `count` dimensions with the largest sizes [L, CX_NORMS, width], of equal ones the first; does so for L stored layers. */
CX_MUST_USE enum cx_status mask_dims_take_largest(struct mask_dims *mask, size_t layer_count, size_t width, const double *sizes, struct cx_error *error);

/* Takes the named dimensions for all layer norms. */
CX_MUST_USE enum cx_status mask_dims_take_named(struct mask_dims *mask, size_t layer_count, struct cx_error *error);

/* The chosen dimensions as JSON, [[[of LN1], [of LN2]] of a layer, …], NULL without memory; and back, checked. */
json_t *mask_dims_json(const struct mask_dims *mask, size_t layer_count);
CX_MUST_USE enum cx_status mask_dims_take_json(struct mask_dims *mask, size_t layer_count, size_t width, const json_t *json, struct cx_error *error);

#endif
