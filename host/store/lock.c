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

struct holder {
    long process;
    char host[128];
    unsigned long long start;
    char since[32];
};

static void describe_self(struct holder *holder) {
    time_t now = time(NULL);
    struct tm utc;
    *holder = (struct holder){.process = (long)getpid(), .start = cx_process_start((long)getpid())};
    if (gethostname(holder->host, sizeof holder->host - 1) != 0 || holder->host[0] == '\0')
        snprintf(holder->host, sizeof holder->host, "unknown");
    if (!gmtime_r(&now, &utc) || strftime(holder->since, sizeof holder->since, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        snprintf(holder->since, sizeof holder->since, "unknown");
}

static bool read_holder(int descriptor, struct holder *holder) {
    char line[256];
    ssize_t length = pread(descriptor, line, sizeof line - 1, 0);
    *holder = (struct holder){0};
    if (length <= 0)
        return false;
    line[length] = '\0';
    return sscanf(line, "process %ld host %127s start %llu since %31s", &holder->process, holder->host, &holder->start, holder->since) == 4;
}

static enum cx_status write_holder(const struct cx_lock *lock, struct cx_error *error) {
    struct holder self;
    char line[256];
    describe_self(&self);
    int length = snprintf(line, sizeof line, "process %ld host %s start %llu since %s\n", self.process, self.host, self.start, self.since);
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
    struct holder holder;
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
                   lock->path, holder.process, holder.host, directory, holder.since);
}

/* Without flock(): is the process that wrote the file dead? Only those of this host can be asked. */
static bool holder_is_dead(const struct holder *holder) {
    struct holder self;
    describe_self(&self);
    if (strcmp(holder->host, self.host) != 0)
        return false;
    return cx_process_is_gone(holder->process, holder->start);
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
    struct holder holder;
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
    if (!read_holder(lock->descriptor, &holder) || !holder_is_dead(&holder))
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
