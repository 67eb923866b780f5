/* A part that is being written, as the files part*.c see it. */
#ifndef CONTEXTURE_PART_H
#define CONTEXTURE_PART_H

#include "chunk_writer.h"
#include "contexture/store.h"
#include "part_schema.h"
#include "statistics.h"

/* The labels of all tokens so far, as ids of the run's table, which has no more than 65,535. */
struct cx_part_labels {
    uint16_t *ids;
    size_t capacity;
};

struct cx_part {
    char *path, *temporary; /* parts/shard-NNNNNN.h5 and the same with .tmp */
    struct cx_store_shapes shapes;
    hid_t file;                  /* negative: not open */
    int descriptor;              /* of the same file, to sync it and to watch over it; negative: not open */
    uint64_t bytes_on_their_way; /* to the disk: the system was asked to begin to write them */
    struct cx_chunk_queue *queue;
    struct cx_flat *flats;                      /* [cx_store_row_count], in the order of cx_store_rows; those not wanted are not created */
    struct cx_table_datasets tables, pair_runs; /* pair_runs: the table of pairs, if it was written before the others, in runs */
    int64_t *next_offset;                       /* [cx_store_row_count] of the rows that hold offsets */
    char *ids;                                  /* zero-terminated, one after the other: the width of /seq/id is that of the longest */
    size_t ids_used, ids_capacity, longest_id;
    struct cx_label_table *label_table; /* borrowed */
    struct cx_part_labels labels[CX_LABELS];
    char **sources; /* [source_count] */
    size_t source_count;
    uint64_t sequences, tokens, pairs;
    float completeness_error;
    bool begun;  /* there may be a .tmp file */
    bool failed; /* nothing may be appended any more */
};

/* Reads the synced file back and compares it with what was appended. Gives CRC-32 and size of the file. */
CX_MUST_USE enum cx_status cx_part_read_back(const struct cx_part *part, uint32_t *crc32, uint64_t *bytes, struct cx_error *error);

/* All datasets of a part: those of the schema, created or not, then those of the statistics' tables. */
size_t cx_part_flat_count(const struct cx_part *part);
struct cx_flat *cx_part_flat(const struct cx_part *part, size_t index);
/* The index of one of them. */
size_t cx_part_flat_index(const struct cx_part *part, const struct cx_flat *flat);

/* Releases everything but the file on the disk. */
void cx_part_free(struct cx_part *part);

/* Root attributes of a part and of run.h5. */
CX_MUST_USE enum cx_status cx_part_write_attributes(hid_t file, const char *path, const struct cx_store_options *options, struct cx_error *error);

/* What the root attributes of a finished part say of its datasets. CX_ERROR_DAMAGED if they cannot be, or are of another format version. */
CX_MUST_USE enum cx_status cx_part_read_shapes(hid_t file, const char *path, struct cx_store_shapes *shapes, struct cx_error *error);

#endif
