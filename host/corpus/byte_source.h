/*
 * The bytes of one corpus file, decompressed on the way: plain, gzip (any number of members) or zstd (any number of frames, skippable
 * ones included), told by the first bytes. "-" is standard input.
 */
#ifndef CONTEXTURE_CORPUS_BYTE_SOURCE_H
#define CONTEXTURE_CORPUS_BYTE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

/* A place of a compressed file at which decompression can begin. */
struct cx_decoder_start {
    uint64_t offset;  /* bytes of the file before it */
    uint64_t decoded; /* bytes of text before it */
    unsigned bits;    /* of the byte before `offset` that belong to what follows, 0 to 7 */
    const unsigned char *window;
    size_t window_length; /* the text before, as far as it is needed; 0: a gzip member or zstd frame begins here */
};

/* Is told of such places, at least `spacing` bytes of the file apart. */
struct cx_start_sink {
    uint64_t spacing;
    CX_MUST_USE enum cx_status (*found)(void *context, const struct cx_decoder_start *start, struct cx_error *error);
    void *context;
};

/* The file as it is on disk, read in blocks. A decoder takes from data[begin .. end) and asks for more when that is empty. */
struct cx_raw_input {
    const char *path;
    int descriptor;
    unsigned char *data;
    size_t begin, end, capacity;
    uint64_t read;                    /* bytes read from the file so far; data[end) stands at this offset */
    bool at_end;                      /* the operating system has said so */
    const struct cx_start_sink *sink; /* NULL: nobody asks for places to begin at */
    uint64_t latest_start;            /* offset of the latest one */
    uint64_t decoded;                 /* bytes of text given so far */
};

/* True if a place to begin at that lies at data[begin] is far enough behind the latest one to be told. */
bool cx_raw_input_wants_start(const struct cx_raw_input *input);
CX_MUST_USE enum cx_status cx_raw_input_tell_start(struct cx_raw_input *input, struct cx_decoder_start *start, struct cx_error *error);

/* Reads one more block behind data[end); at_end tells when there is none. */
CX_MUST_USE enum cx_status cx_raw_input_fill(struct cx_raw_input *input, struct cx_error *error);

/* Offset in the file of the byte at data[begin]. */
uint64_t cx_raw_input_offset(const struct cx_raw_input *input);

/* One compression format. */
struct cx_stream_decoder {
    bool (*recognises)(const unsigned char *bytes, size_t count);
    CX_MUST_USE enum cx_status (*open)(void **state, struct cx_error *error);
    /* At least one byte into buffer[0 .. capacity), or *count 0 at the end of a whole stream. A stream that ends early is CX_ERROR_INPUT. */
    CX_MUST_USE enum cx_status (*read)(void *state, struct cx_raw_input *input, unsigned char *buffer, size_t capacity, size_t *count, struct cx_error *error);
    void (*close)(void *state);
    /* Goes on inside a stream, at a start with a window; input->data[begin] stands there, or one byte before it if there are bits. NULL: streams have none. */
    CX_MUST_USE enum cx_status (*enter)(void *state, struct cx_raw_input *input, const struct cx_decoder_start *start, struct cx_error *error);
};

extern const struct cx_stream_decoder cx_gzip_decoder;
extern const struct cx_stream_decoder cx_zstd_decoder;

struct cx_byte_source;

/* `sink`, if there is one, must live as long as the source. */
CX_MUST_USE enum cx_status cx_byte_source_open(const char *path, const struct cx_start_sink *sink, struct cx_byte_source **source, struct cx_error *error);

/*
 * Before the first read: goes to byte `offset` of the text. From `start`, if it is not NULL, and not behind `offset`; else a compressed file is decompressed
 * from its beginning.
 */
CX_MUST_USE enum cx_status cx_byte_source_go(struct cx_byte_source *source, uint64_t offset, const struct cx_decoder_start *start, struct cx_error *error);
void cx_byte_source_close(struct cx_byte_source *source); /* NULL is allowed */

/* Up to `capacity` bytes, at least one; *count 0 at the end. Path is in every message. */
CX_MUST_USE enum cx_status cx_byte_source_read(struct cx_byte_source *source, char *buffer, size_t capacity, size_t *count, struct cx_error *error);

const char *cx_byte_source_path(const struct cx_byte_source *source); /* "standard input" for "-" */

/* Bytes used so far of the file as it is on disk; what is only read ahead does not count. */
uint64_t cx_byte_source_bytes_read(const struct cx_byte_source *source);

#endif
