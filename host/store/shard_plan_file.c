/* Reading plan.json, and going to the places that it names. */
#include <errno.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/file.h"
#include "contexture/json.h"
#include "contexture/memory.h"
#include "manifest_lines.h"
#include "output_folder.h"
#include "shard_plan_lines.h"

/* A checkpoint's line stays in the file. */
struct checkpoint {
    size_t source;
    uint64_t offset;
    long at; /* in the file */
    size_t length;
};

struct cx_shard_plan {
    char *path;
    FILE *file;
    char *line;
    size_t line_capacity;
    char *corpus;
    struct cx_shard_range *ranges;
    size_t count, capacity;
    struct checkpoint *checkpoints; /* by source, then by offset, as they were found */
    size_t checkpoint_count, checkpoint_capacity;
    bool ended;
};

static enum cx_status fail_damaged(const struct cx_shard_plan *plan, struct cx_error *error) {
    return cx_fail(error, CX_ERROR_DAMAGED, "%s is damaged; delete it and run the same command again: it is made anew from the corpus", plan->path);
}

static enum cx_status read_numbers(const struct cx_shard_plan *plan, const json_t *object, const char *const *keys, uint64_t *numbers, size_t count,
                                   struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t k = 0; status == CX_OK && k < count; k++) {
        int64_t number = 0;
        status = cx_json_integer(object, keys[k], plan->path, true, 0, INT64_MAX, &number, error);
        numbers[k] = (uint64_t)number;
    }
    return status;
}

/* The next whole line as JSON; *object NULL at the end. */
static enum cx_status read_line(struct cx_shard_plan *plan, json_t **object, size_t *length, struct cx_error *error) {
    *object = NULL;
    errno = 0;
    const ssize_t got = getline(&plan->line, &plan->line_capacity, plan->file);
    if (got < 0)
        return ferror(plan->file) ? cx_fail_errno(error, "read", plan->path) : CX_OK;
    *length = (size_t)got;
    if (got < 2 || plan->line[got - 1] != '\n' || !cx_manifest_line_fits(plan->line, (size_t)got - 1))
        return fail_damaged(plan, error);
    return cx_json_parse(plan->line, (size_t)got - 1, plan->path, object, error);
}

static enum cx_status add_shard(struct cx_shard_plan *plan, const json_t *object, struct cx_error *error) {
    static const char *const keys[] = {"shard", "document", "source", "line", "offset", "documents", "pairs"};
    uint64_t n[sizeof keys / sizeof *keys], hash = 0;
    const char *digits = "";
    enum cx_status status = read_numbers(plan, object, keys, n, sizeof keys / sizeof *keys, error);
    if (status == CX_OK)
        status = cx_json_text(object, "content_hash", plan->path, true, &digits, error);
    if (status == CX_OK && (n[0] != plan->count || strlen(digits) != 16 || !cx_parse_hexadecimal(digits, 16, &hash)))
        status = fail_damaged(plan, error);
    if (status == CX_OK)
        status = cx_reserve(&plan->ranges, &plan->capacity, plan->count + 1, sizeof *plan->ranges, "the plan of shards", error);
    if (status == CX_OK)
        plan->ranges[plan->count++] = (struct cx_shard_range){.shard = n[0],
                                                              .begin = {.number = n[1], .source = (size_t)n[2], .line = n[3], .offset = n[4]},
                                                              .documents = n[5],
                                                              .pairs = n[6],
                                                              .content_hash = hash};
    return status;
}

static enum cx_status add_checkpoint(struct cx_shard_plan *plan, const json_t *object, long at, size_t length, struct cx_error *error) {
    static const char *const keys[] = {"checkpoint", "offset"};
    uint64_t n[2];
    enum cx_status status = read_numbers(plan, object, keys, n, 2, error);
    if (status == CX_OK)
        status = cx_reserve(&plan->checkpoints, &plan->checkpoint_capacity, plan->checkpoint_count + 1, sizeof *plan->checkpoints, "the plan of shards", error);
    if (status == CX_OK)
        plan->checkpoints[plan->checkpoint_count++] = (struct checkpoint){(size_t)n[0], n[1], at, length};
    return status;
}

