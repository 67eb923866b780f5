#include "safetensors.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/json.h"
#include "contexture/memory.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weights are used as they lie in the file, which is little-endian");

enum { length_bytes = 8 };

/* Names from a file are cut to 200 bytes in messages, so that what was expected still fits in. */
#define NAME "%.200s"

static const struct element_type {
    const char *name;
    unsigned bits;
    bool usable;
    enum cx_dtype dtype;
} element_types[] = {
    {"F32", 32, true, CX_FLOAT32},  {"F16", 16, true, CX_FLOAT16},  {"BF16", 16, true, CX_BFLOAT16}, {.name = "F64", .bits = 64},
    {.name = "I64", .bits = 64},    {.name = "U64", .bits = 64},    {.name = "C64", .bits = 64},     {.name = "I32", .bits = 32},
    {.name = "U32", .bits = 32},    {.name = "I16", .bits = 16},    {.name = "U16", .bits = 16},     {.name = "I8", .bits = 8},
    {.name = "U8", .bits = 8},      {.name = "BOOL", .bits = 8},    {.name = "F8_E4M3", .bits = 8},  {.name = "F8_E5M2", .bits = 8},
    {.name = "F8_E8M0", .bits = 8}, {.name = "F6_E2M3", .bits = 6}, {.name = "F6_E3M2", .bits = 6},  {.name = "F4", .bits = 4},
};

static const struct element_type *find_element_type(const char *name) {
    for (size_t k = 0; k < sizeof element_types / sizeof *element_types; k++)
        if (strcmp(element_types[k].name, name) == 0)
            return &element_types[k];
    return NULL;
}

/* Finds the header's text; refuses what is no safetensors file at all. */
static enum cx_status find_header(const char *path, const struct cx_mapping *mapping, size_t *length, struct cx_error *error) {
    static const char pointer[] = "version https://git-lfs";
    if (mapping->size >= sizeof pointer - 1 && memcmp(mapping->data, pointer, sizeof pointer - 1) == 0)
        return cx_fail(error, CX_ERROR_INPUT, "%s: is a Git LFS pointer, not the weights themselves; fetch them with \"git lfs pull\"", path);
    if (mapping->size < length_bytes)
        return cx_fail(error, CX_ERROR_INPUT, "%s: expected a safetensors file, found only %zu bytes; is the download complete?", path, mapping->size);
    uint64_t stated = 0;
    for (int k = 0; k < length_bytes; k++)
        stated |= (uint64_t)mapping->data[k] << 8 * k;
    if (stated > CX_SAFETENSORS_HEADER_LIMIT)
        return cx_fail(error, CX_ERROR_INPUT, "%s: expected a safetensors header of at most %u bytes, found a length of %llu; is this a safetensors file?",
                       path, CX_SAFETENSORS_HEADER_LIMIT, (unsigned long long)stated);
    if (stated > mapping->size - length_bytes)
        return cx_fail(error, CX_ERROR_INPUT, "%s: the header should have %llu bytes, but the file ends %zu bytes after its start; is the download complete?",
                       path, (unsigned long long)stated, mapping->size - length_bytes);
    *length = (size_t)stated;
    if (stated < 2 || mapping->data[length_bytes] != '{')
        return cx_fail(error, CX_ERROR_INPUT, "%s: expected the safetensors header to begin with '{'; is this a safetensors file?", path);
    return CX_OK;
}

static enum cx_status check_metadata(const json_t *metadata, const char *where, struct cx_error *error) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return cx_fail(error, CX_ERROR_INPUT, "%s: \"__metadata__\": expected an object of strings, found %s", where, cx_json_type(metadata));
    json_object_foreach((json_t *)metadata, key, value) {
        if (!json_is_string(value))
            return cx_fail(error, CX_ERROR_INPUT, "%s: \"__metadata__\": key \"" NAME "\": expected a string, found %s", where, key, cx_json_type(value));
    }
    return CX_OK;
}

/* An integer from 0 on, of the list `list` in a tensor's entry. */
static enum cx_status read_size(const json_t *value, const char *list, const char *where, size_t *size, struct cx_error *error) {
    if (!json_is_integer(value))
        return cx_fail(error, CX_ERROR_INPUT, "%s: \"%s\": expected integers, found %s", where, list, cx_json_type(value));
    if (json_integer_value(value) < 0)
        return cx_fail(error, CX_ERROR_INPUT, "%s: \"%s\": expected integers from 0 on, found %" JSON_INTEGER_FORMAT, where, list, json_integer_value(value));
    *size = (size_t)json_integer_value(value);
    return CX_OK;
}

