#include "document_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/json.h"
#include "contexture/memory.h"

/* Where a fault is: the beginning of every sentence. */
struct place {
    const char *path;
    uint64_t line;
};

/* Not cx_json_parse(): a fault's place is the corpus line. */
static enum cx_status parse_object(const char *text, size_t length, const struct place *at, json_t **object, struct cx_error *error) {
    json_error_t fault;
    bool lacks_memory;
    *object = cx_json_load(text, length, &lacks_memory, &fault);
    if (lacks_memory)
        return cx_fail_memory(error, "a line of JSON", length);
    if (!*object)
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": not a JSON object: %s, at byte %d of the line", at->path, at->line, fault.text,
                       fault.position);
    if (json_is_object(*object))
        return CX_OK;
    enum cx_status status = cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": expected a JSON object, found %s", at->path, at->line, cx_json_type(*object));
    json_decref(*object);
    *object = NULL;
    return status;
}

/* The member of that name; a missing one and null are the same. */
static const json_t *member(const json_t *object, const char *field) {
    const json_t *value = json_object_get(object, field);
    return json_is_null(value) ? NULL : value;
}

static enum cx_status read_id(struct cx_json_lines *lines, const struct place *at, struct cx_document *document, struct cx_error *error) {
    const json_t *value = member(lines->object, lines->id_field);
    if (!value)
        return CX_OK;
    if (json_is_integer(value)) {
        int length = snprintf(lines->id_digits, sizeof lines->id_digits, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        document->id = lines->id_digits;
        document->id_length = length > 0 ? (size_t)length : 0;
        return CX_OK;
    }
    if (!json_is_string(value))
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": field \"%s\": expected a string or an integer, found %s", at->path, at->line, lines->id_field,
                       cx_json_type(value));
    document->id = json_string_value(value);
    document->id_length = json_string_length(value);
    if (document->id_length == 0 || document->id_length > CX_LONGEST_ID)
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": field \"%s\": expected 1 to %d bytes, found %zu", at->path, at->line, lines->id_field,
                       CX_LONGEST_ID, document->id_length);
    if (memchr(document->id, '\0', document->id_length))
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": field \"%s\": an id may not hold U+0000", at->path, at->line, lines->id_field);
    return CX_OK;
}

/* The names of the first fields that the line does have: most faults are a wrong --text-field. */
static const char *list_fields(const json_t *object, char *list, size_t size) {
    size_t used = 0, listed = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        int added = listed == 8 ? snprintf(list + used, size - used, ", …") : snprintf(list + used, size - used, "%s\"%s\"", listed > 0 ? ", " : "", key);
        listed++;
        if (added < 0 || (size_t)added >= size - used) {
            list[used] = '\0';
            break;
        }
        used += (size_t)added;
        if (listed > 8)
            break;
    }
    return listed > 0 ? list : "none";
}

static enum cx_status read_text(const struct cx_json_lines *lines, const char *field, const char *option, const struct place *at, const char **text,
                                size_t *length, struct cx_error *error) {
    const json_t *value = member(lines->object, field);
    char fields[512] = "";
    if (!value)
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": no field \"%s\"; the line's fields: %s; name the right one with %s", at->path, at->line,
                       field, list_fields(lines->object, fields, sizeof fields), option);
    if (!json_is_string(value))
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": field \"%s\": expected a string, found %s", at->path, at->line, field, cx_json_type(value));
    *text = json_string_value(value);
    *length = json_string_length(value);
    return CX_OK;
}

/* An array of integers that fit into int32 and are not negative; whether the model knows them is checked where the model is known. */
static enum cx_status read_integers(const json_t *array, const char *field, const struct place *at, int32_t **values, size_t *capacity, size_t *count,
                                    struct cx_error *error) {
    if (!json_is_array(array))
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": field \"%s\": expected an array of integers, found %s", at->path, at->line, field,
                       cx_json_type(array));
    *count = json_array_size(array);
    enum cx_status status = cx_reserve(values, capacity, *count, sizeof **values, "input_ids of a document", error);
    if (status != CX_OK)
        return status;
    for (size_t k = 0; k < *count; k++) {
        const json_t *value = json_array_get(array, k);
        if (!json_is_integer(value))
            return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": field \"%s\", element %zu: expected an integer, found %s", at->path, at->line, field, k,
                           cx_json_type(value));
        json_int_t number = json_integer_value(value);
        if (number < 0 || number > INT32_MAX)
            return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": field \"%s\", element %zu: expected 0 to %d, found %" JSON_INTEGER_FORMAT, at->path,
                           at->line, field, k, INT32_MAX, number);
        (*values)[k] = (int32_t)number;
    }
    return CX_OK;
}

