#include "output_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contexture/file.h"
#include "contexture/memory.h"

void cx_part_name(uint64_t shard, char name[CX_PART_NAME_BYTES]) {
    snprintf(name, CX_PART_NAME_BYTES, CX_PARTS_NAME "/shard-%06" PRIu64 ".h5", shard);
}

enum cx_status cx_part_path(const char *directory, uint64_t shard, char **path, struct cx_error *error) {
    char name[CX_PART_NAME_BYTES];
    cx_part_name(shard, name);
    return cx_path_join(directory, name, path, error);
}

enum cx_status cx_temporary_path(const char *path, const char *worker, char **temporary, struct cx_error *error) {
    const size_t size = strlen(path) + (worker ? strlen(worker) + 1 : 0) + sizeof CX_TMP_ENDING;
    enum cx_status status = cx_allocate(size, 1, "a path", temporary, error);
    if (status == CX_OK)
        snprintf(*temporary, size, "%s%s%s%s", path, worker ? "." : "", worker ? worker : "", CX_TMP_ENDING);
    return status;
}

enum cx_status cx_output_create(const char *directory, struct cx_error *error) {
    char *parts = NULL;
    enum cx_status status = cx_path_join(directory, CX_PARTS_NAME, &parts, error);
    if (status == CX_OK)
        status = cx_folder_create(parts, error);
    if (status == CX_OK)
        status = cx_folder_sync(parts, error);
    if (status == CX_OK)
        status = cx_folder_sync(directory, error);
    free(parts);
    return status;
}

static bool has_affixes(const char *name, const char *beginning, const char *ending) {
    size_t length = strlen(name), end = strlen(ending);
    return strncmp(name, beginning, strlen(beginning)) == 0 && length >= end && strcmp(name + length - end, ending) == 0;
}

static enum cx_status remove_leftovers(const char *folder, const char *beginning, struct cx_error *error) {
    DIR *entries = opendir(folder);
    if (!entries)
        return cx_fail_errno(error, "read the folder", folder);
    enum cx_status status = CX_OK;
    for (struct dirent *entry; status == CX_OK && (entry = readdir(entries)) != NULL;) {
        if (!has_affixes(entry->d_name, beginning, CX_TMP_ENDING))
            continue;
        char *path = NULL;
        status = cx_path_join(folder, entry->d_name, &path, error);
        if (status == CX_OK && unlink(path) != 0 && errno != ENOENT)
            status = cx_fail_errno(error, "remove", path);
        free(path);
    }
    closedir(entries);
    return status;
}

enum cx_status cx_output_clean(const char *directory, struct cx_error *error) {
    char *parts = NULL;
    enum cx_status status = cx_path_join(directory, CX_PARTS_NAME, &parts, error);
    if (status == CX_OK)
        status = remove_leftovers(parts, "shard-", error);
    if (status == CX_OK)
        status = remove_leftovers(directory, CX_RUN_NAME, error);
    if (status == CX_OK)
        status = remove_leftovers(directory, CX_MANIFEST_NAME, error);
    if (status == CX_OK)
        status = remove_leftovers(directory, CX_PLAN_NAME, error);
    free(parts);
    return status;
}

/* In blocks: a mapped part would count as memory of the process, as large as the shard. */
enum cx_status cx_file_checksum(const char *path, uint32_t *crc32, uint64_t *bytes, struct cx_error *error) {
    enum { block_size = 1 << 18 };
    unsigned char *block = NULL;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    *crc32 = 0;
    *bytes = 0;
    if (descriptor < 0)
        return cx_fail_errno(error, "open", path);
    enum cx_status status = cx_allocate(block_size, 1, "reading a file", &block, error);
    for (ssize_t count = 1; status == CX_OK && count > 0;) {
        count = read(descriptor, block, block_size);
        if (count < 0 && errno == EINTR) {
            count = 1;
            continue;
        }
        if (count < 0)
            status = cx_fail_errno(error, "read", path);
        else
            *crc32 = libdeflate_crc32(*crc32, block, (size_t)count);
        *bytes += count > 0 ? (uint64_t)count : 0;
    }
    free(block);
    close(descriptor);
    return status;
}
