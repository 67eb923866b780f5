/* A manifest while it is open: what manifest.c, manifest_shared.c and manifest_append.c have in common. */
#ifndef CONTEXTURE_MANIFEST_STATE_H
#define CONTEXTURE_MANIFEST_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "manifest_lines.h"

/* A journal, and how far it has been read. */
struct journal {
    char *path;
    size_t read;
};

/* Tells a file from the one that replaced it. */
struct file_state {
    dev_t device;
    ino_t number;
    off_t size;
    struct timespec changed;
};

struct cx_manifest {
    char *directory;
    char *worker;           /* its name, if the folder is shared; or NULL */
    char *path;             /* of what is appended to */
    char *header;           /* shared: the first line of the journal, which is not there before the first shard; NULL: it is, or this is the only process */
    struct file_state seen; /* shared: manifest.json, when it was read last */
    struct journal *journals;
    size_t journal_count, journal_capacity;
    struct cx_lock *lock;
    int descriptor; /* for appending */
    struct cx_manifest_content content;
    const char **sources; /* [source_count] in the content's identity */
    size_t source_count;
    bool failed; /* a line may stand half written at the end: nothing may come behind it */
};

CX_MUST_USE enum cx_status manifest_parse_identity(const char *text, json_t **identity, struct cx_error *error);

/* Writes a manifest.json that has nothing but its header. */
CX_MUST_USE enum cx_status manifest_begin_file(const char *path, json_t *identity, struct cx_error *error);

/* Shards whose files are gone or have another size are forgotten: they will be computed again. */
CX_MUST_USE enum cx_status manifest_forget_lost_parts(struct cx_manifest_content *content, const char *directory, struct cx_error *error);

/* Fills `sources` with the names in the header; folders that were begun without them have none in any part. */
CX_MUST_USE enum cx_status manifest_list_sources(struct cx_manifest *manifest, struct cx_error *error);

#endif
