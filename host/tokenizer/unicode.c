#include "unicode.h"

const struct cx_unicode_lower *cx_unicode_lower_case(uint32_t code_point) {
    size_t low = 0, high = cx_unicode_lower_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (cx_unicode_lowers[middle].from <= code_point)
            low = middle;
        else
            high = middle;
    }
    return &cx_unicode_lowers[low];
}

/* The Unicode standard, section 3.12: a syllable's number is (leading * 21 + vowel) * 28 + trailing. */
static size_t decompose_hangul(uint32_t syllable, uint32_t parts[CX_UNICODE_LONGEST_PARTS]) {
    uint32_t index = syllable - 0xAC00;
    parts[0] = 0x1100 + index / 588;
    parts[1] = 0x1161 + index % 588 / 28;
    parts[2] = 0x11A7 + index % 28;
    return index % 28 ? 3 : 2;
}

size_t cx_unicode_decompose(uint32_t code_point, uint32_t parts[CX_UNICODE_LONGEST_PARTS]) {
    if (code_point >= 0xAC00 && code_point <= 0xD7A3)
        return decompose_hangul(code_point, parts);
    size_t low = 0, high = cx_unicode_decomposition_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (cx_unicode_decompositions[middle].from <= code_point)
            low = middle;
        else
            high = middle;
    }
    const struct cx_unicode_decomposition *row = &cx_unicode_decompositions[low];
    for (size_t i = 0; i < row->count; i++)
        parts[i] = cx_unicode_decomposition_parts[row->first + i];
    return row->count;
}
