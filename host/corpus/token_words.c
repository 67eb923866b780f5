#include "token_words.h"

#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"

/* The annotation of one text, with what is computed once of it. */
struct text_words {
    const struct cx_annotation *annotation;
    int32_t *mentions; /* [annotation->count] number of the mention's first word; -1: the word is in none */
};

/* A word without a tag ends a mention, as "O" does. */
static enum cx_status find_mentions(struct text_words *text, struct cx_error *error) {
    const struct cx_annotation *annotation = text->annotation;
    enum cx_status status = cx_allocate(annotation->count, sizeof *text->mentions, "the mentions of a document", &text->mentions, error);
    if (status != CX_OK)
        return status;
    struct cx_entity_tag before = {0}, tag;
    for (size_t w = 0; w < annotation->count; w++, before = tag) {
        cx_entity_tag_read(annotation->words[w].ner, &tag);
        bool goes_on = tag.label && !tag.begins && before.label && strcmp(tag.label, before.label) == 0;
        text->mentions[w] = !tag.label ? -1 : goes_on ? text->mentions[w - 1] : (int32_t)w;
    }
    return CX_OK;
}

/* The first word that ends behind character `start`. */
static size_t first_behind(const struct cx_annotation *annotation, uint32_t start) {
    size_t low = 0, high = annotation->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (annotation->words[middle].end > start)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The word that shares most characters with the span, the first of several; -1: none does. */
static int32_t most_overlapping(const struct cx_annotation *annotation, const struct cx_span *span) {
    int32_t best = -1;
    uint32_t most = 0;
    for (size_t w = first_behind(annotation, span->char_start); w < annotation->count && annotation->words[w].start < span->char_end; w++) {
        const struct cx_word_annotation *word = &annotation->words[w];
        uint32_t begin = word->start > span->char_start ? word->start : span->char_start, end = word->end < span->char_end ? word->end : span->char_end;
        if (end > begin && end - begin > most) {
            most = end - begin;
            best = (int32_t)w;
        }
    }
    return best;
}

static enum cx_status add_label(struct cx_label_table *labels, const char *text, uint32_t *id, struct cx_error *error) {
    *id = 0;
    return labels && text ? cx_label_table_add(labels, text, strlen(text), id, error) : CX_OK;
}

static enum cx_status take_word(const struct text_words *text, struct cx_label_table *labels, size_t token, struct cx_token_words *words,
                                struct cx_error *error) {
    const struct cx_word_annotation *word = &text->annotation->words[words->word[token]];
    struct cx_entity_tag tag;
    cx_entity_tag_read(word->ner, &tag);
    words->entity[token] = text->mentions[words->word[token]];
    enum cx_status status = add_label(labels, word->pos, &words->pos[token], error);
    if (status == CX_OK)
        status = add_label(labels, tag.label, &words->entity_label[token], error);
    if (status == CX_OK)
        status = add_label(labels, word->label, &words->label[token], error);
    return status;
}

static enum cx_status take_token(const struct cx_token_view *view, const struct text_words texts[2], struct cx_label_table *labels, size_t token,
                                 struct cx_token_words *words, struct cx_error *error) {
    int text = view->text_index ? view->text_index[token] : -1;
    words->word[token] = words->entity[token] = -1;
    if (text < 0)
        return CX_OK;
    if (!texts[text].annotation->present) {
        words->word[token] = view->word_ids ? view->word_ids[token] : -1;
        return CX_OK;
    }
    words->word[token] = most_overlapping(texts[text].annotation, &view->spans[token]);
    return words->word[token] < 0 ? CX_OK : take_word(&texts[text], labels, token, words, error);
}

static enum cx_status allocate_words(size_t count, struct cx_token_words *words, struct cx_error *error) {
    void *const arrays[] = {&words->word, &words->entity, &words->pos, &words->entity_label, &words->label};
    enum cx_status status = CX_OK;
    for (size_t k = 0; status == CX_OK && k < sizeof arrays / sizeof *arrays; k++)
        status = cx_allocate(count, sizeof(int32_t), "the words of a document", arrays[k], error);
    return status;
}

enum cx_status cx_token_words_find(const struct cx_token_view *view, const struct cx_annotation annotations[2], struct cx_label_table *labels,
                                   struct cx_token_words *words, struct cx_error *error) {
    struct text_words texts[2] = {{.annotation = &annotations[0]}, {.annotation = &annotations[1]}};
    *words = (struct cx_token_words){0};
    enum cx_status status = allocate_words(view->count, words, error);
    for (int k = 0; status == CX_OK && k < 2; k++)
        if (annotations[k].present)
            status = find_mentions(&texts[k], error);
    for (size_t token = 0; status == CX_OK && token < view->count; token++)
        status = take_token(view, texts, labels, token, words, error);
    free(texts[0].mentions);
    free(texts[1].mentions);
    if (status != CX_OK)
        cx_token_words_free(words);
    return status;
}

void cx_token_words_free(struct cx_token_words *words) {
    free(words->word);
    free(words->entity);
    free(words->pos);
    free(words->entity_label);
    free(words->label);
    *words = (struct cx_token_words){0};
}

/* The numbers that one text's tokens have, and what they become: names[number - lowest] - 1; 0: not seen yet. */
struct renaming {
    int32_t lowest, highest; /* lowest > highest: none */
    int32_t *names;
};

enum cx_status cx_number_by_appearance(const int8_t *text_index, size_t count, int32_t *numbers, struct cx_error *error) {
    struct renaming texts[2] = {{.lowest = INT32_MAX, .highest = -1}, {.lowest = INT32_MAX, .highest = -1}};
    enum cx_status status = CX_OK;
    int32_t next = 0;
    for (size_t k = 0; k < count; k++) {
        if (numbers[k] < 0)
            continue;
        struct renaming *text = &texts[text_index[k] == 1];
        text->lowest = numbers[k] < text->lowest ? numbers[k] : text->lowest;
        text->highest = numbers[k] > text->highest ? numbers[k] : text->highest;
    }
    for (int k = 0; status == CX_OK && k < 2; k++)
        if (texts[k].highest >= 0)
            status = cx_allocate((size_t)(texts[k].highest - texts[k].lowest) + 1, sizeof *texts[k].names, "the words of a sequence", &texts[k].names, error);
    for (size_t k = 0; status == CX_OK && k < count; k++) {
        if (numbers[k] < 0)
            continue;
        struct renaming *text = &texts[text_index[k] == 1];
        int32_t *name = &text->names[numbers[k] - text->lowest];
        if (*name == 0)
            *name = ++next;
        numbers[k] = *name - 1;
    }
    free(texts[0].names);
    free(texts[1].names);
    return status;
}
