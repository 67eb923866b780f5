/*
 * A chain of steps that work at the same time, each on a thread of its own, on items that pass through all of them in order.
 *
 * The caller makes a few slots, each with the memory of one item; the slots go round: item k lives in slot k mod slot_count,
 * and the first step refills a slot as soon as the last step is done with it. So memory is bounded and reused, and every
 * step sees the items in order. The first failure stops all steps before their next item.
 */
#ifndef CONTEXTURE_PIPELINE_H
#define CONTEXTURE_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

struct cx_pipeline_step {
    const char *name;
    /* Works on the item in `slot`. The first step fills it, or returns CX_END if there is no further item. */
    enum cx_status (*work)(void *context, void *slot, struct cx_error *error);
    /*
     * For a step that begins an item in work() and has it done by a device: how many items are ended so far, in order, and a function that takes the oldest
     * item nearer to its end, waiting for the device if need be. It is called again and again while items are not ended and the next one cannot begin; not by
     * the first step. NULL both: an item is ended when work() returns.
     */
    uint64_t (*ended)(void *context);
    enum cx_status (*advance)(void *context, struct cx_error *error);
    void *context;
    size_t ahead;   /* items that this step may have begun and the last step not yet ended, at most; 0: as many as there are slots */
    double seconds; /* result: wall clock spent in work() and advance() */
};

struct cx_pipeline_options {
    void *const *slots;
    size_t slot_count;
    void *context;
    bool (*is_large)(const void *slot); /* true: a step with a bound on `ahead` begins this item only when all earlier ones are ended. NULL: never */
    bool (*stop)(void *context);        /* asked before every item and now and then: true ends the run with CX_ERROR_INTERRUPTED. NULL: never */
    void (*tick)(void *context);        /* called by the calling thread about every tenth of a second, for progress. NULL: never */
};

/* Runs until the first step returns CX_END and the last one has ended all items, or until a step fails. Returns only when all threads have ended. */
CX_MUST_USE enum cx_status cx_pipeline_run(struct cx_pipeline_step *steps, size_t step_count, const struct cx_pipeline_options *options,
                                           struct cx_error *error);

#endif
