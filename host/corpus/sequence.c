#include "contexture/sequence.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "masking.h"
#include "sequence_build.h"

/* CX_ERROR_DOCUMENT with the document's id and line in front. The id may be no C string, and long. */
#define FAIL_DOCUMENT(error, document, format, ...)                                                                                                            \
    cx_fail(error, CX_ERROR_DOCUMENT, "document \"%.*s\" (line %" PRIu64 "): " format, (int)((document)->id_length < 200 ? (document)->id_length : 200),       \
            (document)->id ? (document)->id : "", (document)->line, __VA_ARGS__)

static size_t window_overlap(const struct cx_sequence_options *options) {
    return options->window_stride > 0 ? options->window_stride : options->longest / 4;
}

/* Settings that leave no room for a single token of text are the user's fault, not the document's. */
static enum cx_status check_room(const struct cx_sequence_options *options, size_t special_tokens, struct cx_error *error) {
    if (options->longest <= special_tokens)
        return cx_fail(error, CX_ERROR_USAGE, "a sequence of at most %zu tokens has no room beside its %zu special tokens: allow more tokens", options->longest,
                       special_tokens);
    if (options->too_long == CX_TOO_LONG_WINDOW && window_overlap(options) >= options->longest - special_tokens)
        return cx_fail(error, CX_ERROR_USAGE,
                       "windows of %zu tokens, %zu of them special, cannot overlap by %zu: expected an overlap of less than %zu tokens, or longer windows",
                       options->longest, special_tokens, window_overlap(options), options->longest - special_tokens);
    return CX_OK;
}

static enum cx_status check_ids(const struct cx_document *document, const struct cx_token_view *view, const struct cx_sequence_options *options,
                                struct cx_error *error) {
    for (size_t t = 0; t < view->count; t++) {
        if (view->ids[t] < 0 || view->ids[t] >= options->vocabulary_size)
            return FAIL_DOCUMENT(error, document, "token %zu has id %" PRId32 ": the model knows 0 to %" PRId32, t, view->ids[t], options->vocabulary_size - 1);
        if (view->type_ids && (view->type_ids[t] < 0 || view->type_ids[t] >= options->token_types))
            return FAIL_DOCUMENT(error, document, "token %zu has token type %" PRId32 ": the model knows 0 to %" PRId32, t, view->type_ids[t],
                                 options->token_types - 1);
    }
    return CX_OK;
}

/* Windows slide over the longer text (the second, if they are equally long); the shorter one is whole in each. */
static enum cx_status append_windows(const struct cx_sequence_source *source, const struct cx_sequence_options *options, struct cx_sequence_list *list,
                                     struct cx_error *error) {
    const struct cx_token_layout *layout = &source->layout;
    int longer = layout->text_tokens[0] > layout->text_tokens[1] ? 0 : 1;
    size_t tokens = layout->text_tokens[longer], other = layout->text_tokens[1 - longer];
    size_t room = options->longest - layout->special_tokens, overlap = window_overlap(options);
    if (other >= room || room - other <= overlap)
        return FAIL_DOCUMENT(error, source->document, "the shorter text of the pair has %zu tokens and leaves windows no more than their overlap of %zu", other,
                             overlap);
    room -= other;
    size_t count = cx_window_count(tokens, room, overlap);
    if (count > UINT32_MAX)
        return FAIL_DOCUMENT(error, source->document, "%zu windows are more than can be numbered", count);
    enum cx_status status = cx_reserve(&list->items, &list->capacity, list->count + count, sizeof *list->items, "windows over a document", error);
    for (size_t k = 0; status == CX_OK && k < count; k++) {
        struct cx_sequence_cut cut = {.window = k, .flags = CX_SEQUENCE_WINDOW};
        cut.keep[longer] = cx_window(tokens, room, overlap, k);
        cut.keep[1 - longer] = (struct cx_token_range){0, other};
        status = cx_sequence_build(source, &cut, &list->items[list->count], error);
        list->count += status == CX_OK;
    }
    return status;
}

static enum cx_status append_cut(const struct cx_sequence_source *source, const struct cx_sequence_options *options, struct cx_sequence_list *list,
                                 struct cx_error *error) {
    const struct cx_token_layout *layout = &source->layout;
    size_t first = layout->text_tokens[0], second = layout->text_tokens[1];
    struct cx_sequence_cut cut = {0};
    if (source->view.count > options->longest) {
        if (options->too_long == CX_TOO_LONG_SKIP)
            return FAIL_DOCUMENT(error, source->document, "%zu tokens, of at most %zu; cut such documents or take windows with --too-long", source->view.count,
                                 options->longest);
        if (options->too_long == CX_TOO_LONG_WINDOW)
            return append_windows(source, options, list, error);
        cx_truncate_pair(options->longest - layout->special_tokens, &first, &second);
        cut.flags = CX_SEQUENCE_TRUNCATED;
    }
    cut.keep[0].end = first;
    cut.keep[1].end = second;
    enum cx_status status = cx_reserve(&list->items, &list->capacity, list->count + 1, sizeof *list->items, "the list of sequences", error);
    if (status == CX_OK)
        status = cx_sequence_build(source, &cut, &list->items[list->count], error);
    list->count += status == CX_OK;
    return status;
}

