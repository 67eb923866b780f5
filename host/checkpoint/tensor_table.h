/* All tensors of a model's weight files, by name. */
#ifndef CONTEXTURE_TENSOR_TABLE_H
#define CONTEXTURE_TENSOR_TABLE_H

#include <stddef.h>

#include "contexture/error.h"
#include "model_folder.h"
#include "safetensors.h"

struct cx_tensor_entry {
    const struct cx_safetensors_tensor *tensor;
    size_t file;
};

/* Start zeroed. */
struct cx_tensor_table {
    struct cx_safetensors *files; /* [file_count] */
    size_t file_count;
    struct cx_tensor_entry *entries; /* [count], in the order of their names, each name once */
    size_t count;
};

/* Maps the weight files of `folder` and checks them against its index: every tensor is in the one file that the index names, and no other is there. */
CX_MUST_USE enum cx_status cx_tensor_table_open(const struct cx_model_folder *folder, struct cx_tensor_table *table, struct cx_error *error);
void cx_tensor_table_close(struct cx_tensor_table *table);

/* The entry's place in `entries`, or `count` if there is none. */
size_t cx_tensor_table_find(const struct cx_tensor_table *table, const char *name);

#endif
