#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "options.h"

static void *member(struct options *options, const struct option *option) {
    return (char *)options + option->offset;
}

static const void *member_read(const struct options *options, const struct option *option) {
    return (const char *)options + option->offset;
}

enum cx_status text_list_add(struct text_list *list, const char *text, struct cx_error *error) {
    enum cx_status status = cx_reserve(&list->items, &list->capacity, list->count + 1, sizeof *list->items, "the options", error);
    if (status == CX_OK)
        list->items[list->count++] = text;
    return status;
}

enum cx_status options_own(struct options *options, const char *text, size_t length, const char **copy, struct cx_error *error) {
    char *made = NULL;
    enum cx_status status = cx_copy_text(text, length, &made, error);
    if (status == CX_OK)
        status = text_list_add(&options->owned, made, error);
    if (status != CX_OK)
        free(made);
    *copy = status == CX_OK ? made : NULL;
    return status;
}

void option_clear(struct options *options, const struct option *option) {
    if (option->type == OPTION_LIST)
        ((struct text_list *)member(options, option))->count = 0;
}

static enum cx_status set_flag(bool *flag, const char *text, const char *origin, struct cx_error *error) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (strcmp(text, words[k]) == 0) {
            *flag = k % 2 == 1;
            return CX_OK;
        }
    return cx_fail(error, CX_ERROR_USAGE, "%s: expected true or false, found \"%s\"", origin, text);
}

/* A power of 1024 for the letter behind a number of bytes; 0: no such letter. */
static double unit_of(const char *letter) {
    static const char units[] = "kmgt";
    if (*letter == '\0')
        return 1;
    const char *found = strchr(units, tolower((unsigned char)*letter));
    return found && letter[1] == '\0' ? pow(1024, (double)(found - units + 1)) : 0;
}

static enum cx_status set_count(uint64_t *count, const struct option *option, const char *text, const char *origin, struct cx_error *error) {
    const size_t digits = strspn(text, "0123456789");
    const bool bytes = option->type == OPTION_BYTES;
    const double unit = bytes ? unit_of(text + digits) : (double)(text[digits] == '\0');
    const double number = digits > 0 && digits < 20 ? strtod(text, NULL) * unit : -1;
    if (unit == 0 || number < option->lowest || number > option->highest)
        return cx_fail(error, CX_ERROR_USAGE, "%s: expected a whole number %s%.0f to %.0f, found \"%s\"", origin,
                       bytes ? "of bytes (or as 32M) from " : "from ", option->lowest, option->highest, text);
    *count = (uint64_t)number;
    return CX_OK;
}

static enum cx_status set_number(double *number, const struct option *option, const char *text, const char *origin, struct cx_error *error) {
    char *end = NULL;
    const double found = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(found) || found < option->lowest || found > option->highest || strpbrk(text, "xX "))
        return cx_fail(error, CX_ERROR_USAGE, "%s: expected a number from %g to %g, found \"%s\"", origin, option->lowest, option->highest, text);
    *number = found;
    return CX_OK;
}

static enum cx_status set_choice(unsigned *choice, const struct option *option, const char *text, const char *origin, struct cx_error *error) {
    char list[256] = "";
    for (unsigned k = 0; option->choices[k]; k++) {
        if (strcmp(text, option->choices[k]) == 0) {
            *choice = k;
            return CX_OK;
        }
        const size_t length = strlen(list);
        (void)snprintf(list + length, sizeof list - length, "%s%s", k == 0 ? "" : ", ", option->choices[k]);
    }
    return cx_fail(error, CX_ERROR_USAGE, "%s: expected one of %s, found \"%s\"", origin, list, text);
}

static const char *analysis_name_of(size_t index, char *buffer, size_t size) {
    (void)buffer;
    (void)size;
    return cx_analysis_name((unsigned)index);
}

static enum cx_status set_analyses(unsigned *set, const char *text, const char *origin, struct cx_error *error) {
    *set = 0;
    if (strcmp(text, "all") == 0 || strcmp(text, "none") == 0) {
        *set = text[0] == 'a' ? all_analyses_flag : 0;
        return CX_OK;
    }
    for (const char *place = text;; place++) {
        const size_t length = strcspn(place, ",");
        const unsigned analysis = cx_analysis_by_name(place, length);
        if (analysis == CX_ANALYSES) {
            char word[64], nearest[96];
            (void)snprintf(word, sizeof word, "%.*s", (int)length, place);
            suggest_nearest(word, analysis_name_of, CX_ANALYSES, "", nearest, sizeof nearest);
            return cx_fail(error, CX_ERROR_USAGE,
                           "%s: expected all, none, or a list of contextualization_change, mixing_ratio, pair_amplification, categories, cancellation, "
                           "norm_dimensions, found \"%.*s\"%s",
                           origin, (int)length, place, nearest);
        }
        *set |= CX_ANALYSIS_BIT(analysis);
        place += length;
        if (*place == '\0')
            return CX_OK;
    }
}

static const char *map_name_of(size_t index, char *buffer, size_t size) {
    (void)buffer;
    (void)size;
    return cx_map_name((unsigned)index);
}

