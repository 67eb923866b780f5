/*
 * Preloaded into a program, makes one of its system calls go wrong: the FAULT_AT-th (from 1) of those that touch a file below the folder
 * FAULT_FOLDER. Every such call is counted (reading calls instead if FAULT_READS is set); with FAULT_AT=0 nothing goes wrong, and their number is written to
 * FAULT_COUNT_FILE at the end.
 *
 * FAULT_KIND: an errno's name, EIO or ENOSPC: the call fails with it
 *             sticky:ENOSPC       it and all later writing calls fail, as on a disk that is full
 *             kill                the process is killed before the call
 *             torn                of a write, half is done, then the process is killed
 *             lost                a write or fsync says that all is well and does nothing
 *             flip                a write says that all is well, and one bit of its bytes is another one on the disk
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum call { CALL_OPEN, CALL_MKDIR, CALL_WRITE, CALL_TRUNCATE, CALL_SYNC, CALL_RENAME, CALL_READ };
enum verdict { GO_ON, FAIL, TEAR, LOSE, FLIP };

static long counted;
static bool tripped;

static bool is_ours(const char *path) {
    const char *folder = getenv("FAULT_FOLDER");
    char whole[PATH_MAX];
    if (!folder || !path)
        return false;
    if (path[0] != '/') {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here) || (size_t)snprintf(whole, sizeof whole, "%s/%s", here, path) >= sizeof whole)
            return false;
        path = whole;
    }
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static bool is_our_descriptor(int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return false;
    path[length] = '\0';
    return is_ours(path);
}

static int error_number(const char *name) {
    return strcmp(name, "EIO") == 0 ? EIO : strcmp(name, "ENOSPC") == 0 ? ENOSPC : EROFS;
}

static enum verdict judge(enum call call) {
    const char *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND");
    if ((call == CALL_READ) != (getenv("FAULT_READS") != NULL))
        return GO_ON;
    counted++;
    if (!at || !kind)
        return GO_ON;
    bool now = counted == atol(at);
    if (strncmp(kind, "sticky:", 7) == 0) {
        /* A full disk takes no data, and still syncs and renames. */
        tripped = tripped || now;
        if (!tripped || call == CALL_SYNC || call == CALL_RENAME || call == CALL_TRUNCATE)
            return GO_ON;
        errno = error_number(kind + 7);
        return call == CALL_OPEN ? GO_ON : FAIL;
    }
    if (!now)
        return GO_ON;
    if (strcmp(kind, "kill") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(kind, "torn") == 0)
        return TEAR;
    if (strcmp(kind, "lost") == 0)
        return call == CALL_WRITE || call == CALL_SYNC ? LOSE : GO_ON;
    if (strcmp(kind, "flip") == 0)
        return call == CALL_WRITE ? FLIP : GO_ON;
    errno = error_number(kind);
    return FAIL;
}

__attribute__((destructor)) static void write_count(void) {
    const char *path = getenv("FAULT_COUNT_FILE");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file)
        return;
    fprintf(file, "%ld\n", counted);
    fclose(file);
}

/* The next definition of a function, as that function's own type. */
#define REAL(name, type)                                                                                                                                       \
    static type real;                                                                                                                                          \
    if (!real) {                                                                                                                                               \
        void *symbol = dlsym(RTLD_NEXT, name);                                                                                                                 \
        memcpy(&real, &symbol, sizeof real);                                                                                                                   \
    }

typedef int (*open_function)(const char *, int, ...);
typedef ssize_t (*write_function)(int, const void *, size_t);
typedef ssize_t (*pwrite_function)(int, const void *, size_t, off_t);
typedef ssize_t (*read_function)(int, void *, size_t);
typedef ssize_t (*pread_function)(int, void *, size_t, off_t);
typedef int (*truncate_function)(int, off_t);
typedef int (*sync_function)(int);
typedef int (*rename_function)(const char *, const char *);
typedef int (*mkdir_function)(const char *, mode_t);

