/* Making a file of the parts: what join.c and join_virtual.c share. */
#ifndef CONTEXTURE_JOIN_H
#define CONTEXTURE_JOIN_H

#include "chunk_writer.h"
#include "manifest_lines.h"
#include "run_file.h"
#include "statistics.h"

/* Statistics of all parts. They are added up and derived for the first copy of run.h5 and written into both: the second copy is against what HDF5 keeps no
 * checksum of, and these datasets have one. */
struct cx_joined_statistics {
    struct cx_stats_set sums;   /* of the parts so far; without tables: they have none */
    struct cx_stats_set merged; /* what is derived of them */
    bool is_complete;           /* nothing is left to be added: only `merged` is there */
};

struct cx_join {
    const char *directory;
    const char *path; /* of the file that is made */
    const struct cx_manifest_content *manifest;
    struct cx_store_shapes shapes;
    hid_t file; /* negative: not open */
    struct cx_chunk_queue *queue;
    struct cx_flat *flats; /* [cx_store_row_count] the datasets with offsets, and /sources */
    uint64_t *rows;        /* [parts][cx_store_row_count] */
    size_t *text_width;    /* [cx_store_row_count] the largest over the parts */
    int64_t *base;         /* [cx_store_row_count] what is to be added to the offsets of the next part */
    struct cx_joined_statistics *statistics;
    struct cx_table_datasets tables;
    struct cx_flat about[3]; /* /parts */
    int64_t sequence_offset;
};

/* Makes one virtual dataset over all parts, or an empty one if none has any rows. */
CX_MUST_USE enum cx_status cx_join_add_virtual(struct cx_join *join, size_t row, struct cx_error *error);

/* Fills the merged set's table of the largest pairs from the parts' tables of pairs, in bounded memory. */
CX_MUST_USE enum cx_status cx_join_rank_pairs(const struct cx_join *join, struct cx_error *error);

#endif
