/* The second step: a window's sequences through the model, batch by batch. */
#ifndef CONTEXTURE_RUN_COMPUTER_H
#define CONTEXTURE_RUN_COMPUTER_H

#include <stdatomic.h>

#include "reader.h"

/* Windows whose results exist at the same time: one being computed, one being written. A large window is alone. */
enum { result_buffers = 2 };

struct result_buffer {
    float *memory;
    size_t capacity; /* floats */
};

struct computer {
    const struct setup *setup;
    const struct cx_run_observer *observer;
    struct cx_decomposer *decomposer;
    struct cx_packed_batch packed;
    struct result_buffer buffers[result_buffers];
    size_t buffer; /* the one that holds the results of the latest window */
    size_t *order;
    size_t order_capacity;
    /* done so far, for the progress bar; a long sequence takes minutes, so layers count, too */
    _Atomic uint64_t batch_bytes, layers_begun;           /* of the batch at hand */
    _Atomic uint64_t tokens, sequences, bytes, bytes_end; /* bytes of the corpus, and where in it the work stands */
};

/* Computes window->results for all sequences of the window. */
CX_MUST_USE enum cx_status computer_work(struct computer *computer, struct window *window, struct cx_error *error);

/* Bytes of the corpus done inside the batch at hand, by the layers done. */
uint64_t computer_batch_progress(struct computer *computer);
void computer_free(struct computer *computer);

#endif
