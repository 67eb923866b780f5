/* Configuration files: libcyaml reads them with a schema made from the table, and writes them for --dump-config. */
#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/file.h"
#include "contexture/memory.h"
#include "options.h"

enum { largest_file = 1 << 20, most_names = CX_MAPS > CX_ANALYSES ? (int)CX_MAPS : (int)CX_ANALYSES }; /* of stages or analyses */

/* What a file says of one option. All values are read as text: they go the way that flags and variables go. */
struct entry {
    char *text;
    char **list;
    uint32_t count;
};

struct schema {
    cyaml_schema_value_t item, top;
    cyaml_schema_field_t *fields; /* [option_count + 1] */
    char (*keys)[64];             /* [option_count] */
};

static bool is_list(const struct option *option) {
    return option->type == OPTION_LIST || option->type == OPTION_STAGES || option->type == OPTION_ANALYSES;
}

static void schema_free(struct schema *schema) {
    free(schema->fields);
    free(schema->keys);
}

static enum cx_status schema_create(struct schema *schema, struct cx_error *error) {
    memset(schema, 0, sizeof *schema);
    enum cx_status status = cx_allocate(option_count + 1, sizeof *schema->fields, "the schema", &schema->fields, error);
    if (status == CX_OK)
        status = cx_allocate(option_count, sizeof *schema->keys, "the schema", &schema->keys, error);
    if (status != CX_OK) {
        schema_free(schema);
        return status;
    }
    schema->item = (cyaml_schema_value_t){.type = CYAML_STRING, .flags = CYAML_FLAG_POINTER, .data_size = 1, .string = {.min = 0, .max = CYAML_UNLIMITED}};
    size_t field = 0;
    for (size_t k = 0; k < option_count; k++) {
        const struct option *option = &option_table[k];
        if (!(option->places & PLACE_FILE))
            continue;
        option_key(option, schema->keys[k], sizeof schema->keys[k]);
        cyaml_schema_field_t *made = &schema->fields[field++];
        made->key = schema->keys[k];
        made->data_offset = (uint32_t)(k * sizeof(struct entry) + offsetof(struct entry, text));
        made->value = schema->item;
        if (is_list(option)) {
            made->data_offset = (uint32_t)(k * sizeof(struct entry) + offsetof(struct entry, list));
            made->count_offset = (uint32_t)(k * sizeof(struct entry) + offsetof(struct entry, count));
            made->count_size = sizeof(uint32_t);
            made->value = (cyaml_schema_value_t){
                .type = CYAML_SEQUENCE, .data_size = sizeof(char *), .sequence = {.entry = &schema->item, .min = 0, .max = CYAML_UNLIMITED}};
        }
        made->value.flags = (enum cyaml_flag)((unsigned)CYAML_FLAG_POINTER | (unsigned)CYAML_FLAG_OPTIONAL);
    }
    schema->top = (cyaml_schema_value_t){.type = CYAML_MAPPING,
                                         .flags = CYAML_FLAG_POINTER,
                                         .data_size = (uint32_t)(option_count * sizeof(struct entry)),
                                         .mapping = {.fields = schema->fields}};
    return CX_OK;
}

/* --- what libcyaml complains of, which it tells in its log alone --- */

struct complaint {
    char unknown[64], repeated[64], field[64];
    char wanted[32], found[32];
    char parser[160];
    unsigned line;
    bool several_documents;
};

static void read_complaint(cyaml_log_t level, void *context, const char *format, va_list arguments) {
    struct complaint *complaint = context;
    char text[256], field[64];
    unsigned line;
    (void)level;
    (void)vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = '\0';
    if (strstr(text, "Ignoring documents"))
        complaint->several_documents = true;
    (void)sscanf(text, "Load: Unexpected key: %63[^\n]", complaint->unknown);
    (void)sscanf(text, "Load: Mapping field already seen: %63[^\n]", complaint->repeated);
    (void)sscanf(text, "Load: Expecting %31[^,], got event: %31s", complaint->wanted, complaint->found);
    (void)sscanf(text, "Load: libyaml: %159[^\n]", complaint->parser);
    if (complaint->line == 0 && sscanf(text, " in mapping field '%63[^']' (line: %u", field, &line) == 2) {
        (void)snprintf(complaint->field, sizeof complaint->field, "%s", field);
        complaint->line = line;
    }
}

