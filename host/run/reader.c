#include "reader.h"

#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"

/* Bounds the text that a window of many short sequences holds. */
enum { window_tokens = 32768 };

enum cx_status skipped_list_add(struct skipped_list *list, const struct cx_skipped_document *document, struct cx_error *error) {
    char *reason = NULL;
    enum cx_status status = cx_reserve(&list->items, &list->capacity, list->count + 1, sizeof *list->items, "the skipped documents", error);
    if (status == CX_OK)
        status = cx_copy_text(document->reason, strlen(document->reason), &reason, error);
    if (status != CX_OK)
        return status;
    list->items[list->count] = *document;
    list->items[list->count++].reason = reason;
    return CX_OK;
}

void skipped_list_clear(struct skipped_list *list) {
    for (size_t k = 0; k < list->count; k++)
        free((char *)list->items[k].reason);
    list->count = 0;
}

void skipped_list_free(struct skipped_list *list) {
    skipped_list_clear(list);
    free(list->items);
    memset(list, 0, sizeof *list);
}

void window_free(struct window *window) {
    cx_sequence_list_free(&window->sequences);
    skipped_list_free(&window->left_out);
    free(window->results);
    memset(window, 0, sizeof *window);
}

static bool stop_is_wanted(const struct reader *reader) {
    return reader->observer && reader->observer->stop && reader->observer->stop(reader->observer->context);
}

/* The next document's line, counted into the shard. CX_ERROR_DOCUMENT: it is no usable document. */
static enum cx_status read_document(struct reader *reader, struct cx_document *document, struct cx_error *error) {
    if (stop_is_wanted(reader))
        return cx_fail(error, CX_ERROR_INTERRUPTED, "stopped by a signal");
    enum cx_status status = cx_corpus_next(reader->setup->corpus, document, error);
    if (status == CX_OK || status == CX_ERROR_DOCUMENT) {
        if (reader->cut.documents == 0)
            reader->first_document = document->number;
        reader->shard_ends = cx_shard_cut_add(&reader->cut, &reader->setup->rule, document);
        if (reader->source && reader->cut.documents == reader->range.documents)
            reader->shard_ends = true; /* the corpus' last shard ends without the rule */
    }
    return status;
}

static void begin_shard(struct reader *reader) {
    reader->cut = (struct cx_shard_cut){0};
    reader->shard_skipped = reader->shard_stripped = 0;
    reader->shard_ends = false;
}

static enum cx_status fail_changed(const struct reader *reader, uint64_t documents, struct cx_error *error) {
    return cx_fail(error, CX_ERROR_CONFLICT,
                   "%s: shard %llu was made of %llu documents with other contents than the corpus has there now (%llu documents); "
                   "restore the corpus, or choose another --out",
                   reader->setup->settings->output, (unsigned long long)reader->shard, (unsigned long long)documents,
                   (unsigned long long)reader->cut.documents);
}

/* With a source: what the plan knows of the shard must be what was read. */
static enum cx_status check_against_plan(const struct reader *reader, struct cx_error *error) {
    const bool same = reader->cut.documents == reader->range.documents && reader->cut.content_hash == reader->range.content_hash;
    return !reader->source || same ? CX_OK : fail_changed(reader, reader->range.documents, error);
}

static enum cx_status begin_shard_of_source(struct reader *reader, struct cx_error *error) {
    enum cx_status status = reader->source->next(reader->source->context, &reader->range, error);
    reader->shard = reader->range.shard;
    reader->ended = status == CX_END;
    begin_shard(reader);
    return status == CX_END ? CX_OK : status;
}

/* Reads over the documents of finished shards and sees that they are the ones that the parts were made of. */
static enum cx_status pass_finished_shards(struct reader *reader, struct cx_error *error) {
    struct cx_part_summary summary;
    while (reader->finished && reader->finished->find(reader->finished->context, reader->shard, &summary)) {
        enum cx_status status = CX_OK;
        while (!reader->shard_ends && status != CX_END) {
            struct cx_document document;
            status = read_document(reader, &document, error);
            if (status != CX_OK && status != CX_END && status != CX_ERROR_DOCUMENT)
                return status;
        }
        if (reader->cut.documents != summary.documents || reader->cut.content_hash != summary.content_hash)
            return fail_changed(reader, summary.documents, error);
        reader->finished->passed(reader->finished->context, &summary);
        reader->ended = status == CX_END;
        reader->shard++;
        begin_shard(reader);
        if (reader->ended)
            break;
    }
    return CX_OK;
}

/* Lists a document that is left out or, if `stripped`, kept without its annotations. */
static enum cx_status list_document(struct reader *reader, struct window *window, const struct cx_document *document, const char *reason, bool stripped,
                                    struct cx_error *error) {
    const struct cx_skipped_document skipped = {document->number, document->line, cx_corpus_source(reader->setup->corpus, document->source), reason, stripped};
    *(stripped ? &reader->shard_stripped : &reader->shard_skipped) += 1;
    if (reader->observer && reader->observer->skipped)
        reader->observer->skipped(reader->observer->context, &skipped);
    return skipped_list_add(&window->left_out, &skipped, error);
}

