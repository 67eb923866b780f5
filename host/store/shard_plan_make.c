/* Making a plan: one reading of the corpus, line by line, into the text of plan.json. */
#include <inttypes.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "contexture/file.h"
#include "contexture/memory.h"
#include "contexture/tokenizer.h"
#include "manifest_lines.h"
#include "output_folder.h"
#include "shard_plan_lines.h"

/* Of the compressed files' bytes: few enough that a worker decompresses little before its first document, and that the plan stays small. */
static const uint64_t least_spacing = (uint64_t)1 << 20;
enum { most_checkpoints = 2048, stop_interval = 4096 };

struct plan_text {
    char *text;
    size_t length, capacity;
    struct libdeflate_compressor *compressor;
    unsigned char *packed;
    char *digits;
};

/* Takes over `object`. */
static enum cx_status add_line(struct plan_text *out, json_t *object, struct cx_error *error) {
    char *line = NULL;
    enum cx_status status = cx_manifest_line(object, &line, error);
    if (status != CX_OK)
        return status;
    const size_t length = strlen(line);
    status = cx_reserve(&out->text, &out->capacity, out->length + length + 1, 1, "the plan of shards", error);
    if (status == CX_OK) {
        memcpy(out->text + out->length, line, length + 1);
        out->length += length;
    }
    free(line);
    return status;
}

static enum cx_status add_checkpoint(void *context, const struct cx_corpus_checkpoint *checkpoint, struct cx_error *error) {
    struct plan_text *out = context;
    size_t packed = 0;
    if (checkpoint->window_length > 0)
        packed = libdeflate_deflate_compress(out->compressor, checkpoint->window, checkpoint->window_length, out->packed, 2 * CX_PLAN_WINDOW_BYTES);
    for (size_t k = 0; k < packed; k++)
        snprintf(out->digits + 2 * k, 3, "%02x", out->packed[k]);
    out->digits[2 * packed] = '\0';
    return add_line(out,
                    json_pack("{s:I, s:I, s:I, s:i, s:I, s:s}", "checkpoint", (json_int_t)checkpoint->source, "offset", (json_int_t)checkpoint->offset,
                              "compressed", (json_int_t)checkpoint->compressed, "bits", (int)checkpoint->bits, "window_bytes",
                              (json_int_t)checkpoint->window_length, "window", out->digits),
                    error);
}

static enum cx_status add_shard(struct plan_text *out, uint64_t shard, const struct cx_corpus_place *begin, const struct cx_shard_cut *cut,
                                struct cx_error *error) {
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, cut->content_hash);
    return add_line(out,
                    json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "shard", (json_int_t)shard, "document", (json_int_t)begin->number, "source",
                              (json_int_t)begin->source, "line", (json_int_t)begin->line, "offset", (json_int_t)begin->offset, "documents",
                              (json_int_t)cut->documents, "pairs", (json_int_t)(cut->pairs < INT64_MAX ? cut->pairs : INT64_MAX), "content_hash", hash),
                    error);
}

enum cx_status cx_plan_rule_json(const struct cx_corpus_options *options, const struct cx_shard_rule *rule, json_t **json, struct cx_error *error) {
    *json = json_pack("{s:I, s:I, s:I, s:i, s:I, s:I, s:I, s:I, s:i, s:s*, s:s*, s:s*, s:s*}", "documents", (json_int_t)rule->documents, "work",
                      (json_int_t)rule->work, "longest", (json_int_t)rule->sequences.longest, "too_long", (int)rule->sequences.too_long, "window_stride",
                      (json_int_t)rule->sequences.window_stride, "skip", (json_int_t)options->skip, "limit", (json_int_t)options->limit, "longest_line",
                      (json_int_t)options->longest_line, "corpus_format", (int)options->format, "text_field", options->text_field, "id_field",
                      options->id_field, "pair_field", options->pair_field, "words_field", options->words_field);
    return *json ? CX_OK : cx_fail_memory(error, "the plan of shards", 0);
}

enum cx_status cx_plan_files_json(const struct cx_corpus *corpus, json_t **json, struct cx_error *error) {
    enum cx_status status = (*json = json_array()) ? CX_OK : cx_fail_memory(error, "the plan of shards", 0);
    for (size_t k = 0; status == CX_OK && k < cx_corpus_source_count(corpus); k++) {
        const char *path = cx_corpus_source(corpus, k);
        struct stat facts;
        char changed[48];
        if (stat(path, &facts) != 0) {
            status = cx_fail_errno(error, "look up", path);
            break;
        }
        snprintf(changed, sizeof changed, "%lld.%09ld", (long long)facts.st_mtim.tv_sec, (long)facts.st_mtim.tv_nsec);
        if (json_array_append_new(
                *json, json_pack("{s:o, s:I, s:s}", "path", cx_utf8_json(path, strlen(path)), "bytes", (json_int_t)facts.st_size, "changed", changed)) != 0)
            status = cx_fail_memory(error, "the plan of shards", 0);
    }
    if (status != CX_OK) {
        json_decref(*json);
        *json = NULL;
    }
    return status;
}

