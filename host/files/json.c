#include "contexture/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include "contexture/file.h"

/*
 * Where jansson (2.14) gets no memory it may leave a byte out of a text, or call it a fault of the text. errno does not tell, since reading a number clears
 * it. So jansson asks for memory here, and the thread that parses knows whether it was refused any. The memory is malloc's, so that free() releases what
 * jansson hands out, and what it has allocated before the first parse.
 */
static _Thread_local bool was_refused;

static void *allocate_for_jansson(size_t size) {
    void *memory = malloc(size);
    was_refused |= !memory;
    return memory;
}

static void watch_jansson(void) {
    json_set_alloc_funcs(allocate_for_jansson, free);
}

json_t *cx_json_load(const char *text, size_t length, bool *lacks_memory, json_error_t *fault) {
    static once_flag watched = ONCE_FLAG_INIT;
    call_once(&watched, watch_jansson);
    was_refused = false;
    json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, fault);
    *lacks_memory = was_refused;
    if (!was_refused)
        return value;
    json_decref(value);
    return NULL;
}

enum cx_status cx_json_parse(const char *text, size_t length, const char *where, json_t **value, struct cx_error *error) {
    static const char mark[] = "\xEF\xBB\xBF";
    json_error_t fault;
    bool lacks_memory;
    *value = NULL;
    if (length >= sizeof mark - 1 && memcmp(text, mark, sizeof mark - 1) == 0)
        return cx_fail(error, CX_ERROR_INPUT, "%s: not valid JSON: it begins with a byte order mark; save it as UTF-8 without one", where);
    *value = cx_json_load(text, length, &lacks_memory, &fault);
    if (*value)
        return CX_OK;
    if (lacks_memory)
        return cx_fail_memory(error, where, length);
    if (fault.line <= 0)
        return cx_fail(error, CX_ERROR_INPUT, "%s: not valid JSON: %s", where, fault.text);
    return cx_fail(error, CX_ERROR_INPUT, "%s: line %d, column %d: not valid JSON: %s", where, fault.line, fault.column, fault.text);
}

enum cx_status cx_json_read(const char *path, size_t limit, json_t **object, struct cx_error *error) {
    char *text = NULL;
    size_t length;
    *object = NULL;
    enum cx_status status = cx_file_read(path, limit, &text, &length, error);
    if (status != CX_OK)
        return status;
    json_t *value = NULL;
    status = cx_json_parse(text, length, path, &value, error);
    free(text);
    if (status != CX_OK)
        return status;
    if (!json_is_object(value)) {
        status = cx_fail(error, CX_ERROR_INPUT, "%s: expected a JSON object, found %s", path, cx_json_type(value));
        json_decref(value);
        return status;
    }
    *object = value;
    return CX_OK;
}

const char *cx_json_type(const json_t *value) {
    if (!value)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a real number";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "an unknown type";
}

/* The member, or NULL if it may be absent and is; *status says whether that is a failure. */
static json_t *member_of(const json_t *object, const char *key, const char *where, const char *expected, bool required, enum cx_status *status,
                         struct cx_error *error) {
    json_t *member = json_object_get(object, key);
    *status = CX_OK;
    if (member && !json_is_null(member))
        return member;
    if (required)
        *status = cx_fail(error, CX_ERROR_INPUT, "%s: key \"%s\": expected %s, found %s", where, key, expected, cx_json_type(member));
    return NULL;
}

static enum cx_status wrong_type(const json_t *member, const char *key, const char *where, const char *expected, struct cx_error *error) {
    return cx_fail(error, CX_ERROR_INPUT, "%s: key \"%s\": expected %s, found %s", where, key, expected, cx_json_type(member));
}

enum cx_status cx_json_object_member(const json_t *object, const char *key, const char *where, bool required, json_t **member, struct cx_error *error) {
    enum cx_status status;
    json_t *found = member_of(object, key, where, "an object", required, &status, error);
    *member = NULL;
    if (found && !json_is_object(found))
        return wrong_type(found, key, where, "an object", error);
    *member = found;
    return status;
}

enum cx_status cx_json_array_member(const json_t *object, const char *key, const char *where, bool required, json_t **member, struct cx_error *error) {
    enum cx_status status;
    json_t *found = member_of(object, key, where, "an array", required, &status, error);
    *member = NULL;
    if (found && !json_is_array(found))
        return wrong_type(found, key, where, "an array", error);
    *member = found;
    return status;
}

enum cx_status cx_json_text(const json_t *object, const char *key, const char *where, bool required, const char **value, struct cx_error *error) {
    enum cx_status status;
    json_t *found = member_of(object, key, where, "a string", required, &status, error);
    if (!found)
        return status;
    if (!json_is_string(found))
        return wrong_type(found, key, where, "a string", error);
    if (strlen(json_string_value(found)) != json_string_length(found))
        return cx_fail(error, CX_ERROR_INPUT, "%s: key \"%s\": expected a string without the character U+0000, found one with it", where, key);
    *value = json_string_value(found);
    return CX_OK;
}

enum cx_status cx_json_flag(const json_t *object, const char *key, const char *where, bool required, bool *value, struct cx_error *error) {
    enum cx_status status;
    json_t *found = member_of(object, key, where, "true or false", required, &status, error);
    if (!found)
        return status;
    if (!json_is_boolean(found))
        return wrong_type(found, key, where, "true or false", error);
    *value = json_is_true(found);
    return CX_OK;
}

enum cx_status cx_json_number(const json_t *object, const char *key, const char *where, bool required, double *value, struct cx_error *error) {
    enum cx_status status;
    json_t *found = member_of(object, key, where, "a number", required, &status, error);
    if (!found)
        return status;
    if (!json_is_number(found))
        return wrong_type(found, key, where, "a number", error);
    *value = json_number_value(found);
    return CX_OK;
}

enum cx_status cx_json_integer(const json_t *object, const char *key, const char *where, bool required, int64_t lowest, int64_t highest, int64_t *value,
                               struct cx_error *error) {
    enum cx_status status;
    json_t *found = member_of(object, key, where, "an integer", required, &status, error);
    if (!found)
        return status;
    if (!json_is_integer(found))
        return wrong_type(found, key, where, "an integer", error);
    json_int_t number = json_integer_value(found);
    if (number < lowest || number > highest)
        return cx_fail(error, CX_ERROR_INPUT, "%s: key \"%s\": expected an integer from %" PRId64 " to %" PRId64 ", found %" JSON_INTEGER_FORMAT, where, key,
                       lowest, highest, number);
    *value = number;
    return CX_OK;
}
