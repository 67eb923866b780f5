/* Deterministic random damage: whatever the bytes are, reading ends, documents are in order, and no sanitizer speaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "corpus_fixture.h"

static uint64_t noise = 0x9e3779b97f4a7c15u;

static size_t random_below(size_t bound) {
    noise ^= noise << 13;
    noise ^= noise >> 7;
    noise ^= noise << 17;
    return (size_t)(noise % bound);
}

static const char *const pieces[] = {"{\"text\": \"a\"}",
                                     "\n",
                                     "\r\n",
                                     "{\"id\": 7, \"input_ids\": [1, 2, 3]}",
                                     "\"text\"",
                                     "\"token_type_ids\": [0]",
                                     "{",
                                     "}",
                                     "[",
                                     "{\"text\": \"ab c\", \"words\": [{\"start\": 0, \"end\": 2}, {\"start\": 3, \"end\": 4, \"ner\": \"B-P\"}]}",
                                     "{\"text\": \"\xc3\xa9 b\", \"words\": ",
                                     "[{\"start\": 1, \"end\": ",
                                     "{\"start\": 0, \"end\": 1, \"pos\": \"",
                                     "[]}",
                                     "3}]}",
                                     "]",
                                     ":",
                                     ",",
                                     "\\u",
                                     "\\ud800",
                                     "\xff",
                                     "\xc3\xa9",
                                     "\xef\xbb\xbf",
                                     "null",
                                     "-1",
                                     "1e9",
                                     "\"",
                                     " ",
                                     "\t",
                                     "plain words",
                                     "#",
                                     "\x1f\x8b\x08",
                                     "\x28\xb5\x2f\xfd"};

static size_t random_text(char *text, size_t capacity) {
    size_t used = 0;
    for (size_t k = random_below(60); k > 0; k--) {
        const char *piece = pieces[random_below(sizeof pieces / sizeof *pieces)];
        if (used + strlen(piece) >= capacity)
            break;
        memcpy(text + used, piece, strlen(piece));
        used += strlen(piece);
    }
    return used;
}

static void damage(unsigned char *bytes, size_t *length) {
    for (size_t k = random_below(4); k > 0 && *length > 0; k--)
        switch (random_below(3)) {
        case 0:
            bytes[random_below(*length)] ^= (unsigned char)(1u << random_below(8));
            break;
        case 1:
            bytes[random_below(*length)] = (unsigned char)random_below(256);
            break;
        default:
            *length -= random_below(*length);
        }
}

/* Words that are given are in order and inside of the text; their labels can be read. */
static uint64_t check_annotations(const struct cx_document *document) {
    uint64_t bytes = document->annotation_fault ? strlen(document->annotation_fault) : 0;
    for (int k = 0; k < 2; k++) {
        const struct cx_annotation *annotation = &document->annotations[k];
        uint32_t end = 0;
        assert_false(annotation->present && document->annotation_fault);
        for (size_t w = 0; w < annotation->count; w++) {
            const struct cx_word_annotation *word = &annotation->words[w];
            assert_true(word->start >= end && word->start < word->end && word->end <= (k == 0 ? document->text_length : document->pair_length));
            end = word->end;
            bytes += (word->pos ? strlen(word->pos) : 0) + (word->ner ? strlen(word->ner) : 0) + (word->label ? strlen(word->label) : 0);
        }
    }
    return bytes;
}

static void read_to_the_end(const char *path, size_t round) {
    struct cx_corpus_options options = fixture_options(&path);
    struct cx_corpus *corpus;
    struct cx_document document;
    struct cx_error error = {0};
    enum cx_status status;
    options.format = round % 3 == 0 ? CX_CORPUS_TEXT : CX_CORPUS_JSONL;
    options.pair_field = round % 5 == 0 ? "id" : NULL;
    options.longest_line = round % 7 == 0 ? 20 : 0;
    assert_int_equal(cx_corpus_open(&options, &corpus, &error), CX_OK);
    uint64_t number = 0, line = 0, bytes = 0;
    while ((status = cx_corpus_next(corpus, &document, &error)) == CX_OK || status == CX_ERROR_DOCUMENT) {
        assert_int_equal(document.number, number++);
        assert_true(document.line > line);
        line = document.line;
        assert_true(status == CX_ERROR_DOCUMENT || (document.text != NULL) != (document.input_ids != NULL));
        for (size_t k = 0; k < document.text_length; k++) /* every byte must be readable */
            bytes += (unsigned char)document.text[k];
        bytes += check_annotations(&document);
    }
    if (status != CX_END && status != CX_ERROR_INPUT && status != CX_ERROR_UNSUPPORTED)
        fail_msg("round %zu: unexpected %s: %s (checksum %llu)", round, cx_status_name(status), error.message, (unsigned long long)bytes);
    cx_corpus_close(corpus);
}

static void random_files(void **state) {
    static char text[4096];
    static unsigned char bytes[8192];
    for (size_t round = 0; round < 1500; round++) {
        size_t length = random_text(text, sizeof text);
        unsigned char *compressed = NULL;
        switch (round % 4) {
        case 0:
            length = fixture_gzip(text, length, &compressed);
            break;
        case 1:
            length = fixture_zstd(text, length, &compressed);
            break;
        default:
            break;
        }
        memcpy(bytes, compressed ? (const char *)compressed : text, length);
        free(compressed);
        damage(bytes, &length);
        read_to_the_end(fixture_write(*state, "fuzz", bytes, length), round);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(random_files, fixture_create, fixture_remove)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