/* CX_END: it is the plan of something else. */
static enum cx_status check_header(struct cx_shard_plan *plan, const json_t *object, const struct cx_corpus *corpus, const struct cx_corpus_options *options,
                                   const struct cx_shard_rule *rule, struct cx_error *error) {
    json_t *rule_json = NULL, *files = NULL;
    const char *fingerprint = "", *format = "";
    int64_t version = 0;
    enum cx_status status = cx_json_text(object, "format", plan->path, true, &format, error);
    if (status == CX_OK)
        status = cx_json_integer(object, "format_version", plan->path, true, 0, INT32_MAX, &version, error);
    if (status == CX_OK && (strcmp(format, CX_PLAN_FORMAT) != 0 || version != CX_PLAN_VERSION))
        return CX_END;
    if (status == CX_OK)
        status = cx_json_text(object, "corpus", plan->path, true, &fingerprint, error);
    if (status == CX_OK)
        status = cx_copy_text(fingerprint, strlen(fingerprint), &plan->corpus, error);
    if (status == CX_OK)
        status = cx_plan_rule_json(options, rule, &rule_json, error);
    if (status == CX_OK)
        status = cx_plan_files_json(corpus, &files, error);
    if (status == CX_OK && (!json_equal(rule_json, json_object_get(object, "rule")) || !json_equal(files, json_object_get(object, "files"))))
        status = CX_END;
    json_decref(files);
    json_decref(rule_json);
    return status;
}

static enum cx_status read_body(struct cx_shard_plan *plan, struct cx_error *error) {
    for (;;) {
        json_t *object;
        size_t length = 0;
        const long at = ftell(plan->file);
        enum cx_status status = read_line(plan, &object, &length, error);
        if (status != CX_OK)
            return status;
        if (!object)
            return plan->ended ? CX_OK : fail_damaged(plan, error);
        if (plan->ended)
            status = fail_damaged(plan, error);
        else if (json_object_get(object, "shard"))
            status = add_shard(plan, object, error);
        else if (json_object_get(object, "checkpoint"))
            status = add_checkpoint(plan, object, at, length, error);
        else
            plan->ended = json_integer_value(json_object_get(object, "shards")) == (json_int_t)plan->count;
        if (status == CX_OK && !plan->ended && json_object_get(object, "shards"))
            status = fail_damaged(plan, error);
        json_decref(object);
        if (status != CX_OK)
            return status;
    }
}

enum cx_status cx_shard_plan_open(const char *directory, const struct cx_corpus *corpus, const struct cx_corpus_options *options,
                                  const struct cx_shard_rule *rule, struct cx_shard_plan **plan_pointer, struct cx_error *error) {
    struct cx_shard_plan *plan = NULL;
    json_t *header = NULL;
    size_t length;
    *plan_pointer = NULL;
    enum cx_status status = cx_allocate(1, sizeof *plan, "the plan of shards", &plan, error);
    if (status != CX_OK)
        return status;
    status = cx_path_join(directory, CX_PLAN_NAME, &plan->path, error);
    if (status == CX_OK && !(plan->file = fopen(plan->path, "re")))
        status = errno == ENOENT ? CX_END : cx_fail_errno(error, "open", plan->path);
    if (status == CX_OK)
        status = read_line(plan, &header, &length, error);
    if (status == CX_OK)
        status = header ? check_header(plan, header, corpus, options, rule, error) : fail_damaged(plan, error);
    if (status == CX_OK)
        status = read_body(plan, error);
    json_decref(header);
    if (status == CX_OK)
        *plan_pointer = plan;
    else
        cx_shard_plan_close(plan);
    return status;
}

void cx_shard_plan_close(struct cx_shard_plan *plan) {
    if (!plan)
        return;
    if (plan->file)
        fclose(plan->file);
    free(plan->checkpoints);
    free(plan->ranges);
    free(plan->corpus);
    free(plan->line);
    free(plan->path);
    free(plan);
}

uint64_t cx_shard_plan_count(const struct cx_shard_plan *plan) {
    return plan->count;
}

const struct cx_shard_range *cx_shard_plan_range(const struct cx_shard_plan *plan, uint64_t shard) {
    return shard < plan->count ? &plan->ranges[shard] : NULL;
}

const char *cx_shard_plan_corpus(const struct cx_shard_plan *plan) {
    return plan->corpus;
}

static int compare_work(const void *first, const void *second, void *context) {
    const struct cx_shard_plan *plan = context;
    const uint64_t a = *(const uint64_t *)first, b = *(const uint64_t *)second;
    if (plan->ranges[a].pairs != plan->ranges[b].pairs)
        return plan->ranges[a].pairs > plan->ranges[b].pairs ? -1 : 1;
    return a < b ? -1 : a > b;
}

