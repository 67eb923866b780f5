/*
 * An encoded document as a row of segments: special tokens, the first text's tokens, special tokens, the second text's … Cutting a text
 * shorter is then a matter of its segment alone, and a window costs its own tokens, not the document's.
 */
#ifndef CONTEXTURE_CORPUS_TOKEN_LAYOUT_H
#define CONTEXTURE_CORPUS_TOKEN_LAYOUT_H

#include "contexture/corpus.h"
#include "contexture/error.h"
#include "contexture/tokenizer.h"
#include "windows.h"

/* The tokens as parallel arrays of `count`; all but ids may be NULL (ready ids). Borrowed. */
struct cx_token_view {
    size_t count;
    const int32_t *ids, *type_ids;
    const struct cx_span *spans;
    const uint8_t *special;
    const int32_t *word_ids;
    const int8_t *text_index;
};

/* Tokens begin .. end - 1 of the view come from text 0, text 1 or (-1) from neither. */
struct cx_token_segment {
    int text;
    size_t begin, end;
};

enum { CX_LONGEST_LAYOUT = 8 };

struct cx_token_layout {
    struct cx_token_segment segments[CX_LONGEST_LAYOUT];
    size_t segment_count;
    size_t text_tokens[2]; /* of each text */
    size_t special_tokens; /* of neither */
};

/* Ready ids are one text. CX_ERROR_UNSUPPORTED if a text stands in two places, as no post-processor of the supported families puts it. */
CX_MUST_USE enum cx_status cx_token_layout_find(const struct cx_token_view *view, struct cx_token_layout *layout, struct cx_error *error);

#endif
