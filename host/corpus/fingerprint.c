#include <string.h>

#include "contexture/corpus.h"
#include "contexture/file.h"
#include "source_list.h"

static void add_text(struct cx_hasher *hasher, const char *text) {
    cx_hasher_add(hasher, text ? text : "", text ? strlen(text) : 0);
}

static void add_number(struct cx_hasher *hasher, uint64_t number) {
    unsigned char bytes[8];
    for (int k = 0; k < 8; k++)
        bytes[k] = (unsigned char)(number >> (8 * k));
    cx_hasher_add(hasher, bytes, sizeof bytes);
}

/* Only what decides which documents there are and what is in them: the field names of JSONL do not matter to plain text, nor do the paths. */
static enum cx_status add_source(struct cx_hasher *hasher, const struct cx_source *source, const struct cx_corpus_options *options, struct cx_error *error) {
    if (source->format == CX_CORPUS_JSONL) {
        add_text(hasher, "jsonl");
        add_text(hasher, cx_corpus_text_field(options));
        add_text(hasher, cx_corpus_id_field(options));
        add_text(hasher, options->pair_field);
    } else {
        add_text(hasher, "text");
    }
    return cx_hasher_add_file(hasher, source->path, error);
}

enum cx_status cx_corpus_fingerprint(const struct cx_corpus_options *options, char fingerprint[33], struct cx_error *error) {
    struct cx_source_list sources = {0};
    struct cx_hasher *hasher = NULL;
    bool once = false; /* something that can be read only once is among the files */
    fingerprint[0] = '\0';
    enum cx_status status = cx_source_list_build(options, &sources, error);
    for (size_t k = 0; k < sources.count; k++)
        once = once || !sources.items[k].regular;
    if (status == CX_OK && once)
        strcpy(fingerprint, "stdin");
    if (status != CX_OK || once)
        goto cleanup;
    status = cx_hasher_create(&hasher, error);
    if (status != CX_OK)
        goto cleanup;
    add_number(hasher, options->skip);
    add_number(hasher, options->limit);
    add_number(hasher, cx_corpus_longest_line(options));
    add_number(hasher, sources.count);
    for (size_t k = 0; status == CX_OK && k < sources.count; k++)
        status = add_source(hasher, &sources.items[k], options, error);
    if (status == CX_OK)
        cx_hasher_text(hasher, fingerprint);
cleanup:
    cx_hasher_destroy(hasher);
    cx_source_list_free(&sources);
    return status;
}
