/* The words of a text, as a JSONL line annotates them. */
#ifndef CONTEXTURE_CORPUS_ANNOTATION_JSON_H
#define CONTEXTURE_CORPUS_ANNOTATION_JSON_H

#include <jansson.h>

#include "contexture/corpus.h"

/* Memory of one text's words; start zeroed, reuse for many texts, release with free(words). */
struct cx_word_memory {
    struct cx_word_annotation *words;
    size_t capacity;
};

/* Where a fault is: the beginning of every sentence. */
struct cx_annotation_place {
    const char *path;
    uint64_t line;
    const char *field;
};

/*
 * Reads the value of an annotation field for `text` (valid UTF-8). Labels are borrowed from `value`. CX_ERROR_DOCUMENT: the annotation cannot be used; the
 * sentence says file, line, field, word and why.
 */
CX_MUST_USE enum cx_status cx_annotation_parse(const json_t *value, const char *text, size_t length, const struct cx_annotation_place *at,
                                               struct cx_word_memory *memory, struct cx_annotation *annotation, struct cx_error *error);

#endif
