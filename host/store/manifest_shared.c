/* A manifest in a folder that several processes share: each adds to a journal of its own, and reads what the others add to theirs. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contexture/file.h"
#include "contexture/memory.h"
#include "identity.h"
#include "manifest_state.h"
#include "output_folder.h"

static const size_t largest_journal = (size_t)1 << 32;

enum cx_status cx_manifest_prepare(const char *directory, const char *identity_json, struct cx_error *error) {
    struct cx_manifest_content content = {0};
    json_t *identity = NULL;
    char *path = NULL;
    enum cx_status status = manifest_parse_identity(identity_json, &identity, error);
    if (status == CX_OK)
        status = cx_path_join(directory, CX_MANIFEST_NAME, &path, error);
    if (status == CX_OK)
        status = cx_output_create(directory, error);
    if (status == CX_OK && !cx_file_exists(path))
        status = manifest_begin_file(path, identity, error);
    else if (status == CX_OK)
        status = cx_manifest_content_read(path, NULL, NULL, &content, error);
    if (status == CX_OK && content.identity)
        status = cx_identity_compare(path, content.identity, identity, error);
    cx_manifest_content_free(&content);
    free(path);
    json_decref(identity);
    return status;
}

/* Opened for it, for only that makes a network file system ask its server. */
static enum cx_status look_at(const char *path, struct file_state *state, struct cx_error *error) {
    struct stat about;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return cx_fail_errno(error, "open", path);
    const bool known = fstat(descriptor, &about) == 0;
    enum cx_status status = known ? CX_OK : cx_fail_errno(error, "examine", path);
    close(descriptor);
    if (known)
        *state = (struct file_state){about.st_dev, about.st_ino, about.st_size, about.st_mtim};
    return status;
}

static bool is_same(const struct file_state *a, const struct file_state *b) {
    return a->device == b->device && a->number == b->number && a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec;
}

static enum cx_status journal_path(const char *directory, const char *worker, char **path, struct cx_error *error) {
    char name[512];
    if (snprintf(name, sizeof name, CX_JOURNALS_NAME "/%s.jsonl", worker) >= (int)sizeof name)
        return cx_fail(error, CX_ERROR_INTERNAL, "a worker's name is too long: %.100s…", worker);
    return cx_path_join(directory, name, path, error);
}

enum cx_status cx_manifest_open_shared(const char *directory, const char *identity_json, const char *worker, struct cx_manifest **manifest_pointer,
                                       struct cx_error *error) {
    struct cx_manifest *manifest = NULL;
    json_t *identity = NULL;
    char *path = NULL;
    *manifest_pointer = NULL;
    enum cx_status status = cx_allocate(1, sizeof *manifest, "a manifest", &manifest, error);
    if (status != CX_OK)
        return status;
    manifest->descriptor = -1;
    if ((status = manifest_parse_identity(identity_json, &identity, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_manifest_header_line(identity, &manifest->header, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_copy_text(directory, strlen(directory), &manifest->directory, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_path_join(directory, CX_MANIFEST_NAME, &path, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_copy_text(worker, strlen(worker), &manifest->worker, error)) != CX_OK)
        goto cleanup;
    if ((status = journal_path(directory, worker, &manifest->path, error)) != CX_OK)
        goto cleanup;
    if ((status = look_at(path, &manifest->seen, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_manifest_content_read(path, NULL, NULL, &manifest->content, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_identity_compare(path, manifest->content.identity, identity, error)) != CX_OK)
        goto cleanup;
    if ((status = manifest_forget_lost_parts(&manifest->content, directory, error)) == CX_OK)
        status = manifest_list_sources(manifest, error);
    if (status == CX_OK)
        status = cx_manifest_refresh(manifest, error);
cleanup:
    free(path);
    json_decref(identity);
    if (status != CX_OK)
        cx_manifest_close(manifest);
    else
        *manifest_pointer = manifest;
    return status;
}

static enum cx_status find_journal(struct cx_manifest *manifest, const char *path, struct journal **journal, struct cx_error *error) {
    for (size_t k = 0; k < manifest->journal_count; k++)
        if (strcmp(manifest->journals[k].path, path) == 0) {
            *journal = &manifest->journals[k];
            return CX_OK;
        }
    enum cx_status status =
        cx_reserve(&manifest->journals, &manifest->journal_capacity, manifest->journal_count + 1, sizeof *manifest->journals, "the manifest's journals", error);
    if (status != CX_OK)
        return status;
    *journal = &manifest->journals[manifest->journal_count];
    **journal = (struct journal){0};
    status = cx_copy_text(path, strlen(path), &(*journal)->path, error);
    manifest->journal_count += status == CX_OK;
    return status;
}

/* A journal that is gone has been folded into manifest.json. */
static enum cx_status read_journal(struct cx_manifest *manifest, const char *path, struct cx_error *error) {
    struct journal *journal = NULL;
    struct file_state state = {0};
    struct cx_error fault = {0};
    char *text = NULL;
    size_t length = 0;
    enum cx_status status = find_journal(manifest, path, &journal, &fault);
    if (status == CX_OK)
        status = look_at(path, &state, &fault);
    if (status == CX_OK && (size_t)state.size == journal->read)
        return CX_OK;
    if (status == CX_OK)
        status = cx_file_read(path, largest_journal, &text, &length, &fault);
    if (status != CX_OK && !cx_file_exists(path))
        return CX_OK;
    if (status == CX_OK)
        status = cx_manifest_journal_read(path, text, length, &journal->read, &manifest->content, &fault);
    free(text);
    if (status != CX_OK && error)
        *error = fault;
    return status;
}

/* The shards that manifest.json has, if it is not the file that was read last. */
static enum cx_status read_folded(struct cx_manifest *manifest, struct cx_error *error) {
    struct cx_manifest_content folded = {0};
    struct file_state state;
    char *path = NULL;
    enum cx_status status = cx_path_join(manifest->directory, CX_MANIFEST_NAME, &path, error);
    if (status == CX_OK)
        status = look_at(path, &state, error);
    if (status != CX_OK || is_same(&state, &manifest->seen)) {
        free(path);
        return status;
    }
    status = cx_manifest_content_read(path, NULL, NULL, &folded, error);
    if (status == CX_OK)
        status = manifest_forget_lost_parts(&folded, manifest->directory, error);
    for (size_t k = 0; status == CX_OK && k < folded.count; k++)
        if (!cx_manifest_shard(manifest, folded.parts[k].shard))
            status = cx_manifest_content_put(&manifest->content, &folded.parts[k], error);
    if (status == CX_OK)
        manifest->seen = state;
    cx_manifest_content_free(&folded);
    free(path);
    return status;
}

/* manifest.json behind the journals: whoever folds them replaces it before they go, so that nothing is missed by one who looks meanwhile. */
enum cx_status cx_manifest_refresh(struct cx_manifest *manifest, struct cx_error *error) {
    struct cx_journals journals = {0};
    enum cx_status status = cx_journals_list(manifest->directory, &journals, error);
    for (size_t k = 0; status == CX_OK && k < journals.count; k++)
        if (!manifest->failed || strcmp(journals.paths[k], manifest->path) != 0) /* a line that was written, but perhaps not to the disk, is none */
            status = read_journal(manifest, journals.paths[k], error);
    if (status == CX_OK && manifest->worker)
        status = read_folded(manifest, error);
    cx_journals_free(&journals);
    return status;
}
