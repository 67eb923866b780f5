/* Publishing run.h5: made twice, sealed, compared, renamed. */
#include "run_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contexture/file.h"
#include "contexture/memory.h"

enum { block_bytes = 1 << 16 };

/* Up to `size` bytes from `offset` on, fewer at the file's end. */
static enum cx_status read_block(const struct cx_run_copy *copy, uint64_t offset, unsigned char *block, size_t size, size_t *read_bytes,
                                 struct cx_error *error) {
    *read_bytes = 0;
    while (*read_bytes < size) {
        const ssize_t count = pread(copy->descriptor, block + *read_bytes, size - *read_bytes, (off_t)(offset + *read_bytes));
        if (count == 0)
            break;
        if (count < 0 && errno != EINTR)
            return cx_fail_errno(error, "read back", copy->path);
        *read_bytes += count > 0 ? (size_t)count : 0;
    }
    return CX_OK;
}

enum cx_status cx_run_checksum(const struct cx_run_copy *copy, uint64_t bytes, uint32_t *crc32, struct cx_error *error) {
    unsigned char block[block_bytes];
    *crc32 = 0;
    for (uint64_t done = 0; done < bytes;) {
        const size_t wanted = bytes - done < block_bytes ? (size_t)(bytes - done) : block_bytes;
        size_t count = 0;
        enum cx_status status = read_block(copy, done, block, wanted, &count, error);
        if (status != CX_OK)
            return status;
        if (count < wanted)
            return cx_fail(error, CX_ERROR_DAMAGED, "%s: it has become shorter while it was read; is something else writing to it?", copy->path);
        *crc32 = libdeflate_crc32(*crc32, block, count);
        done += count;
    }
    return CX_OK;
}

int cx_run_line(uint64_t bytes, uint32_t crc32, char line[CX_RUN_LINE_BYTES]) {
    return snprintf(line, CX_RUN_LINE_BYTES, "\ncontexture run.h5: %llu bytes, CRC-32 %08x\n", (unsigned long long)bytes, (unsigned)crc32);
}

static enum cx_status seal(const struct cx_run_copy *copy, off_t end, const char *line, size_t length, struct cx_error *error) {
    const ssize_t written = pwrite(copy->descriptor, line, length, end);
    if (written < 0)
        return cx_fail_errno(error, "write", copy->path);
    if ((size_t)written != length)
        return cx_fail(error, CX_ERROR_IO, "cannot write %s: only %zd of %zu bytes were taken; is the disk full?", copy->path, written, length);
    if (fsync(copy->descriptor) != 0)
        return cx_fail_errno(error, "write", copy->path);
    (void)posix_fadvise(copy->descriptor, 0, 0, POSIX_FADV_DONTNEED); /* a wish, as in part_read_back.c */
    return CX_OK;
}

static enum cx_status compare(const struct cx_run_copy copies[2], struct cx_error *error) {
    unsigned char blocks[2][block_bytes];
    size_t counts[2] = {block_bytes, block_bytes};
    for (uint64_t done = 0; counts[0] == block_bytes; done += counts[0]) {
        for (int k = 0; k < 2; k++) {
            enum cx_status status = read_block(&copies[k], done, blocks[k], block_bytes, &counts[k], error);
            if (status != CX_OK)
                return status;
        }
        if (counts[0] != counts[1] || memcmp(blocks[0], blocks[1], counts[0]) != 0)
            return cx_fail(error, CX_ERROR_DAMAGED, "%s: it was made twice, and the two read back differently near byte %llu; is the disk full or failing?",
                           copies[0].path, (unsigned long long)done);
    }
    return CX_OK;
}

enum cx_status cx_run_publish(const struct cx_run_copy copies[2], const char *path, struct cx_error *error) {
    char line[CX_RUN_LINE_BYTES];
    uint32_t crc32 = 0;
    const off_t end = lseek(copies[0].descriptor, 0, SEEK_END);
    enum cx_status status = end < 0 ? cx_fail_errno(error, "examine", copies[0].path) : cx_run_checksum(&copies[0], (uint64_t)end, &crc32, error);
    if (status != CX_OK)
        return status;
    const int length = cx_run_line((uint64_t)end, crc32, line);
    for (int k = 0; status == CX_OK && k < 2; k++)
        status = seal(&copies[k], end, line, (size_t)length, error);
    if (status == CX_OK)
        status = compare(copies, error);
    if (status == CX_OK && rename(copies[0].path, path) != 0)
        status = cx_fail_errno(error, "rename to its name", copies[0].path);
    return status == CX_OK ? cx_folder_sync(path, error) : status;
}
