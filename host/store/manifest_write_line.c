/* Making the lines of a manifest. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "contexture/memory.h"
#include "contexture/tokenizer.h"
#include "manifest_lines.h"
#include "output_folder.h"

/* `digits` of real numbers: 17 give them back exactly. */
static enum cx_status make_line(json_t *object, size_t digits, char **line, struct cx_error *error) {
    static const char form[] = ",\"crc32\":\"00000000\"}\n";
    enum cx_status status = CX_OK;
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(digits)) : NULL;
    json_decref(object);
    *line = NULL;
    if (!text)
        return cx_fail_memory(error, "a line of the manifest", sizeof form);
    size_t body = strlen(text) - 1; /* without the closing brace */
    status = cx_allocate(body + sizeof form, 1, "a line of the manifest", line, error);
    if (status == CX_OK) {
        unsigned long crc = crc32_z(0, (const unsigned char *)text, body);
        memcpy(*line, text, body);
        snprintf(*line + body, sizeof form, ",\"crc32\":\"%08lx\"}\n", crc);
    }
    free(text);
    return status;
}

enum cx_status cx_manifest_line(json_t *object, char **line, struct cx_error *error) {
    return make_line(object, 17, line, error);
}

enum cx_status cx_manifest_header_line(json_t *identity, char **line, struct cx_error *error) {
    return make_line(json_pack("{s:s, s:i, s:s, s:O}", "format", CX_MANIFEST_FORMAT, "format_version", CX_FORMAT_VERSION, "program_version", CX_VERSION,
                               "identity", identity),
                     17, line, error);
}

static json_t *text_of(const char *text) {
    return cx_utf8_json(text ? text : "", text ? strlen(text) : 0);
}

/* Those that were left out, or those that were stripped of their annotations. */
static json_t *list_documents(const struct cx_skipped_document *skipped, size_t count, bool stripped) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++) {
        if (skipped[i].stripped != stripped)
            continue;
        /* json_pack takes over the two strings, and gives NULL if one of them is. */
        json_t *item = json_pack("{s:I, s:I, s:o, s:o}", "document", (json_int_t)skipped[i].document, "line", (json_int_t)skipped[i].line, "source",
                                 text_of(skipped[i].source), "reason", text_of(skipped[i].reason));
        if (json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

enum cx_status cx_manifest_shard_line(const struct cx_part_summary *part, const struct cx_skipped_document *skipped, size_t skipped_count, char **line,
                                      struct cx_error *error) {
    char name[CX_PART_NAME_BYTES], crc[9], hash[17];
    cx_part_name(part->shard, name);
    snprintf(crc, sizeof crc, "%08" PRIx32, part->file_crc32);
    snprintf(hash, sizeof hash, "%016" PRIx64, part->content_hash);
    double seconds = isfinite(part->seconds) ? part->seconds : 0;
    *line = NULL;
    if (!isfinite(part->completeness_error))
        return cx_fail(error, CX_ERROR_INTERNAL, "shard %" PRIu64 ": its completeness error is not finite", part->shard);
    json_t *object = json_pack("{s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:f, s:f, s:o}", "shard", (json_int_t)part->shard, "file", name,
                               "first_document", (json_int_t)part->first_document, "documents", (json_int_t)part->documents, "skipped",
                               (json_int_t)part->skipped, "sequences", (json_int_t)part->sequences, "tokens", (json_int_t)part->tokens, "pairs",
                               (json_int_t)part->pairs, "bytes", (json_int_t)part->bytes, "file_crc32", crc, "content_hash", hash, "completeness_error",
                               (double)part->completeness_error, "seconds", seconds, "left_out", list_documents(skipped, skipped_count, false));
    if (object && part->stripped > 0 &&
        (json_object_set_new(object, "stripped", json_integer((json_int_t)part->stripped)) != 0 ||
         json_object_set_new(object, "stripped_documents", list_documents(skipped, skipped_count, true)) != 0)) {
        json_decref(object);
        object = NULL;
    }
    return make_line(object, 9, line, error);
}

enum cx_status cx_manifest_complete_line(uint64_t shards, char **line, struct cx_error *error) {
    return make_line(json_pack("{s:b, s:I}", "complete", 1, "shards", (json_int_t)shards), 9, line, error);
}
