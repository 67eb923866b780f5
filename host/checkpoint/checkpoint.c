#include "contexture/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "bind_weights.h"
#include "config.h"
#include "contexture/file.h"
#include "contexture/memory.h"
#include "model_folder.h"
#include "tensor_table.h"

struct cx_checkpoint {
    struct cx_model_config config;
    const struct cx_family *family;
    struct cx_tensor_table table;
    struct cx_bound_weights bound;
};

enum cx_status cx_checkpoint_read_config(const char *directory, struct cx_model_config *config, struct cx_error *error) {
    struct cx_model_folder folder;
    const struct cx_family *family;
    enum cx_status status = cx_model_folder_open(directory, &folder, error);
    if (status != CX_OK)
        return status;
    status = cx_config_read(folder.config_path, config, &family, error);
    cx_model_folder_close(&folder);
    return status;
}

static enum cx_status open_checkpoint(const char *directory, bool is_read, struct cx_checkpoint **checkpoint, struct cx_error *error) {
    struct cx_model_folder folder = {0};
    struct cx_checkpoint *opened = NULL;
    *checkpoint = NULL;
    enum cx_status status = cx_allocate(1, sizeof *opened, "a checkpoint", &opened, error);
    if (status != CX_OK)
        return status;
    status = cx_model_folder_open(directory, &folder, error);
    if (status == CX_OK)
        status = cx_config_read(folder.config_path, &opened->config, &opened->family, error);
    if (status == CX_OK)
        status = cx_model_folder_find_weights(&folder, error);
    if (status == CX_OK)
        status = cx_tensor_table_open(&folder, &opened->table, error);
    if (status == CX_OK)
        status = cx_weights_bind(folder.path, opened->family, &opened->config, &opened->table, is_read, &opened->bound, error);
    cx_model_folder_close(&folder);
    if (status == CX_OK)
        *checkpoint = opened;
    else
        cx_checkpoint_close(opened);
    return status;
}

enum cx_status cx_checkpoint_open(const char *directory, struct cx_checkpoint **checkpoint, struct cx_error *error) {
    return open_checkpoint(directory, true, checkpoint, error);
}

enum cx_status cx_checkpoint_open_unread(const char *directory, struct cx_checkpoint **checkpoint, struct cx_error *error) {
    return open_checkpoint(directory, false, checkpoint, error);
}

void cx_checkpoint_close(struct cx_checkpoint *checkpoint) {
    if (!checkpoint)
        return;
    cx_weights_unbind(&checkpoint->bound);
    cx_tensor_table_close(&checkpoint->table);
    free(checkpoint);
}

const struct cx_model_config *cx_checkpoint_config(const struct cx_checkpoint *checkpoint) {
    return &checkpoint->config;
}

const struct cx_model_weights *cx_checkpoint_weights(const struct cx_checkpoint *checkpoint) {
    return &checkpoint->bound.weights;
}

const char *cx_checkpoint_family(const struct cx_checkpoint *checkpoint) {
    return checkpoint->family->model_type;
}

size_t cx_checkpoint_parameters(const struct cx_checkpoint *checkpoint) {
    return checkpoint->bound.parameters;
}

void cx_checkpoint_release_pages(const struct cx_checkpoint *checkpoint) {
    for (size_t k = 0; k < checkpoint->table.file_count; k++)
        cx_pages_release(checkpoint->table.files[k].mapping.data, checkpoint->table.files[k].mapping.size);
}

static enum cx_status hash_file(struct cx_hasher *hasher, const char *name, const char *path, struct cx_error *error) {
    cx_hasher_add(hasher, name, strlen(name));
    return cx_hasher_add_file(hasher, path, error);
}

static enum cx_status hash_tokenizer(struct cx_hasher *hasher, const struct cx_model_folder *folder, struct cx_error *error) {
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "vocab.txt"};
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < sizeof names / sizeof *names && status == CX_OK; k++) {
        char *path = NULL;
        status = cx_path_join(folder->path, names[k], &path, error);
        if (status == CX_OK && cx_file_exists(path))
            status = hash_file(hasher, names[k], path, error);
        free(path);
    }
    return status;
}

static enum cx_status hash_weights(struct cx_hasher *hasher, const struct cx_model_folder *folder, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < folder->weight_count && status == CX_OK; k++)
        status = hash_file(hasher, folder->weight_names[k], folder->weight_paths[k], error);
    return status;
}

static enum cx_status hash_weight_headers(struct cx_hasher *hasher, const struct cx_model_folder *folder, struct cx_error *error) {
    struct cx_tensor_table table = {0};
    enum cx_status status = cx_tensor_table_open(folder, &table, error);
    for (size_t k = 0; k < table.file_count && status == CX_OK; k++) {
        cx_hasher_add(hasher, folder->weight_names[k], strlen(folder->weight_names[k]));
        cx_hasher_add(hasher, table.files[k].mapping.data, table.files[k].data_begin);
    }
    cx_tensor_table_close(&table);
    return status;
}

static enum cx_status hash_model(const char *directory, enum cx_status (*hash)(struct cx_hasher *, const struct cx_model_folder *, struct cx_error *),
                                 char fingerprint[33], struct cx_error *error) {
    struct cx_model_folder folder = {0};
    struct cx_hasher *hasher = NULL;
    fingerprint[0] = '\0';
    enum cx_status status = cx_model_folder_open(directory, &folder, error);
    if (status == CX_OK)
        status = cx_model_folder_find_weights(&folder, error);
    if (status == CX_OK)
        status = cx_hasher_create(&hasher, error);
    if (status == CX_OK)
        status = hash_file(hasher, "config.json", folder.config_path, error);
    if (status == CX_OK && folder.index_path)
        status = hash_file(hasher, "model.safetensors.index.json", folder.index_path, error);
    if (status == CX_OK)
        status = hash(hasher, &folder, error);
    if (status == CX_OK)
        status = hash_tokenizer(hasher, &folder, error);
    if (status == CX_OK)
        cx_hasher_text(hasher, fingerprint);
    cx_hasher_destroy(hasher);
    cx_model_folder_close(&folder);
    return status;
}

enum cx_status cx_checkpoint_fingerprint(const char *directory, char fingerprint[33], struct cx_error *error) {
    return hash_model(directory, hash_weights, fingerprint, error);
}

enum cx_status cx_checkpoint_outline(const char *directory, char outline[33], struct cx_error *error) {
    return hash_model(directory, hash_weight_headers, outline, error);
}
