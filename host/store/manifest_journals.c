/* The journals of processes that share a folder, and folding them into manifest.json. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contexture/file.h"
#include "contexture/json.h"
#include "contexture/memory.h"
#include "manifest_lines.h"
#include "output_folder.h"

static const size_t largest_manifest = (size_t)1 << 32;
static const char ending[] = ".jsonl";

static int compare_paths(const void *first, const void *second) {
    return strcmp(*(char *const *)first, *(char *const *)second);
}

static enum cx_status add_path(struct cx_journals *journals, const char *folder, const char *name, struct cx_error *error) {
    const size_t length = strlen(name), end = sizeof ending - 1;
    if (length <= end || strcmp(name + length - end, ending) != 0)
        return CX_OK;
    enum cx_status status = cx_reserve(&journals->paths, &journals->capacity, journals->count + 1, sizeof *journals->paths, "the manifest's journals", error);
    if (status == CX_OK)
        status = cx_path_join(folder, name, &journals->paths[journals->count], error);
    journals->count += status == CX_OK;
    return status;
}

enum cx_status cx_journals_list(const char *directory, struct cx_journals *journals, struct cx_error *error) {
    char *folder = NULL;
    DIR *entries = NULL;
    *journals = (struct cx_journals){0};
    enum cx_status status = cx_path_join(directory, CX_JOURNALS_NAME, &folder, error);
    if (status == CX_OK && !(entries = opendir(folder)) && errno != ENOENT)
        status = cx_fail_errno(error, "read the folder", folder);
    for (struct dirent *entry; status == CX_OK && entries && (entry = readdir(entries)) != NULL;)
        status = add_path(journals, folder, entry->d_name, error);
    if (entries)
        closedir(entries);
    free(folder);
    if (status != CX_OK)
        cx_journals_free(journals);
    else if (journals->count > 0)
        qsort(journals->paths, journals->count, sizeof *journals->paths, compare_paths);
    return status;
}

void cx_journals_free(struct cx_journals *journals) {
    for (size_t k = 0; k < journals->count; k++)
        free(journals->paths[k]);
    free(journals->paths);
    *journals = (struct cx_journals){0};
}

typedef enum cx_status (*visitor)(void *context, const char *path, const char *line, size_t length, struct cx_error *error);

/* A line that is not whole ends a journal; in manifest.json its reader has complained of it before. */
static enum cx_status visit_file(const char *path, visitor visit, void *context, struct cx_error *error) {
    char *text = NULL;
    size_t length = 0;
    enum cx_status status = cx_file_read(path, largest_manifest, &text, &length, error);
    const char *line = text, *feed;
    while (status == CX_OK && (feed = memchr(line, '\n', length - (size_t)(line - text))) && cx_manifest_line_fits(line, (size_t)(feed - line))) {
        status = visit(context, path, line, (size_t)(feed - line), error);
        line = feed + 1;
    }
    free(text);
    return status;
}

enum cx_status cx_manifest_visit_lines(const char *directory, visitor visit, void *context, struct cx_error *error) {
    struct cx_journals journals = {0};
    char *path = NULL;
    enum cx_status status = cx_path_join(directory, CX_MANIFEST_NAME, &path, error);
    if (status == CX_OK)
        status = visit_file(path, visit, context, error);
    if (status == CX_OK)
        status = cx_journals_list(directory, &journals, error);
    for (size_t k = 0; status == CX_OK && k < journals.count; k++)
        status = visit_file(journals.paths[k], visit, context, error);
    cx_journals_free(&journals);
    free(path);
    return status;
}

/* --- folding --- */

struct shard_line {
    uint64_t shard;
    size_t order; /* in which it was read */
    char *text;
};

struct fold {
    char *header;
    struct shard_line *lines;
    size_t count, capacity;
};

