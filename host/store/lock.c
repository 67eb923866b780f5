/*
 * The lock is an flock() on the file `lock`, which the system drops when its holder dies, however it dies. The file says who holds it:
 * process, host, the process' start in clock ticks since boot, and the time. Where the file system has no flock(), the file itself is the lock
 * (O_EXCL), and one left by a dead process of this host is told by the first three.
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "contexture/file.h"
#include "contexture/memory.h"
#include "contexture/process.h"
#include "output_folder.h"

struct cx_lock {
    char *path;
    int descriptor;
};

static bool read_holder(int descriptor, struct cx_process *holder) {
    char line[256];
    ssize_t length = pread(descriptor, line, sizeof line - 1, 0);
    if (length <= 0)
        return false;
    line[length] = '\0';
    return cx_process_read(line, holder);
}

static enum cx_status write_holder(const struct cx_lock *lock, struct cx_error *error) {
    struct cx_process self;
    char text[CX_PROCESS_BYTES], line[CX_PROCESS_BYTES + 1];
    cx_process_describe_self(&self);
    cx_process_write(&self, text);
    int length = snprintf(line, sizeof line, "%s\n", text);
    if (ftruncate(lock->descriptor, 0) != 0)
        return cx_fail_errno(error, "write", lock->path);
    ssize_t written = pwrite(lock->descriptor, line, (size_t)length, 0);
    if (written < 0)
        return cx_fail_errno(error, "write", lock->path);
    if (written != length)
        return cx_fail(error, CX_ERROR_IO, "cannot write %s: only %zd of %d bytes were taken; is the disk full?", lock->path, written, length);
    return CX_OK;
}

static enum cx_status fail_held(const struct cx_lock *lock, const char *directory, struct cx_error *error) {
    /* It may have taken the lock just now, and not have written who it is. */
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    enum { looks = 50 };
    struct cx_process holder;
    bool known = read_holder(lock->descriptor, &holder);
    for (int i = 0; i < looks && !known; i++) {
        nanosleep(&pause, NULL);
        known = read_holder(lock->descriptor, &holder);
    }
    if (!known)
        return cx_fail(error, CX_ERROR_CONFLICT, "%s: another process is writing to %s; wait for it, or choose another folder", lock->path, directory);
    return cx_fail(error, CX_ERROR_CONFLICT,
                   "%s: process %ld on host %s has been writing to %s since %s; wait for it or stop it, or choose another folder (if it is surely gone, delete "
                   "the lock file)",
                   lock->path, holder.number, holder.host, directory, holder.since);
}

/* True if the name still means the file that was locked: the holder before us removes it when it ends. */
static bool is_current(const struct cx_lock *lock) {
    struct stat by_name, by_descriptor;
    return stat(lock->path, &by_name) == 0 && fstat(lock->descriptor, &by_descriptor) == 0 && by_name.st_ino == by_descriptor.st_ino &&
           by_name.st_dev == by_descriptor.st_dev;
}

/* CX_END: the file vanished or was removed as a leftover; try again. */
static enum cx_status try_once(struct cx_lock *lock, const char *directory, struct cx_error *error) {
    bool created = true;
    struct cx_process holder;
    lock->descriptor = open(lock->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (lock->descriptor < 0 && errno == EEXIST) {
        created = false;
        lock->descriptor = open(lock->path, O_RDWR | O_CLOEXEC);
    }
    if (lock->descriptor < 0)
        return errno == ENOENT ? CX_END : cx_fail_errno(error, "open", lock->path);
    if (flock(lock->descriptor, LOCK_EX | LOCK_NB) == 0)
        return is_current(lock) ? write_holder(lock, error) : CX_END;
    if (errno == EWOULDBLOCK)
        return fail_held(lock, directory, error);
    if (created)
        return write_holder(lock, error);
    /* Without flock(): only a holder of this host can be known to be dead. */
    if (!read_holder(lock->descriptor, &holder) || !cx_process_is_gone(&holder))
        return fail_held(lock, directory, error);
    return unlink(lock->path) == 0 || errno == ENOENT ? CX_END : cx_fail_errno(error, "remove", lock->path);
}

enum cx_status cx_lock_take(const char *directory, struct cx_lock **lock_pointer, struct cx_error *error) {
    enum { attempts = 100 };
    struct cx_lock *lock = NULL;
    *lock_pointer = NULL;
    enum cx_status status = cx_allocate(1, sizeof *lock, "a lock", &lock, error);
    if (status != CX_OK)
        return status;
    lock->descriptor = -1;
    status = cx_path_join(directory, CX_LOCK_NAME, &lock->path, error);
    if (status != CX_OK)
        goto cleanup;
    status = CX_END;
    for (int i = 0; i < attempts && status == CX_END; i++) {
        status = try_once(lock, directory, error);
        if (status != CX_OK && lock->descriptor >= 0) {
            close(lock->descriptor);
            lock->descriptor = -1;
        }
    }
    if (status == CX_END)
        status = cx_fail(error, CX_ERROR_CONFLICT, "%s: other processes keep taking and leaving the lock of %s", lock->path, directory);
cleanup:
    if (status == CX_OK) {
        *lock_pointer = lock;
    } else {
        free(lock->path);
        free(lock);
    }
    return status;
}

void cx_lock_release(struct cx_lock *lock) {
    if (!lock)
        return;
    /* Removed while it is still locked, see is_current(). A lock file that stays is harmless. */
    unlink(lock->path);
    close(lock->descriptor);
    free(lock->path);
    free(lock);
}
