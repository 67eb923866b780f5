/*
 * Flat datasets that grow by rows, written chunk by chunk: rows are gathered into chunks of 64 KiB, full chunks are encoded on threads while the
 * calling thread gathers on, and it writes them in the order in which they became full. So the file's bytes do not depend on the number of threads.
 *
 * All datasets of a file share one queue of full chunks. What a chunk held is remembered as a hash, to be compared with what the finished file reads back.
 */
#ifndef CONTEXTURE_CHUNK_WRITER_H
#define CONTEXTURE_CHUNK_WRITER_H

#include <hdf5.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"
#include "contexture/store.h"
#include "part_schema.h"

enum { CX_CHUNK_BYTES = 65536 };

/* One dataset. Zeroed memory is a dataset that was never created; cx_flat_release() accepts it. */
struct cx_flat {
    hid_t dataset;
    const struct cx_store_row *row;
    size_t element_size, row_bytes, chunk_rows;
    uint64_t rows;        /* appended so far */
    unsigned char *chunk; /* [chunk_capacity], at least chunk_rows * row_bytes: being filled */
    size_t chunk_capacity;
    size_t filled; /* rows in it */
    int rank;
    size_t width;           /* elements a row */
    bool half;              /* floats are stored as halves */
    int kept_mantissa_bits; /* of floats given to cx_flat_append_floats() */
    bool created;
};

/* A chunk that was written. */
struct cx_chunk_record {
    const struct cx_flat *flat;
    uint64_t first_row;
    uint64_t hash; /* of the chunk as it was in memory */
    uint32_t stored_bytes, skipped_filters;
};

struct cx_chunk_queue;

/* `path` is used in messages and must live as long as the queue. */
CX_MUST_USE enum cx_status cx_chunk_queue_create(const char *path, int threads, int compression_level, struct cx_chunk_queue **queue, struct cx_error *error);
void cx_chunk_queue_destroy(struct cx_chunk_queue *queue);

/* Creates the dataset in `file`, with its groups and its explaining attributes. `text_width`: of a row of type CX_STORE_TEXT. */
CX_MUST_USE enum cx_status cx_flat_create(struct cx_chunk_queue *queue, hid_t file, const struct cx_store_row *row, const struct cx_store_shapes *shapes,
                                          size_t text_width, struct cx_flat *flat, struct cx_error *error);

/* The same of a dataset that will have at most `rows` rows, so that its only chunk is no larger. */
CX_MUST_USE enum cx_status cx_flat_create_small(struct cx_chunk_queue *queue, hid_t file, const struct cx_store_row *row, const struct cx_store_shapes *shapes,
                                                size_t text_width, size_t rows, struct cx_flat *flat, struct cx_error *error);

/* Appends rows that are in the file's form already. */
CX_MUST_USE enum cx_status cx_flat_append(struct cx_chunk_queue *queue, struct cx_flat *flat, const void *rows, size_t count, struct cx_error *error);

/* Appends `count` floats (whole rows) to a dataset of floats or halves, rounded as the dataset wants. CX_ERROR_INPUT if one is too large for a half. */
CX_MUST_USE enum cx_status cx_flat_append_floats(struct cx_chunk_queue *queue, struct cx_flat *flat, const float *values, size_t count, struct cx_error *error);

/* Queues the last, unfilled chunk, padded with zeros. */
CX_MUST_USE enum cx_status cx_flat_end(struct cx_chunk_queue *queue, struct cx_flat *flat, struct cx_error *error);

/* Encodes and writes everything queued. */
CX_MUST_USE enum cx_status cx_chunk_queue_flush(struct cx_chunk_queue *queue, struct cx_error *error);

/* All chunks written so far, in this order. */
const struct cx_chunk_record *cx_chunk_queue_records(const struct cx_chunk_queue *queue, size_t *count);
int cx_chunk_queue_threads(const struct cx_chunk_queue *queue);
int cx_chunk_queue_level(const struct cx_chunk_queue *queue);

/* Bytes handed to HDF5 so far. */
uint64_t cx_chunk_queue_bytes(const struct cx_chunk_queue *queue);

/* Wall clock that the calling thread spent on encoding (or waiting for it) and on writing, added to what is there. */
void cx_chunk_queue_spent(const struct cx_chunk_queue *queue, struct cx_store_seconds *spent);

void cx_flat_release(struct cx_flat *flat);

#endif