void cx_shard_plan_order(const struct cx_shard_plan *plan, uint64_t *order) {
    for (uint64_t k = 0; k < plan->count; k++)
        order[k] = k;
    qsort_r(order, plan->count, sizeof *order, compare_work, (void *)plan);
}

/* The last checkpoint that is not behind the place; NULL: none. */
static const struct checkpoint *find_checkpoint(const struct cx_shard_plan *plan, const struct cx_corpus_place *place) {
    size_t first = 0, end = plan->checkpoint_count;
    while (first < end) {
        const size_t middle = first + (end - first) / 2;
        const struct checkpoint *found = &plan->checkpoints[middle];
        if (found->source < place->source || (found->source == place->source && found->offset <= place->offset))
            first = middle + 1;
        else
            end = middle;
    }
    return first > 0 && plan->checkpoints[first - 1].source == place->source ? &plan->checkpoints[first - 1] : NULL;
}

/* The digits of a window back to its text. */
static enum cx_status unpack_window(const struct cx_shard_plan *plan, const char *digits, unsigned char *window, size_t length, struct cx_error *error) {
    const size_t packed_length = strlen(digits) / 2;
    unsigned char *packed = NULL;
    struct libdeflate_decompressor *decompressor = libdeflate_alloc_decompressor();
    enum cx_status status = decompressor ? CX_OK : cx_fail_memory(error, "the plan of shards", 0);
    if (status == CX_OK)
        status = cx_allocate(packed_length, 1, "the plan of shards", &packed, error);
    for (size_t k = 0; status == CX_OK && k < packed_length; k++) {
        unsigned byte = 0;
        if (sscanf(digits + 2 * k, "%2x", &byte) != 1)
            status = fail_damaged(plan, error);
        packed[k] = (unsigned char)byte;
    }
    if (status == CX_OK && libdeflate_deflate_decompress(decompressor, packed, packed_length, window, length, NULL) != LIBDEFLATE_SUCCESS)
        status = fail_damaged(plan, error);
    free(packed);
    libdeflate_free_decompressor(decompressor);
    return status;
}

static enum cx_status read_checkpoint(struct cx_shard_plan *plan, const struct checkpoint *found, struct cx_corpus_checkpoint *checkpoint,
                                      unsigned char *window, struct cx_error *error) {
    static const char *const keys[] = {"checkpoint", "offset", "compressed", "bits", "window_bytes"};
    uint64_t n[sizeof keys / sizeof *keys];
    const char *digits = "";
    json_t *object = NULL;
    size_t length = 0;
    if (fseek(plan->file, found->at, SEEK_SET) != 0)
        return cx_fail_errno(error, "read", plan->path);
    enum cx_status status = read_line(plan, &object, &length, error);
    if (status == CX_OK && !object)
        status = fail_damaged(plan, error);
    if (status == CX_OK)
        status = read_numbers(plan, object, keys, n, sizeof keys / sizeof *keys, error);
    if (status == CX_OK)
        status = cx_json_text(object, "window", plan->path, true, &digits, error);
    if (status == CX_OK && (n[3] > 7 || n[4] > CX_PLAN_WINDOW_BYTES))
        status = fail_damaged(plan, error);
    if (status == CX_OK && n[4] > 0)
        status = unpack_window(plan, digits, window, (size_t)n[4], error);
    if (status == CX_OK)
        *checkpoint = (struct cx_corpus_checkpoint){(size_t)n[0], n[1], n[2], (unsigned)n[3], window, (size_t)n[4]};
    json_decref(object);
    return status;
}

enum cx_status cx_shard_plan_go(struct cx_shard_plan *plan, struct cx_corpus *corpus, uint64_t shard, struct cx_error *error) {
    const struct cx_shard_range *range = cx_shard_plan_range(plan, shard);
    struct cx_corpus_checkpoint checkpoint;
    unsigned char *window = NULL;
    if (!range)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: there is no shard %" PRIu64, plan->path, shard);
    const struct checkpoint *found = find_checkpoint(plan, &range->begin);
    if (!found)
        return cx_corpus_go(corpus, &range->begin, NULL, error);
    enum cx_status status = cx_allocate(CX_PLAN_WINDOW_BYTES, 1, "the plan of shards", &window, error);
    if (status == CX_OK)
        status = read_checkpoint(plan, found, &checkpoint, window, error);
    if (status == CX_OK)
        status = cx_corpus_go(corpus, &range->begin, &checkpoint, error);
    free(window);
    return status;
}
