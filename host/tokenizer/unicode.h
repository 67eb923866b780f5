/*
 * What `tokenizers` thinks of every code point, and UTF-8.
 *
 * unicode_tables.c is written by script/generate-unicode-tables, which probes the package. It takes its properties from different
 * versions of Unicode (marks and punctuation of version 8, canonical decomposition of version 9, lower case of its compiler's), so a
 * library's tables, libutf8proc's included, would give other tokens.
 */
#ifndef CONTEXTURE_TOKENIZER_UNICODE_H
#define CONTEXTURE_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Low byte of a class. The high byte rises with the canonical combining class; 0: a starter. */
enum {
    CX_UNICODE_BLANK = 1,        /* white space */
    CX_UNICODE_REMOVED = 2,      /* control, format, private use: dropped by clean_text */
    CX_UNICODE_PUNCTUATION = 4,  /* a word of its own */
    CX_UNICODE_MARK = 8,         /* dropped by strip_accents after decomposition */
    CX_UNICODE_IDEOGRAPH = 16,   /* set between blanks by handle_chinese_chars */
    CX_UNICODE_WORD = 32,        /* \w of a regular expression: borders of single_word tokens */
    CX_UNICODE_DECOMPOSES = 64,  /* has a canonical decomposition, in the table or a Hangul syllable's */
    CX_UNICODE_LOWERS = 128,     /* has another lower case */
    CX_UNICODE_ORDER_SHIFT = 8,  /* class >> this: order of combining marks */
    CX_UNICODE_LONGEST_PARTS = 4 /* characters a decomposition has at most */
};

struct cx_unicode_lower {
    uint32_t from, to, second; /* second is 0 but for U+0130 */
};
struct cx_unicode_decomposition {
    uint32_t from;
    uint16_t first, count; /* in cx_unicode_decomposition_parts */
};

extern const uint8_t cx_unicode_block_numbers[0x110000 / 256];
extern const uint16_t cx_unicode_block_classes[][256];
extern const struct cx_unicode_lower cx_unicode_lowers[]; /* by rising `from`, as the next */
extern const size_t cx_unicode_lower_count;
extern const struct cx_unicode_decomposition cx_unicode_decompositions[];
extern const size_t cx_unicode_decomposition_count;
extern const uint32_t cx_unicode_decomposition_parts[];

static inline unsigned cx_unicode_class(uint32_t code_point) {
    return cx_unicode_block_classes[cx_unicode_block_numbers[code_point >> 8]][code_point & 255];
}

/* The row of a character whose class has CX_UNICODE_LOWERS. */
const struct cx_unicode_lower *cx_unicode_lower_case(uint32_t code_point);

/* The canonical decomposition of a character whose class has CX_UNICODE_DECOMPOSES; returns the number of parts. */
size_t cx_unicode_decompose(uint32_t code_point, uint32_t parts[CX_UNICODE_LONGEST_PARTS]);

/* --- UTF-8; the texts below are valid --- */

/* Bytes of the character that begins with `lead`. */
static inline size_t cx_utf8_length(unsigned char lead) {
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/* The character at `text`; *length is the number of its bytes. */
static inline uint32_t cx_utf8_decode(const char *text, size_t *length) {
    const unsigned char *bytes = (const unsigned char *)text;
    *length = cx_utf8_length(bytes[0]);
    switch (*length) {
    case 1:
        return bytes[0];
    case 2:
        return (bytes[0] & 31u) << 6 | (bytes[1] & 63u);
    case 3:
        return (bytes[0] & 15u) << 12 | (bytes[1] & 63u) << 6 | (bytes[2] & 63u);
    default:
        return (bytes[0] & 7u) << 18 | (bytes[1] & 63u) << 12 | (bytes[2] & 63u) << 6 | (bytes[3] & 63u);
    }
}

/* The same for the character that ends before text[end], end > 0. */
uint32_t cx_utf8_decode_before(const char *text, size_t end, size_t *length);

/* Writes the character and returns the number of its bytes. */
size_t cx_utf8_encode(uint32_t code_point, char text[4]);

/* Characters in text[start .. end). */
size_t cx_utf8_count(const char *text, size_t start, size_t end);

/* Index of the first byte that belongs to no valid character, or `length`. *plain: all bytes before it are below 0x80. */
size_t cx_utf8_valid_length(const char *text, size_t length, bool *plain);

#endif
