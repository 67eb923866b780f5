/* Folders and whole files for the tests of the store. */
#ifndef STORE_FOLDER_H
#define STORE_FOLDER_H

#include <ftw.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
    char path[96];
};

struct bytes {
    unsigned char *data;
    size_t size;
};

static inline int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *place) {
    (void)about, (void)kind, (void)place;
    return remove(path);
}

static inline void folder_remove(const struct folder *folder) {
    if (nftw(folder->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        fprintf(stderr, "%s could not be removed\n", folder->path);
}

/* The folder that all others are in. */
struct folder_root {
    struct folder folder;
    pid_t maker;
};

static inline struct folder_root *folder_root(void) {
    static struct folder_root root;
    return &root;
}

/* What a test that failed has left goes at the end; a child of the process leaves it alone. */
static inline void folder_root_remove(void) {
    if (folder_root()->maker == getpid())
        folder_remove(&folder_root()->folder);
}

/* Makes a new empty folder of a name that ends in XXXXXX; the test is over if there can be none. */
static inline struct folder folder_make_in(const char *place, const char *name) {
    struct folder folder;
    if (snprintf(folder.path, sizeof folder.path, "%s/%s", place, name) >= (int)sizeof folder.path || !mkdtemp(folder.path)) {
        perror(place);
        abort();
    }
    return folder;
}

/* A new empty folder among the system's temporary files. */
static inline struct folder folder_make(void) {
    struct folder_root *root = folder_root();
    if (root->maker == 0) {
        const char *temporary = getenv("TMPDIR");
        *root = (struct folder_root){folder_make_in(temporary ? temporary : "/tmp", "contexture-store-XXXXXX"), getpid()};
        if (atexit(folder_root_remove) != 0)
            abort();
    }
    return folder_make_in(root->folder.path, "XXXXXX");
}

/* folder/name, valid until the next call but three. */
static inline const char *folder_file(const struct folder *folder, const char *name) {
    static char paths[4][512];
    static unsigned turn;
    turn = (turn + 1) % 4;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder->path, name);
    return paths[turn];
}

static inline bool file_there(const char *path) {
    return access(path, F_OK) == 0;
}

static inline struct bytes file_bytes(const char *path) {
    struct bytes bytes = {0};
    FILE *file = fopen(path, "rb");
    struct stat about;
    if (!file || fstat(fileno(file), &about) != 0)
        abort();
    bytes.size = (size_t)about.st_size;
    bytes.data = malloc(bytes.size + 1);
    if (!bytes.data || fread(bytes.data, 1, bytes.size, file) != bytes.size)
        abort();
    bytes.data[bytes.size] = '\0';
    fclose(file);
    return bytes;
}

static inline void file_write(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0)
        abort();
}

static inline bool files_equal(const char *a, const char *b) {
    struct bytes left = file_bytes(a), right = file_bytes(b);
    bool equal = left.size == right.size && memcmp(left.data, right.data, left.size) == 0;
    free(left.data);
    free(right.data);
    return equal;
}

#endif
