/* The frame around run.h5 that tells whether it is whole and up to date. */
#include <fcntl.h>
#include <hdf5.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* The last line begins behind the last line feed but one; it must be the very line that the bytes before it would be given. */
static enum cx_status check_line(const struct cx_run_copy *copy, bool *whole, struct cx_error *error) {
    char line[CX_RUN_LINE_BYTES], tail[CX_RUN_LINE_BYTES];
    const off_t size = lseek(copy->descriptor, 0, SEEK_END);
    const size_t tail_bytes = size < CX_RUN_LINE_BYTES ? (size_t)size : sizeof tail;
    *whole = false;
    if (size < 0 || pread(copy->descriptor, tail, tail_bytes, size - (off_t)tail_bytes) != (ssize_t)tail_bytes)
        return cx_fail_errno(error, "read", copy->path);
    size_t begin = tail_bytes > 1 ? tail_bytes - 2 : 0;
    while (begin > 0 && tail[begin] != '\n')
        begin--;
    if (begin == 0)
        return CX_OK;
    const uint64_t bytes = (uint64_t)size - (tail_bytes - begin);
    uint32_t crc32 = 0;
    enum cx_status status = cx_run_checksum(copy, bytes, &crc32, error);
    const int length = cx_run_line(bytes, crc32, line);
    *whole = status == CX_OK && tail_bytes - begin == (size_t)length && memcmp(tail + begin, line, (size_t)length) == 0;
    return status;
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
    struct cx_run_copy copy = {.descriptor = open(path, O_RDONLY | O_CLOEXEC)};
    bool whole = false;
    enum cx_status status = copy.descriptor < 0 ? cx_fail_errno(error, "open", path) : cx_copy_text(path, strlen(path), &copy.path, error);
    if (status == CX_OK)
        status = check_line(&copy, &whole, error);
    if (status == CX_OK && !whole)
        status = cx_fail(error, CX_ERROR_DAMAGED,
                         "%s is damaged: the CRC-32 in its last line does not fit; delete it and run the same command again, the parts are not touched", path);
    if (copy.descriptor >= 0)
        close(copy.descriptor);
    free(copy.path);
    return status == CX_OK ? check_parts(path, manifest, error) : status;
}
