#include "mask_dims.h"

#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"

void mask_dims_free(struct mask_dims *mask) {
    free(mask->named);
    free(mask->dimensions);
    *mask = (struct mask_dims){0};
}

/* --- the option's text --- */

static enum cx_status fail_form(const char *text, const char *found, struct cx_error *error) {
    return cx_fail(error, CX_ERROR_USAGE, "--mask-dims %s: expected none, gamma:P, activation:P or dims:308,381,…, found \"%s\"", text, found);
}

/* The whole number at *place, which moves behind it; what is too long for a number is too large for any model, too. */
static bool take_number(const char **place, size_t *number) {
    const size_t digits = strspn(*place, "0123456789");
    *number = digits > 9 ? SIZE_MAX : digits > 0 ? strtoul(*place, NULL, 10) : 0;
    *place += digits;
    return digits > 0;
}

static enum cx_status parse_count(const char *text, const char *place, size_t width, size_t *count, struct cx_error *error) {
    const char *begin = place;
    if (!take_number(&place, count) || *place != '\0')
        return fail_form(text, begin, error);
    if (*count == 0 || *count >= width)
        return cx_fail(error, CX_ERROR_USAGE, "--mask-dims %s: expected a number of dimensions from 1 to %zu, for the model has %zu, found %s", text, width - 1,
                       width, begin);
    return CX_OK;
}

static int rising(const void *a, const void *b) {
    const size_t first = *(const size_t *)a, second = *(const size_t *)b;
    return first < second ? -1 : first > second;
}

static enum cx_status parse_dimensions(const char *text, const char *place, size_t width, struct mask_dims *mask, struct cx_error *error) {
    size_t capacity = 0;
    for (;; place++) {
        const char *begin = place;
        size_t dimension;
        if (!take_number(&place, &dimension) || (*place != '\0' && *place != ','))
            return fail_form(text, begin, error);
        if (dimension >= width)
            return cx_fail(error, CX_ERROR_USAGE, "--mask-dims %s: the model has the dimensions 0 to %zu; there is no %.*s", text, width - 1,
                           (int)(place - begin), begin);
        enum cx_status status = cx_reserve(&mask->named, &capacity, mask->count + 1, sizeof *mask->named, "masked dimensions", error);
        if (status != CX_OK)
            return status;
        mask->named[mask->count++] = dimension;
        if (*place == '\0')
            break;
    }
    qsort(mask->named, mask->count, sizeof *mask->named, rising);
    for (size_t k = 1; k < mask->count; k++)
        if (mask->named[k] == mask->named[k - 1])
            return cx_fail(error, CX_ERROR_USAGE, "--mask-dims %s: dimension %zu stands there twice; name each once", text, mask->named[k]);
    if (mask->count == width)
        return cx_fail(error, CX_ERROR_USAGE, "--mask-dims %s: all %zu dimensions of the model are masked, and nothing is left; leave some", text, width);
    return CX_OK;
}

enum cx_status mask_dims_parse(const char *text, size_t width, struct mask_dims *mask, struct cx_error *error) {
    *mask = (struct mask_dims){0};
    if (strcmp(text, cx_mask_choice_name(CX_MASK_NONE)) == 0)
        return CX_OK;
    for (enum cx_mask_choice choice = CX_MASK_GAMMA; choice < CX_MASK_CHOICES; choice++) {
        const size_t length = strlen(cx_mask_choice_name(choice));
        if (strncmp(text, cx_mask_choice_name(choice), length) != 0 || text[length] != ':')
            continue;
        mask->choice = choice;
        const char *place = text + length + 1;
        return choice == CX_MASK_DIMENSIONS ? parse_dimensions(text, place, width, mask, error) : parse_count(text, place, width, &mask->count, error);
    }
    return fail_form(text, text, error);
}

/* --- choosing --- */

static enum cx_status make_room(struct mask_dims *mask, size_t layer_count, struct cx_error *error) {
    return cx_allocate(layer_count * CX_NORMS * mask->count, sizeof *mask->dimensions, "masked dimensions", &mask->dimensions, error);
}

struct sized {
    double size;
    size_t dimension;
};

static int larger_first(const void *a, const void *b) {
    const struct sized *first = a, *second = b;
    if (first->size != second->size)
        return first->size > second->size ? -1 : 1;
    return rising(&first->dimension, &second->dimension);
}

enum cx_status mask_dims_take_largest(struct mask_dims *mask, size_t layer_count, size_t width, const double *sizes, struct cx_error *error) {
    struct sized *order = NULL;
    enum cx_status status = make_room(mask, layer_count, error);
    if (status == CX_OK)
        status = cx_allocate(width, sizeof *order, "masked dimensions", &order, error);
    for (size_t norm = 0; norm < layer_count * CX_NORMS && status == CX_OK; norm++) {
        size_t *chosen = mask->dimensions + norm * mask->count;
        for (size_t k = 0; k < width; k++)
            order[k] = (struct sized){sizes[norm * width + k], k};
        qsort(order, width, sizeof *order, larger_first);
        for (size_t k = 0; k < mask->count; k++)
            chosen[k] = order[k].dimension;
        qsort(chosen, mask->count, sizeof *chosen, rising);
    }
    free(order);
    return status;
}

enum cx_status mask_dims_take_named(struct mask_dims *mask, size_t layer_count, struct cx_error *error) {
    enum cx_status status = make_room(mask, layer_count, error);
    for (size_t norm = 0; norm < layer_count * CX_NORMS && status == CX_OK; norm++)
        memcpy(mask->dimensions + norm * mask->count, mask->named, mask->count * sizeof *mask->named);
    return status;
}

/* --- in the description of a run --- */

json_t *mask_dims_json(const struct mask_dims *mask, size_t layer_count) {
    json_t *layers = json_array();
    int failed = layers == NULL;
    for (size_t layer = 0; layer < layer_count; layer++) {
        json_t *norms = json_array();
        failed |= json_array_append_new(layers, norms);
        for (size_t norm = 0; norm < CX_NORMS && !failed; norm++) {
            const size_t *chosen = mask->dimensions + (layer * CX_NORMS + norm) * mask->count;
            json_t *list = json_array();
            failed |= json_array_append_new(norms, list);
            for (size_t k = 0; k < mask->count && !failed; k++)
                failed |= json_array_append_new(list, json_integer((json_int_t)chosen[k]));
        }
    }
    if (!failed)
        return layers;
    json_decref(layers);
    return NULL;
}

enum cx_status mask_dims_take_json(struct mask_dims *mask, size_t layer_count, size_t width, const json_t *json, struct cx_error *error) {
    enum cx_status status = make_room(mask, layer_count, error);
    for (size_t place = 0; place < layer_count * CX_NORMS * mask->count && status == CX_OK; place++) {
        const size_t norm = place / mask->count;
        const json_t *list = json_array_get(json_array_get(json, norm / CX_NORMS), norm % CX_NORMS), *number = json_array_get(list, place % mask->count);
        const json_int_t dimension = json_is_integer(number) ? json_integer_value(number) : -1;
        if (dimension < 0 || (size_t)dimension >= width)
            return cx_fail(error, CX_ERROR_INTERNAL, "the description of the run names no masked dimension number %zu", place);
        mask->dimensions[place] = (size_t)dimension;
    }
    return status;
}
