#include "summary.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contexture/file.h"
#include "contexture/tokenizer.h"
#include "identity.h"

static json_t *text_of(const char *text) {
    return cx_utf8_json(text, strlen(text));
}

enum { skipped_listed = 1000 }; /* the manifest has them all */

/* Of documents left out, and of documents kept without their annotations. */
struct document_lists {
    json_t *skipped, *stripped;
    bool failed; /* one of them lacks a document: there was no memory for it */
};

static void list_document(void *context, const struct cx_skipped_document *skipped) {
    struct document_lists *lists = context;
    json_t *list = skipped->stripped ? lists->stripped : lists->skipped;
    if (json_array_size(list) < skipped_listed)
        lists->failed |=
            json_array_append_new(list, json_pack("{s:I, s:o, s:I, s:o}", "document", (json_int_t)skipped->document, "source", text_of(skipped->source), "line",
                                                  (json_int_t)skipped->line, "reason", text_of(skipped->reason))) != 0;
}

static double rate(uint64_t count, double seconds) {
    return seconds > 0 ? (double)count / seconds : 0;
}

static json_t *paths_of(const struct setup *setup) {
    return json_pack("{s:o, s:o}", "model", text_of(setup->settings->model), "corpus", identity_sources(setup));
}

enum cx_status summary_write(const struct setup *setup, json_t *configuration, const char *backend_description, struct cx_run_report *report,
                             struct cx_error *error) {
    json_t *libraries = NULL, *summary = NULL;
    struct document_lists lists = {json_array(), json_array(), false};
    char *path = NULL, *text = NULL;
    enum cx_status status = cx_store_skipped(setup->settings->output, list_document, &lists, error);
    if (status == CX_OK && lists.failed)
        status = cx_fail_memory(error, "summary.json", 0);
    if (status == CX_OK)
        status = libraries_create(&libraries, error);
    if (status != CX_OK) {
        json_decref(lists.skipped);
        json_decref(lists.stripped);
        return status;
    }
    summary = json_pack(
        "{s:s, s:i, s:O, s:o*, s:s, s:i, s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}, s:{s:I,s:I,s:I,s:I}, s:{s:f,s:f}, s:{s:f,s:f,s:f,s:f}, s:I, s:f, s:o, s:o, s:o}",
        "program_version", CX_VERSION, "format_version", CX_FORMAT_VERSION, "configuration", configuration, "paths", paths_of(setup), "backend",
        backend_description, "threads", setup->threads,
        /* the whole folder */
        "counts", "documents", (json_int_t)report->documents, "skipped", (json_int_t)report->skipped, "stripped", (json_int_t)report->stripped, "sequences",
        (json_int_t)report->sequences, "tokens", (json_int_t)report->tokens, "pairs", (json_int_t)report->pairs, "shards", (json_int_t)report->shards, "bytes",
        (json_int_t)report->bytes,
        /* this process */
        "this_process", "earlier_shards", (json_int_t)report->earlier_shards, "earlier_documents", (json_int_t)report->earlier_documents, "sequences",
        (json_int_t)report->computed_sequences, "tokens", (json_int_t)report->computed_tokens, "throughput", "sequences_per_second",
        rate(report->computed_sequences, report->seconds), "tokens_per_second", rate(report->computed_tokens, report->seconds), "seconds", "total",
        report->seconds, "read", report->step_seconds[CX_STEP_READ], "decompose", report->step_seconds[CX_STEP_DECOMPOSE], "write",
        report->step_seconds[CX_STEP_WRITE], "peak_memory_bytes", (json_int_t)report->peak_memory, "completeness_error",
        isfinite(report->completeness_error) ? (double)report->completeness_error : -1.0, "skipped_documents", lists.skipped, "stripped_documents",
        lists.stripped, "libraries", libraries);
    if (!summary) {
        status = cx_fail_memory(error, "summary.json", 0);
        goto cleanup;
    }
    text = json_dumps(summary, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (!text || asprintf(&report->summary_json, "%s\n", text) < 0) {
        report->summary_json = NULL;
        status = cx_fail_memory(error, "summary.json", 0);
        goto cleanup;
    }
    status = cx_path_join(setup->settings->output, "summary.json", &path, error);
    if (status == CX_OK)
        status = cx_file_replace(path, report->summary_json, strlen(report->summary_json), error);

cleanup:
    free(path);
    free(text);
    json_decref(summary);
    return status;
}

enum cx_status summary_read(const struct setup *setup, struct cx_run_report *report, struct cx_error *error) {
    static const size_t largest = (size_t)1 << 28;
    char *path = NULL;
    size_t length;
    enum cx_status status = cx_path_join(setup->settings->output, "summary.json", &path, error);
    if (status == CX_OK && cx_file_exists(path)) /* it is written last */
        status = cx_file_read(path, largest, &report->summary_json, &length, error);
    free(path);
    return status;
}

enum cx_status summary_exists(const char *directory, bool *exists, struct cx_error *error) {
    char *path = NULL;
    enum cx_status status = cx_path_join(directory, "summary.json", &path, error);
    *exists = status == CX_OK && cx_file_exists(path);
    free(path);
    return status;
}

enum cx_status summary_remove(const char *directory, struct cx_error *error) {
    char *path = NULL;
    enum cx_status status = cx_path_join(directory, "summary.json", &path, error);
    if (status == CX_OK && unlink(path) != 0 && errno != ENOENT)
        status = cx_fail_errno(error, "remove", path);
    free(path);
    return status;
}

enum cx_status tokens_write(const struct setup *setup, struct cx_error *error) {
    if (!setup->tokenizer)
        return CX_OK;
    const size_t count = cx_tokenizer_vocabulary_size(setup->tokenizer);
    char *path = NULL, *text = NULL;
    json_t *tokens = json_array();
    enum cx_status status = cx_path_join(setup->settings->output, "tokens.json", &path, error);
    if (status != CX_OK)
        goto cleanup;
    for (size_t id = 0; id < count && id <= INT32_MAX; id++) {
        const char *token = cx_tokenizer_token(setup->tokenizer, (int32_t)id);
        if (json_array_append_new(tokens, token ? text_of(token) : json_null()) != 0) {
            status = cx_fail_memory(error, "the list of tokens", count);
            goto cleanup;
        }
    }
    text = json_dumps(tokens, JSON_COMPACT);
    status = text ? cx_file_replace(path, text, strlen(text), error) : cx_fail_memory(error, "the list of tokens", count);

cleanup:
    free(text);
    json_decref(tokens);
    free(path);
    return status;
}
