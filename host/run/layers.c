#include <stdlib.h>
#include <string.h>

#include "contexture/run.h"

/* One layer number at *text; -1 is the last layer. Moves *text behind it. */
static enum cx_status parse_layer(const char *option, const char *whole, const char **text, size_t layers, size_t *layer, struct cx_error *error) {
    bool from_end = **text == '-';
    const char *digits = *text + from_end;
    size_t length = strspn(digits, "0123456789");
    if (length == 0)
        return cx_fail(error, CX_ERROR_USAGE, "%s %s: expected all, none, or layers like 0,3,5-7 or -1, found \"%s\"", option, whole, *text);
    size_t number = length > 6 ? 1000000 : strtoul(digits, NULL, 10);
    *text = digits + length;
    if (from_end ? number == 0 || number > layers : number >= layers)
        return cx_fail(error, CX_ERROR_USAGE, "%s %s: the model has the layers 0 to %zu (-1 is the last); there is no layer %s%.*s", option, whole, layers - 1,
                       from_end ? "-" : "", (int)length, digits);
    *layer = from_end ? layers - number : number;
    return CX_OK;
}

enum cx_status cx_layers_parse(const char *option, const char *text, size_t layers, bool *marked, size_t *count, struct cx_error *error) {
    memset(marked, 0, layers * sizeof *marked);
    *count = 0;
    bool all = strcmp(text, "all") == 0;
    if (all || strcmp(text, "none") == 0) {
        memset(marked, all, layers * sizeof *marked);
        *count = all ? layers : 0;
        return CX_OK;
    }
    for (const char *place = text;; place++) {
        size_t first, last;
        enum cx_status status = parse_layer(option, text, &place, layers, &first, error);
        last = first;
        if (status == CX_OK && *place == '-') {
            place++;
            status = parse_layer(option, text, &place, layers, &last, error);
        }
        if (status != CX_OK)
            return status;
        if (last < first)
            return cx_fail(error, CX_ERROR_USAGE, "%s %s: the range from %zu to %zu runs backwards", option, text, first, last);
        for (size_t layer = first; layer <= last; layer++) {
            *count += !marked[layer];
            marked[layer] = true;
        }
        if (*place == '\0')
            return CX_OK;
        if (*place != ',')
            return cx_fail(error, CX_ERROR_USAGE, "%s %s: expected a comma or the end, found \"%s\"", option, text, place);
    }
}
