/* The frame around run.h5 that tells whether it is whole and up to date. */
#include <hdf5.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/file.h"
#include "contexture/memory.h"
#include "hdf5_handle.h"
#include "run_file.h"

const struct cx_store_row cx_run_shard_row = {"/parts/shard", CX_STORE_INT64, CX_SHAPE_SEQUENCE, CX_FIELD_LINE, 0, NULL, "[parts]", "number of the shard"};
const struct cx_store_row cx_run_crc_row = {
    "/parts/file_crc32", CX_STORE_INT64, CX_SHAPE_SEQUENCE, CX_FIELD_LINE, 0, NULL, "[parts]", "CRC-32 of the part's file, as in the manifest"};
const struct cx_store_row cx_run_sequence_row = {"/parts/sequence_offset",
                                                 CX_STORE_INT64,
                                                 CX_SHAPE_OFFSET,
                                                 CX_FIELD_LINE,
                                                 0,
                                                 NULL,
                                                 "[parts + 1], rising from 0",
                                                 "number, in the run, of the part's first sequence"};

static int make_line(const unsigned char *file, size_t bytes, char line[CX_RUN_LINE_BYTES]) {
    return snprintf(line, CX_RUN_LINE_BYTES, "\ncontexture run.h5: %zu bytes, CRC-32 %08x\n", bytes, (unsigned)libdeflate_crc32(0, file, bytes));
}

size_t cx_run_line(unsigned char *file, size_t bytes) {
    char line[CX_RUN_LINE_BYTES];
    int length = make_line(file, bytes, line);
    memcpy(file + bytes, line, (size_t)length);
    return (size_t)length;
}

/* The last line begins behind the last line feed but one; it must be the very line that the bytes before it would be given. */
static bool line_fits(const unsigned char *file, size_t size) {
    char line[CX_RUN_LINE_BYTES];
    size_t lowest = size > sizeof line ? size - sizeof line : 0, bytes = size > 1 ? size - 2 : 0;
    while (bytes > lowest && file[bytes] != '\n')
        bytes--;
    if (bytes == lowest)
        return false;
    int length = make_line(file, bytes, line);
    return size - bytes == (size_t)length && memcmp(file + bytes, line, (size_t)length) == 0;
}

static bool read_numbers(hid_t file, const char *name, uint64_t count, int64_t *numbers) {
    uint64_t rows = 0, width = 0;
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    bool done = dataset >= 0 && cx_hdf5_extent(dataset, &rows, &width) && rows == count && (count == 0 || cx_hdf5_read_rows(dataset, 0, count, numbers));
    cx_hdf5_release(dataset);
    return done;
}

static enum cx_status check_parts(const char *path, const struct cx_manifest_content *manifest, struct cx_error *error) {
    int64_t *shards = NULL, *checksums = NULL;
    hid_t file = -1;
    enum cx_status status = cx_allocate(manifest->count, sizeof *shards, "the parts of a run", &shards, error);
    if (status == CX_OK)
        status = cx_allocate(manifest->count, sizeof *checksums, "the parts of a run", &checksums, error);
    if (status == CX_OK)
        status = cx_hdf5_open(path, &file, error);
    if (status != CX_OK)
        goto cleanup;
    bool same = read_numbers(file, cx_run_shard_row.name, manifest->count, shards) && read_numbers(file, cx_run_crc_row.name, manifest->count, checksums);
    for (size_t i = 0; same && i < manifest->count; i++)
        same = shards[i] == (int64_t)manifest->parts[i].shard && checksums[i] == (int64_t)manifest->parts[i].file_crc32;
    if (!same)
        status = cx_fail(error, CX_ERROR_DAMAGED, "%s was made of other parts than the manifest has; run the same command again to renew it", path);
cleanup:
    if (file >= 0)
        H5Fclose(file);
    free(checksums);
    free(shards);
    return status;
}

enum cx_status cx_run_check(const char *path, const struct cx_manifest_content *manifest, struct cx_error *error) {
    struct cx_mapping mapping = {0};
    enum cx_status status = cx_file_map(path, &mapping, error);
    if (status != CX_OK)
        return status;
    bool whole = line_fits(mapping.data, mapping.size);
    cx_file_unmap(&mapping);
    if (!whole)
        return cx_fail(error, CX_ERROR_DAMAGED,
                       "%s is damaged: the CRC-32 in its last line does not fit; delete it and run the same command again, the parts are not touched", path);
    return check_parts(path, manifest, error);
}
