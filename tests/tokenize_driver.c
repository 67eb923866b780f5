/*
 * Encodes texts for tests/python/test_tokenizer_parity.py, and measures.
 *
 *     tokenize_driver DIRECTORY               records on stdin, results on stdout, all numbers 32-bit in the machine's byte order
 *     tokenize_driver DIRECTORY --bench FILE  encodes every line of FILE for about a second, prints MB/s and tokens/s
 *     tokenize_driver DIRECTORY --describe    one line each: notice, vocabulary size, special tokens of one text and of a pair
 *
 * A record: flags (1: a pair follows, 2: add special tokens, 4: repair the UTF-8 of the first text), length, bytes [, length, bytes].
 * A result: with flag 4 the number of replaced parts, length and bytes of the repaired text; then the number of tokens, and for each
 * id, type_id, char_start, char_end, byte_start, byte_end, special, word_id, sequence.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "contexture/file.h"
#include "contexture/memory.h"
#include "contexture/tokenizer.h"

enum { flag_pair = 1, flag_special = 2, flag_repair = 4 };

struct text {
    char *bytes;
    size_t length, capacity;
};

static void stop(const char *message) {
    fprintf(stderr, "tokenize_driver: %s\n", message);
    exit(1);
}

static int read_number(uint32_t *number) {
    return fread(number, sizeof *number, 1, stdin) == 1;
}

static void write_number(int64_t number) {
    uint32_t word = (uint32_t)number;
    if (fwrite(&word, sizeof word, 1, stdout) != 1)
        stop("cannot write");
}

static void read_text(struct text *text) {
    struct cx_error error = {0};
    uint32_t length;
    if (!read_number(&length))
        stop("a record ends too early");
    if (cx_reserve(&text->bytes, &text->capacity, (size_t)length + 1, 1, "a text", &error) != CX_OK)
        stop(error.message);
    text->length = length;
    if (fread(text->bytes, 1, length, stdin) != length)
        stop("a record ends too early");
}

static void repair(struct text *text) {
    struct cx_error error = {0};
    char *valid;
    size_t length, replaced;
    if (cx_utf8_repair(text->bytes, text->length, &valid, &length, &replaced, &error) != CX_OK)
        stop(error.message);
    if (valid) {
        free(text->bytes);
        *text = (struct text){.bytes = valid, .length = length, .capacity = length};
    }
    write_number((int64_t)replaced);
    write_number((int64_t)text->length);
    if (fwrite(text->bytes, 1, text->length, stdout) != text->length)
        stop("cannot write");
}

static void write_encoding(const struct cx_encoding *encoding) {
    write_number((int64_t)encoding->count);
    for (size_t i = 0; i < encoding->count; i++) {
        const struct cx_span *span = &encoding->spans[i];
        const int32_t token[] = {encoding->ids[i],        encoding->type_ids[i], (int32_t)span->char_start, (int32_t)span->char_end, (int32_t)span->byte_start,
                                 (int32_t)span->byte_end, encoding->special[i],  encoding->word_ids[i],     encoding->sequence[i]};
        if (fwrite(token, sizeof token, 1, stdout) != 1)
            stop("cannot write");
    }
}

static void encode_records(const struct cx_tokenizer *tokenizer) {
    struct text text = {0}, pair = {0};
    struct cx_encoding encoding = {0};
    struct cx_error error = {0};
    uint32_t flags;
    while (read_number(&flags)) {
        read_text(&text);
        if (flags & flag_pair)
            read_text(&pair);
        if (flags & flag_repair)
            repair(&text);
        if (cx_tokenizer_encode(tokenizer, text.bytes, text.length, flags & flag_pair ? pair.bytes : NULL, pair.length, flags & flag_special, &encoding,
                                &error) != CX_OK)
            stop(error.message);
        write_encoding(&encoding);
    }
    cx_encoding_free(&encoding);
    free(pair.bytes);
    free(text.bytes);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void measure(const struct cx_tokenizer *tokenizer, const char *path) {
    struct cx_error error = {0};
    struct cx_encoding encoding = {0};
    char *text;
    size_t length;
    if (cx_file_read(path, (size_t)1 << 30, &text, &length, &error) != CX_OK)
        stop(error.message);
    double start = seconds(), elapsed;
    uint64_t bytes = 0, tokens = 0;
    do {
        for (size_t at = 0; at < length;) {
            const char *newline = memchr(text + at, '\n', length - at);
            size_t end = newline ? (size_t)(newline - text) : length;
            if (cx_tokenizer_encode(tokenizer, text + at, end - at, NULL, 0, true, &encoding, &error) != CX_OK)
                stop(error.message);
            tokens += encoding.count;
            bytes += end - at;
            at = end + 1;
        }
        elapsed = seconds() - start;
    } while (elapsed < 1 && length > 0);
    printf("%.1f MB/s, %.2f million tokens/s\n", 1e-6 * (double)bytes / elapsed, 1e-6 * (double)tokens / elapsed);
    cx_encoding_free(&encoding);
    free(text);
}

int main(int count, char **arguments) {
    struct cx_tokenizer *tokenizer;
    struct cx_error error = {0};
    if (count < 2)
        stop("usage: tokenize_driver DIRECTORY [--bench FILE | --describe]");
    if (cx_tokenizer_open(arguments[1], &tokenizer, &error) != CX_OK)
        stop(error.message);
    if (count == 4 && strcmp(arguments[2], "--bench") == 0) {
        measure(tokenizer, arguments[3]);
    } else if (count == 3 && strcmp(arguments[2], "--describe") == 0) {
        const char *notice = cx_tokenizer_notice(tokenizer);
        printf("%s\n%zu\n%zu %zu\n", notice ? notice : "", cx_tokenizer_vocabulary_size(tokenizer), cx_tokenizer_special_count(tokenizer, false),
               cx_tokenizer_special_count(tokenizer, true));
    } else {
        encode_records(tokenizer);
    }
    cx_tokenizer_close(tokenizer);
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
