/* Checking a folder: what verify.c and verify_part.c share. */
#ifndef CONTEXTURE_VERIFY_H
#define CONTEXTURE_VERIFY_H

#include "contexture/store.h"

/* Where faults go. */
struct cx_complaints {
    void (*complain)(void *context, const char *sentence);
    void *context;
    uint64_t count;
};

CX_PRINTF(2, 3)
void cx_complain(struct cx_complaints *complaints, const char *format, ...);

/*
 * Checks the file of one shard against its line of the manifest and against itself, complaining of each fault; the faults of a part do not fail
 * the call. *completeness_error rises to the largest one found.
 */
CX_MUST_USE enum cx_status cx_verify_part(const char *directory, const struct cx_part_summary *summary, double completeness_bound,
                                          struct cx_complaints *complaints, float *completeness_error, struct cx_error *error);

#endif
