#include <jansson.h>
#include <stdlib.h>

#include "contexture/tokenizer.h"

struct json_t *cx_utf8_json(const char *text, size_t length) {
    char *valid = NULL;
    size_t valid_length = 0, replaced = 0;
    if (cx_utf8_repair(text, length, &valid, &valid_length, &replaced, NULL) != CX_OK)
        return NULL;
    json_t *value = json_stringn(valid ? valid : text, valid_length);
    free(valid);
    return value;
}