static enum cx_status add_header(struct plan_text *out, const struct cx_corpus *corpus, const struct cx_corpus_options *options,
                                 const struct cx_shard_rule *rule, const char *fingerprint, struct cx_error *error) {
    json_t *rule_json = NULL, *files = NULL;
    enum cx_status status = cx_plan_rule_json(options, rule, &rule_json, error);
    if (status == CX_OK)
        status = cx_plan_files_json(corpus, &files, error);
    if (status == CX_OK)
        status = add_line(out,
                          json_pack("{s:s, s:i, s:s, s:O, s:O}", "format", CX_PLAN_FORMAT, "format_version", CX_PLAN_VERSION, "corpus", fingerprint, "rule",
                                    rule_json, "files", files),
                          error);
    json_decref(files);
    json_decref(rule_json);
    return status;
}

static enum cx_status cut_shards(struct plan_text *out, struct cx_corpus *corpus, const struct cx_shard_rule *rule, bool (*stop)(void *), void *stop_context,
                                 struct cx_error *error) {
    struct cx_corpus_place begin;
    struct cx_shard_cut cut = {0};
    uint64_t shard = 0, documents = 0;
    enum cx_status status = cx_corpus_find_place(corpus, &begin, error);
    while (status == CX_OK) {
        struct cx_document document;
        if (stop && documents++ % stop_interval == 0 && stop(stop_context))
            return cx_fail(error, CX_ERROR_INTERRUPTED, "stopped by a signal while the plan of shards was made; the same command begins it again");
        status = cx_corpus_next_line(corpus, &document, error);
        if (status != CX_OK || !cx_shard_cut_add(&cut, rule, &document))
            continue;
        status = add_shard(out, shard++, &begin, &cut, error);
        cut = (struct cx_shard_cut){0};
        if (status == CX_OK)
            status = cx_corpus_find_place(corpus, &begin, error);
    }
    if (status == CX_END && cut.documents > 0)
        status = add_shard(out, shard++, &begin, &cut, error);
    if (status == CX_END || status == CX_OK)
        status = add_line(out, json_pack("{s:I}", "shards", (json_int_t)shard), error);
    return status;
}

enum cx_status cx_shard_plan_make(struct cx_corpus *corpus, const struct cx_corpus_options *options, const struct cx_shard_rule *rule,
                                  const char *corpus_fingerprint, bool (*stop)(void *), void *stop_context, char **text, size_t *length,
                                  struct cx_error *error) {
    enum { compression_level = 6 };
    struct plan_text out = {.compressor = libdeflate_alloc_compressor(compression_level)};
    *text = NULL;
    *length = 0;
    enum cx_status status = out.compressor ? CX_OK : cx_fail_memory(error, "the plan of shards", 0);
    if (status == CX_OK)
        status = cx_allocate(1, (size_t)2 * CX_PLAN_WINDOW_BYTES, "the plan of shards", &out.packed, error);
    if (status == CX_OK)
        status = cx_allocate(1, (size_t)4 * CX_PLAN_WINDOW_BYTES + 1, "the plan of shards", &out.digits, error);
    if (status == CX_OK)
        status = add_header(&out, corpus, options, rule, corpus_fingerprint, error);
    if (status == CX_OK) {
        const uint64_t spacing = cx_corpus_bytes_total(corpus) / most_checkpoints;
        const struct cx_corpus_watcher watcher = {spacing > least_spacing ? spacing : least_spacing, add_checkpoint, &out};
        cx_corpus_watch(corpus, &watcher);
        status = cut_shards(&out, corpus, rule, stop, stop_context, error);
        cx_corpus_watch(corpus, &(struct cx_corpus_watcher){0});
    }
    if (status == CX_OK) {
        *text = out.text;
        *length = out.length;
        out.text = NULL;
    }
    free(out.text);
    free(out.digits);
    free(out.packed);
    libdeflate_free_compressor(out.compressor);
    return status;
}

enum cx_status cx_shard_plan_write(const char *directory, const char *text, size_t length, struct cx_error *error) {
    char *path = NULL;
    enum cx_status status = cx_path_join(directory, CX_PLAN_NAME, &path, error);
    if (status == CX_OK)
        status = cx_file_replace(path, text, length, error);
    free(path);
    return status;
}
