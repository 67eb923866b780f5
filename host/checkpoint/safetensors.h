/*
 * One safetensors file, mapped, with every statement of its header checked before any of its data is looked at.
 *
 * Format: 8 bytes, little-endian: N, the header's length; N bytes: a JSON object, padded with spaces; then the data.
 * The object's key "__metadata__" holds strings; every other key is a tensor with "dtype", "shape" and "data_offsets", counted from the data's begin.
 * The tensors must cover the data without hole or overlap. Tensors need not be aligned: whoever uses one looks at its address.
 */
#ifndef CONTEXTURE_SAFETENSORS_H
#define CONTEXTURE_SAFETENSORS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "contexture/error.h"
#include "contexture/file.h"
#include "contexture/model.h"

#define CX_SAFETENSORS_HEADER_LIMIT 100000000u

struct cx_safetensors_tensor {
    const char *name; /* of the header's JSON tree, as `shape` */
    const char *dtype_name;
    bool usable; /* its element type is one that contexture reads: then `dtype` says which */
    enum cx_dtype dtype;
    const json_t *shape;       /* an array of integers from 0 to SIZE_MAX */
    const unsigned char *data; /* in the mapping; not NULL unless size is 0 */
    size_t size;               /* in bytes */
};

/* Start zeroed. */
struct cx_safetensors {
    struct cx_mapping mapping;
    size_t data_begin; /* in the mapping: behind the header's length, and the header */
    json_t *header;
    struct cx_safetensors_tensor *tensors; /* [count], in the order of their names */
    size_t count;
};

/* `file` owes nothing after a failure. */
CX_MUST_USE enum cx_status cx_safetensors_open(const char *path, struct cx_safetensors *file, struct cx_error *error);
void cx_safetensors_close(struct cx_safetensors *file);

/* "[384, 1536]"; a shape that is too long is cut with "…". */
void cx_safetensors_shape_text(const struct cx_safetensors_tensor *tensor, char *text, size_t size);

#endif
