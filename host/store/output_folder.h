/* Names in the output folder, and what a killed run leaves there. */
#ifndef CONTEXTURE_OUTPUT_FOLDER_H
#define CONTEXTURE_OUTPUT_FOLDER_H

#include <stdint.h>

#include "contexture/error.h"

#define CX_MANIFEST_NAME "manifest.json"
#define CX_RUN_NAME      "run.h5"
#define CX_LOCK_NAME     "lock"
#define CX_PARTS_NAME    "parts"
#define CX_JOURNALS_NAME "manifest.d"
#define CX_PLAN_NAME     "plan.json"
#define CX_TMP_ENDING    ".tmp"

enum { CX_PART_NAME_BYTES = 48 };

/* "parts/shard-000042.h5" */
void cx_part_name(uint64_t shard, char name[CX_PART_NAME_BYTES]);

/* The same behind the directory, as a new string. */
CX_MUST_USE enum cx_status cx_part_path(const char *directory, uint64_t shard, char **path, struct cx_error *error);

/* path + ".tmp", or, of a worker among several, path + ".worker.tmp", as a new string. */
CX_MUST_USE enum cx_status cx_temporary_path(const char *path, const char *worker, char **temporary, struct cx_error *error);

/* Makes the directory and its folder of parts, durably. */
CX_MUST_USE enum cx_status cx_output_create(const char *directory, struct cx_error *error);

/* Removes the .tmp files that a killed run may have left. Only to be called by who holds the lock. */
CX_MUST_USE enum cx_status cx_output_clean(const char *directory, struct cx_error *error);

/* CRC-32 (as zlib's) and size of a whole file. */
CX_MUST_USE enum cx_status cx_file_checksum(const char *path, uint32_t *crc32, uint64_t *bytes, struct cx_error *error);

#endif
