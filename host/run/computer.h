/* The second step: a window's sequences through the model, batch by batch. */
#ifndef CONTEXTURE_RUN_COMPUTER_H
#define CONTEXTURE_RUN_COMPUTER_H

#include <stdatomic.h>

#include "reader.h"

/* Windows whose results exist at the same time: one being computed, one being written, and, with a device that computes beside the host, one that is begun
   before the one before is handed over. A large window is alone. */
enum { most_result_buffers = 3, batches_in_flight = 2 };

struct result_buffer {
    float *memory;
    size_t capacity; /* floats */
};

struct computer {
    const struct setup *setup;
    const struct cx_run_observer *observer;
    struct cx_decomposer *decomposer;
    struct cx_packed_batch packed[batches_in_flight]; /* batch k lies in packed[k % batches_in_flight] */
    uint64_t batches_begun;
    struct result_buffer buffers[most_result_buffers];
    size_t buffer_count; /* of them used */
    size_t buffer;       /* the one that holds the results of the latest window */
    uint64_t windows_begun, windows_ended;
    uint64_t batches_until_end[most_result_buffers]; /* of window k, in [k % most_result_buffers]: batches begun up to its end */
    size_t *order;
    size_t order_capacity;
    /* done so far, for the progress bar; a long sequence takes minutes, so layers count, too */
    _Atomic uint64_t batch_bytes, layers_begun;           /* of the batch at hand */
    _Atomic uint64_t tokens, sequences, bytes, bytes_end; /* bytes of the corpus, and where in it the work stands */
};

/* When the decomposer is there. */
void computer_open(struct computer *computer, const struct setup *setup, const struct cx_run_observer *observer, const struct cx_backend *backend);

/* Before every run of the pipeline, which counts windows from 0. */
void computer_begin(struct computer *computer);

/* Begins to compute window->results for all sequences of the window. */
CX_MUST_USE enum cx_status computer_work(struct computer *computer, struct window *window, struct cx_error *error);

/* See struct cx_pipeline_step. */
uint64_t computer_ended(struct computer *computer);
CX_MUST_USE enum cx_status computer_advance(struct computer *computer, struct cx_error *error);

/* Bytes of the corpus done inside the batch at hand, by the layers done. */
uint64_t computer_batch_progress(struct computer *computer);
void computer_free(struct computer *computer);

#endif
