/* The whole folder: manifest, parts, run.h5. */
#include "verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "contexture/file.h"
#include "manifest_lines.h"
#include "output_folder.h"
#include "run_file.h"

void cx_complain(struct cx_complaints *complaints, const char *format, ...) {
    char sentence[2048];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    complaints->count++;
    if (complaints->complain && length >= 0)
        complaints->complain(complaints->context, sentence);
}

static void complain_of_line(void *context, const char *sentence) {
    cx_complain(context, "%s", sentence);
}

/* A run that ended has the shards 0 .. n-1. */
static void check_completeness(const struct cx_manifest_content *content, const char *path, struct cx_complaints *complaints) {
    if (!content->complete)
        return;
    for (uint64_t shard = 0, place = 0; shard < content->complete_shards; shard++) {
        if (place < content->count && content->parts[place].shard == shard)
            place++;
        else
            cx_complain(complaints, "%s: the run is marked as complete with %" PRIu64 " shards, but there is no line of shard %" PRIu64, path,
                        content->complete_shards, shard);
    }
}

static enum cx_status check_run_file(const char *directory, const struct cx_manifest_content *content, struct cx_complaints *complaints,
                                     struct cx_error *error) {
    struct cx_error fault = {0};
    char *path = NULL;
    enum cx_status status = cx_path_join(directory, CX_RUN_NAME, &path, error);
    if (status != CX_OK)
        return status;
    if (!cx_file_exists(path)) {
        if (content->complete)
            cx_complain(complaints, "%s is missing, though the run is complete; run the same command again to make it", path);
    } else if (cx_run_check(path, content, &fault) != CX_OK) {
        cx_complain(complaints, "%s", fault.message);
    }
    free(path);
    return CX_OK;
}

enum cx_status cx_store_verify(const char *directory, double completeness_bound, void (*complain)(void *context, const char *sentence), void *context,
                               struct cx_verify_report *report, struct cx_error *error) {
    struct cx_complaints complaints = {.complain = complain, .context = context};
    struct cx_manifest_content content = {0};
    char *path = NULL;
    *report = (struct cx_verify_report){0};
    enum cx_status status = cx_path_join(directory, CX_MANIFEST_NAME, &path, error);
    if (status == CX_OK)
        status = cx_manifest_folder_read(directory, complain_of_line, &complaints, &content, error);
    if (status != CX_OK)
        goto cleanup;
    if (content.torn_bytes > 0)
        cx_complain(&complaints, "%s: the last line has no end (%zu bytes); the next run in this folder cuts it off", path, content.torn_bytes);
    check_completeness(&content, path, &complaints);
    for (size_t i = 0; status == CX_OK && i < content.count; i++) {
        uint64_t before = complaints.count;
        status = cx_verify_part(directory, &content.parts[i], completeness_bound, &complaints, &report->completeness_error, error);
        report->damaged += complaints.count > before;
        report->sequences += content.parts[i].sequences;
        report->tokens += content.parts[i].tokens;
    }
    report->shards = content.count;
    report->complete = content.complete;
    if (status == CX_OK)
        status = check_run_file(directory, &content, &complaints, error);
    if (status == CX_OK && complaints.count > 0)
        status = cx_fail(error, CX_ERROR_DAMAGED, "%s: %" PRIu64 " fault%s found; %" PRIu64 " of %" PRIu64 " shards are damaged", directory, complaints.count,
                         complaints.count == 1 ? " was" : "s were", report->damaged, report->shards);
cleanup:
    cx_manifest_content_free(&content);
    free(path);
    return status;
}
