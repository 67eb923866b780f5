/* A run while it goes on: what run.c and claim_folder.c share. */
#ifndef CONTEXTURE_RUN_RUN_STATE_H
#define CONTEXTURE_RUN_RUN_STATE_H

#include <jansson.h>

#include "computer.h"
#include "contexture/checkpoint.h"
#include "share.h"
#include "team.h"
#include "writer.h"

/* One more window than there are result buffers: the next one is read while one is computed and one is written. */
enum { most_windows = most_result_buffers + 1 };

struct run {
    const struct cx_run_settings *settings;
    const struct cx_run_observer *observer; /* of the caller */
    struct cx_run_observer own;             /* what the steps are given */
    struct cx_run_report *report;
    struct share share;
    struct team team;
    struct shard_source source;
    char *identity_text;
    struct setup setup;
    char model_fingerprint[33], corpus_fingerprint[33];
    char backend_description[256];
    struct cx_backend *backend;
    struct cx_checkpoint *checkpoint;
    json_t *identity;
    struct finished_shards finished;
    struct reader reader;
    struct computer computer;
    struct writer writer;
    bool writer_is_open;
    struct cx_pair_filter *pair_filter;
    struct window windows[most_windows];
    double begin, pipeline_begin;
};

/*
 * Opens everything up to the refusal of a folder that belongs to another run: no weight has been loaded so far, but where --mask-dims chooses by them. Of
 * several processes, one describes the run and prepares the folder.
 */
CX_MUST_USE enum cx_status claim_folder(struct run *run, struct cx_error *error);

#endif
