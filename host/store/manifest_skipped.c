/* The documents that a run left out or stripped of their annotations, as the manifest's shard lines list them. */
#include <stdlib.h>
#include <string.h>

#include "contexture/file.h"
#include "contexture/json.h"
#include "manifest_lines.h"

static const size_t largest_manifest = (size_t)1 << 32;

static enum cx_status tell_list(const json_t *object, bool stripped, const char *path, void (*tell)(void *context, const struct cx_skipped_document *skipped),
                                void *context, struct cx_error *error) {
    json_t *list = NULL, *item;
    size_t place;
    enum cx_status status = cx_json_array_member(object, stripped ? "stripped_documents" : "left_out", path, false, &list, error);
    json_array_foreach(list, place, item) {
        struct cx_skipped_document skipped = {.source = "", .reason = "", .stripped = stripped};
        int64_t document = 0, number = 0;
        if (status == CX_OK)
            status = cx_json_integer(item, "document", path, true, 0, INT64_MAX, &document, error);
        if (status == CX_OK)
            status = cx_json_integer(item, "line", path, true, 0, INT64_MAX, &number, error);
        if (status == CX_OK)
            status = cx_json_text(item, "source", path, true, &skipped.source, error);
        if (status == CX_OK)
            status = cx_json_text(item, "reason", path, true, &skipped.reason, error);
        if (status != CX_OK)
            break;
        skipped.document = (uint64_t)document;
        skipped.line = (uint64_t)number;
        tell(context, &skipped);
    }
    return status;
}

static enum cx_status tell_line(const char *line, size_t length, const char *path, void (*tell)(void *context, const struct cx_skipped_document *skipped),
                                void *context, struct cx_error *error) {
    json_t *object = NULL;
    enum cx_status status = cx_json_parse(line, length, path, &object, error);
    if (status == CX_OK)
        status = tell_list(object, false, path, tell, context, error);
    if (status == CX_OK)
        status = tell_list(object, true, path, tell, context, error);
    json_decref(object);
    return status;
}

enum cx_status cx_store_skipped(const char *directory, void (*tell)(void *context, const struct cx_skipped_document *skipped), void *context,
                                struct cx_error *error) {
    char *path = NULL, *text = NULL;
    size_t length = 0;
    enum cx_status status = cx_path_join(directory, "manifest.json", &path, error);
    if (status == CX_OK)
        status = cx_file_read(path, largest_manifest, &text, &length, error);
    const char *line = text, *feed;
    while (status == CX_OK && (feed = memchr(line, '\n', length - (size_t)(line - text)))) {
        status = tell_line(line, (size_t)(feed - line), path, tell, context, error);
        line = feed + 1;
    }
    free(text);
    free(path);
    return status;
}
