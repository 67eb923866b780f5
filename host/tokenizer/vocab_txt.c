/* vocab.txt: one token a line, the line's number its id. */
#include <stdlib.h>
#include <string.h>

#include "contexture/file.h"
#include "tokenizer_parts.h"
#include "unicode.h"

/* White space at a line's end is no part of the token. */
static size_t trimmed_length(const char *line, size_t length) {
    size_t bytes;
    while (length > 0 && cx_unicode_class(cx_utf8_decode_before(line, length, &bytes)) & CX_UNICODE_BLANK)
        length -= bytes;
    return length;
}

static size_t line_number(const char *text, size_t at) {
    size_t number = 1;
    for (size_t i = 0; i < at; i++)
        number += text[i] == '\n';
    return number;
}

static enum cx_status check_text(const char *text, size_t length, const char *path, struct cx_error *error) {
    bool plain;
    size_t valid = cx_utf8_valid_length(text, length, &plain);
    if (valid < length)
        return cx_fail(error, CX_ERROR_INPUT, "%s: line %zu: expected UTF-8, found the byte 0x%02X, which begins no character", path, line_number(text, valid),
                       (unsigned char)text[valid]);
    const char *zero = memchr(text, '\0', length);
    if (zero)
        return cx_fail(error, CX_ERROR_INPUT, "%s: line %zu: expected text, found a zero byte", path, line_number(text, (size_t)(zero - text)));
    if (length == 0)
        return cx_fail(error, CX_ERROR_INPUT, "%s: expected one token a line, found an empty file", path);
    return CX_OK;
}

/* Lines end in LF or CR LF; of equal lines the last one counts. */
static enum cx_status add_lines(struct cx_vocabulary *vocabulary, const char *text, size_t length, const char *path, struct cx_error *error) {
    enum cx_status status = CX_OK;
    int32_t id = 0;
    for (size_t at = 0; status == CX_OK && at < length; id++) {
        const char *newline = memchr(text + at, '\n', length - at);
        size_t end = newline ? (size_t)(newline - text) : length;
        if (id > CX_HIGHEST_ID)
            return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: more than %d lines are not supported", path, CX_HIGHEST_ID + 1);
        status = cx_vocabulary_add(vocabulary, text + at, trimmed_length(text + at, end - at), id, error);
        at = end + 1;
    }
    return status;
}

enum cx_status cx_read_vocabulary_lines(struct cx_vocabulary *vocabulary, const char *path, struct cx_error *error) {
    char *text = NULL;
    size_t length = 0;
    enum cx_status status = cx_file_read(path, CX_TOKENIZER_FILE_LIMIT, &text, &length, error);
    if (status == CX_OK)
        status = check_text(text, length, path, error);
    if (status == CX_OK)
        status = add_lines(vocabulary, text, length, path, error);
    free(text);
    return status;
}
