/*
 * The lines of one corpus file, found with memchr in a buffer that grows only for a long line, and never beyond the longest line allowed.
 */
#ifndef CONTEXTURE_CORPUS_LINE_READER_H
#define CONTEXTURE_CORPUS_LINE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

/* One line without its end (LF or CR LF). The memory belongs to the reader and holds until the next call. */
struct cx_line {
    const char *text; /* NULL if too_long */
    size_t length;
    uint64_t bytes;  /* in the file, without the LF; also of a line that is too long */
    uint64_t number; /* from 1 */
    uint64_t hash;   /* XXH3-64 of the bytes before the LF; 0 if not asked for */
    bool too_long;   /* the reader went on to its end without keeping it */
    bool blank;      /* empty, or ASCII white space alone */
};

struct cx_line_reader;
struct cx_start_sink;
struct cx_decoder_start;

/* Opens the file and looks at its beginning: drops a byte order mark, refuses what is no text (archives, UTF-16, tables). `sink`: see cx_byte_source_open(). */
CX_MUST_USE enum cx_status cx_line_reader_open(const char *path, size_t longest_line, const struct cx_start_sink *sink, struct cx_line_reader **reader,
                                               struct cx_error *error);

/* Opens it at byte `offset` of its text, where a line begins that `lines` others come before; see cx_byte_source_go(). */
CX_MUST_USE enum cx_status cx_line_reader_open_at(const char *path, size_t longest_line, uint64_t offset, uint64_t lines, const struct cx_decoder_start *start,
                                                  struct cx_line_reader **reader, struct cx_error *error);
void cx_line_reader_close(struct cx_line_reader *reader); /* NULL is allowed */

/*
 * The next line; CX_END after the last. If the file turns out to be damaged, every whole line before the damage is given first, and the
 * error says how many they were; the same error comes again from every further call.
 */
CX_MUST_USE enum cx_status cx_line_reader_next(struct cx_line_reader *reader, bool want_hash, struct cx_line *line, struct cx_error *error);

/* Where the next line begins: bytes of the text and lines before it. */
uint64_t cx_line_reader_offset(const struct cx_line_reader *reader);
uint64_t cx_line_reader_lines(const struct cx_line_reader *reader);

uint64_t cx_line_reader_bytes_read(const struct cx_line_reader *reader);

#endif
