/*
 * A team: backends of several processes, each with a device of its own, that pass numbers from device to device by the devices' own library (NCCL).
 *
 * Rank 0 of the team reads the model's weights, the others get them: on a team, every operation that takes a weight (write, matrix_create,
 * pair_matrix_create, embed_open) is called by all members, in the same order, and struct cx_backend says is_given_weights to those whose views are not
 * looked at. Sums over the team are for the eye alone: nothing that is stored depends on them.
 *
 * Nobody waits for ever: what has not come about within `patience` seconds, or when `stop` says that another process has failed, is given up with
 * CX_ERROR_INTERRUPTED, and the library is told to drop what is under way. After any failure the team is of no use any more.
 */
#ifndef CONTEXTURE_TEAM_H
#define CONTEXTURE_TEAM_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/error.h"

struct cx_backend;

enum { CX_TEAM_ID_BYTES = 128, CX_TEAM_SUMS = 16 };

struct cx_team_place {
    int rank, size;
    double patience;             /* seconds */
    bool (*stop)(void *context); /* may be asked by any thread */
    void *context;               /* of stop; must live until leave() */
};

struct cx_team_operations {
    /* Looks for the library. False with the reason, as the end of "… because"; else `text` is its version. */
    bool (*find)(struct cx_backend *, char *text, size_t size);

    /* After find(): a name for a new team, which one member makes and all join by. */
    CX_MUST_USE enum cx_status (*make_id)(struct cx_backend *, unsigned char id[CX_TEAM_ID_BYTES], struct cx_error *);

    /* After find(): waits until all members have come. */
    CX_MUST_USE enum cx_status (*join)(struct cx_backend *, const struct cx_team_place *, const unsigned char id[CX_TEAM_ID_BYTES], struct cx_error *);

    /*
     * sums [count] over all members' values [count], up to CX_TEAM_SUMS of them; one at a time, begun by all members. sum_look() does not wait: *done, and
     * sums are set, when it is there. Beside the backend's operations, and by another thread, if need be.
     */
    CX_MUST_USE enum cx_status (*sum_begin)(struct cx_backend *, const double *values, size_t count, struct cx_error *);
    CX_MUST_USE enum cx_status (*sum_look)(struct cx_backend *, double *sums, bool *done, struct cx_error *);

    /* Ends the team. `together`: all members do it now; else what is under way is dropped. Closing the backend does the latter. */
    void (*leave)(struct cx_backend *, bool together);
};

/* NCCL's version, "2.28.9", or why there is none, as the end of "none, because …": then false. Of this machine, whatever the backend. */
bool cx_team_report(char *text, size_t size);

#endif
