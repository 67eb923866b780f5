/*
 * BertNormalizer: clean_text, handle_chinese_chars, strip_accents (canonical decomposition, then no marks), lowercase, in this order.
 *
 * `tokenizers` runs the four over the whole text, one after the other, and keeps for every character the one it came from. All but the
 * decomposition look at one character alone, so that here each character goes through all four at once; only combining marks wait until
 * the next starter, when their canonical order is known.
 */
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "tokenizer_parts.h"
#include "unicode.h"

struct cx_pending_mark {
    uint32_t code_point;
    uint16_t order; /* canonical combining order, never 0 */
    bool is_head;   /* the first part of a character's decomposition */
};

/* Room for `more` bytes. */
static enum cx_status reserve(struct cx_normalized *normalized, size_t more, struct cx_error *error) {
    size_t needed = normalized->length + more, byte_capacity = normalized->capacity, origin_capacity = normalized->capacity;
    if (needed <= normalized->capacity)
        return CX_OK;
    enum cx_status status = cx_reserve(&normalized->bytes, &byte_capacity, needed, 1, "normalized text", error);
    if (status == CX_OK)
        status = cx_reserve(&normalized->origins, &origin_capacity, needed, sizeof *normalized->origins, "normalized text", error);
    if (status == CX_OK)
        normalized->capacity = byte_capacity < origin_capacity ? byte_capacity : origin_capacity;
    return status;
}

static enum cx_status append(struct cx_normalized *normalized, uint32_t code_point, uint32_t origin, struct cx_error *error) {
    enum cx_status status = reserve(normalized, 4, error);
    if (status != CX_OK)
        return status;
    size_t bytes = cx_utf8_encode(code_point, normalized->bytes + normalized->length);
    for (size_t i = 0; i < bytes; i++)
        normalized->origins[normalized->length + i] = origin;
    normalized->length += bytes;
    return CX_OK;
}

/* The last two steps for one character: marks go (only where accents are stripped), the others become lower case. */
static enum cx_status finish_character(const struct cx_normalizer *normalizer, uint32_t code_point, struct cx_normalized *normalized, struct cx_error *error) {
    unsigned class = cx_unicode_class(code_point);
    if (normalizer->strip_accents && class & CX_UNICODE_MARK)
        return CX_OK;
    if (!normalizer->lowercase || !(class & CX_UNICODE_LOWERS))
        return append(normalized, code_point, normalized->last_origin, error);
    const struct cx_unicode_lower *lower = cx_unicode_lower_case(code_point);
    enum cx_status status = append(normalized, lower->to, normalized->last_origin, error);
    if (status == CX_OK && lower->second)
        status = append(normalized, lower->second, normalized->last_origin, error);
    return status;
}

/* Stable counting sort by canonical order: a text may hold millions of marks in a row. */
static enum cx_status sort_marks(struct cx_normalized *normalized, struct cx_error *error) {
    size_t count = normalized->mark_count, starts[257] = {0};
    struct cx_pending_mark *marks = normalized->marks, *copy;
    bool sorted = true;
    for (size_t i = 1; i < count; i++)
        sorted &= marks[i - 1].order <= marks[i].order;
    if (sorted)
        return CX_OK;
    enum cx_status status = cx_allocate(count, sizeof *copy, "combining marks", &copy, error);
    if (status != CX_OK)
        return status;
    memcpy(copy, marks, count * sizeof *copy);
    for (size_t i = 0; i < count; i++)
        starts[copy[i].order + 1]++;
    for (size_t i = 1; i < 257; i++)
        starts[i] += starts[i - 1];
    for (size_t i = 0; i < count; i++)
        marks[starts[copy[i].order]++] = copy[i];
    free(copy);
    return CX_OK;
}

/*
 * Puts the waiting marks out in canonical order. As in `tokenizers`, a mark that was sorted does not take its origin with it: the
 * k-th first part of a decomposition comes from the k-th character read, and a later part from the same character as what stands before it.
 */
static enum cx_status flush_marks(const struct cx_normalizer *normalizer, struct cx_normalized *normalized, struct cx_error *error) {
    enum cx_status status = sort_marks(normalized, error);
    for (size_t i = 0, heads = 0; status == CX_OK && i < normalized->mark_count; i++) {
        if (normalized->marks[i].is_head)
            normalized->last_origin = normalized->mark_origins[heads++];
        status = finish_character(normalizer, normalized->marks[i].code_point, normalized, error);
    }
    normalized->mark_count = 0;
    normalized->mark_origin_count = 0;
    return status;
}

