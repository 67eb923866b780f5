/* The documents that a run left out or stripped of their annotations, as the manifest's shard lines list them. */
#include "contexture/json.h"
#include "manifest_lines.h"

struct listener {
    void (*tell)(void *context, const struct cx_skipped_document *skipped);
    void *context;
};

static enum cx_status tell_list(const struct listener *listener, const json_t *object, bool stripped, const char *path, struct cx_error *error) {
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
        listener->tell(listener->context, &skipped);
    }
    return status;
}

static enum cx_status tell_line(void *context, const char *path, const char *line, size_t length, struct cx_error *error) {
    json_t *object = NULL;
    enum cx_status status = cx_json_parse(line, length, path, &object, error);
    if (status == CX_OK)
        status = tell_list(context, object, false, path, error);
    if (status == CX_OK)
        status = tell_list(context, object, true, path, error);
    json_decref(object);
    return status;
}

enum cx_status cx_store_skipped(const char *directory, void (*tell)(void *context, const struct cx_skipped_document *skipped), void *context,
                                struct cx_error *error) {
    struct listener listener = {tell, context};
    return cx_manifest_visit_lines(directory, tell_line, &listener, error);
}
