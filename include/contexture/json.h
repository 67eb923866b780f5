/*
 * JSON by jansson, with our messages. `where` begins every sentence: a path, or a path and what is inside ("out/config.json").
 * Getters take the object and a key; a value of the wrong type is CX_ERROR_INPUT and says key, expected and found type.
 */
#ifndef CONTEXTURE_JSON_H
#define CONTEXTURE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

/* Parses text[0..length). Strict: duplicate keys, anything behind the value, and invalid UTF-8 are refused with line and column. Release with json_decref().
 * A string may hold U+0000, written \u0000 (a key may not): use json_string_length(), or cx_json_text(), which refuses such a string. */
CX_MUST_USE enum cx_status cx_json_parse(const char *text, size_t length, const char *where, json_t **value, struct cx_error *error);

/* The same with jansson's own words of a fault, for who knows better where it is. NULL: there is one, or *lacks_memory. */
json_t *cx_json_load(const char *text, size_t length, bool *lacks_memory, json_error_t *fault);

/* Reads and parses a file of at most `limit` bytes, whose value must be an object. */
CX_MUST_USE enum cx_status cx_json_read(const char *path, size_t limit, json_t **object, struct cx_error *error);

/* Like json_typeof, in words: "a string", "an integer", "null", "nothing" for NULL. */
const char *cx_json_type(const json_t *value);

/* The member, of that type; *member is borrowed. `required` false: a missing or null member gives NULL and CX_OK. */
CX_MUST_USE enum cx_status cx_json_object_member(const json_t *object, const char *key, const char *where, bool required, json_t **member,
                                                 struct cx_error *error);
CX_MUST_USE enum cx_status cx_json_array_member(const json_t *object, const char *key, const char *where, bool required, json_t **member,
                                                struct cx_error *error);

/* Scalars. Missing or null: if `required` an error, else *value keeps what the caller put there. */
CX_MUST_USE enum cx_status cx_json_text(const json_t *object, const char *key, const char *where, bool required, const char **value, struct cx_error *error);
CX_MUST_USE enum cx_status cx_json_flag(const json_t *object, const char *key, const char *where, bool required, bool *value, struct cx_error *error);
CX_MUST_USE enum cx_status cx_json_number(const json_t *object, const char *key, const char *where, bool required, double *value, struct cx_error *error);
/* An integer between `lowest` and `highest`. */
CX_MUST_USE enum cx_status cx_json_integer(const json_t *object, const char *key, const char *where, bool required, int64_t lowest, int64_t highest,
                                           int64_t *value, struct cx_error *error);

#endif
