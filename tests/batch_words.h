/* The tokens of a test's batch as words of chosen lengths. */
#ifndef CONTEXTURE_TESTS_BATCH_WORDS_H
#define CONTEXTURE_TESTS_BATCH_WORDS_H

#include "contexture/batch.h"

/* Tokens of the next word of a sequence, 1 or more; what the sequence does not have is taken off. */
typedef size_t (*batch_word_length)(void *context, size_t sequence);

/* Words after words, of all sequences. Room that outlives them: first_token [tokens + 1]; offset, map_offset [sequences + 1], whose first numbers are 0. */
static inline struct cx_batch_words batch_words_make(const struct cx_batch *batch, batch_word_length next_length, void *context, size_t *first_token,
                                                     size_t *offset, size_t *map_offset) {
    struct cx_batch_words words = {.first_token = first_token, .offset = offset, .map_offset = map_offset};
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        const size_t start = batch->token_offset[sequence], end = batch->token_offset[sequence + 1];
        for (size_t token = start, length; token < end; token += length) {
            length = next_length(context, sequence);
            length = length < end - token ? length : end - token;
            first_token[words.count++] = token;
            words.longest = length > words.longest ? length : words.longest;
        }
        offset[sequence + 1] = words.count;
        map_offset[sequence + 1] = map_offset[sequence] + (end - start) * (words.count - offset[sequence]);
    }
    first_token[words.count] = batch->tokens;
    words.map_elements = map_offset[batch->sequences];
    return words;
}

#endif
