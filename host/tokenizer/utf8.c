#include "unicode.h"

#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "contexture/tokenizer.h"

/*
 * The bytes of the character at text[0..length), or of the longest part of one that can stand there (at least one byte) with *valid
 * false: the Unicode standard's "maximal subpart", table 3-7.
 */
static size_t step(const unsigned char *text, size_t length, bool *valid) {
    unsigned char lead = text[0];
    unsigned char lowest = 0x80, highest = 0xBF; /* of the second byte */
    *valid = lead < 0x80;
    if (lead < 0xC2 || lead > 0xF4)
        return 1;
    size_t wanted = cx_utf8_length(lead);
    if (lead == 0xE0)
        lowest = 0xA0;
    else if (lead == 0xED)
        highest = 0x9F;
    else if (lead == 0xF0)
        lowest = 0x90;
    else if (lead == 0xF4)
        highest = 0x8F;
    size_t found = 1;
    while (found < wanted && found < length && text[found] >= lowest && text[found] <= highest) {
        found++;
        lowest = 0x80;
        highest = 0xBF;
    }
    *valid = found == wanted;
    return found;
}

size_t cx_utf8_valid_length(const char *text, size_t length, bool *plain) {
    const unsigned char *bytes = (const unsigned char *)text;
    size_t at = 0;
    *plain = true;
    while (at < length) {
        uint64_t eight;
        if (length - at >= sizeof eight) {
            memcpy(&eight, bytes + at, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        bool valid;
        size_t bytes_read = step(bytes + at, length - at, &valid);
        if (!valid)
            return at;
        if (bytes[at] >= 0x80)
            *plain = false;
        at += bytes_read;
    }
    return length;
}

enum cx_status cx_utf8_repair(const char *text, size_t length, char **valid, size_t *valid_length, size_t *replaced, struct cx_error *error) {
    static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */
    enum { replacement_length = sizeof replacement - 1 };
    bool plain;
    *valid = NULL;
    *valid_length = length;
    *replaced = 0;
    size_t first = cx_utf8_valid_length(text, length, &plain);
    if (first == length)
        return CX_OK;

    size_t most; /* every byte from the first fault on could become U+FFFD */
    if (!cx_multiply(length - first, replacement_length, &most) || !cx_add(most, first + 1, &most))
        return cx_fail_memory(error, "the repaired text", SIZE_MAX);
    char *repaired = malloc(most);
    if (!repaired)
        return cx_fail_memory(error, "the repaired text", most);
    memcpy(repaired, text, first);
    size_t written = first, parts = 0;
    for (size_t at = first; at < length;) {
        bool is_valid;
        size_t bytes = step((const unsigned char *)text + at, length - at, &is_valid);
        memcpy(repaired + written, is_valid ? text + at : replacement, is_valid ? bytes : replacement_length);
        written += is_valid ? bytes : replacement_length;
        parts += !is_valid;
        at += bytes;
    }
    repaired[written] = '\0';
    *valid = repaired;
    *valid_length = written;
    *replaced = parts;
    return CX_OK;
}

uint32_t cx_utf8_decode_before(const char *text, size_t end, size_t *length) {
    size_t start = end - 1;
    while (start > 0 && ((unsigned char)text[start] & 0xC0) == 0x80)
        start--;
    return cx_utf8_decode(text + start, length);
}

size_t cx_utf8_encode(uint32_t code_point, char text[4]) {
    if (code_point < 0x80) {
        text[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        text[0] = (char)(0xC0 | code_point >> 6);
        text[1] = (char)(0x80 | (code_point & 63));
        return 2;
    }
    if (code_point < 0x10000) {
        text[0] = (char)(0xE0 | code_point >> 12);
        text[1] = (char)(0x80 | (code_point >> 6 & 63));
        text[2] = (char)(0x80 | (code_point & 63));
        return 3;
    }
    text[0] = (char)(0xF0 | code_point >> 18);
    text[1] = (char)(0x80 | (code_point >> 12 & 63));
    text[2] = (char)(0x80 | (code_point >> 6 & 63));
    text[3] = (char)(0x80 | (code_point & 63));
    return 4;
}

size_t cx_utf8_count(const char *text, size_t start, size_t end) {
    size_t count = 0;
    for (size_t i = start; i < end; i++)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}
