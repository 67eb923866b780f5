/* The files of a corpus: command line paths with their globs expanded, and what each of them is. */
#ifndef CONTEXTURE_CORPUS_SOURCE_LIST_H
#define CONTEXTURE_CORPUS_SOURCE_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/corpus.h"

struct cx_source {
    char *path;
    enum cx_corpus_format format; /* never AUTO */
    bool regular;                 /* false: standard input, a pipe or another thing that can be read only once */
    uint64_t bytes;               /* on disk, of a regular file */
};

/* Start zeroed. */
struct cx_source_list {
    struct cx_source *items;
    size_t count, capacity;
};

/* Checks paths and field names, expands the globs, and opens every regular file once to see that it can be read. */
CX_MUST_USE enum cx_status cx_source_list_build(const struct cx_corpus_options *options, struct cx_source_list *list, struct cx_error *error);
void cx_source_list_free(struct cx_source_list *list);

/* The option's value, or its default. */
const char *cx_corpus_text_field(const struct cx_corpus_options *options);
const char *cx_corpus_id_field(const struct cx_corpus_options *options);
const char *cx_corpus_words_field(const struct cx_corpus_options *options);
size_t cx_corpus_longest_line(const struct cx_corpus_options *options);

#endif
