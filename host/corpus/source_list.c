#include "source_list.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contexture/memory.h"

static const size_t default_longest_line = (size_t)64 * 1024 * 1024;

const char *cx_corpus_text_field(const struct cx_corpus_options *options) {
    return options->text_field ? options->text_field : "text";
}

const char *cx_corpus_id_field(const struct cx_corpus_options *options) {
    return options->id_field ? options->id_field : "id";
}

const char *cx_corpus_words_field(const struct cx_corpus_options *options) {
    return options->words_field ? options->words_field : "words";
}

size_t cx_corpus_longest_line(const struct cx_corpus_options *options) {
    return options->longest_line > 0 ? options->longest_line : default_longest_line;
}

static bool ends_in(const char *text, size_t length, const char *ending) {
    size_t ending_length = strlen(ending);
    return length >= ending_length && memcmp(text + length - ending_length, ending, ending_length) == 0;
}

static enum cx_corpus_format format_by_name(const char *path) {
    static const char *const compressed[] = {".gz", ".zst"};
    static const char *const json_lines[] = {".jsonl", ".ndjson", ".json"};
    size_t length = strlen(path);
    for (size_t k = 0; k < sizeof compressed / sizeof *compressed; k++)
        if (ends_in(path, length, compressed[k])) {
            length -= strlen(compressed[k]);
            break;
        }
    for (size_t k = 0; k < sizeof json_lines / sizeof *json_lines; k++)
        if (ends_in(path, length, json_lines[k]))
            return CX_CORPUS_JSONL;
    return CX_CORPUS_TEXT;
}

static bool is_standard_input(const char *path) {
    return strcmp(path, "-") == 0;
}

/* Fills bytes and regular. A pipe is not opened: that would end its writer. */
static enum cx_status look_up(struct cx_source *source, struct cx_error *error) {
    struct stat facts;
    if (is_standard_input(source->path))
        return CX_OK;
    if (stat(source->path, &facts) != 0)
        return cx_fail_errno(error, "look up", source->path);
    if (S_ISDIR(facts.st_mode))
        return cx_fail(error, CX_ERROR_IO, "%s is a folder: expected a file; give its files, for example as '%s/*.txt'", source->path, source->path);
    if (!S_ISREG(facts.st_mode))
        return access(source->path, R_OK) == 0 ? CX_OK : cx_fail_errno(error, "read", source->path);
    int descriptor = open(source->path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return cx_fail_errno(error, "open", source->path);
    close(descriptor);
    source->regular = true;
    source->bytes = (uint64_t)facts.st_size;
    return CX_OK;
}

static enum cx_status add(struct cx_source_list *list, const char *path, enum cx_corpus_format format, struct cx_error *error) {
    enum cx_status status = cx_reserve(&list->items, &list->capacity, list->count + 1, sizeof *list->items, "the list of corpus files", error);
    if (status != CX_OK)
        return status;
    struct cx_source source = {.format = format == CX_CORPUS_AUTO ? format_by_name(path) : format};
    status = cx_copy_text(path, strlen(path), &source.path, error);
    if (status != CX_OK)
        return status;
    list->items[list->count++] = source;
    return look_up(&list->items[list->count - 1], error);
}

static int compare_bytes(const void *first, const void *second) {
    return strcmp(*(char *const *)first, *(char *const *)second);
}

static bool is_folder(const char *path) {
    struct stat facts;
    return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

static enum cx_status add_glob(struct cx_source_list *list, const char *pattern, enum cx_corpus_format format, struct cx_error *error) {
    glob_t matches = {0};
    enum cx_status status = CX_OK;
    size_t before = list->count;
    errno = 0;
    switch (glob(pattern, GLOB_NOSORT | GLOB_ERR, NULL, &matches)) {
    case 0:
        break;
    case GLOB_NOMATCH:
        status = cx_fail(error, CX_ERROR_IO, "no file matches '%s'", pattern);
        break;
    case GLOB_ABORTED:
        status = cx_fail_errno(error, "read a folder for", pattern);
        break;
    default:
        status = cx_fail_memory(error, "the list of corpus files", 0);
    }
    if (status == CX_OK) /* glob's own order depends on the locale */
        qsort(matches.gl_pathv, matches.gl_pathc, sizeof *matches.gl_pathv, compare_bytes);
    for (size_t k = 0; status == CX_OK && k < matches.gl_pathc; k++)
        if (!is_folder(matches.gl_pathv[k]))
            status = add(list, matches.gl_pathv[k], format, error);
    if (status == CX_OK && list->count == before)
        status = cx_fail(error, CX_ERROR_IO, "'%s' matches folders alone: expected files", pattern);
    globfree(&matches);
    return status;
}

/* A path that exists is that file, whatever characters are in its name. */
static enum cx_status add_path(struct cx_source_list *list, const char *path, enum cx_corpus_format format, struct cx_error *error) {
    struct stat facts;
    if (!path || path[0] == '\0')
        return cx_fail(error, CX_ERROR_USAGE, "a corpus path is empty: expected a file, a glob, or - for standard input");
    if (is_standard_input(path)) {
        for (size_t k = 0; k < list->count; k++)
            if (is_standard_input(list->items[k].path))
                return cx_fail(error, CX_ERROR_USAGE, "standard input (-) is given twice as corpus: it can be read only once");
        return add(list, path, format, error);
    }
    if (strpbrk(path, "*?[") && lstat(path, &facts) != 0)
        return add_glob(list, path, format, error);
    return add(list, path, format, error);
}

static enum cx_status check_fields(const struct cx_corpus_options *options, struct cx_error *error) {
    const char *text = cx_corpus_text_field(options), *id = cx_corpus_id_field(options), *pair = options->pair_field;
    if (text[0] == '\0' || id[0] == '\0' || (pair && pair[0] == '\0') || cx_corpus_words_field(options)[0] == '\0')
        return cx_fail(error, CX_ERROR_USAGE, "a field name of the corpus (text, id, pair or words field) is empty: expected the key of a JSON object");
    if (pair && strcmp(text, pair) == 0)
        return cx_fail(error, CX_ERROR_USAGE, "text field and pair field are both '%s': a pair needs two different fields", text);
    return CX_OK;
}

enum cx_status cx_source_list_build(const struct cx_corpus_options *options, struct cx_source_list *list, struct cx_error *error) {
    if (options->path_count == 0)
        return cx_fail(error, CX_ERROR_USAGE, "no corpus is given: expected at least one file, glob, or - for standard input");
    enum cx_status status = check_fields(options, error);
    for (size_t k = 0; status == CX_OK && k < options->path_count; k++)
        status = add_path(list, options->paths[k], options->format, error);
    if (status != CX_OK)
        cx_source_list_free(list);
    return status;
}

void cx_source_list_free(struct cx_source_list *list) {
    for (size_t k = 0; k < list->count; k++)
        free(list->items[k].path);
    free(list->items);
    *list = (struct cx_source_list){0};
}
