#include "contexture/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contexture/memory.h"

enum cx_status cx_path_join(const char *directory, const char *name, char **path, struct cx_error *error) {
    size_t before = strlen(directory), after = strlen(name);
    size_t slash = before > 0 && directory[before - 1] != '/';
    *path = malloc(before + slash + after + 1);
    if (!*path)
        return cx_fail_memory(error, "a path", before + slash + after + 1);
    memcpy(*path, directory, before);
    if (slash)
        (*path)[before] = '/';
    memcpy(*path + before + slash, name, after + 1);
    return CX_OK;
}

bool cx_file_exists(const char *path) {
    struct stat about;
    return stat(path, &about) == 0;
}

enum cx_status cx_file_map(const char *path, struct cx_mapping *mapping, struct cx_error *error) {
    *mapping = (struct cx_mapping){0};
    /* Without O_NONBLOCK, opening a named pipe would wait for a writer before it could be refused. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return cx_fail_errno(error, "open", path);
    enum cx_status status = CX_OK;
    struct stat about;
    if (fstat(descriptor, &about) != 0) {
        status = cx_fail_errno(error, "examine", path);
    } else if (!S_ISREG(about.st_mode)) {
        status = cx_fail(error, CX_ERROR_INPUT, "%s: expected a regular file, found %s", path, S_ISDIR(about.st_mode) ? "a folder" : "a special file");
    } else if (about.st_size > 0) {
        void *data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (data == MAP_FAILED)
            status = cx_fail_errno(error, "map", path);
        else
            *mapping = (struct cx_mapping){data, (size_t)about.st_size, descriptor};
    }
    if (!mapping->data)
        close(descriptor);
    return status;
}

void cx_file_unmap(struct cx_mapping *mapping) {
    if (mapping->data) {
        munmap((void *)mapping->data, mapping->size);
        close(mapping->descriptor);
    }
    *mapping = (struct cx_mapping){0};
}

/* read() that goes on after a signal: the bytes read, 0 at the end, -1 with errno. */
static ssize_t read_some(int descriptor, void *buffer, size_t size) {
    ssize_t count;
    do
        count = read(descriptor, buffer, size);
    while (count < 0 && errno == EINTR);
    return count;
}

enum cx_status cx_file_read(const char *path, size_t limit, char **text, size_t *length, struct cx_error *error) {
    *text = NULL;
    *length = 0;
    char *buffer = NULL;
    size_t capacity = 0, used = 0;
    enum cx_status status = CX_OK;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return cx_fail_errno(error, "open", path);
    struct stat about;
    if (fstat(descriptor, &about) != 0) {
        status = cx_fail_errno(error, "examine", path);
        goto cleanup;
    }
    size_t expected = S_ISREG(about.st_mode) && about.st_size > 0 && (size_t)about.st_size <= limit ? (size_t)about.st_size : 4096;
    for (;;) {
        /* One byte for the zero at the end, one to notice a file that is longer than it said. */
        status = cx_reserve(&buffer, &capacity, used > expected ? used + 4096 : expected + 2, 1, path, error);
        if (status != CX_OK)
            goto cleanup;
        ssize_t count = read_some(descriptor, buffer + used, capacity - used - 1);
        if (count < 0) {
            status = cx_fail_errno(error, "read", path);
            goto cleanup;
        }
        if (count == 0)
            break;
        used += (size_t)count;
        if (used > limit) {
            status = cx_fail(error, CX_ERROR_INPUT, "%s: expected at most %zu bytes, found more: this cannot be the file that was meant", path, limit);
            goto cleanup;
        }
    }
    buffer[used] = '\0';
    *text = buffer;
    *length = used;
    buffer = NULL;

cleanup:
    free(buffer);
    close(descriptor);
    return status;
}

static enum cx_status write_all(int descriptor, const char *path, const char *data, size_t length, struct cx_error *error) {
    while (length > 0) {
        ssize_t count = write(descriptor, data, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return cx_fail_errno(error, "write", path);
        data += count;
        length -= (size_t)count;
    }
    return CX_OK;
}

static enum cx_status compare_with_file(int descriptor, const char *path, const char *data, size_t length, struct cx_error *error) {
    char block[1 << 14];
    size_t compared = 0;
    if (lseek(descriptor, 0, SEEK_SET) != 0)
        return cx_fail_errno(error, "rewind", path);
    for (;;) {
        ssize_t count = read_some(descriptor, block, sizeof block);
        if (count < 0)
            return cx_fail_errno(error, "read back", path);
        if (count == 0)
            break;
        if ((size_t)count > length - compared || memcmp(block, data + compared, (size_t)count) != 0)
            return cx_fail(error, CX_ERROR_DAMAGED, "%s: the bytes read back differ from those written near byte %zu; check the disk", path, compared);
        compared += (size_t)count;
    }
    if (compared != length)
        return cx_fail(error, CX_ERROR_DAMAGED, "%s: expected to read back %zu bytes, found %zu; check the disk", path, length, compared);
    return CX_OK;
}

enum cx_status cx_file_replace(const char *path, const void *data, size_t length, struct cx_error *error) {
    char *temporary = NULL;
    int descriptor = -1;
    enum cx_status status = CX_OK;
    size_t path_length = strlen(path);
    temporary = malloc(path_length + sizeof ".tmp");
    if (!temporary)
        return cx_fail_memory(error, "a path", path_length + sizeof ".tmp");
    memcpy(temporary, path, path_length);
    memcpy(temporary + path_length, ".tmp", sizeof ".tmp");

    descriptor = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor < 0) {
        status = cx_fail_errno(error, "create", temporary);
        goto cleanup;
    }
    status = write_all(descriptor, temporary, data, length, error);
    if (status == CX_OK && fsync(descriptor) != 0)
        status = cx_fail_errno(error, "write", temporary);
    if (status == CX_OK)
        status = compare_with_file(descriptor, temporary, data, length, error);
    /* Network file systems report a lost write as late as here. */
    if (close(descriptor) != 0 && status == CX_OK)
        status = cx_fail_errno(error, "close", temporary);
    if (status == CX_OK && rename(temporary, path) != 0)
        status = cx_fail_errno(error, "rename to its name", temporary);
    if (status != CX_OK) {
        unlink(temporary);
        goto cleanup;
    }
    status = cx_folder_sync(path, error);

cleanup:
    free(temporary);
    return status;
}
