/*
 * The third step: results to parts, finished parts into the manifest. Also knows, for the first step, which shards are finished.
 *
 * A part is finished (synced, read back, renamed) and entered in the manifest on a thread of its own, while the next one is written. There is one such
 * thread at most, so the manifest has the order of the shards, and memory is that of two parts.
 */
#ifndef CONTEXTURE_RUN_WRITER_H
#define CONTEXTURE_RUN_WRITER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "reader.h"

/* The part before the one that is being written. */
struct finishing {
    pthread_t thread;
    bool running; /* the thread must be joined */
    struct cx_part *part;
    struct cx_part_summary summary;
    struct skipped_list left_out;
    enum cx_status status; /* the thread's, to be read when it has been joined */
    struct cx_error error;
    _Atomic bool failed;
};

struct writer {
    struct cx_store_options options;
    struct cx_manifest *manifest;
    pthread_mutex_t manifest_mutex; /* of the manifest and the counts of the report: the first step looks shards up while the finishing thread adds them */
    struct cx_part *part;           /* of the shard that is being written; NULL: not yet begun */
    struct cx_stats *stats;         /* of that shard; NULL: not asked for */
    struct skipped_list left_out;   /* of that shard */
    struct finishing finishing;
    double shard_begin; /* monotonic seconds */
    struct cx_run_report *report;
    _Atomic uint64_t shards;                          /* finished, read by the progress bar while this step runs */
    _Atomic double mixing_ratios, mixing_ratio_count; /* of the last stage that is stored, for the eye */
    void (*finished)(void *context, uint64_t shard);  /* told, by the finishing thread, of every shard that is in the manifest now; NULL: nobody */
    void *finished_context;
};

/* With a worker's name in the options the folder is shared, and has been prepared. */
CX_MUST_USE enum cx_status writer_open(struct writer *writer, const struct cx_store_options *options, const char *identity, struct cx_run_report *report,
                                       struct cx_error *error);

/* What other processes have finished by now. */
CX_MUST_USE enum cx_status writer_refresh(struct writer *writer, struct cx_error *error);
bool writer_has_shard(struct writer *writer, uint64_t shard);
uint64_t writer_finished_count(struct writer *writer);

/* The report's counts of the whole folder, from the manifest. */
void writer_count_all(struct writer *writer, uint64_t shards);
CX_MUST_USE enum cx_status writer_work(struct writer *writer, struct window *window, struct cx_error *error);
/* The sink of the shard's pairs: context is the writer. */
CX_MUST_USE enum cx_status writer_append_pairs(void *context, const struct cx_stats_table *rows, struct cx_error *error);
struct finished_shards writer_finished_shards(struct writer *writer);

/* Waits until the last part is finished and entered. */
CX_MUST_USE enum cx_status writer_settle(struct writer *writer, struct cx_error *error);

/* Drops the part that is being written, if any, lets one that is being finished end, and closes the manifest. */
void writer_close(struct writer *writer);

#endif
