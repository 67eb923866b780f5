#include "tensor_table.h"

#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"

static int compare_entries(const void *left, const void *right) {
    const struct cx_tensor_entry *a = left, *b = right;
    return strcmp(a->tensor->name, b->tensor->name);
}

static enum cx_status collect_entries(const struct cx_model_folder *folder, struct cx_tensor_table *table, struct cx_error *error) {
    size_t total = 0;
    for (size_t file = 0; file < table->file_count; file++)
        total += table->files[file].count;
    enum cx_status status = cx_allocate(total, sizeof *table->entries, "the table of tensors", &table->entries, error);
    if (status != CX_OK)
        return status;
    for (size_t file = 0; file < table->file_count; file++)
        for (size_t k = 0; k < table->files[file].count; k++)
            table->entries[table->count++] = (struct cx_tensor_entry){&table->files[file].tensors[k], file};
    qsort(table->entries, table->count, sizeof *table->entries, compare_entries);
    for (size_t k = 1; k < table->count; k++)
        if (compare_entries(&table->entries[k - 1], &table->entries[k]) == 0)
            return cx_fail(error, CX_ERROR_INPUT, "%s: tensor %.200s is in two files, %s and %s", folder->path, table->entries[k].tensor->name,
                           folder->weight_names[table->entries[k - 1].file], folder->weight_names[table->entries[k].file]);
    return CX_OK;
}

static enum cx_status check_index(const struct cx_model_folder *folder, const struct cx_tensor_table *table, struct cx_error *error) {
    const char *name;
    json_t *file;
    json_object_foreach(folder->weight_map, name, file) {
        size_t place = cx_tensor_table_find(table, name);
        if (place == table->count)
            return cx_fail(error, CX_ERROR_INPUT, "%s: weight_map: expected tensor %.200s in %s, found it in no file", folder->index_path, name,
                           json_string_value(file));
        const char *found = folder->weight_names[table->entries[place].file];
        if (strcmp(found, json_string_value(file)) != 0)
            return cx_fail(error, CX_ERROR_INPUT, "%s: weight_map: expected tensor %.200s in %s, found it in %s", folder->index_path, name,
                           json_string_value(file), found);
    }
    for (size_t k = 0; k < table->count; k++)
        if (!json_object_get(folder->weight_map, table->entries[k].tensor->name))
            return cx_fail(error, CX_ERROR_INPUT, "%s: weight_map does not name tensor %.200s, which is in %s", folder->index_path,
                           table->entries[k].tensor->name, folder->weight_names[table->entries[k].file]);
    return CX_OK;
}

enum cx_status cx_tensor_table_open(const struct cx_model_folder *folder, struct cx_tensor_table *table, struct cx_error *error) {
    *table = (struct cx_tensor_table){0};
    enum cx_status status = cx_allocate(folder->weight_count, sizeof *table->files, "the weight files", &table->files, error);
    for (size_t k = 0; k < folder->weight_count && status == CX_OK; k++) {
        status = cx_safetensors_open(folder->weight_paths[k], &table->files[k], error);
        if (status == CX_OK)
            table->file_count++;
    }
    if (status == CX_OK)
        status = collect_entries(folder, table, error);
    if (status == CX_OK && folder->weight_map)
        status = check_index(folder, table, error);
    if (status != CX_OK)
        cx_tensor_table_close(table);
    return status;
}

void cx_tensor_table_close(struct cx_tensor_table *table) {
    free(table->entries);
    for (size_t k = 0; k < table->file_count; k++)
        cx_safetensors_close(&table->files[k]);
    free(table->files);
    *table = (struct cx_tensor_table){0};
}

size_t cx_tensor_table_find(const struct cx_tensor_table *table, const char *name) {
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(table->entries[middle].tensor->name, name);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return table->count;
}
