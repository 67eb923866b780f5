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
 *
 * Processes that share a folder do not append to one file, which a network file system need not keep whole: each has a journal, manifest.d/<worker>.jsonl, a
 * manifest of its own with the same header. Their lines are later than those of manifest.json. A line of a journal that is not whole counts for nothing, and
 * neither does what is behind it.
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
    bool disordered; /* the lines are not one for each shard, shards rising, and then that of the end */
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

/* The lines that begin in the first `length` bytes behind byte *read of a journal's text, up to the first that is not whole; *read moves behind them. */
CX_MUST_USE enum cx_status cx_manifest_journal_read(const char *path, const char *text, size_t length, size_t *read, struct cx_manifest_content *content,
                                                    struct cx_error *error);

/* manifest.json and all journals of a folder; the manifest's bytes alone count in whole_bytes and torn_bytes. */
CX_MUST_USE enum cx_status cx_manifest_folder_read(const char *directory, void (*complain)(void *context, const char *sentence), void *context,
                                                   struct cx_manifest_content *content, struct cx_error *error);

/* Calls `visit` for every whole line of a folder's manifest.json and journals. */
CX_MUST_USE enum cx_status cx_manifest_visit_lines(const char *directory,
                                                   enum cx_status (*visit)(void *context, const char *path, const char *line, size_t length,
                                                                           struct cx_error *error),
                                                   void *context, struct cx_error *error);

/* The names of a folder's journals in byte order. Release with cx_journals_free(). */
struct cx_journals {
    char **paths;
    size_t count, capacity;
};
CX_MUST_USE enum cx_status cx_journals_list(const char *directory, struct cx_journals *journals, struct cx_error *error);
void cx_journals_free(struct cx_journals *journals);

/*
 * Rewrites manifest.json: its header, the latest line of every shard of it and the journals, shards rising, and, if `shards` is not 0, the line that says that
 * so many are all. Then removes the journals.
 */
CX_MUST_USE enum cx_status cx_manifest_fold(const char *directory, uint64_t shards, struct cx_error *error);

/* Adds or replaces a shard. */
CX_MUST_USE enum cx_status cx_manifest_content_put(struct cx_manifest_content *content, const struct cx_part_summary *part, struct cx_error *error);

/* `object`, which is taken over, as a line with its checksum, as a new string (release with free()); NULL means that there was no memory for it. */
CX_MUST_USE enum cx_status cx_manifest_line(json_t *object, char **line, struct cx_error *error);

/* line[0 .. length), without its line feed, ends in a checksum that fits. */
bool cx_manifest_line_fits(const char *line, size_t length);

/* True if all `digits` of text are hexadecimal and nothing but a quote or the end is behind them. */
bool cx_parse_hexadecimal(const char *text, size_t digits, uint64_t *value);

/* Lines as new strings, line feed included (release with free()). */
CX_MUST_USE enum cx_status cx_manifest_header_line(json_t *identity, char **line, struct cx_error *error);
CX_MUST_USE enum cx_status cx_manifest_shard_line(const struct cx_part_summary *part, const struct cx_skipped_document *skipped, size_t skipped_count,
                                                  char **line, struct cx_error *error);
CX_MUST_USE enum cx_status cx_manifest_complete_line(uint64_t shards, char **line, struct cx_error *error);

#endif
