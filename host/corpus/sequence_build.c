#include "sequence_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"

/* A stretch of a text, in characters and in bytes. */
struct stretch {
    size_t char_begin, byte_begin, byte_end;
};

static enum cx_status allocate_tokens(size_t count, struct cx_sequence *sequence, struct cx_error *error) {
    const struct {
        void *pointer;
        size_t size;
    } arrays[] = {
        {&sequence->input_ids, sizeof *sequence->input_ids},
        {&sequence->token_type_ids, sizeof *sequence->token_type_ids},
        {&sequence->position_ids, sizeof *sequence->position_ids},
        {&sequence->char_start, sizeof *sequence->char_start},
        {&sequence->char_end, sizeof *sequence->char_end},
        {&sequence->special, sizeof *sequence->special},
        {&sequence->word_ids, sizeof *sequence->word_ids},
        {&sequence->text_index, sizeof *sequence->text_index},
        {&sequence->word, sizeof *sequence->word},
        {&sequence->entity, sizeof *sequence->entity},
        {&sequence->pos, sizeof *sequence->pos},
        {&sequence->entity_label, sizeof *sequence->entity_label},
        {&sequence->label, sizeof *sequence->label},
        {&sequence->original_id, sizeof *sequence->original_id},
    };
    enum cx_status status = cx_allocate(count + 1, sizeof *sequence->word_first, "the words of a sequence", &sequence->word_first, error);
    for (size_t k = 0; status == CX_OK && k < sizeof arrays / sizeof *arrays; k++)
        status = cx_allocate(count, arrays[k].size, "the tokens of a sequence", arrays[k].pointer, error);
    sequence->tokens = count;
    return status;
}

static enum cx_status copy_id(const struct cx_document *document, size_t window, char **id, struct cx_error *error) {
    char suffix[24] = "";
    if (window > 0)
        (void)snprintf(suffix, sizeof suffix, "#%zu", window);
    enum cx_status status = cx_allocate(document->id_length + strlen(suffix) + 1, 1, "the id of a sequence", id, error);
    if (status != CX_OK)
        return status;
    if (document->id_length > 0)
        memcpy(*id, document->id, document->id_length);
    strcpy(*id + document->id_length, suffix);
    return CX_OK;
}

/* Part of a segment that a cut keeps: all of the special tokens, a range of a text's. */
static struct cx_token_range kept_tokens(const struct cx_token_segment *segment, const struct cx_sequence_cut *cut) {
    if (segment->text < 0)
        return (struct cx_token_range){segment->begin, segment->end};
    const struct cx_token_range *keep = &cut->keep[segment->text];
    return (struct cx_token_range){segment->begin + keep->begin, segment->begin + keep->end};
}

static size_t count_tokens(const struct cx_sequence_source *source, const struct cx_sequence_cut *cut) {
    size_t count = 0;
    for (size_t k = 0; k < source->layout.segment_count; k++) {
        struct cx_token_range kept = kept_tokens(&source->layout.segments[k], cut);
        count += kept.end - kept.begin;
    }
    return count;
}

/*
 * The stretch of a text that belongs to a cut: all that its tokens cover, and what lies before the text's first token or behind its last one
 * if those are kept. A normaliser may move marks, so the first token need not be the leftmost.
 */
static struct stretch find_stretch(const struct cx_sequence_source *source, const struct cx_sequence_cut *cut, int text) {
    const struct cx_token_range *keep = &cut->keep[text];
    size_t tokens = source->layout.text_tokens[text], length = source->text_lengths[text];
    if (keep->begin == 0 && keep->end == tokens)
        return (struct stretch){0, 0, length};
    if (keep->begin == keep->end)
        return (struct stretch){0};
    struct stretch found = {SIZE_MAX, SIZE_MAX, 0};
    for (size_t k = 0; k < source->layout.segment_count; k++) {
        const struct cx_token_segment *segment = &source->layout.segments[k];
        if (segment->text != text)
            continue;
        struct cx_token_range kept = kept_tokens(segment, cut);
        for (size_t t = kept.begin; t < kept.end; t++) {
            const struct cx_span *span = &source->view.spans[t];
            if (span->byte_start < found.byte_begin)
                found = (struct stretch){span->char_start, span->byte_start, found.byte_end};
            if (span->byte_end > found.byte_end)
                found.byte_end = span->byte_end;
        }
    }
    if (keep->begin == 0)
        found.char_begin = found.byte_begin = 0;
    if (keep->end == tokens)
        found.byte_end = length;
    return found;
}

