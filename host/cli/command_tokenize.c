#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "contexture/corpus.h"
#include "contexture/tokenizer.h"
#include "output.h"
#include "progress.h"

struct work {
    const struct options *options;
    struct cx_tokenizer *tokenizer; /* NULL as long as no document has a text */
    struct cx_corpus *corpus;
    struct cx_encoding encoding;
};

static enum cx_status print_ids(const struct cx_document *document, const struct cx_encoding *encoding, struct cx_error *error) {
    const int32_t *ids = document->input_ids ? document->input_ids : encoding->ids;
    const size_t count = document->input_ids ? document->input_count : encoding->count;
    char *id = json_text(document->id, document->id_length);
    if (!id)
        return cx_fail_memory(error, "a document's id", document->id_length);
    enum cx_status status = output_print(error, "{\"id\": %s, \"ids\": [", id);
    free(id);
    for (size_t k = 0; k < count && status == CX_OK; k++)
        status = output_print(error, k > 0 ? ", %" PRId32 : "%" PRId32, ids[k]);
    return status;
}

/* Ready ids come from no text: all offsets are 0. */
static enum cx_status print_offsets(const struct cx_document *document, const struct cx_encoding *encoding, bool bytes, struct cx_error *error) {
    const size_t count = document->input_ids ? document->input_count : encoding->count;
    enum cx_status status = output_print(error, "], \"offsets\": [");
    for (size_t k = 0; k < count && status == CX_OK; k++) {
        const struct cx_span none = {0}, *span = document->input_ids ? &none : &encoding->spans[k];
        status = output_print(error, k > 0 ? ", [%" PRIu32 ", %" PRIu32 "]" : "[%" PRIu32 ", %" PRIu32 "]", bytes ? span->byte_start : span->char_start,
                              bytes ? span->byte_end : span->char_end);
    }
    return status == CX_OK ? output_print(error, "]}\n") : status;
}

/* Invalid UTF-8 is replaced, as a run does it; so offsets count in the repaired text. */
static enum cx_status encode(struct work *work, const struct cx_document *document, struct cx_error *error) {
    char *text = NULL, *pair = NULL;
    size_t text_length = document->text_length, pair_length = document->pair_length, replaced;
    enum cx_status status = CX_OK;
    if (!work->tokenizer)
        status = cx_tokenizer_open(work->options->run.model, &work->tokenizer, error);
    if (status == CX_OK)
        status = cx_utf8_repair(document->text, document->text_length, &text, &text_length, &replaced, error);
    if (status == CX_OK && document->pair)
        status = cx_utf8_repair(document->pair, document->pair_length, &pair, &pair_length, &replaced, error);
    if (status == CX_OK)
        status = cx_tokenizer_encode(work->tokenizer, text ? text : document->text, text ? text_length : document->text_length, pair ? pair : document->pair,
                                     pair ? pair_length : document->pair_length, true, &work->encoding, error);
    free(text);
    free(pair);
    return status;
}

static enum cx_status print_document(struct work *work, const struct cx_document *document, struct cx_error *error) {
    enum cx_status status = document->input_ids ? CX_OK : encode(work, document, error);
    if (status == CX_OK)
        status = print_ids(document, &work->encoding, error);
    return status == CX_OK ? print_offsets(document, &work->encoding, work->options->offsets == 1, error) : status;
}

static enum cx_status print_documents(struct work *work, const struct cx_run_observer *observer, struct outcome *outcome, struct cx_error *error) {
    for (;;) {
        struct cx_document document;
        enum cx_status status = cx_corpus_next(work->corpus, &document, error);
        if (status == CX_OK)
            status = print_document(work, &document, error);
        if (status == CX_ERROR_DOCUMENT) {
            const struct cx_skipped_document skipped = {document.number, document.line, cx_corpus_source(work->corpus, document.source), error->message, false};
            observer->skipped(observer->context, &skipped);
            outcome->skipped++;
            memset(error, 0, sizeof *error);
            continue;
        }
        if (status != CX_OK)
            return status == CX_END ? CX_OK : status;
    }
}

enum cx_status command_tokenize(const struct options *options, struct outcome *outcome, struct cx_error *error) {
    struct work work = {.options = options};
    struct progress progress;
    progress_begin(&progress, options->quiet, options->verbose);
    const struct cx_run_observer observer = progress_observer(&progress);
    enum cx_status status = CX_OK;
    if (options->run.corpus.format == CX_CORPUS_TEXT)
        status = cx_tokenizer_open(options->run.model, &work.tokenizer, error);
    if (status == CX_OK)
        status = cx_corpus_open(&options->run.corpus, &work.corpus, error);
    if (status == CX_OK)
        status = print_documents(&work, &observer, outcome, error);
    cx_encoding_free(&work.encoding);
    cx_corpus_close(work.corpus);
    cx_tokenizer_close(work.tokenizer);
    progress_end(&progress);
    return status;
}