/* The line of the key's `occurrence`th appearance (from 1); 0: not found. Files are flat, so that a line begins with its key. */
static unsigned line_of_key(const char *text, const char *key, unsigned occurrence) {
    const size_t length = strlen(key);
    unsigned line = 1;
    for (const char *place = text; place; line++) {
        const char *begin = place + strspn(place, " {\"'");
        if (strncmp(begin, key, length) == 0 && begin[length + strspn(begin + length, "\"' ")] == ':' && --occurrence == 0)
            return line;
        place = strchr(place, '\n');
        place = place ? place + 1 : NULL;
    }
    return 0;
}

static const char *key_of(size_t index, char *buffer, size_t size) {
    if (!(option_table[index].places & PLACE_FILE))
        return NULL;
    option_key(&option_table[index], buffer, size);
    return buffer;
}

/* "demo.yaml:3: " or "demo.yaml: " */
static void write_place(const char *path, unsigned line, char *place, size_t size) {
    if (line > 0)
        (void)snprintf(place, size, "%s:%u: ", path, line);
    else
        (void)snprintf(place, size, "%s: ", path);
}

static const char *in_words(const char *event) {
    if (strcmp(event, "SCALAR") == 0)
        return "a single value";
    if (strncmp(event, "SEQUENCE", 8) == 0)
        return "a list";
    return strncmp(event, "MAPPING", 7) == 0 ? "keys with values" : "something else";
}

static enum cx_status tell_complaint(const char *path, const char *text, const struct complaint *complaint, cyaml_err_t result, struct cx_error *error) {
    char place[512], nearest[96];
    if (complaint->unknown[0]) {
        suggest_nearest(complaint->unknown, key_of, option_count, "", nearest, sizeof nearest);
        write_place(path, line_of_key(text, complaint->unknown, 1), place, sizeof place);
        return cx_fail(error, CX_ERROR_USAGE, "%sunknown key \"%s\"%s%s", place, complaint->unknown, nearest,
                       nearest[0] ? "" : "; 'contexture run --dump-config' prints them all");
    }
    if (complaint->repeated[0]) {
        write_place(path, line_of_key(text, complaint->repeated, 2), place, sizeof place);
        return cx_fail(error, CX_ERROR_USAGE, "%sthe key \"%s\" stands here for the second time; every key may stand once", place, complaint->repeated);
    }
    write_place(path, complaint->line, place, sizeof place);
    if (complaint->parser[0])
        return cx_fail(error, CX_ERROR_USAGE, "%snot valid YAML: %s", place, complaint->parser);
    if (complaint->wanted[0] && !complaint->field[0])
        return cx_fail(error, CX_ERROR_USAGE, "%sexpected keys with values, as \"threads: 4\", found %s", place, in_words(complaint->found));
    if (complaint->wanted[0])
        return cx_fail(error, CX_ERROR_USAGE, "%s%s: expected %s, found %s", place, complaint->field,
                       strcmp(complaint->wanted, "SEQUENCE") == 0 ? "a list (as [a, b])" : "a single value", in_words(complaint->found));
    return cx_fail(error, CX_ERROR_USAGE, "%s%s", place, cyaml_strerror(result));
}

/* --- reading --- */

static enum cx_status set_entry(struct options *options, const struct option *option, const struct entry *entry, const char *origin, struct cx_error *error) {
    if (!is_list(option))
        return entry->text ? option_set(options, option, entry->text, origin, error) : CX_OK;
    enum cx_status status = CX_OK;
    if (entry->list)
        option_clear(options, option);
    if (option->type == OPTION_LIST) {
        for (uint32_t k = 0; k < entry->count && status == CX_OK; k++)
            status = option_set(options, option, entry->list[k], origin, error);
        return status;
    }
    char joined[512] = "";
    for (uint32_t k = 0; k < entry->count; k++) {
        const size_t length = strlen(joined);
        (void)snprintf(joined + length, sizeof joined - length, "%s%s", k > 0 ? "," : "", entry->list[k]);
    }
    return entry->count > 0 ? option_set(options, option, joined, origin, error) : CX_OK;
}

