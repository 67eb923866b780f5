#include "contexture/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contexture/memory.h"

enum cx_status cx_folder_sync(const char *path, struct cx_error *error) {
    const char *slash = strrchr(path, '/');
    char *folder = NULL;
    enum cx_status status;
    if (!slash)
        status = cx_copy_text(".", 1, &folder, error);
    else
        status = cx_copy_text(path, slash == path ? 1 : (size_t)(slash - path), &folder, error);
    if (status != CX_OK)
        return status;
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        status = cx_fail_errno(error, "open the folder", folder);
    } else {
        /* EINVAL: a file system whose folders cannot be synchronised; nothing more can be done there. */
        if (fsync(descriptor) != 0 && errno != EINVAL)
            status = cx_fail_errno(error, "synchronise the folder", folder);
        close(descriptor);
    }
    free(folder);
    return status;
}

static enum cx_status make_one(const char *path, struct cx_error *error) {
    struct stat about;
    if (mkdir(path, 0777) == 0)
        return CX_OK;
    /* A read-only parent gives EROFS or EACCES even for a folder that is there already. */
    int number = errno;
    if (stat(path, &about) == 0) {
        if (S_ISDIR(about.st_mode))
            return CX_OK;
        return cx_fail(error, CX_ERROR_IO, "cannot make the folder %s: a file of that name is in the way; choose another name or move it", path);
    }
    errno = number;
    return cx_fail_errno(error, "make the folder", path);
}

enum cx_status cx_folder_create(const char *path, struct cx_error *error) {
    char *partial = NULL;
    size_t length = strlen(path);
    if (length == 0)
        return cx_fail(error, CX_ERROR_IO, "cannot make a folder without a name");
    enum cx_status status = cx_copy_text(path, length, &partial, error);
    if (status != CX_OK)
        return status;
    for (size_t k = 1; k < length && status == CX_OK; k++) {
        if (partial[k] != '/' || partial[k - 1] == '/')
            continue;
        partial[k] = '\0';
        status = make_one(partial, error);
        partial[k] = '/';
    }
    if (status == CX_OK)
        status = make_one(partial, error);
    free(partial);
    return status;
}