static enum cx_status set_stages(unsigned *set, const struct option *option, const char *text, const char *origin, struct cx_error *error) {
    const bool vectors = option->offset == offsetof(struct options, run.vector_stages); /* the mean of α has no vector */
    const unsigned all = vectors ? CX_ALL_MAPS & ~CX_STAGE_BIT(CX_MAP_ATTN_WEIGHT) : CX_ALL_MAPS;
    *set = 0;
    if (strcmp(text, "all") == 0 || strcmp(text, "none") == 0) {
        *set = text[0] == 'a' ? all : 0;
        return CX_OK;
    }
    for (const char *place = text;; place++) {
        const size_t length = strcspn(place, ",");
        const unsigned map = cx_map_by_name(place, length);
        if (map >= CX_MAPS || !(all & CX_STAGE_BIT(map))) {
            char word[32], nearest[64];
            (void)snprintf(word, sizeof word, "%.*s", (int)length, place);
            suggest_nearest(word, map_name_of, vectors ? CX_STAGES : CX_MAPS, "", nearest, sizeof nearest);
            return cx_fail(error, CX_ERROR_USAGE, "%s: expected all, none, or a list of %sattn, attn_res, attn_res_ln, ff, ff_res, ff_res_ln, found \"%.*s\"%s",
                           origin, vectors ? "" : "attn_weight, ", (int)length, place, nearest);
        }
        *set |= CX_STAGE_BIT(map);
        place += length;
        if (*place == '\0')
            return CX_OK;
    }
}

static enum cx_status set_text(struct options *options, const struct option *option, const char *text, const char *origin, struct cx_error *error) {
    const char *copy;
    if (text[0] == '\0')
        return cx_fail(error, CX_ERROR_USAGE, "%s: expected a value, found nothing", origin);
    enum cx_status status = options_own(options, text, strlen(text), &copy, error);
    if (status != CX_OK)
        return status;
    if (option->type == OPTION_LIST)
        return text_list_add(member(options, option), copy, error);
    *(const char **)member(options, option) = copy;
    return CX_OK;
}

enum cx_status option_set(struct options *options, const struct option *option, const char *text, const char *origin, struct cx_error *error) {
    switch (option->type) {
    case OPTION_FLAG:
        return set_flag(member(options, option), text, origin, error);
    case OPTION_COUNT:
    case OPTION_BYTES:
        return set_count(member(options, option), option, text, origin, error);
    case OPTION_NUMBER:
        return set_number(member(options, option), option, text, origin, error);
    case OPTION_CHOICE:
        return set_choice(member(options, option), option, text, origin, error);
    case OPTION_STAGES:
        return set_stages(member(options, option), option, text, origin, error);
    case OPTION_ANALYSES:
        return set_analyses(member(options, option), text, origin, error);
    case OPTION_TEXT:
    case OPTION_LIST:
        break;
    }
    return set_text(options, option, text, origin, error);
}

/* --- back to text --- */

size_t option_text_count(const struct options *options, const struct option *option) {
    const void *value = member_read(options, option);
    if (option->type == OPTION_LIST)
        return ((const struct text_list *)value)->count;
    return option->type != OPTION_TEXT || *(const char *const *)value != NULL;
}

static void write_bytes(uint64_t bytes, char *text, size_t size) {
    static const char *const units[] = {"", "K", "M", "G", "T"};
    size_t unit = 0;
    for (; unit < 4 && bytes > 0 && bytes % 1024 == 0; unit++)
        bytes /= 1024;
    (void)snprintf(text, size, "%" PRIu64 "%s", bytes, units[unit]);
}

/* The names of the bits 0 .. count - 1 that are set. */
static void write_set(unsigned set, unsigned count, const char *(*name)(unsigned bit), char *text, size_t size) {
    text[0] = '\0';
    for (unsigned bit = 0; bit < count; bit++)
        if (set & 1u << bit) {
            const size_t length = strlen(text);
            (void)snprintf(text + length, size - length, "%s%s", length > 0 ? "," : "", name(bit));
        }
    if (set == 0)
        (void)snprintf(text, size, "none");
}

enum cx_status option_text(struct options *options, const struct option *option, size_t index, const char **text, struct cx_error *error) {
    char buffer[256];
    const void *value = member_read(options, option);
    switch (option->type) {
    case OPTION_TEXT:
        *text = *(const char *const *)value;
        return CX_OK;
    case OPTION_LIST:
        *text = ((const struct text_list *)value)->items[index];
        return CX_OK;
    case OPTION_CHOICE:
        *text = option->choices[*(const unsigned *)value];
        return CX_OK;
    case OPTION_FLAG:
        *text = *(const bool *)value ? "true" : "false";
        return CX_OK;
    case OPTION_COUNT:
        (void)snprintf(buffer, sizeof buffer, "%" PRIu64, *(const uint64_t *)value);
        break;
    case OPTION_BYTES:
        write_bytes(*(const uint64_t *)value, buffer, sizeof buffer);
        break;
    case OPTION_NUMBER:
        (void)snprintf(buffer, sizeof buffer, "%.9g", *(const double *)value);
        break;
    case OPTION_STAGES:
        write_set(*(const unsigned *)value, CX_MAPS, cx_map_name, buffer, sizeof buffer);
        break;
    case OPTION_ANALYSES:
        write_set(*(const unsigned *)value, CX_ANALYSES, cx_analysis_name, buffer, sizeof buffer);
        break;
    }
    return options_own(options, buffer, strlen(buffer), text, error);
}

/* --- names --- */

void option_environment_name(const struct option *option, char *name, size_t size) {
    (void)snprintf(name, size, "CONTEXTURE_%s", option->name);
    for (char *letter = name; *letter; letter++)
        *letter = *letter == '-' ? '_' : (char)toupper((unsigned char)*letter);
}

void option_key(const struct option *option, char *name, size_t size) {
    (void)snprintf(name, size, "%s", option->name);
    for (char *letter = name; *letter; letter++)
        *letter = *letter == '-' ? '_' : *letter;
}
