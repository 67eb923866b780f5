/* One sequence out of an encoded document, once it is decided which tokens it keeps. */
#ifndef CONTEXTURE_CORPUS_SEQUENCE_BUILD_H
#define CONTEXTURE_CORPUS_SEQUENCE_BUILD_H

#include "contexture/sequence.h"
#include "token_layout.h"
#include "token_words.h"

/* What all sequences of one document have in common. */
struct cx_sequence_source {
    const struct cx_document *document;
    struct cx_token_view view;
    struct cx_token_layout layout;
    struct cx_token_words words;
    const int32_t *input_ids; /* [view.count] what the model is given: view.ids, or these masked */
    const char *texts[2];     /* repaired; NULL: none */
    size_t text_lengths[2];
    uint32_t flags;
};

/* What one of them keeps. */
struct cx_sequence_cut {
    struct cx_token_range keep[2]; /* of each text's tokens */
    size_t window;                 /* 0, 1, … */
    uint32_t flags;
};

CX_MUST_USE enum cx_status cx_sequence_build(const struct cx_sequence_source *source, const struct cx_sequence_cut *cut, struct cx_sequence *sequence,
                                             struct cx_error *error);

#endif