static enum cx_status read_input_ids(struct cx_json_lines *lines, const json_t *ids, const struct place *at, struct cx_document *document,
                                     struct cx_error *error) {
    const json_t *types = member(lines->object, "token_type_ids");
    const char *also = member(lines->object, lines->text_field)                        ? lines->text_field
                       : lines->pair_field && member(lines->object, lines->pair_field) ? lines->pair_field
                                                                                       : NULL;
    if (also)
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": both \"%s\" and \"input_ids\": a document is either text or ready ids", at->path, at->line,
                       also);
    enum cx_status status = read_integers(ids, "input_ids", at, &lines->input_ids, &lines->input_capacity, &document->input_count, error);
    if (status != CX_OK)
        return status;
    if (document->input_count == 0)
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": field \"input_ids\": expected at least one id, found none", at->path, at->line);
    document->input_ids = lines->input_ids;
    if (!types)
        return CX_OK;
    size_t count;
    status = read_integers(types, "token_type_ids", at, &lines->token_type_ids, &lines->type_capacity, &count, error);
    if (status == CX_OK && count != document->input_count)
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": field \"token_type_ids\": expected %zu elements, as many as input_ids, found %zu", at->path,
                       at->line, document->input_count, count);
    document->token_type_ids = lines->token_type_ids;
    return status;
}

/* A fault is kept in annotation_fault, and leaves the document without any annotation. */
static enum cx_status read_annotations(struct cx_json_lines *lines, const struct place *at, struct cx_document *document, struct cx_error *error) {
    const char *texts[2] = {document->text, document->pair};
    const size_t lengths[2] = {document->text_length, document->pair_length};
    for (int k = 0; k < 2; k++) {
        const struct cx_annotation_place place = {at->path, at->line, lines->words_fields[k]};
        const json_t *words = k == 0 || lines->pair_field ? member(lines->object, place.field) : NULL;
        if (!words)
            continue;
        enum cx_status status =
            texts[k] ? cx_annotation_parse(words, texts[k], lengths[k], &place, &lines->words[k], &document->annotations[k], &lines->annotation_fault)
                     : cx_fail(&lines->annotation_fault, CX_ERROR_DOCUMENT,
                               "%s:%" PRIu64 ": field \"%s\": words belong to a text, and this document has ready input_ids", at->path, at->line, place.field);
        if (status == CX_OK)
            continue;
        if (status != CX_ERROR_DOCUMENT) {
            if (error)
                *error = lines->annotation_fault;
            return status;
        }
        document->annotations[0] = document->annotations[1] = (struct cx_annotation){0};
        document->annotation_fault = lines->annotation_fault.message;
        return CX_OK;
    }
    return CX_OK;
}

enum cx_status cx_json_lines_parse(struct cx_json_lines *lines, const char *text, size_t length, const char *path, struct cx_document *document,
                                   struct cx_error *error) {
    const struct place at = {path, document->line};
    json_decref(lines->object);
    lines->object = NULL;
    enum cx_status status = parse_object(text, length, &at, &lines->object, error);
    if (status == CX_OK)
        status = read_id(lines, &at, document, error);
    if (status != CX_OK)
        return status;
    const json_t *ids = member(lines->object, "input_ids");
    if (ids) {
        status = read_input_ids(lines, ids, &at, document, error);
        return status == CX_OK ? read_annotations(lines, &at, document, error) : status;
    }
    if (member(lines->object, "token_type_ids"))
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": \"token_type_ids\" without \"input_ids\": types are taken only with ready ids", path,
                       at.line);
    status = read_text(lines, lines->text_field, "--text-field", &at, &document->text, &document->text_length, error);
    if (status == CX_OK && lines->pair_field)
        status = read_text(lines, lines->pair_field, "--pair-field", &at, &document->pair, &document->pair_length, error);
    return status == CX_OK ? read_annotations(lines, &at, document, error) : status;
}

void cx_json_lines_free(struct cx_json_lines *lines) {
    json_decref(lines->object);
    free(lines->input_ids);
    free(lines->token_type_ids);
    free(lines->words[0].words);
    free(lines->words[1].words);
    *lines = (struct cx_json_lines){0};
}
