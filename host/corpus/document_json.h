/* One line of a JSONL file as a document. */
#ifndef CONTEXTURE_CORPUS_DOCUMENT_JSON_H
#define CONTEXTURE_CORPUS_DOCUMENT_JSON_H

#include <jansson.h>

#include "annotation_json.h"
#include "contexture/corpus.h"

/* The longest id, in bytes: ids are stored with fixed length. */
#define CX_LONGEST_ID 1024

/* Keeps what the latest document points to. Start with the field names and zeros; end with cx_json_lines_free(). */
struct cx_json_lines {
    const char *text_field, *id_field, *pair_field; /* borrowed; pair_field may be NULL */
    const char *words_fields[2];                    /* borrowed; the annotations of text and pair */
    json_t *object;                                 /* the latest line */
    int32_t *input_ids, *token_type_ids;
    size_t input_capacity, type_capacity;
    struct cx_word_memory words[2];
    struct cx_error annotation_fault;
    char id_digits[24]; /* an id that is an integer */
};

/*
 * Fills id, text, pair, input_ids, token_type_ids and annotations of `document`; id is left alone if the line has none. CX_ERROR_DOCUMENT if the line is
 * not usable; the sentence begins with path:line.
 */
CX_MUST_USE enum cx_status cx_json_lines_parse(struct cx_json_lines *lines, const char *text, size_t length, const char *path, struct cx_document *document,
                                               struct cx_error *error);
void cx_json_lines_free(struct cx_json_lines *lines);

#endif
