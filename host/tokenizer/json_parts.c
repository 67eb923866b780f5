#include "json_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct cx_place cx_place_of(const char *format, ...) {
    struct cx_place place;
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(place.text, sizeof place.text, format, arguments) < 0)
        place.text[0] = '\0';
    va_end(arguments);
    return place;
}

enum cx_status cx_refuse_unknown_keys(json_t *object, const char *const *known, const char *where, struct cx_error *error) {
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], key) != 0)
            i++;
        if (!known[i])
            return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: key \"%s\" is not supported, and might change the tokens", where, key);
    }
    return CX_OK;
}

enum cx_status cx_read_added_token(json_t *object, const char *where, bool required, struct cx_added_token *token, struct cx_error *error) {
    static const char *const known[] = {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special", "__type", NULL};
    const struct {
        const char *key;
        bool *value;
    } flags[] = {{"single_word", &token->single_word},
                 {"lstrip", &token->lstrip},
                 {"rstrip", &token->rstrip},
                 {"normalized", &token->normalized},
                 {"special", &token->special}};
    const char *content = NULL;
    enum cx_status status = cx_refuse_unknown_keys(object, known, where, error);
    if (status == CX_OK)
        status = cx_json_text(object, "content", where, true, &content, error);
    for (size_t i = 0; status == CX_OK && i < sizeof flags / sizeof flags[0]; i++)
        status = cx_json_flag(object, flags[i].key, where, required, flags[i].value, error);
    if (status == CX_OK) {
        token->content = content;
        token->length = strlen(content);
    }
    return status;
}
