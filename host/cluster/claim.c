/* Claims: a file that only one process can create, with the name of the worker that has it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "contexture/file.h"
#include "worker.h"

static enum cx_status claim_path(const struct cx_worker *worker, const char *name, const char *ending, char **path, struct cx_error *error) {
    char below[256 + worker_name_bytes];
    if (snprintf(below, sizeof below, CLAIMS_NAME "/%s%s", name, ending) >= (int)sizeof below)
        return cx_fail(error, CX_ERROR_INTERNAL, "a claim's name is too long: %.100s…", name);
    return cx_path_join(worker->directory, below, path, error);
}

/* CX_END: somebody has it. */
static enum cx_status create(const struct cx_worker *worker, const char *path, struct cx_error *error) {
    const int descriptor = worker_create_file(worker, CLAIMS_NAME, path);
    if (descriptor < 0)
        return errno == EEXIST ? CX_END : cx_fail_errno(error, "create", path);
    const size_t length = strlen(worker->name);
    enum cx_status status = write(descriptor, worker->name, length) == (ssize_t)length ? CX_OK : cx_fail_errno(error, "write", path);
    if (close(descriptor) != 0 && status == CX_OK)
        status = cx_fail_errno(error, "write", path);
    if (status != CX_OK)
        (void)unlink(path);
    return status;
}

/* The owner's name; empty if there is no such claim, or its owner is just creating it. */
static bool read_owner(const char *path, char owner[worker_name_bytes]) {
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    owner[0] = '\0';
    if (descriptor < 0)
        return false;
    const ssize_t length = read(descriptor, owner, worker_name_bytes - 1);
    close(descriptor);
    owner[length > 0 ? length : 0] = '\0';
    return true;
}

/*
 * Moves the claim of a dead worker out of the way. Another process may have done so just before, and the file may be its new claim by now: that one is put
 * back. Were it lost, a shard would be computed twice, which harms nothing but time.
 */
static enum cx_status break_claim(const struct cx_worker *worker, const char *name, const char *path, const char *dead, struct cx_error *error) {
    char ending[worker_name_bytes + 8], owner[worker_name_bytes], *aside = NULL;
    snprintf(ending, sizeof ending, ".%s", worker->name);
    enum cx_status status = claim_path(worker, name, ending, &aside, error);
    if (status == CX_OK && rename(path, aside) != 0 && errno != ENOENT)
        status = cx_fail_errno(error, "rename", path);
    if (status == CX_OK && read_owner(aside, owner)) {
        if (strcmp(owner, dead) != 0)
            (void)(link(aside, path) == 0);
        (void)unlink(aside);
    }
    free(aside);
    return status;
}

enum cx_status cx_claim_take(struct cx_worker *worker, const char *name, bool *taken, struct cx_error *error) {
    enum { attempts = 3 };
    char owner[worker_name_bytes], *path = NULL;
    *taken = false;
    enum cx_status status = claim_path(worker, name, "", &path, error);
    for (int k = 0; k < attempts && status == CX_OK && !*taken; k++) {
        bool lives = false;
        status = create(worker, path, error);
        *taken = status == CX_OK;
        if (status != CX_END)
            break;
        status = CX_OK;
        if (!read_owner(path, owner))
            continue;
        /* Without a name: its owner is about to write it, or died before it could. */
        status = owner[0] ? worker_may_live(worker, owner, &lives, error) : worker_is_patient(worker, name, "", &lives, error);
        if (status == CX_OK && lives)
            break;
        if (status == CX_OK)
            status = break_claim(worker, name, path, owner, error);
    }
    free(path);
    return status;
}

enum cx_status cx_claim_insist(struct cx_worker *worker, const char *name, struct cx_error *error) {
    const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
    char owner[worker_name_bytes], before[worker_line_bytes] = "", *path = NULL;
    bool taken = false;
    enum cx_status status = claim_path(worker, name, "", &path, error);
    while (status == CX_OK && !taken) {
        status = cx_claim_take(worker, name, &taken, error);
        if (status == CX_OK && !taken && read_owner(path, owner) && owner[0])
            status = worker_refuse_living(worker, owner, before, error);
        if (status == CX_OK && !taken)
            nanosleep(&pause, NULL);
    }
    free(path);
    return status;
}

void cx_claim_drop(struct cx_worker *worker, const char *name) {
    char owner[worker_name_bytes], *path = NULL;
    if (claim_path(worker, name, "", &path, NULL) == CX_OK && read_owner(path, owner) && strcmp(owner, worker->name) == 0)
        (void)unlink(path);
    free(path);
}

void cx_claims_clear(struct cx_worker *worker, enum cx_claim_owner whose) {
    char *folder = NULL;
    DIR *entries = cx_path_join(worker->directory, CLAIMS_NAME, &folder, NULL) == CX_OK ? opendir(folder) : NULL;
    for (struct dirent *entry; entries && (entry = readdir(entries)) != NULL;) {
        char owner[worker_name_bytes], *path = NULL;
        if (entry->d_name[0] != '.' && cx_path_join(folder, entry->d_name, &path, NULL) == CX_OK && read_owner(path, owner) &&
            (strcmp(owner, worker->name) == 0) == (whose == CX_CLAIMS_OWN))
            (void)unlink(path);
        free(path);
    }
    if (entries)
        closedir(entries);
    free(folder);
}