#define OPEN_BODY(name)                                                                                                                                        \
    REAL(name, open_function)                                                                                                                                  \
    mode_t mode = 0;                                                                                                                                           \
    if (flags & O_CREAT) {                                                                                                                                     \
        va_list arguments;                                                                                                                                     \
        va_start(arguments, flags);                                                                                                                            \
        mode = (mode_t)va_arg(arguments, unsigned);                                                                                                            \
        va_end(arguments);                                                                                                                                     \
    }                                                                                                                                                          \
    if (is_ours(path) && judge(CALL_OPEN) == FAIL)                                                                                                             \
        return -1;                                                                                                                                             \
    return real(path, flags, mode);

int open(const char *path, int flags, ...) {
    OPEN_BODY("open")
}

int open64(const char *path, int flags, ...) {
    OPEN_BODY("open64")
}

static void tear(ssize_t done) {
    if (done >= 0)
        kill(getpid(), SIGKILL);
}

/* A copy of what is to be written with one bit changed, another one for every call. It is never freed: there is one a process. */
static const void *flipped(const void *data, size_t size) {
    unsigned char *copy = malloc(size + 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    if (size > 0)
        copy[(size_t)counted * 7919 % size] ^= (unsigned char)(1u << counted % 8);
    return copy;
}

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL("write", write_function)
    enum verdict verdict = is_our_descriptor(descriptor) ? judge(CALL_WRITE) : GO_ON;
    if (verdict == TEAR)
        tear(real(descriptor, data, size / 2));
    if (verdict == FLIP)
        data = flipped(data, size);
    return verdict == FAIL ? -1 : verdict == LOSE ? (ssize_t)size : real(descriptor, data, size);
}

static ssize_t write_at(pwrite_function real, int descriptor, const void *data, size_t size, off_t offset) {
    enum verdict verdict = is_our_descriptor(descriptor) ? judge(CALL_WRITE) : GO_ON;
    if (verdict == TEAR)
        tear(real(descriptor, data, size / 2, offset));
    if (verdict == FLIP)
        data = flipped(data, size);
    return verdict == FAIL ? -1 : verdict == LOSE ? (ssize_t)size : real(descriptor, data, size, offset);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset) {
    REAL("pwrite", pwrite_function)
    return write_at(real, descriptor, data, size, offset);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset) {
    REAL("pwrite64", pwrite_function)
    return write_at(real, descriptor, data, size, offset);
}

ssize_t read(int descriptor, void *data, size_t size) {
    REAL("read", read_function)
    return is_our_descriptor(descriptor) && judge(CALL_READ) == FAIL ? -1 : real(descriptor, data, size);
}

ssize_t pread(int descriptor, void *data, size_t size, off_t offset) {
    REAL("pread", pread_function)
    return is_our_descriptor(descriptor) && judge(CALL_READ) == FAIL ? -1 : real(descriptor, data, size, offset);
}

ssize_t pread64(int descriptor, void *data, size_t size, off64_t offset) {
    REAL("pread64", pread_function)
    return is_our_descriptor(descriptor) && judge(CALL_READ) == FAIL ? -1 : real(descriptor, data, size, offset);
}

static int truncate_to(truncate_function real, int descriptor, off_t size) {
    enum verdict verdict = is_our_descriptor(descriptor) ? judge(CALL_TRUNCATE) : GO_ON;
    return verdict == FAIL ? -1 : real(descriptor, size);
}

int ftruncate(int descriptor, off_t size) {
    REAL("ftruncate", truncate_function)
    return truncate_to(real, descriptor, size);
}

int ftruncate64(int descriptor, off64_t size) {
    REAL("ftruncate64", truncate_function)
    return truncate_to(real, descriptor, size);
}

int fsync(int descriptor) {
    REAL("fsync", sync_function)
    enum verdict verdict = is_our_descriptor(descriptor) ? judge(CALL_SYNC) : GO_ON;
    return verdict == FAIL ? -1 : verdict == LOSE ? 0 : real(descriptor);
}

int rename(const char *from, const char *to) {
    REAL("rename", rename_function)
    return is_ours(from) && judge(CALL_RENAME) == FAIL ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL("mkdir", mkdir_function)
    return is_ours(path) && judge(CALL_MKDIR) == FAIL ? -1 : real(path, mode);
}
