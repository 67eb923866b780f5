/* The manifest as the running program uses it: opened under a lock, and asked. manifest_shared.c opens it beside others; manifest_append.c adds to it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contexture/file.h"
#include "contexture/json.h"
#include "contexture/memory.h"
#include "identity.h"
#include "lock.h"
#include "manifest_state.h"
#include "output_folder.h"

enum cx_status manifest_forget_lost_parts(struct cx_manifest_content *content, const char *directory, struct cx_error *error) {
    size_t kept = 0;
    for (size_t i = 0; i < content->count; i++) {
        char *path = NULL;
        struct stat about;
        enum cx_status status = cx_part_path(directory, content->parts[i].shard, &path, error);
        if (status != CX_OK)
            return status;
        if (stat(path, &about) == 0 && (uint64_t)about.st_size == content->parts[i].bytes)
            content->parts[kept++] = content->parts[i];
        free(path);
    }
    content->complete = content->complete && kept == content->count;
    content->disordered = content->disordered || kept < content->count;
    content->count = kept;
    return CX_OK;
}

static enum cx_status cut_torn_line(struct cx_manifest *manifest, struct cx_error *error) {
    if (manifest->content.torn_bytes == 0)
        return CX_OK;
    if (ftruncate(manifest->descriptor, (off_t)manifest->content.whole_bytes) != 0)
        return cx_fail_errno(error, "cut the torn last line off", manifest->path);
    if (fsync(manifest->descriptor) != 0)
        return cx_fail_errno(error, "write", manifest->path);
    return CX_OK;
}

enum cx_status manifest_begin_file(const char *path, json_t *identity, struct cx_error *error) {
    char *line = NULL;
    enum cx_status status = cx_manifest_header_line(identity, &line, error);
    if (status == CX_OK)
        status = cx_file_replace(path, line, strlen(line), error);
    free(line);
    return status;
}

enum cx_status manifest_parse_identity(const char *text, json_t **identity, struct cx_error *error) {
    enum cx_status status = cx_json_parse(text, strlen(text), "the run's identity", identity, error);
    if (status == CX_OK && !json_is_object(*identity))
        status = cx_fail(error, CX_ERROR_INTERNAL, "the run's identity: expected an object, found %s", cx_json_type(*identity));
    return status;
}

/* The journals that processes left which shared the folder. */
static enum cx_status fold_journals(struct cx_manifest *manifest, struct cx_error *error) {
    struct cx_journals journals = {0};
    enum cx_status status = cx_journals_list(manifest->directory, &journals, error);
    if (status == CX_OK && journals.count > 0) {
        status = cx_manifest_fold(manifest->directory, 0, error);
        cx_manifest_content_free(&manifest->content);
        if (status == CX_OK)
            status = cx_manifest_content_read(manifest->path, NULL, NULL, &manifest->content, error);
    }
    cx_journals_free(&journals);
    return status;
}

enum cx_status manifest_list_sources(struct cx_manifest *manifest, struct cx_error *error) {
    const json_t *names = json_object_get(manifest->content.identity, CX_IDENTITY_SOURCES);
    const size_t count = json_array_size(names);
    enum cx_status status = cx_allocate(count, sizeof *manifest->sources, "the names of the corpus' files", &manifest->sources, error);
    for (; status == CX_OK && manifest->source_count < count; manifest->source_count++) {
        const char *name = json_string_value(json_array_get(names, manifest->source_count));
        if (!name)
            return cx_fail(error, CX_ERROR_DAMAGED, "%s/%s: line 1: the corpus' file %zu has no name", manifest->directory, CX_MANIFEST_NAME,
                           manifest->source_count);
        manifest->sources[manifest->source_count] = name;
    }
    return status;
}

enum cx_status cx_manifest_open(const char *directory, const char *identity_json, struct cx_manifest **manifest_pointer, struct cx_error *error) {
    struct cx_manifest *manifest = NULL;
    json_t *identity = NULL;
    *manifest_pointer = NULL;
    enum cx_status status = cx_allocate(1, sizeof *manifest, "a manifest", &manifest, error);
    if (status != CX_OK)
        return status;
    manifest->descriptor = -1;
    if ((status = manifest_parse_identity(identity_json, &identity, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_copy_text(directory, strlen(directory), &manifest->directory, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_path_join(directory, CX_MANIFEST_NAME, &manifest->path, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_output_create(directory, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_lock_take(directory, &manifest->lock, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_output_clean(directory, error)) != CX_OK)
        goto cleanup;
    if (!cx_file_exists(manifest->path) && (status = manifest_begin_file(manifest->path, identity, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_manifest_content_read(manifest->path, NULL, NULL, &manifest->content, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_identity_compare(manifest->path, manifest->content.identity, identity, error)) != CX_OK)
        goto cleanup;
    if (manifest->content.torn_bytes == 0 && (status = fold_journals(manifest, error)) != CX_OK)
        goto cleanup;
    manifest->descriptor = open(manifest->path, O_RDWR | O_APPEND | O_CLOEXEC);
    if (manifest->descriptor < 0) {
        status = cx_fail_errno(error, "open", manifest->path);
        goto cleanup;
    }
    if ((status = cut_torn_line(manifest, error)) == CX_OK)
        status = manifest_forget_lost_parts(&manifest->content, directory, error);
    if (status == CX_OK)
        status = manifest_list_sources(manifest, error);
cleanup:
    json_decref(identity);
    if (status != CX_OK)
        cx_manifest_close(manifest);
    else
        *manifest_pointer = manifest;
    return status;
}

void cx_manifest_close(struct cx_manifest *manifest) {
    if (!manifest)
        return;
    if (manifest->descriptor >= 0)
        close(manifest->descriptor);
    cx_manifest_content_free(&manifest->content);
    cx_lock_release(manifest->lock);
    for (size_t k = 0; k < manifest->journal_count; k++)
        free(manifest->journals[k].path);
    free(manifest->journals);
    free(manifest->sources);
    free(manifest->header);
    free(manifest->worker);
    free(manifest->path);
    free(manifest->directory);
    free(manifest);
}

const struct cx_part_summary *cx_manifest_shard(const struct cx_manifest *manifest, uint64_t shard) {
    const struct cx_manifest_content *content = &manifest->content;
    size_t first = 0, end = content->count;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (content->parts[middle].shard == shard)
            return &content->parts[middle];
        if (content->parts[middle].shard < shard)
            first = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

const char *const *cx_manifest_sources(const struct cx_manifest *manifest, size_t *count) {
    *count = manifest->source_count;
    return manifest->sources;
}

size_t cx_manifest_count(const struct cx_manifest *manifest) {
    return manifest->content.count;
}
