/*
 * A packed batch: sequences of different lengths, one after the other, without padding.
 *
 * T = tokens, N = sequences, pairs = Σ n². Sequence s owns tokens token_offset[s] .. token_offset[s+1] and, in every map,
 * the n*n elements from pair_offset[s] on, [target, source] row-major. A per-head map has its n*n*H elements from
 * H * pair_offset[s] on, [head, target, source].
 */
#ifndef CONTEXTURE_BATCH_H
#define CONTEXTURE_BATCH_H

#include <stddef.h>
#include <stdint.h>

struct cx_batch {
    size_t sequences;
    size_t tokens;
    size_t pairs;
    size_t longest;                /* tokens of the longest sequence */
    const size_t *token_offset;    /* [sequences + 1] */
    const size_t *pair_offset;     /* [sequences + 1] */
    const int32_t *input_ids;      /* [tokens], each in 0 .. vocabulary_size - 1 */
    const int32_t *token_type_ids; /* [tokens], each in 0 .. token_types - 1 */
    const int32_t *position_ids;   /* [tokens], each in 0 .. max_positions - 1 */
};

#endif
