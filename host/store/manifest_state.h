/* A manifest while it is open: what manifest.c and manifest_append.c share. */
#ifndef CONTEXTURE_MANIFEST_STATE_H
#define CONTEXTURE_MANIFEST_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "manifest_lines.h"

/* A journal, and how far it has been read. */
struct journal {
    char *path;
    size_t read;
};

struct cx_manifest {
    char *directory;
    char *worker; /* its name, if the folder is shared; or NULL */
    char *path;   /* of what is appended to */
    char *header; /* shared: the first line of the journal, which is not there before the first shard; NULL: it is, or this is the only process */
    struct journal *journals;
    size_t journal_count, journal_capacity;
    struct cx_lock *lock;
    int descriptor; /* for appending */
    struct cx_manifest_content content;
    const char **sources; /* [source_count] in the content's identity */
    size_t source_count;
    bool failed; /* a line may stand half written at the end: nothing may come behind it */
};

#endif
