#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "tokenizer_parts.h"

static uint32_t fold(uint64_t hash) {
    return (uint32_t)(hash ^ hash >> 32);
}

static uint64_t hash_of(const char *bytes, size_t length) {
    uint64_t hash = CX_HASH_START;
    for (size_t i = 0; i < length; i++)
        hash = cx_hash_step(hash, bytes[i]);
    return hash;
}

/* The slot of a text in one of the tables, or the free slot where it belongs. `skip` bytes of the tokens' texts are left out. */
static struct cx_word_slot *find_slot(const struct cx_vocabulary *vocabulary, const struct cx_word_table *table, size_t skip, uint32_t hash, const char *bytes,
                                      size_t length) {
    size_t at = hash & (table->size - 1);
    for (;; at = (at + 1) & (table->size - 1)) {
        struct cx_word_slot *slot = &table->slots[at];
        if (slot->id < 0)
            return slot;
        if (slot->hash != hash)
            continue;
        const struct cx_token_text *token = &vocabulary->tokens[slot->id];
        if (token->length == length + skip && memcmp(vocabulary->text + token->offset + skip, bytes, length) == 0)
            return slot;
    }
}

/* A table of `size` free slots. */
static enum cx_status create_slots(struct cx_word_slot **slots, size_t size, struct cx_error *error) {
    enum cx_status status = cx_allocate(size, sizeof **slots, "the vocabulary", slots, error);
    if (status != CX_OK)
        return status;
    for (size_t i = 0; i < size; i++)
        (*slots)[i].id = -1;
    return CX_OK;
}

/* Makes room for one more entry; at most half of the slots are taken. */
static enum cx_status grow_table(struct cx_word_table *table, struct cx_error *error) {
    if (table->count < table->size / 2)
        return CX_OK;
    size_t size = table->size ? table->size * 2 : 1024;
    struct cx_word_slot *slots;
    enum cx_status status = create_slots(&slots, size, error);
    if (status != CX_OK)
        return status;
    for (size_t i = 0; i < table->size; i++) {
        if (table->slots[i].id < 0)
            continue;
        size_t at = table->slots[i].hash & (size - 1);
        while (slots[at].id >= 0)
            at = (at + 1) & (size - 1);
        slots[at] = table->slots[i];
    }
    free(table->slots);
    table->slots = slots;
    table->size = size;
    return CX_OK;
}

static const struct cx_token_text no_token = {.offset = SIZE_MAX, .name = SIZE_MAX};

/* Copies a token's text behind the others'. */
static enum cx_status store_text(struct cx_vocabulary *vocabulary, const char *token, size_t length, size_t *offset, struct cx_error *error) {
    enum cx_status status = cx_reserve(&vocabulary->text, &vocabulary->text_capacity, vocabulary->text_length + length + 1, 1, "the vocabulary's texts", error);
    if (status != CX_OK)
        return status;
    *offset = vocabulary->text_length;
    char *copy = vocabulary->text + *offset;
    if (length > 0)
        memcpy(copy, token, length);
    copy[length] = '\0';
    vocabulary->text_length += length + 1;
    return CX_OK;
}

static enum cx_status reserve_id(struct cx_vocabulary *vocabulary, int32_t id, struct cx_error *error) {
    size_t ids = (size_t)id + 1;
    enum cx_status status = cx_reserve(&vocabulary->tokens, &vocabulary->id_capacity, ids, sizeof *vocabulary->tokens, "the vocabulary", error);
    if (status != CX_OK)
        return status;
    while (vocabulary->id_count < ids)
        vocabulary->tokens[vocabulary->id_count++] = no_token;
    return CX_OK;
}

enum cx_status cx_vocabulary_name(struct cx_vocabulary *vocabulary, const char *token, size_t length, int32_t id, struct cx_error *error) {
    size_t offset = 0;
    enum cx_status status = reserve_id(vocabulary, id, error);
    if (status == CX_OK)
        status = store_text(vocabulary, token, length, &offset, error);
    if (status == CX_OK)
        vocabulary->tokens[id].name = offset;
    return status;
}

