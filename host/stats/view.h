/* What the accumulators need of a sequence, made once for all layers. */
#ifndef STATS_VIEW_H
#define STATS_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/sequence.h"
#include "contexture/stats.h"
#include "kinds.h"

/* Sets of categories: a bit for each, and one more, which is no category. */
#define IN(category)       (1u << (category))
#define NEITHER_IS_SPECIAL (1u << 31)
_Static_assert((int)CATEGORIES <= 31, "a set of categories has 31 bits");

/*
 * Pairs of places that are in the same categories and at the same distance share a bucket, so that a sum over a category is one over a few buckets. There are
 * fewer than 150: two ordinary tokens are pieces of one word (5 kinds, by entities) or not (5, by entities, times 3, by part of speech), each at 6 distances,
 * and others are 20.
 */
enum { most_buckets = 256, no_slot = -1, most_classes = 5 };

struct view {
    const struct cx_sequence *sequence;
    const struct cx_sequence_result *result;
    bool by_words;
    size_t tokens, n, pairs;  /* n: rows of the maps, tokens or words; n² */
    uint8_t *taken[VARIANTS]; /* [n²] the variant's elements; of VARIANT_ALL NULL: all */
    size_t taken_count[VARIANTS];
    uint8_t *bucket; /* [n²] */
    size_t bucket_count;
    uint32_t bucket_categories[most_buckets]; /* a set of categories, and the bit NEITHER_IS_SPECIAL */
    uint8_t bucket_distance[most_buckets];
    uint64_t bucket_pairs[most_buckets];
    uint64_t category_pairs[CATEGORIES], distance_pairs[CATEGORIES][DISTANCES];
    uint8_t *draws;       /* [replicates] how often each draws the sequence */
    int32_t *class_slot;  /* [tokens][most_classes] in the table of classes; no_slot: no more of them */
    int32_t *token_slot;  /* [tokens] of ordinary tokens, in the table of tokens; no_slot: none */
    int32_t *pos_slot;    /* [pos_kinds²] in the table of parts of speech: target's kind, source's kind; no_slot: no pair has them */
    int32_t *pos_pairs;   /* [pos_kinds²] pairs of places that have them */
    uint16_t *pos_kind;   /* [n] of the sequence's parts of speech, 0 the first; UINT16_MAX: none */
    uint32_t *pos_labels; /* [pos_kinds] */
    size_t pos_kinds;
    int32_t *pair_slot; /* [n²] in the table of pairs; no_slot: none */
    unsigned char *memory;
    size_t capacity;
};

/* Fills all but the slots, whose memory it makes. Start zeroed; the memory is reused. */
CX_MUST_USE enum cx_status view_make(struct view *view, const struct cx_stats_options *options, const struct cx_sequence *sequence,
                                     const struct cx_sequence_result *result, struct cx_error *error);
void view_free(struct view *view);

/* What stands for row `place` of the maps: the token, or the word's first one. */
static inline size_t view_token(const struct view *view, size_t place) {
    return view->by_words ? view->sequence->word_first[place] : place;
}

/* The class of the five that part the tokens. */
enum token_class view_class(const struct view *view, size_t token);

bool view_is_ordinary(const struct view *view, size_t token);

/* Draws of a Poisson distribution of mean 1, the same whenever they are asked for. */
void draw_replicates(uint64_t document, uint64_t window, uint8_t *draws, size_t count);

#endif