/* Bytes that a tensor of this shape needs. */
static enum cx_status shape_bytes(const json_t *shape, const struct element_type *type, const char *where, size_t *bytes, struct cx_error *error) {
    size_t bits = type->bits, extent = 0;
    for (size_t k = 0; k < json_array_size(shape); k++) {
        enum cx_status status = read_size(json_array_get(shape, k), "shape", where, &extent, error);
        if (status != CX_OK)
            return status;
        if (!cx_multiply(bits, extent, &bits))
            return cx_fail(error, CX_ERROR_INPUT, "%s: \"shape\": the number of bits does not fit into 64 bits", where);
    }
    if (bits % 8 != 0)
        return cx_fail(error, CX_ERROR_INPUT, "%s: \"shape\": %zu bits of %s do not fill whole bytes", where, bits, type->name);
    *bytes = bits / 8;
    return CX_OK;
}

/* The values "dtype", "shape" and "data_offsets"; no other may be there. */
static enum cx_status read_members(const json_t *entry, const char *where, const char **dtype, json_t **shape, json_t **offsets, struct cx_error *error) {
    const char *key;
    json_t *value;
    if (!json_is_object(entry))
        return cx_fail(error, CX_ERROR_INPUT, "%s: expected an object, found %s", where, cx_json_type(entry));
    json_object_foreach((json_t *)entry, key, value) {
        if (strcmp(key, "dtype") != 0 && strcmp(key, "shape") != 0 && strcmp(key, "data_offsets") != 0)
            return cx_fail(error, CX_ERROR_INPUT, "%s: expected only dtype, shape and data_offsets, found key \"" NAME "\"", where, key);
    }
    enum cx_status status = cx_json_text(entry, "dtype", where, true, dtype, error);
    if (status == CX_OK)
        status = cx_json_array_member(entry, "shape", where, true, shape, error);
    if (status == CX_OK)
        status = cx_json_array_member(entry, "data_offsets", where, true, offsets, error);
    if (status == CX_OK && json_array_size(*offsets) != 2)
        status = cx_fail(error, CX_ERROR_INPUT, "%s: \"data_offsets\": expected 2 integers, found %zu values", where, json_array_size(*offsets));
    return status;
}

static enum cx_status read_tensor(const json_t *entry, const char *where, const unsigned char *data, size_t data_size, struct cx_safetensors_tensor *tensor,
                                  struct cx_error *error) {
    json_t *shape = NULL, *offsets = NULL;
    size_t begin = 0, end = 0, needed = 0;
    enum cx_status status = read_members(entry, where, &tensor->dtype_name, &shape, &offsets, error);
    if (status != CX_OK)
        return status;
    const struct element_type *type = find_element_type(tensor->dtype_name);
    if (!type)
        return cx_fail(error, CX_ERROR_INPUT, "%s: \"dtype\": " NAME " is none of the safetensors format", where, tensor->dtype_name);
    status = read_size(json_array_get(offsets, 0), "data_offsets", where, &begin, error);
    if (status == CX_OK)
        status = read_size(json_array_get(offsets, 1), "data_offsets", where, &end, error);
    if (status == CX_OK)
        status = shape_bytes(shape, type, where, &needed, error);
    if (status != CX_OK)
        return status;
    if (begin > end)
        return cx_fail(error, CX_ERROR_INPUT, "%s: \"data_offsets\": the end, %zu, lies before the begin, %zu", where, end, begin);
    if (end > data_size)
        return cx_fail(error, CX_ERROR_INPUT, "%s: the data should end at byte %zu, but the file has only %zu bytes of data; is the download complete?", where,
                       end, data_size);
    tensor->usable = type->usable;
    tensor->dtype = type->dtype;
    tensor->shape = shape;
    tensor->data = data + begin;
    tensor->size = end - begin;
    if (tensor->size == needed)
        return CX_OK;
    char text[128];
    cx_safetensors_shape_text(tensor, text, sizeof text);
    return cx_fail(error, CX_ERROR_INPUT, "%s: shape %s of %s needs %zu bytes, but data_offsets hold %zu", where, text, type->name, needed, tensor->size);
}

static int compare_positions(const void *left, const void *right) {
    const struct cx_safetensors_tensor *a = left, *b = right;
    if (a->data != b->data)
        return a->data < b->data ? -1 : 1;
    return (a->size > b->size) - (a->size < b->size); /* an empty tensor before the one that begins at the same byte */
}

