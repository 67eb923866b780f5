/*
 * A packed batch: sequences of different lengths, one after the other, without padding.
 *
 * T = tokens, N = sequences, pairs = Σ n². Sequence s owns tokens token_offset[s] .. token_offset[s+1] and, in every map,
 * the n*n elements from pair_offset[s] on, [target, source] row-major. A per-head map has its n*n*H elements from
 * H * pair_offset[s] on, [head, target, source].
 *
 * With words, a source is a word: maps have Σ n m elements, m words of a sequence, those of sequence s from words->map_offset[s] on, [target token, source
 * word]. What is per head stays as it is.
 */
#ifndef CONTEXTURE_BATCH_H
#define CONTEXTURE_BATCH_H

#include <stddef.h>
#include <stdint.h>

/* The batch's tokens as words, each a run of neighbouring tokens of one sequence; all tokens are in words, many alone. */
struct cx_batch_words {
    size_t count;
    size_t longest;            /* tokens of the longest word */
    size_t map_elements;       /* Σ n m */
    const size_t *first_token; /* [count + 1] of the batch, rising: word w has the tokens first_token[w] .. first_token[w + 1] */
    const size_t *offset;      /* [sequences + 1] sequence s has the words offset[s] .. offset[s + 1] */
    const size_t *map_offset;  /* [sequences + 1] */
};

struct cx_batch {
    size_t sequences;
    size_t tokens;
    size_t pairs;
    size_t longest;                     /* tokens of the longest sequence */
    const size_t *token_offset;         /* [sequences + 1] */
    const size_t *pair_offset;          /* [sequences + 1] */
    const int32_t *input_ids;           /* [tokens], each in 0 .. vocabulary_size - 1 */
    const int32_t *token_type_ids;      /* [tokens], each in 0 .. token_types - 1 */
    const int32_t *position_ids;        /* [tokens], each in 0 .. max_positions - 1 */
    const struct cx_batch_words *words; /* NULL: every token is a source by itself */
};

/* The first of `count` rising numbers that is at least `bound`; count: none is. */
static inline size_t cx_first_at_least(const size_t *rising, size_t count, size_t bound) {
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (rising[middle] < bound)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The sequence that token `token` of the batch belongs to, and its word. */
static inline size_t cx_batch_sequence_of(const struct cx_batch *batch, size_t token) {
    return cx_first_at_least(batch->token_offset, batch->sequences, token + 1) - 1;
}
static inline size_t cx_batch_word_of(const struct cx_batch_words *words, size_t token) {
    return cx_first_at_least(words->first_token, words->count, token + 1) - 1;
}

/* Elements of a map, and the first of a sequence's. */
static inline size_t cx_batch_map_elements(const struct cx_batch *batch) {
    return batch->words ? batch->words->map_elements : batch->pairs;
}
static inline size_t cx_batch_map_offset(const struct cx_batch *batch, size_t sequence) {
    return batch->words ? batch->words->map_offset[sequence] : batch->pair_offset[sequence];
}

/* A sequence's first source, token or word, counted over the batch, and how many it has: the length of a target's row in a map. */
static inline size_t cx_batch_first_source(const struct cx_batch *batch, size_t sequence) {
    return batch->words ? batch->words->offset[sequence] : batch->token_offset[sequence];
}
static inline size_t cx_batch_sources(const struct cx_batch *batch, size_t sequence) {
    return cx_batch_first_source(batch, sequence + 1) - cx_batch_first_source(batch, sequence);
}

#endif
