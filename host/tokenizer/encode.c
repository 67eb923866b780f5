#include <stdlib.h>

#include "contexture/memory.h"
#include "contexture/tokenizer.h"
#include "tokenizer_parts.h"
#include "unicode.h"

/* Everything that the encoding of one text needs. */
struct encoder {
    const struct cx_tokenizer *tokenizer;
    struct cx_encoding *encoding;
    struct cx_normalized normalized;
    struct cx_piece_list pieces;
    /* the text, which is one of two */
    const char *text;
    size_t length;
    bool plain; /* ASCII alone: characters are bytes */
    int8_t sequence;
    int32_t type_id, word;
    /* a byte of the text and its character's number, from which others are counted */
    size_t known_byte, known_character;
    struct cx_error *error;
};

static enum cx_status reserve_tokens(struct cx_encoding *encoding, struct cx_error *error) {
    if (encoding->count < encoding->capacity)
        return CX_OK;
    struct {
        void *array_pointer;
        size_t size;
    } arrays[] = {{&encoding->ids, sizeof *encoding->ids},           {&encoding->type_ids, sizeof *encoding->type_ids},
                  {&encoding->spans, sizeof *encoding->spans},       {&encoding->special, sizeof *encoding->special},
                  {&encoding->word_ids, sizeof *encoding->word_ids}, {&encoding->sequence, sizeof *encoding->sequence}};
    size_t grown = encoding->capacity;
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        size_t capacity = encoding->capacity;
        enum cx_status status = cx_reserve(arrays[i].array_pointer, &capacity, encoding->count + 1, arrays[i].size, "tokens", error);
        if (status != CX_OK)
            return status;
        grown = capacity;
    }
    encoding->capacity = grown;
    return CX_OK;
}

static size_t character_of(struct encoder *encoder, size_t byte) {
    if (encoder->plain)
        return byte;
    if (byte >= encoder->known_byte)
        encoder->known_character += cx_utf8_count(encoder->text, encoder->known_byte, byte);
    else
        encoder->known_character -= cx_utf8_count(encoder->text, byte, encoder->known_byte);
    encoder->known_byte = byte;
    return encoder->known_character;
}

static enum cx_status add_special(struct encoder *encoder, int32_t id, int32_t type_id) {
    struct cx_encoding *encoding = encoder->encoding;
    enum cx_status status = reserve_tokens(encoding, encoder->error);
    if (status != CX_OK)
        return status;
    size_t at = encoding->count++;
    encoding->ids[at] = id;
    encoding->type_ids[at] = type_id;
    encoding->spans[at] = (struct cx_span){0};
    encoding->special[at] = 1;
    encoding->word_ids[at] = -1;
    encoding->sequence[at] = -1;
    return CX_OK;
}

/* A token that stands for text[start .. end). */
static enum cx_status add_token(struct encoder *encoder, int32_t id, size_t start, size_t end) {
    struct cx_encoding *encoding = encoder->encoding;
    enum cx_status status = reserve_tokens(encoding, encoder->error);
    if (status != CX_OK)
        return status;
    size_t at = encoding->count++;
    encoding->ids[at] = id;
    encoding->type_ids[at] = encoder->type_id;
    encoding->special[at] = 0;
    encoding->word_ids[at] = encoder->word;
    encoding->sequence[at] = encoder->sequence;
    encoding->spans[at].byte_start = (uint32_t)start;
    encoding->spans[at].byte_end = (uint32_t)end;
    encoding->spans[at].char_start = (uint32_t)character_of(encoder, start);
    encoding->spans[at].char_end = (uint32_t)character_of(encoder, end);
    return CX_OK;
}

/* A token that stands for normalized bytes [start .. end): from its first byte's character to its last byte's. */
static enum cx_status add_normalized_token(struct encoder *encoder, int32_t id, size_t start, size_t end) {
    uint32_t last = encoder->normalized.origins[end - 1];
    return add_token(encoder, id, encoder->normalized.origins[start], last + cx_utf8_length((unsigned char)encoder->text[last]));
}

