/*
 * The lines of manifest.json. Each is a JSON object by itself, and its last member is the CRC-32 (zlib's) of everything before it:
 *
 *     {"shard":42,…,"crc32":"1a2b3c4d"}       of the bytes   {"shard":42,…
 *
 * Line 1 is the header: {"format":"contexture run","format_version":1,"program_version":"…","identity":{…},…}
 * A finished shard:     {"shard":42,"file":"parts/shard-000042.h5","first_document":…,"documents":…,"skipped":…,"sequences":…,"tokens":…,"pairs":…,
 *                        "bytes":…,"file_crc32":"8 hexadecimal digits","content_hash":"16 hexadecimal digits","completeness_error":…,"seconds":…,
 *                        "left_out":[{"document":…,"line":…,"source":"…","reason":"…"}],…}
 *                       "stripped":… and "stripped_documents":[…], of the same form, only if there are any
 * The end of the run:   {"complete":true,"shards":43,…}
 *
 * A later line about the same shard replaces the earlier one, and takes back that the run is complete. Bytes behind the last line feed are a
 * line that was being written when the process died; they count for nothing.
 */
#ifndef CONTEXTURE_MANIFEST_LINES_H
#define CONTEXTURE_MANIFEST_LINES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/store.h"

#define CX_MANIFEST_FORMAT "contexture run"

/* What the whole lines of a manifest say. Start zeroed, end with cx_manifest_content_free(). */
struct cx_manifest_content {
    char *header_line; /* without its line feed; NULL if it is damaged */
    json_t *identity;
    struct cx_part_summary *parts; /* [count], shards rising */
    size_t count, capacity;
    bool complete;
    uint64_t complete_shards; /* their number, if complete */
    size_t whole_bytes;       /* up to the last line feed */
    size_t torn_bytes;        /* behind it */
};

/*
 * Reads `path`. A damaged line is CX_ERROR_DAMAGED with its number; with `complain` (of cx_store_verify()) it is complained of and passed over instead.
 */
CX_MUST_USE enum cx_status cx_manifest_content_read(const char *path, void (*complain)(void *context, const char *sentence), void *context,
                                                    struct cx_manifest_content *content, struct cx_error *error);
void cx_manifest_content_free(struct cx_manifest_content *content);

/* Adds or replaces a shard. */
CX_MUST_USE enum cx_status cx_manifest_content_put(struct cx_manifest_content *content, const struct cx_part_summary *part, struct cx_error *error);

/* Lines as new strings, line feed included (release with free()). */
CX_MUST_USE enum cx_status cx_manifest_header_line(json_t *identity, char **line, struct cx_error *error);
CX_MUST_USE enum cx_status cx_manifest_shard_line(const struct cx_part_summary *part, const struct cx_skipped_document *skipped, size_t skipped_count,
                                                  char **line, struct cx_error *error);
CX_MUST_USE enum cx_status cx_manifest_complete_line(uint64_t shards, char **line, struct cx_error *error);

#endif
