#include <stdlib.h>

#include "contexture/file.h"
#include "json_parts.h"

/* *named: the file has the key. A token is a string, or an object with "content"; null says that there is none. */
static int32_t mask_of_file(const struct cx_tokenizer *tokenizer, const char *directory, const char *name, bool *named) {
    char *path = NULL;
    json_t *object = NULL;
    int32_t id = -1;
    *named = false;
    if (cx_path_join(directory, name, &path, NULL) == CX_OK && cx_file_exists(path) && cx_json_read(path, CX_TOKENIZER_FILE_LIMIT, &object, NULL) == CX_OK) {
        json_t *value = json_object_get(object, "mask_token");
        const char *content = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
        *named = value != NULL;
        id = content ? cx_tokenizer_id(tokenizer, content) : -1;
    }
    json_decref(object);
    free(path);
    return id;
}

int32_t cx_find_mask(const struct cx_tokenizer *tokenizer, const char *directory) {
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        bool named;
        int32_t id = mask_of_file(tokenizer, directory, names[k], &named);
        if (named)
            return id;
    }
    return cx_tokenizer_id(tokenizer, "[MASK]");
}

int32_t cx_tokenizer_mask_id(const struct cx_tokenizer *tokenizer) {
    return tokenizer->mask_id;
}

bool cx_tokenizer_is_special(const struct cx_tokenizer *tokenizer, int32_t id) {
    for (size_t k = 0; k < tokenizer->added.count; k++)
        if (tokenizer->added.tokens[k].id == id && tokenizer->added.tokens[k].special && !tokenizer->added.tokens[k].is_replaced)
            return true;
    return false;
}
