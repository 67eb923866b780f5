/* Reading the lines of a manifest. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "contexture/file.h"
#include "contexture/json.h"
#include "contexture/memory.h"
#include "manifest_lines.h"
#include "output_folder.h"

static const size_t largest_manifest = (size_t)1 << 32;

bool cx_parse_hexadecimal(const char *digits, size_t length, uint64_t *value) {
    *value = 0;
    for (size_t i = 0; i < length; i++) {
        const char *place = digits[i] ? strchr("0123456789abcdef", digits[i]) : NULL;
        if (!place)
            return false;
        *value = *value << 4 | (uint64_t)(strchr("0123456789abcdef", digits[i]) - "0123456789abcdef");
    }
    return digits[length] == '\0' || digits[length] == '"';
}

/* The line ends in ,"crc32":"xxxxxxxx"} and the digits are the checksum of what is before. */
bool cx_manifest_line_fits(const char *line, size_t length) {
    static const char begin[] = ",\"crc32\":\"", end[] = "\"}";
    enum { digits = 8, tail = sizeof begin - 1 + digits + sizeof end - 1 };
    uint64_t written = 0;
    if (length < tail || memcmp(line + length - 2, end, 2) != 0 || memcmp(line + length - tail, begin, sizeof begin - 1) != 0)
        return false;
    return cx_parse_hexadecimal(line + length - 2 - digits, digits, &written) && written == crc32_z(0, (const unsigned char *)line, length - tail);
}

static enum cx_status read_count(const json_t *object, const char *key, const char *where, uint64_t *value, struct cx_error *error) {
    int64_t number = 0;
    enum cx_status status = cx_json_integer(object, key, where, true, 0, INT64_MAX, &number, error);
    *value = (uint64_t)number;
    return status;
}

static enum cx_status read_digits(const json_t *object, const char *key, const char *where, size_t digits, uint64_t *value, struct cx_error *error) {
    const char *text = "";
    enum cx_status status = cx_json_text(object, key, where, true, &text, error);
    if (status == CX_OK && (strlen(text) != digits || !cx_parse_hexadecimal(text, digits, value)))
        return cx_fail(error, CX_ERROR_DAMAGED, "%s: %s: expected %zu hexadecimal digits, found \"%.40s\"", where, key, digits, text);
    return status;
}

static enum cx_status read_shard(struct cx_manifest_content *content, const json_t *object, const char *where, struct cx_error *error) {
    struct cx_part_summary part = {0};
    uint64_t crc = 0;
    int64_t stripped = 0;
    double completeness = 0;
    const struct {
        const char *key;
        uint64_t *value;
    } counts[] = {{"shard", &part.shard},         {"first_document", &part.first_document},
                  {"documents", &part.documents}, {"skipped", &part.skipped},
                  {"sequences", &part.sequences}, {"tokens", &part.tokens},
                  {"pairs", &part.pairs},         {"bytes", &part.bytes}};
    enum cx_status status = CX_OK;
    for (size_t i = 0; status == CX_OK && i < sizeof counts / sizeof counts[0]; i++)
        status = read_count(object, counts[i].key, where, counts[i].value, error);
    if (status == CX_OK)
        status = cx_json_integer(object, "stripped", where, false, 0, INT64_MAX, &stripped, error);
    if (status == CX_OK)
        status = read_digits(object, "file_crc32", where, 8, &crc, error);
    if (status == CX_OK)
        status = read_digits(object, "content_hash", where, 16, &part.content_hash, error);
    if (status == CX_OK)
        status = cx_json_number(object, "completeness_error", where, true, &completeness, error);
    if (status == CX_OK)
        status = cx_json_number(object, "seconds", where, true, &part.seconds, error);
    if (status != CX_OK)
        return status;
    part.stripped = (uint64_t)stripped;
    part.file_crc32 = (uint32_t)crc;
    part.completeness_error = (float)completeness;
    return cx_manifest_content_put(content, &part, error);
}

static enum cx_status read_header(struct cx_manifest_content *content, const json_t *object, const char *where, struct cx_error *error) {
    const char *format = "";
    int64_t version = 0;
    json_t *identity = NULL;
    enum cx_status status = cx_json_text(object, "format", where, true, &format, error);
    if (status == CX_OK && strcmp(format, CX_MANIFEST_FORMAT) != 0)
        return cx_fail(error, CX_ERROR_CONFLICT, "%s: expected the format \"%s\", found \"%.40s\": not a manifest of contexture; choose another folder", where,
                       CX_MANIFEST_FORMAT, format);
    if (status == CX_OK)
        status = cx_json_integer(object, "format_version", where, true, 1, INT32_MAX, &version, error);
    if (status == CX_OK && version != CX_FORMAT_VERSION)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: expected format version %d, found %" PRId64 "; use the contexture that wrote it", where,
                       CX_FORMAT_VERSION, version);
    if (status == CX_OK)
        status = cx_json_object_member(object, "identity", where, true, &identity, error);
    if (status == CX_OK)
        content->identity = json_incref(identity);
    return status;
}

