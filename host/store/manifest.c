/* The manifest as the running program uses it: opened under a lock, appended to, each line synced. */
#include <errno.h>
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
#include "manifest_lines.h"
#include "output_folder.h"

struct cx_manifest {
    char *path;
    struct cx_lock *lock;
    int descriptor; /* for appending */
    struct cx_manifest_content content;
    bool failed; /* a line may stand half written at the end: nothing may come behind it */
};

/* Shards whose files are gone or have another size are forgotten: they will be computed again. */
static enum cx_status forget_lost_parts(struct cx_manifest *manifest, const char *directory, struct cx_error *error) {
    struct cx_manifest_content *content = &manifest->content;
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

static enum cx_status begin_file(const char *path, json_t *identity, struct cx_error *error) {
    char *line = NULL;
    enum cx_status status = cx_manifest_header_line(identity, &line, error);
    if (status == CX_OK)
        status = cx_file_replace(path, line, strlen(line), error);
    free(line);
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
    if ((status = cx_json_parse(identity_json, strlen(identity_json), "the run's identity", &identity, error)) != CX_OK)
        goto cleanup;
    if (!json_is_object(identity)) {
        status = cx_fail(error, CX_ERROR_INTERNAL, "the run's identity: expected an object, found %s", cx_json_type(identity));
        goto cleanup;
    }
    if ((status = cx_path_join(directory, CX_MANIFEST_NAME, &manifest->path, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_output_create(directory, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_lock_take(directory, &manifest->lock, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_output_clean(directory, error)) != CX_OK)
        goto cleanup;
    if (!cx_file_exists(manifest->path) && (status = begin_file(manifest->path, identity, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_manifest_content_read(manifest->path, NULL, NULL, &manifest->content, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_identity_compare(manifest->path, manifest->content.identity, identity, error)) != CX_OK)
        goto cleanup;
    manifest->descriptor = open(manifest->path, O_RDWR | O_APPEND | O_CLOEXEC);
    if (manifest->descriptor < 0) {
        status = cx_fail_errno(error, "open", manifest->path);
        goto cleanup;
    }
    if ((status = cut_torn_line(manifest, error)) == CX_OK)
        status = forget_lost_parts(manifest, directory, error);
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
    free(manifest->path);
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

size_t cx_manifest_count(const struct cx_manifest *manifest) {
    return manifest->content.count;
}

/* The file ends in this line. */
static bool ends_in(int descriptor, const char *line, size_t length, char *buffer) {
    off_t end = lseek(descriptor, 0, SEEK_END);
    return end >= (off_t)length && pread(descriptor, buffer, length, end - (off_t)length) == (ssize_t)length && memcmp(buffer, line, length) == 0;
}

/* One write() for the whole line, then fsync(): after a crash the line is there, or not, or torn at the end of the file. */
static enum cx_status append_line(struct cx_manifest *manifest, const char *line, struct cx_error *error) {
    size_t length = strlen(line);
    if (manifest->failed)
        return cx_fail(error, CX_ERROR_IO, "%s: writing to it failed before; run the command again", manifest->path);
    manifest->failed = true;
    ssize_t written = write(manifest->descriptor, line, length);
    if (written < 0)
        return cx_fail_errno(error, "write", manifest->path);
    if ((size_t)written != length)
        return cx_fail(error, CX_ERROR_IO, "cannot write %s: only %zd of %zu bytes were taken; is the disk full?", manifest->path, written, length);
    if (fsync(manifest->descriptor) != 0)
        return cx_fail_errno(error, "write", manifest->path);
    char *buffer = NULL;
    enum cx_status status = cx_allocate(length, 1, "reading the manifest back", &buffer, error);
    if (status == CX_OK && !ends_in(manifest->descriptor, line, length, buffer))
        status = cx_fail(error, CX_ERROR_DAMAGED, "%s: a line that was written does not read back; is the disk full or failing?", manifest->path);
    free(buffer);
    manifest->failed = status != CX_OK;
    return status;
}

enum cx_status cx_manifest_add(struct cx_manifest *manifest, const struct cx_part_summary *part, const struct cx_skipped_document *skipped,
                               size_t skipped_count, struct cx_error *error) {
    char *line = NULL;
    enum cx_status status = cx_manifest_shard_line(part, skipped, skipped_count, &line, error);
    if (status == CX_OK)
        status = append_line(manifest, line, error);
    if (status == CX_OK) {
        manifest->content.complete = false;
        status = cx_manifest_content_put(&manifest->content, part, error);
    }
    free(line);
    return status;
}

enum cx_status cx_manifest_complete(struct cx_manifest *manifest, uint64_t shards, struct cx_error *error) {
    char *line = NULL;
    if (manifest->content.complete && manifest->content.complete_shards == shards)
        return CX_OK;
    if (manifest->content.count != shards)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: the run was to be marked complete with %llu shards, and the manifest has %zu", manifest->path,
                       (unsigned long long)shards, manifest->content.count);
    enum cx_status status = cx_manifest_complete_line(shards, &line, error);
    if (status == CX_OK)
        status = append_line(manifest, line, error);
    if (status == CX_OK) {
        manifest->content.complete = true;
        manifest->content.complete_shards = shards;
    }
    free(line);
    return status;
}

enum cx_status cx_store_describe(const char *directory, char **json, struct cx_error *error) {
    struct cx_manifest_content content = {0};
    char *path = NULL;
    *json = NULL;
    enum cx_status status = cx_path_join(directory, CX_MANIFEST_NAME, &path, error);
    if (status == CX_OK)
        status = cx_manifest_content_read(path, NULL, NULL, &content, error);
    if (status == CX_OK) {
        *json = content.header_line;
        content.header_line = NULL;
    }
    cx_manifest_content_free(&content);
    free(path);
    return status;
}