/* One part of a decomposition. */
static enum cx_status take_part(const struct cx_normalizer *normalizer, uint32_t code_point, bool is_head, uint32_t origin, struct cx_normalized *normalized,
                                struct cx_error *error) {
    enum cx_status status = CX_OK;
    unsigned order = cx_unicode_class(code_point) >> CX_UNICODE_ORDER_SHIFT;
    if (order == 0) {
        if (normalized->mark_count > 0)
            status = flush_marks(normalizer, normalized, error);
        if (is_head)
            normalized->last_origin = origin;
        return status == CX_OK ? finish_character(normalizer, code_point, normalized, error) : status;
    }
    status = cx_reserve(&normalized->marks, &normalized->mark_capacity, normalized->mark_count + 1, sizeof *normalized->marks, "combining marks", error);
    if (status != CX_OK)
        return status;
    normalized->marks[normalized->mark_count++] = (struct cx_pending_mark){.code_point = code_point, .order = (uint16_t)order, .is_head = is_head};
    if (!is_head)
        return CX_OK;
    status = cx_reserve(&normalized->mark_origins, &normalized->mark_origin_capacity, normalized->mark_origin_count + 1, sizeof *normalized->mark_origins,
                        "combining marks", error);
    if (status == CX_OK)
        normalized->mark_origins[normalized->mark_origin_count++] = origin;
    return status;
}

/* The steps from the decomposition on. */
static enum cx_status take_character(const struct cx_normalizer *normalizer, uint32_t code_point, uint32_t origin, struct cx_normalized *normalized,
                                     struct cx_error *error) {
    if (!normalizer->strip_accents) {
        normalized->last_origin = origin;
        return finish_character(normalizer, code_point, normalized, error);
    }
    if (!(cx_unicode_class(code_point) & CX_UNICODE_DECOMPOSES))
        return take_part(normalizer, code_point, true, origin, normalized, error);
    uint32_t parts[CX_UNICODE_LONGEST_PARTS];
    size_t count = cx_unicode_decompose(code_point, parts);
    enum cx_status status = CX_OK;
    for (size_t i = 0; status == CX_OK && i < count; i++)
        status = take_part(normalizer, parts[i], i == 0, origin, normalized, error);
    return status;
}

/* All steps for one character. */
static enum cx_status normalize_character(const struct cx_normalizer *normalizer, uint32_t code_point, uint32_t origin, struct cx_normalized *normalized,
                                          struct cx_error *error) {
    unsigned class = cx_unicode_class(code_point);
    if (normalizer->clean_text) {
        if (class & CX_UNICODE_REMOVED)
            return CX_OK;
        if (class & CX_UNICODE_BLANK)
            code_point = ' ';
    }
    if (!normalizer->handle_chinese_chars || !(class & CX_UNICODE_IDEOGRAPH))
        return take_character(normalizer, code_point, origin, normalized, error);
    enum cx_status status = take_character(normalizer, ' ', origin, normalized, error);
    if (status == CX_OK)
        status = take_character(normalizer, code_point, origin, normalized, error);
    return status == CX_OK ? take_character(normalizer, ' ', origin, normalized, error) : status;
}

enum cx_status cx_normalize(const struct cx_normalizer *normalizer, const char *text, size_t start, size_t end, struct cx_normalized *normalized,
                            struct cx_error *error) {
    normalized->length = 0;
    normalized->mark_count = 0;
    normalized->mark_origin_count = 0;
    enum cx_status status = reserve(normalized, end - start + 4, error);
    for (size_t at = start; status == CX_OK && at < end;) {
        unsigned char byte = (unsigned char)text[at];
        /* Printable ASCII has no decomposition and lower case differs by one bit: most of most corpora. */
        if (byte >= ' ' && byte < 0x7F && normalized->mark_count == 0 && normalized->length < normalized->capacity) {
            bool is_upper = normalizer->lowercase && byte >= 'A' && byte <= 'Z';
            normalized->bytes[normalized->length] = (char)(is_upper ? byte | 0x20 : byte);
            normalized->origins[normalized->length++] = (uint32_t)at;
            normalized->last_origin = (uint32_t)at++;
            continue;
        }
        size_t bytes;
        uint32_t code_point = cx_utf8_decode(text + at, &bytes);
        status = normalize_character(normalizer, code_point, (uint32_t)at, normalized, error);
        at += bytes;
    }
    if (status == CX_OK && normalized->mark_count > 0)
        status = flush_marks(normalizer, normalized, error);
    return status;
}

void cx_normalized_free(struct cx_normalized *normalized) {
    free(normalized->bytes);
    free(normalized->origins);
    free(normalized->marks);
    free(normalized->mark_origins);
    *normalized = (struct cx_normalized){0};
}
