/* Files: mapped, read whole within a bound, and written so that a name never shows a half-written file. */
#ifndef CONTEXTURE_FILE_H
#define CONTEXTURE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/error.h"

/* "directory/name" as a new string; release with free(). */
CX_MUST_USE enum cx_status cx_path_join(const char *directory, const char *name, char **path, struct cx_error *error);

/* True if something of that name exists and can be looked up. */
bool cx_file_exists(const char *path);

/*
 * A read-only mapping of a regular file, with a descriptor of it for pread(); data is NULL for an empty one, and then there is no descriptor. A file that
 * another program cuts short while it is mapped ends this one (SIGBUS).
 */
struct cx_mapping {
    const unsigned char *data;
    size_t size;
    int descriptor;
};
CX_MUST_USE enum cx_status cx_file_map(const char *path, struct cx_mapping *mapping, struct cx_error *error);
void cx_file_unmap(struct cx_mapping *mapping);

/* The whole file as a new zero-terminated string (release with free()). Larger than `limit` bytes: CX_ERROR_INPUT. */
CX_MUST_USE enum cx_status cx_file_read(const char *path, size_t limit, char **text, size_t *length, struct cx_error *error);

/* Replaces the file `path` by `data`: writes path.tmp, fsync, reads it back and compares, rename, fsync of the folder. On failure the old file stands and no
 * .tmp is left. */
CX_MUST_USE enum cx_status cx_file_replace(const char *path, const void *data, size_t length, struct cx_error *error);

/* fsync of the folder that holds `path`, so that a rename in it is durable. */
CX_MUST_USE enum cx_status cx_folder_sync(const char *path, struct cx_error *error);

/* Makes the folder and those above it, as mkdir -p. */
CX_MUST_USE enum cx_status cx_folder_create(const char *path, struct cx_error *error);

/* --- naming contents: XXH3-128 over any number of pieces, each with its length, so that moving a byte over a border shows --- */
struct cx_hasher;
CX_MUST_USE enum cx_status cx_hasher_create(struct cx_hasher **hasher, struct cx_error *error);
void cx_hasher_add(struct cx_hasher *hasher, const void *data, size_t length);
CX_MUST_USE enum cx_status cx_hasher_add_file(struct cx_hasher *hasher, const char *path, struct cx_error *error);
void cx_hasher_text(const struct cx_hasher *hasher, char digits[33]);
void cx_hasher_destroy(struct cx_hasher *hasher);

#endif
