#include "model_folder.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "contexture/file.h"
#include "contexture/json.h"
#include "contexture/memory.h"

enum { index_limit = 100000000 };

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

enum cx_status cx_model_folder_open(const char *path, struct cx_model_folder *folder, struct cx_error *error) {
    struct stat about;
    *folder = (struct cx_model_folder){0};
    if (stat(path, &about) != 0)
        return cx_fail_errno(error, "open the model", path);
    const char *slash = strrchr(path, '/');
    enum cx_status status;
    if (S_ISDIR(about.st_mode))
        status = cx_copy_text(path, strlen(path), &folder->path, error);
    else if (!slash)
        status = cx_copy_text(".", 1, &folder->path, error);
    else
        status = cx_copy_text(path, slash == path ? 1 : (size_t)(slash - path), &folder->path, error);
    if (status == CX_OK)
        status = cx_path_join(folder->path, "config.json", &folder->config_path, error);
    if (status == CX_OK && !cx_file_exists(folder->config_path))
        status =
            cx_fail(error, CX_ERROR_INPUT, "%s: no config.json in it; a model is a Hugging Face folder with config.json and model.safetensors", folder->path);
    if (status != CX_OK)
        cx_model_folder_close(folder);
    return status;
}

static bool is_plain_name(const json_t *name) {
    const char *text = json_string_value(name);
    size_t length = json_string_length(name);
    return length > 0 && length < 256 && strlen(text) == length && !strchr(text, '/') && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

static int compare_names(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Copies of the files' names that weight_map holds, sorted, each once. */
static enum cx_status collect_names(struct cx_model_folder *folder, struct cx_error *error) {
    const char *tensor, **names = NULL;
    json_t *name;
    size_t count = 0, kept = 0;
    enum cx_status status = cx_allocate(json_object_size(folder->weight_map), sizeof *names, "the index of the weight files", &names, error);
    if (status != CX_OK)
        return status;
    json_object_foreach(folder->weight_map, tensor, name) {
        if (!json_is_string(name) || !is_plain_name(name)) {
            status = cx_fail(error, CX_ERROR_INPUT, "%s: weight_map: tensor %.200s: expected the name of a file in the same folder, found %s%.200s",
                             folder->index_path, tensor, json_is_string(name) ? "" : cx_json_type(name), json_is_string(name) ? json_string_value(name) : "");
            goto cleanup;
        }
        names[count++] = json_string_value(name);
    }
    qsort(names, count, sizeof *names, compare_names);
    for (size_t k = 0; k < count; k++)
        if (kept == 0 || strcmp(names[kept - 1], names[k]) != 0)
            names[kept++] = names[k];
    status = cx_allocate(kept, sizeof *folder->weight_names, "the names of the weight files", &folder->weight_names, error);
    if (status != CX_OK)
        goto cleanup;
    for (size_t k = 0; k < kept && status == CX_OK; k++) {
        status = cx_copy_text(names[k], strlen(names[k]), &folder->weight_names[k], error);
        folder->weight_count = k + 1;
    }

cleanup:
    free(names);
    return status;
}

static enum cx_status read_index(struct cx_model_folder *folder, struct cx_error *error) {
    json_t *metadata;
    enum cx_status status = cx_json_read(folder->index_path, index_limit, &folder->index, error);
    if (status == CX_OK)
        status = cx_json_object_member(folder->index, "metadata", folder->index_path, false, &metadata, error);
    if (status == CX_OK)
        status = cx_json_object_member(folder->index, "weight_map", folder->index_path, true, &folder->weight_map, error);
    if (status == CX_OK && json_object_size(folder->weight_map) == 0)
        status = cx_fail(error, CX_ERROR_INPUT, "%s: weight_map: expected tensors and their files, found an empty object", folder->index_path);
    if (status == CX_OK)
        status = collect_names(folder, error);
    return status;
}

static enum cx_status use_single_file(struct cx_model_folder *folder, struct cx_error *error) {
    enum cx_status status = cx_allocate(1, sizeof *folder->weight_names, "the name of the weight file", &folder->weight_names, error);
    if (status == CX_OK)
        status = cx_copy_text(single_name, sizeof single_name - 1, &folder->weight_names[0], error);
    if (status == CX_OK)
        folder->weight_count = 1;
    return status;
}

/* Neither of the two names is there: what is there instead? */
static enum cx_status no_weights(const struct cx_model_folder *folder, struct cx_error *error) {
    char *pickled = NULL;
    enum cx_status status = cx_path_join(folder->path, "pytorch_model.bin", &pickled, error);
    if (status != CX_OK)
        return status;
    if (cx_file_exists(pickled))
        status = cx_fail(error, CX_ERROR_INPUT,
                         "%s: expected %s or %s, found pytorch_model.bin; convert it once with transformers: "
                         "AutoModel.from_pretrained(folder).save_pretrained(new_folder)",
                         folder->path, single_name, index_name);
    else
        status = cx_fail(error, CX_ERROR_INPUT, "%s: expected %s or %s, found neither", folder->path, single_name, index_name);
    free(pickled);
    return status;
}

enum cx_status cx_model_folder_find_weights(struct cx_model_folder *folder, struct cx_error *error) {
    char *single = NULL;
    enum cx_status status = cx_path_join(folder->path, single_name, &single, error);
    if (status == CX_OK)
        status = cx_path_join(folder->path, index_name, &folder->index_path, error);
    if (status != CX_OK)
        goto cleanup;
    if (cx_file_exists(single)) {
        free(folder->index_path);
        folder->index_path = NULL;
        status = use_single_file(folder, error);
    } else if (cx_file_exists(folder->index_path)) {
        status = read_index(folder, error);
    } else {
        status = no_weights(folder, error);
    }
    if (status == CX_OK)
        status = cx_allocate(folder->weight_count, sizeof *folder->weight_paths, "the paths of the weight files", &folder->weight_paths, error);
    for (size_t k = 0; k < folder->weight_count && status == CX_OK; k++)
        status = cx_path_join(folder->path, folder->weight_names[k], &folder->weight_paths[k], error);

cleanup:
    free(single);
    return status;
}

void cx_model_folder_close(struct cx_model_folder *folder) {
    for (size_t k = 0; k < folder->weight_count; k++) {
        free(folder->weight_names[k]);
        if (folder->weight_paths)
            free(folder->weight_paths[k]);
    }
    free(folder->weight_names);
    free(folder->weight_paths);
    json_decref(folder->index);
    free(folder->index_path);
    free(folder->config_path);
    free(folder->path);
    *folder = (struct cx_model_folder){0};
}
