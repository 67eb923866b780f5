/*
 * Added tokens are looked for twice: those that are not `normalized` in the raw text, the others, themselves normalized, in what the
 * normalizer makes of the rest. The leftmost match counts, and of several the longest; a match that is then refused (single_word) is
 * passed over, and blanks that lstrip or rstrip take belong to the token.
 */
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "tokenizer_parts.h"
#include "unicode.h"

static void free_token(struct cx_added_token *token) {
    free(token->copy);
    free(token->pattern);
}

/* The id of a text among the added tokens, or -1. */
static int32_t find_content(const struct cx_added_tokens *added, const char *content, size_t length) {
    for (size_t i = 0; i < added->count; i++) {
        if (added->tokens[i].length == length && memcmp(added->tokens[i].content, content, length) == 0)
            return added->tokens[i].id;
    }
    return -1;
}

/*
 * The place of the token with that text, or a new one. Where ids of the model have gaps, two tokens can get the same id: the older one
 * then keeps it, but is no longer looked for.
 */
static enum cx_status place_of(struct cx_added_tokens *added, const struct cx_added_token *token, int32_t id, struct cx_added_token **place,
                               struct cx_error *error) {
    *place = NULL;
    for (size_t i = 0; i < added->count; i++) {
        struct cx_added_token *other = &added->tokens[i];
        if (other->id != id)
            continue;
        if (other->length == token->length && memcmp(other->content, token->content, token->length) == 0)
            *place = other;
        else
            other->is_replaced = true;
    }
    if (*place) {
        free_token(*place);
        return CX_OK;
    }
    if (added->count == CX_MOST_ADDED_TOKENS)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "the tokenizer has more than %d added tokens, which contexture does not support", CX_MOST_ADDED_TOKENS);
    enum cx_status status = cx_reserve(&added->tokens, &added->capacity, added->count + 1, sizeof *added->tokens, "added tokens", error);
    if (status == CX_OK)
        *place = &added->tokens[added->count++];
    return status;
}

enum cx_status cx_added_tokens_add(struct cx_added_tokens *added, const struct cx_added_token *token, struct cx_vocabulary *vocabulary, int32_t *id,
                                   struct cx_error *error) {
    *id = -1;
    if (token->length == 0)
        return CX_OK;
    /* The first free id is the number of the model's tokens, even where their ids have gaps. */
    if (added->count == 0)
        added->next_id = (int32_t)vocabulary->whole.count;
    int32_t given = find_content(added, token->content, token->length);
    if (given < 0)
        given = cx_vocabulary_id(vocabulary, token->content, token->length);
    if (given < 0)
        given = added->next_id++;
    if (given > CX_HIGHEST_ID)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "added token %s would get id %d; contexture supports ids up to %d", token->content, given, CX_HIGHEST_ID);

    struct cx_added_token *place;
    enum cx_status status = place_of(added, token, given, &place, error);
    if (status != CX_OK || !place)
        return status;
    *place = *token;
    place->id = given;
    place->is_replaced = false;
    place->copy = place->pattern = NULL;
    status = cx_copy_text(token->content, token->length, &place->copy, error);
    place->content = place->copy;
    if (status == CX_OK)
        status = cx_vocabulary_name(vocabulary, token->content, token->length, given, error);
    if (status == CX_OK)
        *id = given;
    return status;
}

static enum cx_status make_pattern(struct cx_added_token *token, const struct cx_normalizer *normalizer, struct cx_error *error) {
    if (!token->normalized) {
        token->pattern_length = token->length;
        return cx_copy_text(token->content, token->length, &token->pattern, error);
    }
    struct cx_normalized normalized = {0};
    enum cx_status status = cx_normalize(normalizer, token->content, 0, token->length, &normalized, error);
    if (status == CX_OK)
        status = cx_copy_text(normalized.bytes, normalized.length, &token->pattern, error);
    token->pattern_length = normalized.length;
    cx_normalized_free(&normalized);
    return status;
}

static int compare_patterns(const struct cx_added_token *a, const struct cx_added_token *b) {
    size_t common = a->pattern_length < b->pattern_length ? a->pattern_length : b->pattern_length;
    int order = memcmp(a->pattern, b->pattern, common);
    return order ? order : (a->pattern_length > b->pattern_length) - (a->pattern_length < b->pattern_length);
}

static int compare_for_sorting(const void *a, const void *b) {
    const struct cx_added_token *first = *(const struct cx_added_token *const *)a, *second = *(const struct cx_added_token *const *)b;
    int order = compare_patterns(first, second);
    return order ? order : (first->id > second->id) - (first->id < second->id);
}

/* Where two tokens have the same pattern, `tokenizers` takes either, by chance; here it is the one with the lower id. An empty pattern is never
 * found; there it makes some texts panic. */
static enum cx_status fill_set(struct cx_added_set *set, const struct cx_added_tokens *added, bool normalized, struct cx_error *error) {
    enum cx_status status = cx_allocate(added->count, sizeof *set->sorted, "added tokens", &set->sorted, error);
    if (status != CX_OK)
        return status;
    size_t count = 0;
    for (size_t i = 0; i < added->count; i++) {
        if (added->tokens[i].normalized == normalized && added->tokens[i].pattern_length > 0 && !added->tokens[i].is_replaced)
            set->sorted[count++] = &added->tokens[i];
    }
    if (count > 0)
        qsort(set->sorted, count, sizeof *set->sorted, compare_for_sorting);
    for (size_t i = 0; i < count; i++) {
        if (set->count > 0 && compare_patterns(set->sorted[set->count - 1], set->sorted[i]) == 0)
            continue;
        set->sorted[set->count++] = set->sorted[i];
        set->begins[(unsigned char)set->sorted[i]->pattern[0]] = true;
    }
    return CX_OK;
}

enum cx_status cx_added_tokens_finish(struct cx_added_tokens *added, const struct cx_normalizer *normalizer, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t i = 0; status == CX_OK && i < added->count; i++)
        status = make_pattern(&added->tokens[i], normalizer, error);
    if (status == CX_OK)
        status = fill_set(&added->raw, added, false, error);
    if (status == CX_OK)
        status = fill_set(&added->normalized, added, true, error);
    return status;
}

void cx_added_tokens_free(struct cx_added_tokens *added) {
    for (size_t i = 0; i < added->count; i++)
        free_token(&added->tokens[i]);
    free(added->tokens);
    free(added->raw.sorted);
    free(added->normalized.sorted);
    *added = (struct cx_added_tokens){0};
}
