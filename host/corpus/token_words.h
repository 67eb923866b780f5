/* Which word and which entity mention every token of an encoded document is part of. */
#ifndef CONTEXTURE_CORPUS_TOKEN_WORDS_H
#define CONTEXTURE_CORPUS_TOKEN_WORDS_H

#include "contexture/corpus.h"
#include "contexture/label_table.h"
#include "token_layout.h"

/* Parallel to the tokens of the view. Words and mentions are numbered within their text, the mentions by their first words. Release with cx_token_words_free().
 */
struct cx_token_words {
    int32_t *word, *entity;               /* -1: none */
    uint32_t *pos, *entity_label, *label; /* ids in the table of labels; 0: none */
};

/* Annotations of text 0 and 1; a text without one has the tokenizer's own words. `labels` may be NULL. */
CX_MUST_USE enum cx_status cx_token_words_find(const struct cx_token_view *view, const struct cx_annotation annotations[2], struct cx_label_table *labels,
                                               struct cx_token_words *words, struct cx_error *error);
void cx_token_words_free(struct cx_token_words *words);

/*
 * Numbers of a text each, -1 for none, as numbers of the sequence: 0, 1, … in order of first appearance. Rewrites numbers[0 .. count); text_index says which
 * text a token is of.
 */
CX_MUST_USE enum cx_status cx_number_by_appearance(const int8_t *text_index, size_t count, int32_t *numbers, struct cx_error *error);

#endif