static void copy_tokens(const struct cx_sequence_source *source, const struct cx_sequence_cut *cut, const struct stretch stretches[2],
                        struct cx_sequence *sequence) {
    const struct cx_token_view *view = &source->view;
    size_t n = 0;
    for (size_t k = 0; k < source->layout.segment_count; k++) {
        const struct cx_token_segment *segment = &source->layout.segments[k];
        struct cx_token_range kept = kept_tokens(segment, cut);
        uint32_t shift = segment->text < 0 ? 0 : (uint32_t)stretches[segment->text].char_begin;
        for (size_t t = kept.begin; t < kept.end; t++, n++) {
            sequence->input_ids[n] = source->input_ids[t];
            sequence->original_id[n] = view->ids[t];
            sequence->token_type_ids[n] = view->type_ids ? view->type_ids[t] : 0;
            sequence->position_ids[n] = (int32_t)n;
            sequence->char_start[n] = view->spans ? view->spans[t].char_start - shift : 0;
            sequence->char_end[n] = view->spans ? view->spans[t].char_end - shift : 0;
            sequence->special[n] = view->special ? view->special[t] : 0;
            sequence->word_ids[n] = view->word_ids ? view->word_ids[t] : -1;
            sequence->text_index[n] = (int8_t)(view->text_index ? segment->text : -1);
            sequence->word[n] = source->words.word[t];
            sequence->entity[n] = source->words.entity[t];
            sequence->pos[n] = source->words.pos[t];
            sequence->entity_label[n] = source->words.entity_label[t];
            sequence->label[n] = source->words.label[t];
        }
    }
}

static void find_runs(struct cx_sequence *sequence) {
    for (size_t token = 0; token < sequence->tokens; token++)
        if (token == 0 || sequence->word[token] < 0 || sequence->word[token] != sequence->word[token - 1])
            sequence->word_first[sequence->words++] = (uint32_t)token;
    sequence->word_first[sequence->words] = (uint32_t)sequence->tokens;
}

enum cx_status cx_sequence_build(const struct cx_sequence_source *source, const struct cx_sequence_cut *cut, struct cx_sequence *sequence,
                                 struct cx_error *error) {
    const struct cx_document *document = source->document;
    struct stretch stretches[2] = {{0}};
    for (int text = 0; text < 2; text++)
        if (source->texts[text])
            stretches[text] = find_stretch(source, cut, text);
    *sequence = (struct cx_sequence){
        .document = document->number,
        .source = (uint32_t)document->source,
        .line = document->line,
        .window = (uint32_t)cut->window,
        .flags = source->flags | cut->flags,
        .annotated = source->flags & CX_SEQUENCE_ANNOTATED,
        .text_length = stretches[0].byte_end - stretches[0].byte_begin,
        .text_start = stretches[0].char_begin,
        .pair_length = stretches[1].byte_end - stretches[1].byte_begin,
        .pair_start = stretches[1].char_begin,
    };
    enum cx_status status = allocate_tokens(count_tokens(source, cut), sequence, error);
    if (status == CX_OK)
        status = copy_id(document, cut->window, &sequence->id, error);
    if (status == CX_OK)
        status = cx_copy_text(source->texts[0] ? source->texts[0] + stretches[0].byte_begin : "", sequence->text_length, &sequence->text, error);
    if (status == CX_OK && source->texts[1])
        status = cx_copy_text(source->texts[1] + stretches[1].byte_begin, sequence->pair_length, &sequence->pair, error);
    if (status == CX_OK)
        copy_tokens(source, cut, stretches, sequence);
    if (status == CX_OK)
        status = cx_number_by_appearance(sequence->text_index, sequence->tokens, sequence->word, error);
    if (status == CX_OK)
        status = cx_number_by_appearance(sequence->text_index, sequence->tokens, sequence->entity, error);
    if (status == CX_OK)
        find_runs(sequence);
    else
        cx_sequence_free(sequence);
    return status;
}

void cx_sequence_free(struct cx_sequence *sequence) {
    free(sequence->id);
    free(sequence->input_ids);
    free(sequence->token_type_ids);
    free(sequence->position_ids);
    free(sequence->char_start);
    free(sequence->char_end);
    free(sequence->special);
    free(sequence->word_ids);
    free(sequence->word_first);
    free(sequence->text_index);
    free(sequence->word);
    free(sequence->entity);
    free(sequence->pos);
    free(sequence->entity_label);
    free(sequence->label);
    free(sequence->original_id);
    free(sequence->text);
    free(sequence->pair);
    *sequence = (struct cx_sequence){0};
}
