/* Which of a text's tokens a sequence keeps, as Hugging Face `tokenizers` counts them. Special tokens are in none of these numbers. */
#ifndef CONTEXTURE_CORPUS_WINDOWS_H
#define CONTEXTURE_CORPUS_WINDOWS_H

#include <stddef.h>

/* Tokens begin .. end - 1 of a text. */
struct cx_token_range {
    size_t begin, end;
};

/* Strategy "longest_first" on two texts of *first and *second tokens: afterwards they have at most `room` together. */
void cx_truncate_pair(size_t room, size_t *first, size_t *second);

/* How many windows of `room` tokens, each beginning with the last `overlap` tokens of the one before it, cover `tokens`. overlap < room. */
size_t cx_window_count(size_t tokens, size_t room, size_t overlap);

/* Window k of them. Only the last may be shorter than `room`. */
struct cx_token_range cx_window(size_t tokens, size_t room, size_t overlap, size_t k);

#endif
