/* A chunk as it lies in memory, to and from what HDF5 stores of it: shuffle, deflate and fletcher32, in this order. Any thread may, with a codec of its own. */
#ifndef CONTEXTURE_CHUNK_CODEC_H
#define CONTEXTURE_CHUNK_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

struct libdeflate_compressor;
struct libdeflate_decompressor;

/* Zeroed memory is a codec that was never opened; cx_codec_close() accepts it. */
struct cx_codec {
    struct libdeflate_compressor *compressor; /* NULL: level 0 */
    struct libdeflate_decompressor *decompressor;
    unsigned char *scratch; /* [scratch_bytes] */
    size_t scratch_bytes;
};

/* Deflates at `level` (0: not) chunks of about `largest` bytes; with level < 0 it decodes chunks of at most that. */
CX_MUST_USE enum cx_status cx_codec_open(struct cx_codec *codec, int level, size_t largest, struct cx_error *error);
void cx_codec_close(struct cx_codec *codec);

/* What is remembered of a chunk to know it again. */
uint64_t cx_chunk_hash(const unsigned char *plain, size_t bytes);

/*
 * Bytes put to `stored`, which has room for cx_chunk_room(bytes); 0 if there is no memory. Deflate is left out, and marked so in *skipped_filters (HDF5's
 * filter mask), where it would not make the chunk smaller.
 */
size_t cx_chunk_room(size_t bytes);
size_t cx_chunk_encode(struct cx_codec *codec, const unsigned char *plain, size_t bytes, size_t element_size, unsigned char *stored, uint32_t *skipped_filters);

/* How the chunks of a dataset are stored. */
struct cx_chunk_form {
    size_t bytes, element_size; /* of the chunk in memory; of an element */
    bool deflate;               /* the dataset has that filter; a chunk may skip it */
};

/* The reverse. False if the stored bytes are not the code of any chunk of that form. `plain`: [form->bytes] */
CX_MUST_USE bool cx_chunk_decode(struct cx_codec *codec, const struct cx_chunk_form *form, const unsigned char *stored, size_t stored_bytes,
                                 uint32_t skipped_filters, unsigned char *plain);

#endif