/* Invalid UTF-8 becomes U+FFFD; `repaired` owns the new text. */
static enum cx_status take_text(const char *text, size_t length, int index, struct cx_sequence_source *source, char **repaired, struct cx_error *error) {
    size_t replaced = 0;
    if (length > UINT32_MAX)
        return FAIL_DOCUMENT(error, source->document, "a text of %zu bytes: at most %" PRIu32 " can be counted", length, UINT32_MAX);
    source->texts[index] = text;
    source->text_lengths[index] = length;
    enum cx_status status = cx_utf8_repair(text, length, repaired, &length, &replaced, error);
    if (status != CX_OK || !*repaired)
        return status;
    source->texts[index] = *repaired;
    source->text_lengths[index] = length;
    source->flags |= CX_SEQUENCE_REPAIRED;
    return CX_OK;
}

static enum cx_status encode_texts(const struct cx_tokenizer *tokenizer, struct cx_sequence_source *source, char *repaired[2], struct cx_encoding *scratch,
                                   struct cx_error *error) {
    const struct cx_document *document = source->document;
    if (!tokenizer)
        return FAIL_DOCUMENT(error, document, "%s", "a text needs the model's tokenizer; without it only ready input_ids can be used");
    enum cx_status status = take_text(document->text, document->text_length, 0, source, &repaired[0], error);
    if (status == CX_OK && document->pair) {
        source->flags |= CX_SEQUENCE_PAIR;
        status = take_text(document->pair, document->pair_length, 1, source, &repaired[1], error);
    }
    if (status == CX_OK)
        status = cx_tokenizer_encode(tokenizer, source->texts[0], source->text_lengths[0], source->texts[1], source->text_lengths[1], true, scratch, error);
    source->view =
        (struct cx_token_view){scratch->count, scratch->ids, scratch->type_ids, scratch->spans, scratch->special, scratch->word_ids, scratch->sequence};
    return status;
}

static void take_ids(struct cx_sequence_source *source) {
    const struct cx_document *document = source->document;
    source->view = (struct cx_token_view){.count = document->input_count, .ids = document->input_ids, .type_ids = document->token_type_ids};
    source->flags |= CX_SEQUENCE_IDS;
}

/* Words, mentions and labels of all the document's tokens, and which of them are masked. `masked` owns the ids. */
static enum cx_status annotate(const struct cx_tokenizer *tokenizer, const struct cx_sequence_options *options, struct cx_sequence_source *source,
                               int32_t **masked, struct cx_error *error) {
    const struct cx_document *document = source->document;
    if (document->annotations[0].present || document->annotations[1].present)
        source->flags |= CX_SEQUENCE_ANNOTATED;
    source->input_ids = source->view.ids;
    enum cx_status status = cx_token_words_find(&source->view, document->annotations, options->labels, &source->words, error);
    if (status != CX_OK || options->mask_rate <= 0)
        return status;
    status = cx_allocate(source->view.count, sizeof **masked, "the masked ids of a document", masked, error);
    if (status == CX_OK)
        status = cx_mask_tokens(&source->view, document->number, tokenizer, options, *masked, error);
    source->input_ids = *masked;
    return status;
}

static void shorten(struct cx_sequence_list *list, size_t count) {
    while (list->count > count)
        cx_sequence_free(&list->items[--list->count]);
}

enum cx_status cx_sequence_append(const struct cx_document *document, const struct cx_tokenizer *tokenizer, const struct cx_sequence_options *options,
                                  struct cx_encoding *scratch, struct cx_sequence_list *list, struct cx_error *error) {
    struct cx_sequence_source source = {.document = document};
    char *repaired[2] = {NULL, NULL};
    int32_t *masked = NULL;
    size_t before = list->count;
    enum cx_status status = CX_OK;
    if (document->source > UINT32_MAX) {
        status = cx_fail(error, CX_ERROR_UNSUPPORTED, "the corpus has %zu files or more: at most %" PRIu32 " can be numbered", document->source, UINT32_MAX);
        goto cleanup;
    }
    if (document->input_ids)
        take_ids(&source);
    else
        status = encode_texts(tokenizer, &source, repaired, scratch, error);
    if (status == CX_OK && source.view.count == 0)
        status = FAIL_DOCUMENT(error, document, "%s", "no token is in it");
    if (status == CX_OK)
        status = check_ids(document, &source.view, options, error);
    if (status == CX_OK)
        status = cx_token_layout_find(&source.view, &source.layout, error);
    if (status == CX_OK)
        status = check_room(options, source.layout.special_tokens, error);
    if (status == CX_OK)
        status = annotate(tokenizer, options, &source, &masked, error);
    if (status == CX_OK)
        status = append_cut(&source, options, list, error);
    if (status != CX_OK)
        shorten(list, before);
cleanup:
    cx_token_words_free(&source.words);
    free(masked);
    free(repaired[0]);
    free(repaired[1]);
    return status;
}

void cx_sequence_list_clear(struct cx_sequence_list *list) {
    shorten(list, 0);
}

void cx_sequence_list_free(struct cx_sequence_list *list) {
    shorten(list, 0);
    free(list->items);
    *list = (struct cx_sequence_list){0};
}
