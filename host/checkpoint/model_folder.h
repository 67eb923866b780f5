/* Which files of a Hugging Face folder hold the weights, and what the index of a sharded model says about them. */
#ifndef CONTEXTURE_MODEL_FOLDER_H
#define CONTEXTURE_MODEL_FOLDER_H

#include <jansson.h>
#include <stddef.h>

#include "contexture/error.h"

/* Start zeroed. */
struct cx_model_folder {
    char *path;
    char *config_path;
    /* model.safetensors alone, or the files that the index names; names in strcmp order, without duplicates */
    char **weight_names, **weight_paths;
    size_t weight_count;
    char *index_path; /* model.safetensors.index.json, or NULL where there is one weight file */
    json_t *index;
    json_t *weight_map; /* of the index: tensor → file name, every one a plain file name */
};

/* Finds the folder and config.json: `path` is the folder or a file inside it. */
CX_MUST_USE enum cx_status cx_model_folder_open(const char *path, struct cx_model_folder *folder, struct cx_error *error);

/* Fills the list of weight files. As in transformers, model.safetensors goes before an index. */
CX_MUST_USE enum cx_status cx_model_folder_find_weights(struct cx_model_folder *folder, struct cx_error *error);

/* Also after a failure. */
void cx_model_folder_close(struct cx_model_folder *folder);

#endif