static enum cx_status encode_words(struct encoder *encoder, size_t start, size_t end) {
    const struct cx_tokenizer *tokenizer = encoder->tokenizer;
    const char *bytes = encoder->normalized.bytes;
    struct cx_word word;
    size_t at = start;
    enum cx_status status = CX_OK;
    while (status == CX_OK && cx_next_word(bytes, end, &at, &word)) {
        status = cx_wordpiece_split(&tokenizer->wordpiece, &tokenizer->vocabulary, bytes + word.start, word.end - word.start, word.characters, &encoder->pieces,
                                    encoder->error);
        for (size_t i = 0; status == CX_OK && i < encoder->pieces.count; i++) {
            const struct cx_piece *piece = &encoder->pieces.pieces[i];
            status = add_normalized_token(encoder, piece->id, word.start + piece->start, word.start + piece->end);
        }
        encoder->word++;
    }
    return status;
}

/* A part of the text between added tokens. */
static enum cx_status encode_part(struct encoder *encoder, size_t start, size_t end) {
    enum cx_status status = cx_normalize(&encoder->tokenizer->normalizer, encoder->text, start, end, &encoder->normalized, encoder->error);
    struct cx_added_scan scan;
    struct cx_split split;
    cx_added_scan_start(&scan, &encoder->tokenizer->added.normalized, encoder->normalized.bytes, encoder->normalized.length);
    while (status == CX_OK && cx_added_scan_next(&scan, &split)) {
        if (split.id < 0) {
            status = encode_words(encoder, split.start, split.end);
        } else {
            status = add_normalized_token(encoder, split.id, split.start, split.end);
            encoder->word++;
        }
    }
    return status;
}

static enum cx_status encode_text(struct encoder *encoder) {
    bool plain;
    if (encoder->length > INT32_MAX)
        return cx_fail(encoder->error, CX_ERROR_DOCUMENT, "a text of %zu bytes is too long: at most %d can be tokenized", encoder->length, INT32_MAX);
    size_t valid = cx_utf8_valid_length(encoder->text, encoder->length, &plain);
    if (valid < encoder->length)
        return cx_fail(encoder->error, CX_ERROR_DOCUMENT, "the text is not valid UTF-8: byte %zu (0x%02X) begins no character", valid,
                       (unsigned char)encoder->text[valid]);
    encoder->plain = plain;
    encoder->word = 0;
    encoder->known_byte = encoder->known_character = 0;
    struct cx_added_scan scan;
    struct cx_split split;
    enum cx_status status = CX_OK;
    cx_added_scan_start(&scan, &encoder->tokenizer->added.raw, encoder->text, encoder->length);
    while (status == CX_OK && cx_added_scan_next(&scan, &split)) {
        if (split.id < 0) {
            status = encode_part(encoder, split.start, split.end);
        } else {
            status = add_token(encoder, split.id, split.start, split.end);
            encoder->word++;
        }
    }
    return status;
}

enum cx_status cx_tokenizer_encode(const struct cx_tokenizer *tokenizer, const char *text, size_t length, const char *pair, size_t pair_length,
                                   bool add_special_tokens, struct cx_encoding *encoding, struct cx_error *error) {
    struct encoder encoder = {.tokenizer = tokenizer, .encoding = encoding, .error = error};
    const struct cx_template *template = pair ? &tokenizer->pair : &tokenizer->single;
    enum cx_status status = CX_OK;
    encoding->count = 0;
    for (size_t i = 0; status == CX_OK && i < template->count; i++) {
        const struct cx_template_part *part = &template->parts[i];
        if (part->sequence < 0) {
            if (add_special_tokens)
                status = add_special(&encoder, part->id, part->type_id);
            continue;
        }
        encoder.text = part->sequence == 0 ? text : pair;
        encoder.length = part->sequence == 0 ? length : pair_length;
        encoder.sequence = (int8_t)part->sequence;
        encoder.type_id = part->type_id;
        status = encode_text(&encoder);
    }
    if (status != CX_OK)
        encoding->count = 0;
    cx_piece_list_free(&encoder.pieces);
    cx_normalized_free(&encoder.normalized);
    return status;
}

void cx_encoding_free(struct cx_encoding *encoding) {
    free(encoding->ids);
    free(encoding->type_ids);
    free(encoding->spans);
    free(encoding->special);
    free(encoding->word_ids);
    free(encoding->sequence);
    *encoding = (struct cx_encoding){0};
}
