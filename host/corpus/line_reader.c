#include "line_reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "byte_source.h"
#include "contexture/memory.h"
#include "not_text.h"

/* Bytes asked for at a time: lines are searched while still in the cache. */
enum { fill_bytes = 256 * 1024 };

struct cx_line_reader {
    struct cx_byte_source *source;
    char *buffer;
    size_t begin, end, capacity; /* unread bytes are buffer[begin .. end) */
    size_t searched;             /* of them, so many from `begin` on hold no LF */
    size_t longest_line;
    uint64_t lines;   /* given so far */
    uint64_t decoded; /* bytes that the source has given so far */
    uint64_t origin;  /* bytes of the text before the first of them */
    bool at_end;
    struct cx_error fault; /* why the source cannot be read any further; status CX_OK: nothing is wrong */
};

static bool is_blank(const char *text, size_t length) {
    for (size_t k = 0; k < length; k++)
        if (text[k] != ' ' && (text[k] < '\t' || text[k] > '\r'))
            return false;
    return true;
}

/* Room behind `end`: moves the unread bytes to the front, and grows the buffer if they fill it. */
static enum cx_status make_room(struct cx_line_reader *reader, struct cx_error *error) {
    if (reader->begin > 0) {
        reader->end -= reader->begin;
        memmove(reader->buffer, reader->buffer + reader->begin, reader->end);
        reader->begin = 0;
    }
    if (reader->end < reader->capacity)
        return CX_OK;
    return cx_reserve(&reader->buffer, &reader->capacity, reader->end + fill_bytes, 1, "a line of the corpus", error);
}

/* Appends one block. A fault of the source is kept for later: the lines before it are still good. */
static enum cx_status fill(struct cx_line_reader *reader, struct cx_error *error) {
    enum cx_status status = make_room(reader, error);
    if (status != CX_OK)
        return status;
    size_t room = reader->capacity - reader->end, count = 0;
    if (cx_byte_source_read(reader->source, reader->buffer + reader->end, room < fill_bytes ? room : fill_bytes, &count, &reader->fault) != CX_OK)
        count = 0;
    reader->end += count;
    reader->decoded += count;
    reader->at_end = count == 0;
    return CX_OK;
}

/* Looks for LF from `searched` on. *length is the distance from `begin` to it, or to `end` if there is none. */
static bool find_line_feed(struct cx_line_reader *reader, size_t *length) {
    size_t unread = reader->end - reader->begin;
    const char *start = reader->buffer + reader->begin;
    const char *found = unread > reader->searched ? memchr(start + reader->searched, '\n', unread - reader->searched) : NULL;
    *length = found ? (size_t)(found - start) : unread;
    reader->searched = found ? 0 : unread;
    return found != NULL;
}

static size_t without_carriage_return(const char *text, size_t length) {
    return length > 0 && text[length - 1] == '\r' ? length - 1 : length;
}

/* Reads a line that is longer than allowed to its end, in pieces of the buffer; *found if that end is an LF. */
static enum cx_status pass_long_line(struct cx_line_reader *reader, bool want_hash, struct cx_line *line, bool *found, struct cx_error *error) {
    XXH3_state_t *hash = XXH3_createState();
    if (!hash)
        return cx_fail(error, CX_ERROR_MEMORY, "not enough memory for the hash of a long line");
    enum cx_status status = CX_OK;
    (void)XXH3_64bits_reset(hash);
    line->too_long = true;
    line->blank = true;
    reader->searched = 0;
    for (;;) {
        size_t piece;
        *found = find_line_feed(reader, &piece);
        const char *text = reader->buffer + reader->begin;
        if (want_hash)
            (void)XXH3_64bits_update(hash, text, piece);
        line->blank = line->blank && is_blank(text, piece);
        line->bytes += piece;
        reader->begin += piece + (*found ? 1 : 0);
        reader->searched = 0;
        if (*found || reader->at_end)
            break;
        status = fill(reader, error);
        if (status != CX_OK)
            break;
    }
    line->hash = want_hash ? XXH3_64bits_digest(hash) : 0;
    XXH3_freeState(hash);
    return status;
}

/* Everything before the fault has been given: says so, with what is wrong. */
static enum cx_status report_fault(const struct cx_line_reader *reader, struct cx_error *error) {
    return cx_fail(error, reader->fault.status, "%s; the %" PRIu64 " lines before it were read", reader->fault.message, reader->lines);
}

