/*
 * Tasks that one thread begins and ends in order, and any thread works on in between.
 *
 * The owner has `slots` slots with the memory of a task each; the ring deals in their numbers. It fills the slot cx_ring_next(), hands it over by
 * cx_ring_begin(), and takes the oldest task back by cx_ring_wait() and cx_ring_release(). While the owner waits it works on tasks itself, so
 * `threads` 1 needs no other thread, and no core is idle while there is work. All functions belong to the owner's thread.
 */
#ifndef CONTEXTURE_WORK_RING_H
#define CONTEXTURE_WORK_RING_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/error.h"

struct cx_ring;

struct cx_ring_options {
    int threads; /* that work, the owner's among them */
    size_t slots;
    /* Called by any thread, with its number: 0 the owner's, to threads - 1. It cannot fail: what goes wrong is noted in the slot. */
    void (*work)(void *context, size_t slot, int thread);
    void *context;
};

CX_MUST_USE enum cx_status cx_ring_create(const struct cx_ring_options *options, struct cx_ring **ring, struct cx_error *error);

/* Waits for tasks that are being worked on; those that nobody has begun to work on are dropped. NULL is allowed. */
void cx_ring_destroy(struct cx_ring *ring);

bool cx_ring_is_empty(const struct cx_ring *ring);
bool cx_ring_is_full(const struct cx_ring *ring);

/* The slot to be filled next; the ring must not be full. */
size_t cx_ring_next(const struct cx_ring *ring);
void cx_ring_begin(struct cx_ring *ring);

/* Whether the oldest task is ended, without waiting. False for an empty ring. */
bool cx_ring_has_ended(struct cx_ring *ring);

/* Waits for the oldest task and returns its slot, which stays the caller's until it is released. The ring must not be empty. */
size_t cx_ring_wait(struct cx_ring *ring);
void cx_ring_release(struct cx_ring *ring);

#endif
