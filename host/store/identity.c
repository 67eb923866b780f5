#include "identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/store.h"

/* The smallest key, but that of the files' names, that one of the objects lacks, or whose values differ; NULL if they are equal. */
static const char *first_difference(const json_t *left, const json_t *right) {
    const char *first = NULL;
    const json_t *const sides[2][2] = {{left, right}, {right, left}};
    for (size_t side = 0; side < 2; side++) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)sides[side][0], key, value) {
            if (strcmp(key, CX_IDENTITY_SOURCES) != 0 && !json_equal(value, json_object_get(sides[side][1], key)) && (!first || strcmp(key, first) < 0))
                first = key;
        }
    }
    return first;
}

static void describe(const json_t *value, char *text, size_t size) {
    char *json = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
    const int most = 300;
    snprintf(text, size, "%.*s%s", most, json ? json : "nothing", json && strlen(json) > (size_t)most ? "…" : "");
    free(json);
}

enum cx_status cx_identity_compare(const char *path, const json_t *begun_with, const json_t *now, struct cx_error *error) {
    char name[256] = "", before[320], after[320];
    size_t length = 0;
    for (;;) {
        const char *key = first_difference(begun_with, now);
        if (!key && length == 0)
            return CX_OK;
        if (!key)
            break;
        length += (size_t)snprintf(name + length, sizeof name - length, "%s%.100s", length > 0 ? "." : "", key);
        if (length >= sizeof name)
            length = sizeof name - 1;
        begun_with = json_object_get(begun_with, key);
        now = json_object_get(now, key);
        if (!json_is_object(begun_with) || !json_is_object(now))
            break;
    }
    describe(begun_with, before, sizeof before);
    describe(now, after, sizeof after);
    return cx_fail(error, CX_ERROR_CONFLICT, "%s: the folder holds another run: %s was %s and is now %s; choose another folder, or go on with the old value",
                   path, name, before, after);
}