static enum cx_status set_entries(struct options *options, const char *path, const char *text, const struct entry *entries, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < option_count && status == CX_OK; k++) {
        char key[64], place[512], origin[600];
        option_key(&option_table[k], key, sizeof key);
        write_place(path, line_of_key(text, key, 1), place, sizeof place);
        (void)snprintf(origin, sizeof origin, "%s%s", place, key);
        status = set_entry(options, &option_table[k], &entries[k], origin, error);
    }
    return status;
}

enum cx_status options_read_file(struct options *options, const char *path, struct cx_error *error) {
    struct schema schema;
    struct complaint complaint = {0};
    const cyaml_config_t config = {.log_fn = read_complaint, .log_ctx = &complaint, .log_level = CYAML_LOG_WARNING, .mem_fn = cyaml_mem};
    struct entry *entries = NULL;
    char *text = NULL;
    size_t length = 0;
    enum cx_status status = schema_create(&schema, error);
    if (status != CX_OK)
        return status;
    status = cx_file_read(path, largest_file, &text, &length, error);
    if (status != CX_OK)
        goto cleanup;
    cyaml_err_t result = cyaml_load_data((const uint8_t *)text, length, &config, &schema.top, (cyaml_data_t **)&entries, NULL);
    if (result != CYAML_OK)
        status = tell_complaint(path, text, &complaint, result, error);
    else if (complaint.several_documents)
        status = cx_fail(error, CX_ERROR_USAGE, "%s: expected one YAML document, found several, parted by ---", path);
    else if (entries)
        status = set_entries(options, path, text, entries, error);

cleanup:
    if (entries)
        cyaml_free(&config, &schema.top, entries, 0);
    free(text);
    schema_free(&schema);
    return status;
}

/* --- writing --- */

/* Fills one entry; the texts belong to the options, the lists to the entry. */
static enum cx_status dump_entry(struct options *options, const struct option *option, struct entry *entry, struct cx_error *error) {
    const size_t count = option_text_count(options, option);
    enum cx_status status = CX_OK;
    const char *text;
    if (count == 0)
        return CX_OK;
    if (!is_list(option)) {
        status = option_text(options, option, 0, &text, error);
        entry->text = (char *)text;
        return status;
    }
    status = cx_allocate(option->type == OPTION_LIST ? count : most_names, sizeof *entry->list, "the options", &entry->list, error);
    for (size_t k = 0; k < count && status == CX_OK && option->type == OPTION_LIST; k++) {
        status = option_text(options, option, k, &text, error);
        entry->list[entry->count++] = (char *)text;
    }
    if (status != CX_OK || option->type == OPTION_LIST)
        return status;
    status = option_text(options, option, 0, &text, error);
    while (status == CX_OK && *text) {
        const size_t length = strcspn(text, ",");
        const char *name;
        status = options_own(options, text, length, &name, error);
        entry->list[entry->count++] = (char *)name;
        text += length + (text[length] == ',');
    }
    return status;
}

enum cx_status options_dump(struct options *options, char **yaml, struct cx_error *error) {
    struct schema schema;
    struct complaint complaint = {0};
    const cyaml_config_t config = {
        .log_fn = read_complaint, .log_ctx = &complaint, .log_level = CYAML_LOG_WARNING, .mem_fn = cyaml_mem, .flags = CYAML_CFG_STYLE_BLOCK};
    struct entry *entries = NULL;
    char *made = NULL;
    size_t length = 0;
    *yaml = NULL;
    enum cx_status status = schema_create(&schema, error);
    if (status != CX_OK)
        return status;
    status = cx_allocate(option_count, sizeof *entries, "the options", &entries, error);
    for (size_t k = 0; k < option_count && status == CX_OK; k++)
        if (option_table[k].places & PLACE_FILE && option_table[k].commands & options->command->bit)
            status = dump_entry(options, &option_table[k], &entries[k], error);
    if (status != CX_OK)
        goto cleanup;
    if (cyaml_save_data(&made, &length, &config, &schema.top, entries, 0) != CYAML_OK)
        status = cx_fail(error, CX_ERROR_USAGE, "the options cannot be written as YAML: is a text not valid UTF-8?");
    else
        status = cx_copy_text(made, length, yaml, error);

cleanup:
    free(made);
    for (size_t k = 0; entries && k < option_count; k++)
        free(entries[k].list);
    free(entries);
    schema_free(&schema);
    return status;
}
