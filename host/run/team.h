/*
 * The GPUs of an MPI job as a team (contexture/team.h): one of them on each rank, weights read by rank 0, the progress of all summed up.
 * Where there is no team, every rank reads the weights, and progress is told by messages.
 */
#ifndef CONTEXTURE_RUN_TEAM_H
#define CONTEXTURE_RUN_TEAM_H

#include <stdatomic.h>

#include "contexture/backend.h"
#include "contexture/run.h"

struct team {
    struct cx_ranks *ranks; /* NULL: a job of one */
    struct cx_backend *backend;
    bool joined;
    uint64_t sums_begun;
    bool summing;
    double interval, begun_at;         /* seconds; of the latest sum */
    struct cx_ranks_progress own, all; /* what this rank gives; the latest sum */
    struct cx_error fault;             /* set before is_faulty */
    _Atomic bool is_faulty;
};

/*
 * Sees that no two ranks have one device, and that all have the same model: by all of its bytes or, where rank 0 passes the weights on, by all but those. Then
 * the team is there, if the ranks can make one; who cannot, and why, is told once, by rank 0. Of no effect in a job of one process.
 */
struct team_options {
    const struct cx_run_settings *settings;
    const struct cx_run_observer *observer;
    const char *model_fingerprint; /* rank 0's */
};
CX_MUST_USE enum cx_status team_open(struct team *team, struct cx_ranks *ranks, struct cx_backend *backend, const struct team_options *options,
                                     struct cx_error *error);

/* Often, by one thread. `all` is changed where the team knows better than messages. Does not wait. */
void team_tick(struct team *team, const struct cx_ranks_progress *own, struct cx_ranks_progress *all);

/* True: an exchange has failed, and with it the team; end soon, with team_end()'s status. May be asked by any thread. */
bool team_is_faulty(const struct team *team);

/* The weights could not be had, and this is why: returns `status`. */
CX_MUST_USE enum cx_status team_fail(struct team *team, enum cx_status status, const struct cx_error *error);

/* This rank has no further shard: takes part in the sums that were called for, and has no more of them. Returns `status`, or a sum's failure. */
CX_MUST_USE enum cx_status team_end(struct team *team, enum cx_status status, struct cx_error *error);

/* The job is over, for all ranks (`together`) or for this one. */
void team_close(struct team *team, bool together);

#endif
