/*
 * What the post office of a job's ranks (post_office.c) and the threads of the run (ranks.c) share: the threads put their wishes into `struct cx_ranks` and
 * wait for the answers there.
 */
#ifndef CONTEXTURE_CLUSTER_POST_OFFICE_H
#define CONTEXTURE_CLUSTER_POST_OFFICE_H

#include <pthread.h>

#include "contexture/cluster.h"
#include "peers.h"

/* Rank 0's view of another rank. */
struct peer {
    double heard;
    bool ended, lost;
    bool waits_for_shard; /* asked before there were any */
    char *line;           /* see cx_ranks_exchange() */
    bool leaves_sums;
    struct cx_ranks_progress progress;
    double ended_at;
};

struct cx_ranks {
    struct peers *peers;
    struct peers_place place;
    double patience;
    pthread_t office;
    bool office_runs;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct cx_error fault; /* of the post office */
    bool stopped, closing;
    bool lost; /* a rank is gone: MPI cannot be left in order */
    struct cx_ranks_progress own;
    double told;
    uint64_t sums_called;
    bool sums_ended; /* rank 0: calls for no sum any more; others: have been told so */
    /* rank 0 */
    struct peer *others; /* [size] */
    uint64_t *queue;
    size_t queue_length, queue_taken;
    bool offered;
    double begun_at;
    char *text_to_send;
    bool sum_wanted;
    enum cx_status job_status; /* of the first rank that failed */
    char job_sentence[2048];
    bool bye_wanted, stop_wanted, stop_sent;
    /* other ranks */
    double heard;
    bool ask_wanted, asked, answered, no_more;
    uint64_t answer;
    char *text, *line_to_send;
    bool leave_wanted, left; /* the sums */
    bool end_wanted, ended;
    enum cx_status end_status;
    char end_sentence[2048];
    bool dismissed; /* rank 0 has said how the job ended */
    enum cx_status dismissal;
};

/* The post office's thread. Takes the ranks; ends when they are closing and all messages are on their way, or with a fault. */
void *post_office_run(void *ranks);

/* Rank 0: this is how the job ends, unless one failed before; all are to stop. The mutex is held. An interruption gives way to a failure. */
void ranks_note_failure(struct cx_ranks *ranks, enum cx_status status, const char *sentence);

#endif
