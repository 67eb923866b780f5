/* How a run shares its shards with other processes; see contexture/cluster.h. */
#ifndef CONTEXTURE_RUN_SHARE_H
#define CONTEXTURE_RUN_SHARE_H

#include "reader.h"
#include "writer.h"

struct share {
    const struct cx_run_settings *settings;
    const struct cx_run_observer *observer;
    enum cx_cluster_kind kind;
    struct cx_ranks *ranks;   /* of an MPI job */
    struct cx_worker *worker; /* this process in the folder */
    struct cx_shard_plan *plan;
    uint64_t *order; /* [shards of the plan] in which they are begun */
    uint64_t cursor; /* into it: what is before is taken or finished */
    uint64_t array_index, array_count;
    bool holds; /* a shard that was claimed while nothing else was to be done */
    uint64_t held;
    struct writer *writer;
    const struct setup *setup;
};

/* Joins the other processes. */
CX_MUST_USE enum cx_status share_open(struct share *share, const struct cx_run_settings *settings, const struct cx_run_observer *observer,
                                      struct cx_error *error);

/* True for the ranks 1, 2, … of an MPI job, which are told all that rank 0 finds out. */
bool share_is_told(const struct share *share);

/* The name under which this process writes beside others; NULL: it has the folder to itself. */
const char *share_worker(const struct share *share);

/*
 * Before anything is written to the folder: sees that no process works there that this one cannot work beside, and joins those that it can.
 * A shared folder is prepared by one of them, while the others wait: `make` writes manifest and plan.
 */
struct share_preparation {
    void *context;
    /* Opens the plan, with the corpus' fingerprint. CX_END: there is none that fits. */
    enum cx_status (*find)(void *context, struct cx_error *error);
    enum cx_status (*make)(void *context, struct cx_error *error);
};
CX_MUST_USE enum cx_status share_prepare(struct share *share, const struct share_preparation *preparation, struct cx_error *error);

/* Sees that no other process works in the folder, and that none begins to. */
CX_MUST_USE enum cx_status share_join_alone(struct share *share, struct cx_error *error);

/* Sets reader->source, when plan and manifest are open. */
CX_MUST_USE enum cx_status share_begin(struct share *share, const struct setup *setup, struct reader *reader, struct writer *writer,
                                       struct shard_source *source, struct cx_error *error);

/*
 * All that this process could take is finished. Where others are at work on the rest: waits until that is finished, too, or until one of them is dead and this
 * process has its shard: then *more.
 */
CX_MUST_USE enum cx_status share_wait(struct share *share, bool *more, struct cx_error *error);

/*
 * This process has no further shard. *join: it is the one that joins all parts, and nobody else does so now. Else, in report->joined, whether another has
 * done it.
 */
CX_MUST_USE enum cx_status share_end(struct share *share, enum cx_status status, bool *join, struct cx_run_report *report, struct cx_error *error);

/* All parts are joined: claims that killed processes left count for nothing any more. */
void share_clear(struct share *share);

/* Leaves the other processes; the status of the whole job, see cx_ranks_close(). */
CX_MUST_USE enum cx_status share_close(struct share *share, enum cx_status status, bool *abrupt, struct cx_error *error);

#endif
