/* Sums for keys that come as they come (tokens, labels, pairs): each key gets a slot, and each slot sums for every layer. */
#ifndef STATS_SLOTS_H
#define STATS_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

struct slots {
    size_t layers, width; /* sums a slot and layer */
    uint64_t *keys;       /* [count] */
    size_t count, capacity;
    uint32_t *places;   /* [place_count] open addressing: a slot's number + 1, 0: none */
    size_t place_count; /* a power of two, more than twice the count */
    double *sums;       /* [capacity][layers][width] */
    int64_t *counts;    /* [capacity] */
};

void slots_begin(struct slots *slots, size_t layers, size_t width);
void slots_free(struct slots *slots);

/* Forgets all keys, and keeps the memory. */
void slots_clear(struct slots *slots);

/* The slot of a key, made with zeros if it is new. */
CX_MUST_USE enum cx_status slots_find(struct slots *slots, uint64_t key, size_t *slot, struct cx_error *error);

/* sums + slots_place() is where a slot's sums for a layer begin. */
size_t slots_place(const struct slots *slots, size_t slot, size_t layer);

/* Forgets the slots whose keys are not below `end`. */
void slots_keep_below(struct slots *slots, uint64_t end);

/* order[0 .. count) = the slots by rising keys. Release with free(). */
CX_MUST_USE enum cx_status slots_order(const struct slots *slots, size_t **order, struct cx_error *error);

#endif