enum cx_status cx_line_reader_next(struct cx_line_reader *reader, bool want_hash, struct cx_line *line, struct cx_error *error) {
    memset(line, 0, sizeof *line);
    size_t length;
    bool found;
    while (!(found = find_line_feed(reader, &length)) && !reader->at_end && length < reader->longest_line + 2) {
        enum cx_status status = fill(reader, error);
        if (status != CX_OK)
            return status;
    }
    if (!found && reader->at_end && reader->fault.status != CX_OK)
        return report_fault(reader, error);
    if (!found && reader->at_end && length == 0)
        return CX_END;
    const char *text = reader->buffer + reader->begin;
    size_t content = without_carriage_return(text, length);
    line->number = reader->lines + 1;
    if (content > reader->longest_line) {
        enum cx_status status = pass_long_line(reader, want_hash, line, &found, error);
        if (status != CX_OK)
            return status;
        if (!found && reader->fault.status != CX_OK)
            return report_fault(reader, error);
    } else {
        line->text = text;
        line->length = content;
        line->bytes = length;
        line->blank = is_blank(text, content);
        line->hash = want_hash ? XXH3_64bits(text, length) : 0;
        reader->begin += length + (found ? 1 : 0);
        reader->searched = 0;
    }
    reader->lines++;
    return CX_OK;
}

/* The first bytes of the file's text: long enough for every signature, or a whole line, since a pipe may give no more for a long time. */
static enum cx_status look_at_beginning(struct cx_line_reader *reader, struct cx_error *error) {
    while (reader->end < CX_SIGNATURE_BYTES && !reader->at_end && !(reader->end > 0 && memchr(reader->buffer, '\n', reader->end))) {
        enum cx_status status = fill(reader, error);
        if (status != CX_OK)
            return status;
    }
    enum cx_status status = cx_refuse_what_is_no_text(cx_byte_source_path(reader->source), reader->buffer, reader->end, error);
    if (status == CX_OK && reader->end >= 3 && memcmp(reader->buffer, "\xef\xbb\xbf", 3) == 0)
        reader->begin = 3;
    return status;
}

static enum cx_status create(const char *path, size_t longest_line, const struct cx_start_sink *sink, struct cx_line_reader **reader, struct cx_error *error) {
    enum cx_status status = cx_allocate(1, sizeof **reader, "a line reader", reader, error);
    if (status != CX_OK)
        return status;
    (*reader)->longest_line = longest_line < SIZE_MAX / 4 ? longest_line : SIZE_MAX / 4; /* so that sums with it cannot overflow */
    return cx_byte_source_open(path, sink, &(*reader)->source, error);
}

static enum cx_status created(enum cx_status status, struct cx_line_reader *opened, struct cx_line_reader **reader) {
    *reader = status == CX_OK ? opened : NULL;
    if (status != CX_OK)
        cx_line_reader_close(opened);
    return status;
}

enum cx_status cx_line_reader_open(const char *path, size_t longest_line, const struct cx_start_sink *sink, struct cx_line_reader **reader,
                                   struct cx_error *error) {
    struct cx_line_reader *opened = NULL;
    enum cx_status status = create(path, longest_line, sink, &opened, error);
    if (status == CX_OK)
        status = look_at_beginning(opened, error);
    return created(status, opened, reader);
}

enum cx_status cx_line_reader_open_at(const char *path, size_t longest_line, uint64_t offset, uint64_t lines, const struct cx_decoder_start *start,
                                      struct cx_line_reader **reader, struct cx_error *error) {
    struct cx_line_reader *opened = NULL;
    enum cx_status status = create(path, longest_line, NULL, &opened, error);
    if (status == CX_OK)
        status = cx_byte_source_go(opened->source, offset, start, error);
    if (status == CX_OK) {
        opened->origin = offset;
        opened->lines = lines;
    }
    return created(status, opened, reader);
}

uint64_t cx_line_reader_offset(const struct cx_line_reader *reader) {
    return reader->origin + reader->decoded - (reader->end - reader->begin);
}

uint64_t cx_line_reader_lines(const struct cx_line_reader *reader) {
    return reader->lines;
}

void cx_line_reader_close(struct cx_line_reader *reader) {
    if (!reader)
        return;
    cx_byte_source_close(reader->source);
    free(reader->buffer);
    free(reader);
}

/* Of the bytes on disk those that stand for the lines given so far: in proportion, since a block may be far ahead of them. */
uint64_t cx_line_reader_bytes_read(const struct cx_line_reader *reader) {
    const double unread = (double)(reader->end - reader->begin), used = (double)cx_byte_source_bytes_read(reader->source);
    return reader->decoded > 0 ? (uint64_t)(used * (1 - unread / (double)reader->decoded) + 0.5) : (uint64_t)used;
}
