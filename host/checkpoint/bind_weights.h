/* From tensors with names to the weights of a model, each checked: there, of the right shape and element type, and finite. */
#ifndef CONTEXTURE_BIND_WEIGHTS_H
#define CONTEXTURE_BIND_WEIGHTS_H

#include <stddef.h>

#include "contexture/error.h"
#include "contexture/model.h"
#include "family.h"
#include "tensor_table.h"

/* Start zeroed. */
struct cx_bound_weights {
    struct cx_model_weights weights; /* views of the mapped files, or of `copies` */
    size_t parameters;
    void **copies; /* of tensors that are not aligned to their elements in the file, which the format allows and old writers did */
    size_t copy_count, copy_capacity;
};

/* `path` names the folder in messages. Unless `is_read`, no tensor's numbers are looked at. The views live as long as `table` and `bound`. */
CX_MUST_USE enum cx_status cx_weights_bind(const char *path, const struct cx_family *family, const struct cx_model_config *config,
                                           const struct cx_tensor_table *table, bool is_read, struct cx_bound_weights *bound, struct cx_error *error);
void cx_weights_unbind(struct cx_bound_weights *bound);

/* Tells the kernel that the pages which hold data[0..size) of a mapped file need not stay in memory. */
void cx_pages_release(const unsigned char *data, size_t size);

#endif
