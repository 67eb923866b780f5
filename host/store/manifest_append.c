/* What is added to an open manifest: a line for every finished shard, each synced and read back, and in the end that there are no more. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contexture/file.h"
#include "contexture/memory.h"
#include "manifest_state.h"
#include "output_folder.h"

/* The file ends in this line. */
static bool ends_in(int descriptor, const char *line, size_t length, char *buffer) {
    off_t end = lseek(descriptor, 0, SEEK_END);
    return end >= (off_t)length && pread(descriptor, buffer, length, end - (off_t)length) == (ssize_t)length && memcmp(buffer, line, length) == 0;
}

static enum cx_status journals_create(const char *directory, struct cx_error *error) {
    char *path = NULL;
    enum cx_status status = cx_path_join(directory, CX_JOURNALS_NAME, &path, error);
    if (status == CX_OK)
        status = cx_folder_create(path, error);
    if (status == CX_OK)
        status = cx_folder_sync(path, error);
    free(path);
    return status;
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

/* The journal, with its header, at the first shard. */
static enum cx_status begin_journal(struct cx_manifest *manifest, struct cx_error *error) {
    enum cx_status status = CX_OK;
    if (!manifest->header)
        return CX_OK;
    if ((status = journals_create(manifest->directory, error)) != CX_OK)
        return status;
    manifest->descriptor = open(manifest->path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    if (manifest->descriptor < 0)
        return cx_fail_errno(error, "create", manifest->path);
    status = append_line(manifest, manifest->header, error);
    if (status == CX_OK)
        status = cx_folder_sync(manifest->path, error);
    free(manifest->header);
    manifest->header = NULL;
    return status;
}

enum cx_status cx_manifest_add(struct cx_manifest *manifest, const struct cx_part_summary *part, const struct cx_skipped_document *skipped,
                               size_t skipped_count, struct cx_error *error) {
    char *line = NULL;
    enum cx_status status = cx_manifest_shard_line(part, skipped, skipped_count, &line, error);
    if (status == CX_OK)
        status = begin_journal(manifest, error);
    if (status == CX_OK)
        status = append_line(manifest, line, error);
    if (status == CX_OK)
        status = cx_manifest_content_put(&manifest->content, part, error);
    free(line);
    return status;
}

/* What was computed in another order, or again, leaves no trace. */
static enum cx_status rewrite_in_order(struct cx_manifest *manifest, uint64_t shards, struct cx_error *error) {
    enum cx_status status = cx_manifest_fold(manifest->directory, shards, error);
    if (status != CX_OK)
        return status;
    close(manifest->descriptor);
    manifest->descriptor = open(manifest->path, O_RDWR | O_APPEND | O_CLOEXEC);
    manifest->content.disordered = false;
    return manifest->descriptor < 0 ? cx_fail_errno(error, "open", manifest->path) : CX_OK;
}

enum cx_status cx_manifest_complete(struct cx_manifest *manifest, uint64_t shards, struct cx_error *error) {
    char *line = NULL;
    if (manifest->content.complete && manifest->content.complete_shards == shards)
        return CX_OK;
    if (manifest->content.count != shards)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: the run was to be marked complete with %llu shards, and the manifest has %zu", manifest->path,
                       (unsigned long long)shards, manifest->content.count);
    enum cx_status status = manifest->content.disordered ? rewrite_in_order(manifest, shards, error) : cx_manifest_complete_line(shards, &line, error);
    if (status == CX_OK && line)
        status = append_line(manifest, line, error);
    if (status == CX_OK) {
        manifest->content.complete = true;
        manifest->content.complete_shards = shards;
    }
    free(line);
    return status;
}

enum cx_status cx_manifest_merge(struct cx_manifest *manifest, uint64_t shards, struct cx_error *error) {
    if (manifest->content.count != shards)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: all %llu shards were to be merged, and %zu are finished", manifest->directory, (unsigned long long)shards,
                       manifest->content.count);
    enum cx_status status = cx_store_join(manifest->directory, manifest->worker, error);
    if (status == CX_OK)
        status = cx_manifest_fold(manifest->directory, shards, error);
    if (status == CX_OK)
        status = cx_output_clean(manifest->directory, error);
    if (manifest->descriptor >= 0)
        close(manifest->descriptor);
    manifest->descriptor = -1;
    manifest->failed = true;
    return status;
}
