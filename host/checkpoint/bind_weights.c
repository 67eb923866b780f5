#include "bind_weights.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "contexture/memory.h"
#include "finite.h"

enum { name_size = 160 };

/* What one call of cx_weights_bind() works on. */
struct binding {
    const char *path;
    const struct cx_family *family;
    const struct cx_model_config *config;
    const struct cx_tensor_table *table;
    const char *prefix;
    struct cx_bound_weights *bound;
    bool is_read;
    unsigned char *used; /* [table->count] */
    struct cx_error *error;
};

/* prefix + name, with '#' as the layer's number. The names are the family's, which fit. */
static void full_name(const struct binding *binding, const char *name, size_t layer, char text[name_size]) {
    const char *mark = strchr(name, '#');
    if (mark)
        snprintf(text, name_size, "%s%.*s%zu%s", binding->prefix, (int)(mark - name), name, layer, mark + 1);
    else
        snprintf(text, name_size, "%s%s", binding->prefix, name);
}

void cx_pages_release(const unsigned char *data, size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t before = (uintptr_t)data % page;
    /* Advice only. The neighbours on the first and last page are read from the file again. */
    (void)madvise((void *)(data - before), size + before, MADV_DONTNEED);
}

/* The tensor is known by its name of today and perhaps by an old one; *place becomes its entry. */
static enum cx_status find_tensor(struct binding *binding, const struct cx_tensor_row *row, size_t layer, size_t *place) {
    char name[name_size], old_name[name_size];
    full_name(binding, row->name, layer, name);
    *place = cx_tensor_table_find(binding->table, name);
    if (*place < binding->table->count)
        return CX_OK;
    if (row->old_name) {
        full_name(binding, row->old_name, layer, old_name);
        *place = cx_tensor_table_find(binding->table, old_name);
        if (*place < binding->table->count)
            return CX_OK;
        return cx_fail(binding->error, CX_ERROR_INPUT, "%s: tensor %s (or %s) is missing; config.json states %zu layers", binding->path, name, old_name,
                       binding->config->layers);
    }
    return cx_fail(binding->error, CX_ERROR_INPUT, "%s: tensor %s is missing; config.json states %zu layers", binding->path, name, binding->config->layers);
}

static bool has_shape(const json_t *shape, const size_t *extents, size_t dimensions) {
    if (json_array_size(shape) != dimensions)
        return false;
    for (size_t k = 0; k < dimensions; k++)
        if ((size_t)json_integer_value(json_array_get(shape, k)) != extents[k])
            return false;
    return true;
}

static enum cx_status check_tensor(const struct binding *binding, const struct cx_safetensors_tensor *tensor, const size_t *extents, size_t dimensions) {
    char found[128], expected[64];
    if (!has_shape(tensor->shape, extents, dimensions)) {
        cx_safetensors_shape_text(tensor, found, sizeof found);
        snprintf(expected, sizeof expected, dimensions == 2 ? "[%zu, %zu]" : "[%zu]", extents[0], extents[1]);
        return cx_fail(binding->error, CX_ERROR_INPUT, "%s: tensor %s: expected shape %s, as config.json says, found %s", binding->path, tensor->name, expected,
                       found);
    }
    if (!tensor->usable)
        return cx_fail(binding->error, CX_ERROR_UNSUPPORTED, "%s: tensor %s: expected dtype F32, F16 or BF16, found %s; convert the model with transformers",
                       binding->path, tensor->name, tensor->dtype_name);
    if (!binding->is_read)
        return CX_OK;
    size_t count = tensor->size / cx_dtype_size(tensor->dtype);
    size_t wrong = cx_first_not_finite(tensor->data, tensor->dtype, count);
    /* The scan is the only time that most of a word embedding is looked at: do not keep it in memory for that. */
    cx_pages_release(tensor->data, tensor->size);
    if (wrong < count)
        return cx_fail(binding->error, CX_ERROR_INPUT,
                       "%s: tensor %s: element %zu (row %zu, column %zu) is NaN or infinite; the file is damaged, or training failed", binding->path,
                       tensor->name, wrong, wrong / extents[dimensions - 1], wrong % extents[dimensions - 1]);
    return CX_OK;
}

/* The tensor's data where a float, or a 16-bit number, may be read: in the file, or in a copy. */
static enum cx_status aligned_data(struct binding *binding, const struct cx_safetensors_tensor *tensor, const void **data) {
    struct cx_bound_weights *bound = binding->bound;
    *data = tensor->data;
    if ((uintptr_t)tensor->data % cx_dtype_size(tensor->dtype) == 0 || !binding->is_read)
        return CX_OK;
    enum cx_status status =
        cx_reserve(&bound->copies, &bound->copy_capacity, bound->copy_count + 1, sizeof *bound->copies, "copies of weights", binding->error);
    if (status != CX_OK)
        return status;
    void *copy;
    status = cx_allocate(tensor->size, 1, "a copy of a weight that is not aligned in its file", &copy, binding->error);
    if (status != CX_OK)
        return status;
    memcpy(copy, tensor->data, tensor->size);
    cx_pages_release(tensor->data, tensor->size);
    bound->copies[bound->copy_count++] = copy;
    *data = copy;
    return CX_OK;
}