static enum cx_status read_line(struct cx_manifest_content *content, const char *path, size_t number, const char *line, size_t length, struct cx_error *error) {
    char where[512];
    json_t *object = NULL;
    int64_t shards = 0;
    snprintf(where, sizeof where, "%.400s: line %zu", path, number);
    if (!cx_manifest_line_fits(line, length)) {
        const char *remedy = number == 1 ? "without its header the folder cannot be gone on with; restore the file from a copy"
                                         : "restore the file from a copy, or delete the line: what it told of will be computed again";
        return cx_fail(error, CX_ERROR_DAMAGED, "%s is damaged: its CRC-32 does not fit; %s", where, remedy);
    }
    enum cx_status status = cx_json_parse(line, length, where, &object, error);
    if (status != CX_OK)
        return status;
    if (number == 1) {
        status = read_header(content, object, where, error);
        if (status == CX_OK)
            status = cx_copy_text(line, length, &content->header_line, error);
    } else if (json_object_get(object, "shard")) {
        status = read_shard(content, object, where, error);
    } else if (json_is_true(json_object_get(object, "complete"))) {
        status = cx_json_integer(object, "shards", where, true, 0, INT64_MAX, &shards, error);
        content->complete = status == CX_OK;
        content->complete_shards = (uint64_t)shards;
    } else {
        status = cx_fail(error, CX_ERROR_UNSUPPORTED, "%s tells of something that this version does not know; use the contexture that wrote it", where);
    }
    json_decref(object);
    return status;
}

enum cx_status cx_manifest_content_read(const char *path, void (*complain)(void *context, const char *sentence), void *context,
                                        struct cx_manifest_content *content, struct cx_error *error) {
    char *text = NULL;
    size_t length = 0, number = 1;
    *content = (struct cx_manifest_content){0};
    enum cx_status status = cx_file_read(path, largest_manifest, &text, &length, error);
    const char *at = text, *end = text ? text + length : NULL;
    for (const char *feed; status == CX_OK && at < end && (feed = memchr(at, '\n', (size_t)(end - at))) != NULL; at = feed + 1, number++) {
        struct cx_error fault = {0};
        status = read_line(content, path, number, at, (size_t)(feed - at), &fault);
        if (status != CX_OK && complain) {
            complain(context, fault.message);
            status = CX_OK;
        } else if (status != CX_OK && error) {
            *error = fault;
        }
    }
    if (status == CX_OK) {
        content->whole_bytes = (size_t)(at - text);
        content->torn_bytes = (size_t)(end - at);
        if (number == 1)
            status =
                cx_fail(error, CX_ERROR_DAMAGED, "%s: expected a header line, found %zu bytes without a line end; delete the file to begin anew", path, length);
    }
    free(text);
    if (status != CX_OK)
        cx_manifest_content_free(content);
    return status;
}

enum cx_status cx_manifest_journal_read(const char *path, const char *text, size_t length, size_t *read, struct cx_manifest_content *content,
                                        struct cx_error *error) {
    const char *feed;
    enum cx_status status = CX_OK;
    while (status == CX_OK && *read < length && (feed = memchr(text + *read, '\n', length - *read)) != NULL) {
        const char *line = text + *read;
        const size_t line_length = (size_t)(feed - line);
        json_t *object = NULL;
        if (!cx_manifest_line_fits(line, line_length))
            break;
        if (*read > 0) {
            status = cx_json_parse(line, line_length, path, &object, error);
            if (status == CX_OK)
                status = read_shard(content, object, path, error);
            json_decref(object);
        }
        *read += line_length + 1;
    }
    return status;
}

enum cx_status cx_manifest_folder_read(const char *directory, void (*complain)(void *context, const char *sentence), void *context,
                                       struct cx_manifest_content *content, struct cx_error *error) {
    struct cx_journals journals = {0};
    char *path = NULL;
    enum cx_status status = cx_path_join(directory, "manifest.json", &path, error);
    if (status == CX_OK)
        status = cx_manifest_content_read(path, complain, context, content, error);
    if (status == CX_OK)
        status = cx_journals_list(directory, &journals, error);
    for (size_t k = 0; status == CX_OK && k < journals.count; k++) {
        char *text = NULL;
        size_t length = 0, read = 0;
        status = cx_file_read(journals.paths[k], largest_manifest, &text, &length, error);
        if (status == CX_OK)
            status = cx_manifest_journal_read(journals.paths[k], text, length, &read, content, error);
        free(text);
    }
    cx_journals_free(&journals);
    free(path);
    return status;
}

void cx_manifest_content_free(struct cx_manifest_content *content) {
    json_decref(content->identity);
    free(content->header_line);
    free(content->parts);
    *content = (struct cx_manifest_content){0};
}

enum cx_status cx_manifest_content_put(struct cx_manifest_content *content, const struct cx_part_summary *part, struct cx_error *error) {
    size_t place = content->count;
    content->disordered = content->disordered || content->complete || (place > 0 && content->parts[place - 1].shard >= part->shard);
    content->complete = false;
    while (place > 0 && content->parts[place - 1].shard >= part->shard)
        place--;
    if (place == content->count || content->parts[place].shard != part->shard) {
        enum cx_status status = cx_reserve(&content->parts, &content->capacity, content->count + 1, sizeof *content->parts, "the shards of a manifest", error);
        if (status != CX_OK)
            return status;
        memmove(&content->parts[place + 1], &content->parts[place], (content->count - place) * sizeof *content->parts);
        content->count++;
    }
    content->parts[place] = *part;
    return CX_OK;
}

enum cx_status cx_store_is_complete(const char *directory, bool *complete, struct cx_error *error) {
    struct cx_manifest_content content = {0};
    struct cx_journals journals = {0};
    char *path = NULL;
    enum cx_status status = cx_path_join(directory, CX_MANIFEST_NAME, &path, error);
    if (status == CX_OK)
        status = cx_manifest_content_read(path, NULL, NULL, &content, error);
    if (status == CX_OK && content.complete)
        status = cx_journals_list(directory, &journals, error);
    *complete = status == CX_OK && content.complete && journals.count == 0;
    cx_journals_free(&journals);
    cx_manifest_content_free(&content);
    free(path);
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
