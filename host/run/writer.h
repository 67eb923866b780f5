/* The third step: results to parts, finished parts into the manifest. Also knows, for the first step, which shards are finished. */
#ifndef CONTEXTURE_RUN_WRITER_H
#define CONTEXTURE_RUN_WRITER_H

#include <pthread.h>
#include <stdatomic.h>

#include "reader.h"

struct writer {
    struct cx_store_options options;
    const struct cx_run_observer *observer;
    struct cx_manifest *manifest;
    pthread_mutex_t manifest_mutex; /* the first step looks shards up while the third adds them */
    struct cx_part *part;           /* of the shard that is being written; NULL: not yet begun */
    struct cx_stats *stats;         /* of that shard; NULL: not asked for */
    struct skipped_list left_out;   /* of that shard */
    double shard_begin;             /* monotonic seconds */
    struct cx_run_report *report;
    _Atomic uint64_t shards; /* finished, read by the progress bar while this step runs */
};

CX_MUST_USE enum cx_status writer_open(struct writer *writer, const struct cx_store_options *options, const char *identity, struct cx_run_report *report,
                                       struct cx_error *error);
CX_MUST_USE enum cx_status writer_work(struct writer *writer, struct window *window, struct cx_error *error);
struct finished_shards writer_finished_shards(struct writer *writer);

/* Drops the part that is being written, if any, and closes the manifest. */
void writer_close(struct writer *writer);

#endif