enum cx_status cx_vocabulary_add(struct cx_vocabulary *vocabulary, const char *token, size_t length, int32_t id, struct cx_error *error) {
    size_t offset = 0;
    enum cx_status status = grow_table(&vocabulary->whole, error);
    if (status == CX_OK)
        status = reserve_id(vocabulary, id, error);
    if (status == CX_OK)
        status = store_text(vocabulary, token, length, &offset, error);
    if (status != CX_OK)
        return status;
    vocabulary->tokens[id] = (struct cx_token_text){.offset = offset, .length = length, .name = offset};
    uint32_t hash = fold(hash_of(token, length));
    struct cx_word_slot *slot = find_slot(vocabulary, &vocabulary->whole, 0, hash, token, length);
    if (slot->id < 0)
        vocabulary->whole.count++;
    else if (slot->id != id)
        vocabulary->tokens[slot->id] = no_token;
    *slot = (struct cx_word_slot){.hash = hash, .id = id};
    if (length > vocabulary->longest)
        vocabulary->longest = length;
    return CX_OK;
}

enum cx_status cx_vocabulary_finish(struct cx_vocabulary *vocabulary, const char *prefix, struct cx_error *error) {
    vocabulary->prefix_length = strlen(prefix);
    enum cx_status status = grow_table(&vocabulary->whole, error); /* so that an empty vocabulary can be searched */
    for (size_t i = 0; status == CX_OK && i < vocabulary->whole.size; i++) {
        int32_t id = vocabulary->whole.slots[i].id;
        if (id < 0)
            continue;
        const struct cx_token_text *token = &vocabulary->tokens[id];
        const char *text = vocabulary->text + token->offset;
        if (token->length < vocabulary->prefix_length || memcmp(text, prefix, vocabulary->prefix_length) != 0)
            continue;
        status = grow_table(&vocabulary->continuing, error);
        if (status != CX_OK)
            break;
        size_t length = token->length - vocabulary->prefix_length;
        uint32_t hash = fold(hash_of(text + vocabulary->prefix_length, length));
        struct cx_word_slot *slot = find_slot(vocabulary, &vocabulary->continuing, vocabulary->prefix_length, hash, text + vocabulary->prefix_length, length);
        *slot = (struct cx_word_slot){.hash = hash, .id = id};
        vocabulary->continuing.count++;
    }
    if (status == CX_OK)
        status = grow_table(&vocabulary->continuing, error);
    return status;
}

int32_t cx_vocabulary_id(const struct cx_vocabulary *vocabulary, const char *token, size_t length) {
    return vocabulary->whole.size == 0 ? -1 : find_slot(vocabulary, &vocabulary->whole, 0, fold(hash_of(token, length)), token, length)->id;
}

int32_t cx_vocabulary_piece(const struct cx_vocabulary *vocabulary, bool continuing, uint64_t hash, const char *bytes, size_t length) {
    if (continuing)
        return find_slot(vocabulary, &vocabulary->continuing, vocabulary->prefix_length, fold(hash), bytes, length)->id;
    return find_slot(vocabulary, &vocabulary->whole, 0, fold(hash), bytes, length)->id;
}

const char *cx_vocabulary_text(const struct cx_vocabulary *vocabulary, int32_t id) {
    if (id < 0 || (size_t)id >= vocabulary->id_count || vocabulary->tokens[id].name == SIZE_MAX)
        return NULL;
    return vocabulary->text + vocabulary->tokens[id].name;
}

void cx_vocabulary_free(struct cx_vocabulary *vocabulary) {
    free(vocabulary->text);
    free(vocabulary->tokens);
    free(vocabulary->whole.slots);
    free(vocabulary->continuing.slots);
    *vocabulary = (struct cx_vocabulary){0};
}
