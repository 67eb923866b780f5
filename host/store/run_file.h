/*
 * run.h5: the datasets of all parts, joined. It is made in memory and written in one piece, with a last line behind what HDF5 reads:
 *
 *     contexture run.h5: 123456 bytes, CRC-32 1a2b3c4d\n
 *
 * because HDF5 keeps the list of the parts of a virtual dataset without a checksum.
 */
#ifndef CONTEXTURE_RUN_FILE_H
#define CONTEXTURE_RUN_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/error.h"
#include "manifest_lines.h"
#include "part_schema.h"

/* Puts the last line behind the first `bytes` bytes of `file`, which has room for CX_RUN_LINE_BYTES more. Returns its length. */
enum { CX_RUN_LINE_BYTES = 80 };
size_t cx_run_line(unsigned char *file, size_t bytes);

/* CX_ERROR_DAMAGED if the file is not as it was written, or was made of other parts than the manifest has. */
CX_MUST_USE enum cx_status cx_run_check(const char *path, const struct cx_manifest_content *manifest, struct cx_error *error);

/* Datasets of run.h5 about the parts it was made of. */
extern const struct cx_store_row cx_run_shard_row, cx_run_crc_row, cx_run_sequence_row;

#endif
