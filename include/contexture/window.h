/*
 * Windows: the unit of work between the steps of a run. A window is a few consecutive sequences of one shard, cut where the
 * memory of their results reaches a bound, so that the cuts, and with them all rounding, depend on corpus and configuration alone.
 *
 * Inside a window sequences are sorted by length and packed into batches; their results are written in document order.
 */
#ifndef CONTEXTURE_WINDOW_H
#define CONTEXTURE_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/batch.h"
#include "contexture/decompose.h"
#include "contexture/error.h"
#include "contexture/sequence.h"

/* What decides the size of a sequence's results; see struct cx_sequence_result. */
struct cx_result_layout {
    size_t model_layers, hidden_size, heads;
    unsigned maps;          /* a set of maps, see stage.h */
    size_t stored_layers;   /* L */
    size_t vector_layers;   /* V */
    unsigned vector_stages; /* a set of stages */
    bool per_head, hidden_states, maps_without;
};

/* Floats that the results of a sequence of n tokens need. CX_ERROR_MEMORY if the number does not fit. */
CX_MUST_USE enum cx_status cx_result_floats(const struct cx_result_layout *layout, size_t tokens, size_t *floats, struct cx_error *error);

/* Points `result` into memory[0 .. cx_result_floats()). */
void cx_result_place(const struct cx_result_layout *layout, size_t tokens, float *memory, struct cx_sequence_result *result);

/* order[0 .. count) = the sequences' numbers, longest first; equally long ones keep their order. */
CX_MUST_USE enum cx_status cx_window_order(const struct cx_sequence *sequences, size_t count, size_t *order, struct cx_error *error);

/* The first sequences of order[0 .. count) that make the next batch: at most batch_tokens tokens, but at least one sequence. count > 0. */
CX_MUST_USE size_t cx_batch_count(const struct cx_sequence *sequences, const size_t *order, size_t count, size_t batch_tokens);

/* The memory of a packed batch and of its sequences' results, reused; start zeroed. */
struct cx_packed_batch {
    struct cx_batch batch;
    struct cx_sequence_result *results; /* [sequences]: copied from results[order[…]] */
    size_t *offsets;                    /* token and pair offsets, one behind the other */
    int32_t *numbers;                   /* ids, types and positions, one behind the other */
    size_t result_capacity, offset_capacity, number_capacity;
};

/* Packs the sequences order[0 .. count). */
CX_MUST_USE enum cx_status cx_batch_pack(struct cx_packed_batch *packed, const struct cx_sequence *sequences, const struct cx_sequence_result *results,
                                         const size_t *order, size_t count, struct cx_error *error);
void cx_packed_batch_free(struct cx_packed_batch *packed);

#endif