static int compare_names(const void *left, const void *right) {
    const struct cx_safetensors_tensor *a = left, *b = right;
    return strcmp(a->name, b->name);
}

static enum cx_status check_cover(const char *path, struct cx_safetensors *file, const unsigned char *data, size_t data_size, struct cx_error *error) {
    size_t covered = 0;
    const char *before = "the header";
    qsort(file->tensors, file->count, sizeof *file->tensors, compare_positions);
    for (size_t k = 0; k < file->count; k++) {
        const struct cx_safetensors_tensor *tensor = &file->tensors[k];
        size_t begin = (size_t)(tensor->data - data);
        if (begin < covered)
            return cx_fail(error, CX_ERROR_INPUT, "%s: tensors " NAME " and " NAME " overlap: the second begins at byte %zu of the data, the first ends at %zu",
                           path, before, tensor->name, begin, covered);
        if (begin > covered)
            return cx_fail(error, CX_ERROR_INPUT, "%s: a hole of %zu bytes between " NAME " and tensor " NAME "; the format allows none", path, begin - covered,
                           before, tensor->name);
        covered = begin + tensor->size;
        before = tensor->name;
    }
    if (covered != data_size)
        return cx_fail(error, CX_ERROR_INPUT, "%s: the tensors end at byte %zu of the data, but the file has %zu bytes of data", path, covered, data_size);
    return CX_OK;
}

static enum cx_status read_entries(const char *path, struct cx_safetensors *file, const unsigned char *data, size_t data_size, struct cx_error *error) {
    const char *key;
    json_t *entry;
    char where[1024];
    json_object_foreach(file->header, key, entry) {
        enum cx_status status;
        if (strcmp(key, "__metadata__") == 0) {
            status = check_metadata(entry, path, error);
        } else {
            struct cx_safetensors_tensor *tensor = &file->tensors[file->count++];
            tensor->name = key;
            snprintf(where, sizeof where, "%.700s: tensor " NAME, path, key);
            status = read_tensor(entry, where, data, data_size, tensor, error);
        }
        if (status != CX_OK)
            return status;
    }
    return CX_OK;
}

enum cx_status cx_safetensors_open(const char *path, struct cx_safetensors *file, struct cx_error *error) {
    struct cx_safetensors opened = {0};
    size_t header_length = 0;
    char where[1024];
    *file = opened;
    enum cx_status status = cx_file_map(path, &opened.mapping, error);
    if (status == CX_OK)
        status = find_header(path, &opened.mapping, &header_length, error);
    if (status != CX_OK)
        goto cleanup;
    snprintf(where, sizeof where, "%.900s: header", path);
    status = cx_json_parse((const char *)opened.mapping.data + length_bytes, header_length, where, &opened.header, error);
    if (status == CX_OK)
        status = cx_allocate(json_object_size(opened.header), sizeof *opened.tensors, "the tensors of a safetensors file", &opened.tensors, error);
    if (status != CX_OK)
        goto cleanup;

    opened.data_begin = length_bytes + header_length;
    const unsigned char *data = opened.mapping.data + opened.data_begin;
    size_t data_size = opened.mapping.size - opened.data_begin;
    status = read_entries(path, &opened, data, data_size, error);
    if (status == CX_OK)
        status = check_cover(path, &opened, data, data_size, error);
    if (status != CX_OK)
        goto cleanup;
    qsort(opened.tensors, opened.count, sizeof *opened.tensors, compare_names);
    *file = opened;
    return CX_OK;

cleanup:
    cx_safetensors_close(&opened);
    return status;
}

void cx_safetensors_close(struct cx_safetensors *file) {
    free(file->tensors);
    json_decref(file->header);
    cx_file_unmap(&file->mapping);
    *file = (struct cx_safetensors){0};
}

void cx_safetensors_shape_text(const struct cx_safetensors_tensor *tensor, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "[");
    for (size_t k = 0; k < json_array_size(tensor->shape); k++) {
        /* 28: a comma, a space, 19 digits, and "…]" with its zero behind them. */
        if (used + 28 > size) {
            snprintf(text + used, size - used, "…]");
            return;
        }
        used += (size_t)snprintf(text + used, size - used, k ? ", %" JSON_INTEGER_FORMAT : "%" JSON_INTEGER_FORMAT,
                                 json_integer_value(json_array_get(tensor->shape, k)));
    }
    snprintf(text + used, size - used, "]");
}
