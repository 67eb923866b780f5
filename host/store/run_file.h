/*
 * run.h5: the datasets of all parts, joined, with a last line behind what HDF5 reads:
 *
 *     contexture run.h5: 123456 bytes, CRC-32 1a2b3c4d\n
 *
 * because HDF5 keeps the list of the parts of a virtual dataset without a checksum. For the same reason reading the file back cannot show that it is right; so
 * it is made twice, under temporary names, and the two must read back alike. Neither is ever in memory as a whole.
 */
#ifndef CONTEXTURE_RUN_FILE_H
#define CONTEXTURE_RUN_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"
#include "manifest_lines.h"
#include "part_schema.h"

/* The last line of a file of so many bytes before it. Returns its length. */
enum { CX_RUN_LINE_BYTES = 80 };
int cx_run_line(uint64_t bytes, uint32_t crc32, char line[CX_RUN_LINE_BYTES]);

struct cx_run_copy {
    char *path;
    int descriptor; /* from its creation on, so that no error of a write can be lost; negative: not open */
};

/* CRC-32 of the first `bytes` bytes. */
CX_MUST_USE enum cx_status cx_run_checksum(const struct cx_run_copy *copy, uint64_t bytes, uint32_t *crc32, struct cx_error *error);

/* Puts the last line behind both, syncs them, compares what is read back, and renames the first to `path`. The second is left to the caller. */
CX_MUST_USE enum cx_status cx_run_publish(const struct cx_run_copy copies[2], const char *path, struct cx_error *error);

/* CX_ERROR_DAMAGED if the file is not as it was written, or was made of other parts than the manifest has. */
CX_MUST_USE enum cx_status cx_run_check(const char *path, const struct cx_manifest_content *manifest, struct cx_error *error);

/* Datasets of run.h5 about the parts it was made of. */
extern const struct cx_store_row cx_run_shard_row, cx_run_crc_row, cx_run_sequence_row;

#endif