/* What --bad-annotations says of them; to strip a document of them is what the corpus has done. */
static enum cx_status judge_annotations(const struct reader *reader, const struct cx_document *document, struct cx_error *reason) {
    if (!document->annotation_fault || reader->setup->settings->bad_annotations == CX_BAD_ANNOTATIONS_STRIP)
        return CX_OK;
    if (reader->setup->settings->bad_annotations == CX_BAD_ANNOTATIONS_SKIP)
        return cx_fail(reason, CX_ERROR_DOCUMENT, "%s", document->annotation_fault);
    return cx_fail(reason, CX_ERROR_INPUT, "%s; mend the line, or go on without such annotations or documents: --bad-annotations strip or skip",
                   document->annotation_fault);
}

/* The next document's sequences into the backlog. CX_END at the corpus' end. */
static enum cx_status fill_backlog(struct reader *reader, struct window *window, struct cx_error *error) {
    struct cx_document document;
    struct cx_error reason = {0};
    reader->backlog.count = reader->backlog_taken = 0;
    reader->document_begin = cx_corpus_bytes_read(reader->setup->corpus);
    enum cx_status status = read_document(reader, &document, &reason);
    if (status == CX_OK)
        status = judge_annotations(reader, &document, &reason);
    if (status == CX_OK && !document.input_ids && !reader->setup->tokenizer) {
        struct cx_tokenizer *none = NULL;
        return cx_tokenizer_open(reader->setup->settings->model, &none, error); /* fails, and says what is missing */
    }
    if (status == CX_OK)
        status = cx_sequence_append(&document, reader->setup->tokenizer, &reader->setup->sequence_options, &reader->scratch, &reader->backlog, &reason);
    if (status == CX_ERROR_DOCUMENT)
        return list_document(reader, window, &document, reason.message, false, error);
    if (status == CX_OK && document.annotation_fault)
        return list_document(reader, window, &document, document.annotation_fault, true, error);
    if (status != CX_OK && status != CX_END && error)
        *error = reason;
    return status;
}

/* Moves sequences from the backlog while they fit; *full: one did not. */
static enum cx_status drain_backlog(struct reader *reader, struct window *window, size_t *bytes, size_t *tokens, bool *full, struct cx_error *error) {
    for (*full = false; reader->backlog_taken < reader->backlog.count; reader->backlog_taken++) {
        struct cx_sequence *sequence = &reader->backlog.items[reader->backlog_taken];
        struct cx_sequence_list *list = &window->sequences;
        size_t floats;
        enum cx_status status =
            cx_result_floats(&reader->setup->layout, sequence->tokens, cx_sequence_map_side(sequence, reader->setup->layout.by_words), &floats, error);
        if (status != CX_OK)
            return status;
        *full = list->count > 0 && (*bytes + floats * sizeof(float) > reader->setup->settings->window_memory || *tokens + sequence->tokens > window_tokens);
        if (*full)
            return CX_OK;
        status = cx_reserve(&list->items, &list->capacity, list->count + 1, sizeof *list->items, "a window", error);
        if (status != CX_OK)
            return status;
        list->items[list->count++] = *sequence;
        memset(sequence, 0, sizeof *sequence);
        *bytes += floats * sizeof(float);
        window->is_large = *bytes > reader->setup->settings->window_memory;
        *tokens += sequence->tokens;
    }
    return CX_OK;
}

static void close_window(struct reader *reader, struct window *window, bool last) {
    window->shard = reader->shard;
    window->first_document = reader->first_document;
    window->last = last;
    window->documents = reader->cut.documents;
    window->skipped = reader->shard_skipped;
    window->stripped = reader->shard_stripped;
    window->content_hash = reader->cut.content_hash;
    window->work = reader->cut.pairs;
    window->bytes_end = reader->backlog_taken < reader->backlog.count ? reader->document_begin : cx_corpus_bytes_read(reader->setup->corpus);
    if (last) {
        reader->shard++;
        begin_shard(reader);
    }
}

enum cx_status reader_next(struct reader *reader, struct window *window, struct cx_error *error) {
    size_t bytes = 0, tokens = 0;
    enum cx_status status = CX_OK;
    cx_sequence_list_clear(&window->sequences);
    skipped_list_clear(&window->left_out);
    window->is_large = false;
    if (reader->cut.documents == 0 && !reader->ended)
        status = reader->source ? begin_shard_of_source(reader, error) : pass_finished_shards(reader, error);
    window->bytes_begin = reader->backlog_taken < reader->backlog.count ? reader->document_begin : cx_corpus_bytes_read(reader->setup->corpus);
    while (status == CX_OK) {
        bool full;
        status = drain_backlog(reader, window, &bytes, &tokens, &full, error);
        if (status != CX_OK)
            break;
        if (full || reader->shard_ends) {
            if (!full && (status = check_against_plan(reader, error)) != CX_OK)
                return status;
            close_window(reader, window, !full);
            return CX_OK;
        }
        status = reader->ended ? CX_END : fill_backlog(reader, window, error);
    }
    if (status == CX_END) {
        reader->ended = true;
        if (reader->cut.documents > 0) {
            if ((status = check_against_plan(reader, error)) != CX_OK)
                return status;
            close_window(reader, window, true);
            return CX_OK;
        }
    }
    return status;
}

void reader_free(struct reader *reader) {
    cx_sequence_list_free(&reader->backlog);
    cx_encoding_free(&reader->scratch);
    memset(reader, 0, sizeof *reader);
}
