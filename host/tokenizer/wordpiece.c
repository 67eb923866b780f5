#include <stdlib.h>

#include "contexture/memory.h"
#include "tokenizer_parts.h"

static enum cx_status add_piece(struct cx_piece_list *list, size_t start, size_t end, int32_t id, struct cx_error *error) {
    enum cx_status status = cx_reserve(&list->pieces, &list->capacity, list->count + 1, sizeof *list->pieces, "pieces of a word", error);
    if (status == CX_OK)
        list->pieces[list->count++] = (struct cx_piece){.start = start, .end = end, .id = id};
    return status;
}

static bool is_boundary(const char *word, size_t length, size_t at) {
    return at == length || ((unsigned char)word[at] & 0xC0) != 0x80;
}

/* The end of the longest piece that begins at `start`, or `start` if there is none. */
static size_t longest_piece(const struct cx_vocabulary *vocabulary, const char *word, size_t length, size_t start, uint64_t *hashes, int32_t *id) {
    size_t most = length - start < vocabulary->longest ? length - start : vocabulary->longest;
    uint64_t hash = CX_HASH_START;
    for (size_t i = 0; i < most; i++)
        hashes[i] = hash = cx_hash_step(hash, word[start + i]);
    for (size_t bytes = most; bytes > 0; bytes--) {
        if (!is_boundary(word, length, start + bytes))
            continue;
        *id = cx_vocabulary_piece(vocabulary, start > 0, hashes[bytes - 1], word + start, bytes);
        if (*id >= 0)
            return start + bytes;
    }
    return start;
}

enum cx_status cx_wordpiece_split(const struct cx_wordpiece *model, const struct cx_vocabulary *vocabulary, const char *word, size_t length, size_t characters,
                                  struct cx_piece_list *list, struct cx_error *error) {
    list->count = 0;
    enum cx_status status = cx_reserve(&list->hashes, &list->hash_capacity, vocabulary->longest, sizeof *list->hashes, "a word's hashes", error);
    bool is_known = characters <= model->most_characters;
    for (size_t start = 0; status == CX_OK && is_known && start < length;) {
        int32_t id;
        size_t end = longest_piece(vocabulary, word, length, start, list->hashes, &id);
        is_known = end > start;
        if (is_known)
            status = add_piece(list, start, end, id, error);
        start = end;
    }
    if (is_known || status != CX_OK)
        return status;
    list->count = 0;
    return add_piece(list, 0, length, model->unknown_id, error);
}

void cx_piece_list_free(struct cx_piece_list *list) {
    free(list->pieces);
    free(list->hashes);
    *list = (struct cx_piece_list){0};
}