static enum cx_status take_line(void *context, const char *path, const char *line, size_t length, struct cx_error *error) {
    struct fold *fold = context;
    json_t *object = NULL;
    int64_t shard = 0;
    enum cx_status status = cx_json_parse(line, length, path, &object, error);
    if (status == CX_OK && !fold->header) {
        status = cx_copy_text(line, length, &fold->header, error);
    } else if (status == CX_OK && json_object_get(object, "shard")) {
        status = cx_json_integer(object, "shard", path, true, 0, INT64_MAX, &shard, error);
        if (status == CX_OK)
            status = cx_reserve(&fold->lines, &fold->capacity, fold->count + 1, sizeof *fold->lines, "the shards of a manifest", error);
        if (status == CX_OK) {
            fold->lines[fold->count] = (struct shard_line){(uint64_t)shard, fold->count, NULL};
            status = cx_copy_text(line, length, &fold->lines[fold->count].text, error);
            fold->count += status == CX_OK;
        }
    }
    json_decref(object);
    return status;
}

static int compare_lines(const void *first, const void *second) {
    const struct shard_line *a = first, *b = second;
    if (a->shard != b->shard)
        return a->shard < b->shard ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static enum cx_status write_lines(const struct fold *fold, const char *path, uint64_t shards, struct cx_error *error) {
    char *text = NULL, *complete = NULL, *end;
    size_t size = strlen(fold->header) + 1;
    enum cx_status status = shards > 0 ? cx_manifest_complete_line(shards, &complete, error) : CX_OK;
    size += complete ? strlen(complete) : 0;
    for (size_t k = 0; k < fold->count; k++)
        size += strlen(fold->lines[k].text) + 1;
    if (status == CX_OK)
        status = cx_allocate(size + 1, 1, "the manifest", &text, error);
    if (status == CX_OK) {
        end = stpcpy(stpcpy(text, fold->header), "\n");
        for (size_t k = 0; k < fold->count; k++)
            if (k + 1 == fold->count || fold->lines[k].shard != fold->lines[k + 1].shard) /* the latest of its shard */
                end = stpcpy(stpcpy(end, fold->lines[k].text), "\n");
        end = stpcpy(end, complete ? complete : "");
        status = cx_file_replace(path, text, (size_t)(end - text), error);
    }
    free(text);
    free(complete);
    return status;
}

static enum cx_status remove_journals(const char *directory, const struct cx_journals *journals, struct cx_error *error) {
    char *folder = NULL;
    enum cx_status status = CX_OK;
    for (size_t k = 0; status == CX_OK && k < journals->count; k++)
        if (unlink(journals->paths[k]) != 0 && errno != ENOENT)
            status = cx_fail_errno(error, "remove", journals->paths[k]);
    if (status == CX_OK)
        status = cx_path_join(directory, CX_JOURNALS_NAME, &folder, error);
    if (status == CX_OK && rmdir(folder) != 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
        status = cx_fail_errno(error, "remove", folder);
    free(folder);
    return status;
}

enum cx_status cx_manifest_fold(const char *directory, uint64_t shards, struct cx_error *error) {
    struct cx_journals journals = {0};
    struct fold fold = {0};
    char *path = NULL;
    enum cx_status status = cx_path_join(directory, CX_MANIFEST_NAME, &path, error);
    if (status == CX_OK)
        status = cx_journals_list(directory, &journals, error); /* before they are read, so that none is removed that was not */
    if (status == CX_OK)
        status = visit_file(path, take_line, &fold, error);
    for (size_t k = 0; status == CX_OK && k < journals.count; k++)
        status = visit_file(journals.paths[k], take_line, &fold, error);
    if (status == CX_OK && !fold.header)
        status = cx_fail(error, CX_ERROR_DAMAGED, "%s: its header line is damaged; restore the file from a copy", path);
    if (status == CX_OK) {
        if (fold.count > 0)
            qsort(fold.lines, fold.count, sizeof *fold.lines, compare_lines);
        status = write_lines(&fold, path, shards, error);
    }
    if (status == CX_OK)
        status = remove_journals(directory, &journals, error);
    for (size_t k = 0; k < fold.count; k++)
        free(fold.lines[k].text);
    free(fold.lines);
    free(fold.header);
    cx_journals_free(&journals);
    free(path);
    return status;
}