static enum cx_status bind_tensor(struct binding *binding, const struct cx_tensor_row *row, size_t layer, void *owner) {
    size_t place;
    enum cx_status status = find_tensor(binding, row, layer, &place);
    if (status != CX_OK)
        return status;
    const struct cx_safetensors_tensor *tensor = binding->table->entries[place].tensor;
    size_t dimensions = row->columns == CX_EXTENT_NONE ? 1 : 2;
    size_t extents[2] = {cx_extent_size(row->extent, binding->config), cx_extent_size(row->columns, binding->config)};
    status = check_tensor(binding, tensor, extents, dimensions);
    if (status != CX_OK)
        return status;
    struct cx_weight weight = {
        .name = tensor->name,
        .dtype = tensor->dtype,
        .rows = dimensions == 2 ? extents[0] : 1,
        .columns = dimensions == 2 ? extents[1] : extents[0],
    };
    status = aligned_data(binding, tensor, &weight.data);
    if (status != CX_OK)
        return status;
    const struct cx_mapping *mapping = &binding->table->files[binding->table->entries[place].file].mapping;
    if (weight.data == tensor->data) {
        weight.file = mapping->descriptor;
        weight.file_offset = (unsigned long)(tensor->data - mapping->data);
    }
    memcpy((char *)owner + row->offset, &weight, sizeof weight);
    binding->used[place] = 1;
    binding->bound->parameters += weight.rows * weight.columns;
    return CX_OK;
}

/* The prefix with which the family's first tensor is there. */
static enum cx_status find_prefix(struct binding *binding) {
    const char *found = NULL;
    char name[name_size], other[name_size];
    for (const char *const *prefix = binding->family->prefixes; *prefix; prefix++) {
        binding->prefix = *prefix;
        full_name(binding, binding->family->tensors[0].name, 0, found ? other : name);
        if (cx_tensor_table_find(binding->table, found ? other : name) == binding->table->count)
            continue;
        if (found)
            return cx_fail(binding->error, CX_ERROR_UNSUPPORTED, "%s: expected one model, found two: there are both tensor %s and tensor %s", binding->path,
                           name, other);
        found = *prefix;
    }
    if (!found) {
        binding->prefix = "";
        full_name(binding, binding->family->tensors[0].name, 0, name);
        return cx_fail(binding->error, CX_ERROR_INPUT, "%s: tensor %s is missing, with and without a prefix such as \"%s\"; its first tensor is %.200s",
                       binding->path, name, binding->family->prefixes[1] ? binding->family->prefixes[1] : "",
                       binding->table->count ? binding->table->entries[0].tensor->name : "none at all");
    }
    binding->prefix = found;
    return CX_OK;
}

/* Does `name` begin with one of the texts (whole: is it one of them), each behind the prefix? */
static bool matches(const struct binding *binding, const char *name, const char *const *texts, bool whole) {
    size_t length = strlen(binding->prefix);
    if (strncmp(name, binding->prefix, length) != 0)
        return false;
    for (; *texts; texts++)
        if (whole ? strcmp(name + length, *texts) == 0 : strncmp(name + length, *texts, strlen(*texts)) == 0)
            return true;
    return false;
}

static enum cx_status refuse_unknown(const struct binding *binding) {
    for (size_t k = 0; k < binding->table->count; k++) {
        const char *name = binding->table->entries[k].tensor->name;
        if (binding->used[k] || !matches(binding, name, binding->family->body, false) || matches(binding, name, binding->family->ignored, true))
            continue;
        return cx_fail(binding->error, CX_ERROR_UNSUPPORTED,
                       "%s: tensor %.200s has no place in a %s model of %zu layers, as config.json describes it, and may change "
                       "what the model computes; is config.json the one that belongs to these weights?",
                       binding->path, name, binding->family->model_type, binding->config->layers);
    }
    return CX_OK;
}

enum cx_status cx_weights_bind(const char *path, const struct cx_family *family, const struct cx_model_config *config, const struct cx_tensor_table *table,
                               bool is_read, struct cx_bound_weights *bound, struct cx_error *error) {
    struct binding binding = {.path = path, .family = family, .config = config, .table = table, .is_read = is_read, .bound = bound, .error = error};
    *bound = (struct cx_bound_weights){0};
    enum cx_status status = find_prefix(&binding);
    if (status == CX_OK)
        status = cx_allocate(table->count, 1, "the list of used tensors", &binding.used, error);
    if (status == CX_OK)
        status = cx_allocate(config->layers, sizeof *bound->weights.layers, "the table of weights", &bound->weights.layers, error);
    for (size_t k = 0; k < family->tensor_count && status == CX_OK; k++) {
        const struct cx_tensor_row *row = &family->tensors[k];
        if (!strchr(row->name, '#')) {
            status = bind_tensor(&binding, row, 0, &bound->weights);
            continue;
        }
        for (size_t layer = 0; layer < config->layers && status == CX_OK; layer++)
            status = bind_tensor(&binding, row, layer, &bound->weights.layers[layer]);
    }
    if (status == CX_OK)
        status = refuse_unknown(&binding);
    free(binding.used);
    if (status != CX_OK)
        cx_weights_unbind(bound);
    return status;
}

void cx_weights_unbind(struct cx_bound_weights *bound) {
    for (size_t k = 0; k < bound->copy_count; k++)
        free(bound->copies[k]);
    free(bound->copies);
    free(bound->weights.layers);
    *bound = (struct cx_bound_weights){0};
}
