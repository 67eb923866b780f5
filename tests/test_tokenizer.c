#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contexture/tokenizer.h"
#include "tokenizer_folder.h"

/* --- help --- */

static struct cx_tokenizer *open_folder(const struct tokenizer_folder *folder) {
    struct cx_tokenizer *tokenizer;
    struct cx_error error = {0};
    if (cx_tokenizer_open(folder->path, &tokenizer, &error) != CX_OK)
        fail_msg("%s", error.message);
    return tokenizer;
}

/* small_tokenizer with `find` replaced by `replacement`; both NULL: as it is. */
static struct cx_tokenizer *open_small(const char *find, const char *replacement) {
    struct tokenizer_folder folder = make_tokenizer_folder();
    const char *place = find ? strstr(small_tokenizer, find) : NULL;
    char text[8192];
    assert_true(!find || place);
    int length = find ? snprintf(text, sizeof text, "%.*s%s%s", (int)(place - small_tokenizer), small_tokenizer, replacement, place + strlen(find))
                      : snprintf(text, sizeof text, "%s", small_tokenizer);
    write_tokenizer_file(&folder, "tokenizer.json", text, (size_t)length);
    struct cx_tokenizer *tokenizer = open_folder(&folder);
    remove_tokenizer_folder(&folder);
    return tokenizer;
}

static struct cx_encoding encode(const struct cx_tokenizer *tokenizer, const char *text, const char *pair, bool special) {
    struct cx_encoding encoding = {0};
    struct cx_error error = {0};
    if (cx_tokenizer_encode(tokenizer, text, strlen(text), pair, pair ? strlen(pair) : 0, special, &encoding, &error) != CX_OK)
        fail_msg("%s: %s", text, error.message);
    return encoding;
}

/* "id:char_start-char_end/byte_start-byte_end" of every token, with blanks between. */
static void describe(const struct cx_encoding *encoding, char *text, size_t size) {
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < encoding->count && at < size; i++) {
        const struct cx_span *span = &encoding->spans[i];
        at += (size_t)snprintf(text + at, size - at, "%s%d:%u-%u/%u-%u", i ? " " : "", (int)encoding->ids[i], span->char_start, span->char_end,
                               span->byte_start, span->byte_end);
    }
}

static void check(const struct cx_tokenizer *tokenizer, const char *text, const char *expected) {
    struct cx_encoding encoding = encode(tokenizer, text, NULL, false);
    char found[4096];
    describe(&encoding, found, sizeof found);
    if (strcmp(found, expected) != 0)
        fail_msg("%s\n  found    %s\n  expected %s", text, found, expected);
    cx_encoding_free(&encoding);
}

static void check_numbers(const char *what, size_t count, const int *found, const int *expected) {
    for (size_t i = 0; i < count; i++) {
        if (found[i] != expected[i])
            fail_msg("%s of token %zu: found %d, expected %d", what, i, found[i], expected[i]);
    }
}

/* --- tests --- */

static void words_are_split_into_the_longest_pieces(void **state) {
    (void)state;
    struct cx_tokenizer *tokenizer = open_small(NULL, NULL);
    check(tokenizer, "unaffable", "5:0-2/0-2 6:2-5/2-5 7:5-9/5-9");
    check(tokenizer, "The  thesis!", "8:0-3/0-3 17:5-11/5-11 10:11-12/11-12");
    check(tokenizer, "unzz the", "1:0-4/0-4 8:5-8/5-8");
    check(tokenizer, "", "");
    check(tokenizer, " \t\n", "");
    check(tokenizer, "##able", "1:0-1/0-1 1:1-2/1-2 1:2-6/2-6");
    cx_tokenizer_close(tokenizer);
}

static void offsets_are_those_of_the_original_text(void **state) {
    (void)state;
    struct cx_tokenizer *tokenizer = open_small(NULL, NULL);
    check(tokenizer, "CAF\xC3\x89!", "9:0-4/0-5 10:4-5/5-6");                          /* É is one character */
    check(tokenizer, "cafe\xCC\x81!", "9:0-4/0-4 10:5-6/6-7");                         /* its mark is another, and in no token */
    check(tokenizer, "\xE4\xB8\xAD\xE4\xB8\xAD!", "11:0-1/0-3 11:1-2/3-6 10:2-3/6-7"); /* ideographs stand alone */
    check(tokenizer, "t\xE2\x80\x8Bhe", "8:0-4/0-6");                                  /* a format character inside a word is dropped */
    check(tokenizer, "\xEF\xBF\xBDthe\x7F", "8:1-4/3-6");
    check(tokenizer, "\xC4\xB0", "14:0-1/0-2"); /* İ decomposes, loses its dot and becomes i */
    cx_tokenizer_close(tokenizer);
}

/* U+A8E0 is a mark of Unicode 5.2 whose order is 230, and is stripped; U+0344 decomposes into two marks. */
static void marks_are_stripped(void **state) {
    (void)state;
    struct cx_tokenizer *tokenizer = open_small(NULL, NULL);
    check(tokenizer, "a\xCD\x84\xEA\xA3\xA0!", "12:0-1/0-1 10:3-4/6-7");
    cx_tokenizer_close(tokenizer);
    tokenizer = open_small("\"strip_accents\": null", "\"strip_accents\": false");
    check(tokenizer, "\xEA\xA3\xA0\xEA\xA3\xA0", "15:0-1/0-3 16:1-2/3-6");
    check(tokenizer, "caf\xC3\xA9", "1:0-4/0-5");
    cx_tokenizer_close(tokenizer);
    tokenizer = open_small("\"lowercase\": true", "\"lowercase\": false");
    check(tokenizer, "The cafe", "1:0-3/0-3 9:4-8/4-8");
    cx_tokenizer_close(tokenizer);
}

static void long_words_are_unknown(void **state) {
    (void)state;
    struct cx_tokenizer *tokenizer = open_small(NULL, NULL);
    char word[102];
    memset(word, 'a', sizeof word - 1);
    word[101] = '\0';
    check(tokenizer, word, "1:0-101/0-101");
    word[100] = '\0';
    struct cx_encoding encoding = encode(tokenizer, word, NULL, false);
    assert_int_equal(encoding.count, 100);
    assert_int_equal(encoding.ids[0], 12);
    assert_int_equal(encoding.ids[99], 13);
    cx_encoding_free(&encoding);
    cx_tokenizer_close(tokenizer);
    tokenizer = open_small("\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": 2");
    check(tokenizer, "un the", "5:0-2/0-2 1:3-6/3-6");
    cx_tokenizer_close(tokenizer);
}

static void special_tokens_and_pairs(void **state) {
    (void)state;
    struct cx_tokenizer *tokenizer = open_small(NULL, NULL);
    struct cx_encoding encoding = encode(tokenizer, "the [MASK]", "un!", true);
    const int ids[] = {2, 8, 4, 3, 5, 10, 3}, types[] = {0, 0, 0, 0, 1, 1, 1}, special[] = {1, 0, 0, 1, 0, 0, 1};
    const int words[] = {-1, 0, 1, -1, 0, 1, -1}, sequences[] = {-1, 0, 0, -1, 1, 1, -1};
    int found[5][7];
    assert_int_equal(encoding.count, 7);
    for (size_t i = 0; i < 7; i++) {
        found[0][i] = encoding.ids[i];
        found[1][i] = encoding.type_ids[i];
        found[2][i] = encoding.special[i];
        found[3][i] = encoding.word_ids[i];
        found[4][i] = encoding.sequence[i];
    }
    check_numbers("id", 7, found[0], ids);
    check_numbers("type", 7, found[1], types);
    check_numbers("special mark", 7, found[2], special);
    check_numbers("word", 7, found[3], words);
    check_numbers("sequence", 7, found[4], sequences);
    assert_int_equal(encoding.spans[2].char_end, 10);
    assert_int_equal(encoding.spans[4].char_end, 2);
    assert_int_equal(encoding.spans[6].byte_end, 0);
    cx_encoding_free(&encoding);
    assert_int_equal(cx_tokenizer_special_count(tokenizer, false), 2);
    assert_int_equal(cx_tokenizer_special_count(tokenizer, true), 3);
    cx_tokenizer_close(tokenizer);
}

static void bert_processing_and_no_processing(void **state) {
    (void)state;
    const char *start = strstr(small_tokenizer, "{\"type\": \"TemplateProcessing\""), *end = strstr(small_tokenizer, ",\n\"decoder\"");
    char processor[2048];
    snprintf(processor, sizeof processor, "%.*s", (int)(end - start), start);
    struct cx_tokenizer *tokenizer = open_small(processor, "{\"type\": \"BertProcessing\", \"sep\": [\"[SEP]\", 3], \"cls\": [\"[CLS]\", 2]}");
    struct cx_encoding encoding = encode(tokenizer, "the", "un", true);
    char found[512];
    describe(&encoding, found, sizeof found);
    assert_string_equal(found, "2:0-0/0-0 8:0-3/0-3 3:0-0/0-0 5:0-2/0-2 3:0-0/0-0");
    cx_encoding_free(&encoding);
    cx_tokenizer_close(tokenizer);
    tokenizer = open_small(processor, "null");
    encoding = encode(tokenizer, "the", "un", true);
    describe(&encoding, found, sizeof found);
    assert_string_equal(found, "8:0-3/0-3 5:0-2/0-2");
    assert_int_equal(encoding.type_ids[1], 1);
    cx_encoding_free(&encoding);
    cx_tokenizer_close(tokenizer);
}

/* One more added token, "zz" unless said otherwise, with the flags given as JSON. */
static struct cx_tokenizer *open_with_token(const char *content, bool single_word, bool lstrip, bool rstrip, bool normalized) {
    char token[512];
    const char *const words[] = {"false", "true"};
    snprintf(
        token, sizeof token,
        "\"added_tokens\": [{\"id\": 21, \"content\": \"%s\", \"single_word\": %s, \"lstrip\": %s, \"rstrip\": %s, \"normalized\": %s, \"special\": false}, ",
        content, words[single_word], words[lstrip], words[rstrip], words[normalized]);
    return open_small("\"added_tokens\": [", token);
}

static void added_tokens_obey_their_flags(void **state) {
    (void)state;
    struct cx_tokenizer *tokenizer = open_with_token("zz", false, false, false, false);
    check(tokenizer, "azzzzZZ", "12:0-1/0-1 21:1-3/1-3 21:3-5/3-5 1:5-7/5-7");
    assert_int_equal(cx_tokenizer_vocabulary_size(tokenizer), 22);
    assert_string_equal(cx_tokenizer_token(tokenizer, 21), "zz");
    assert_int_equal(cx_tokenizer_id(tokenizer, "zz"), 21);
    cx_tokenizer_close(tokenizer);

    tokenizer = open_with_token("zz", true, false, false, false);
    check(tokenizer, "azz zz!\xC3\xA9zz", "1:0-3/0-3 21:4-6/4-6 10:6-7/6-7 1:7-10/7-11");
    cx_tokenizer_close(tokenizer);

    tokenizer = open_with_token("zz", false, true, false, false);
    check(tokenizer, "a \xE3\x80\x80zz a", "12:0-1/0-1 21:1-5/1-7 12:6-7/8-9");
    cx_tokenizer_close(tokenizer);

    tokenizer = open_with_token("zz", false, false, true, false);
    check(tokenizer,
          "a zz \xE3\x80\x80"
          "a",
          "12:0-1/0-1 21:2-6/2-8 12:6-7/8-9");
    cx_tokenizer_close(tokenizer);

    tokenizer = open_with_token("Z\\u00c9", false, false, false, true);
    check(tokenizer, "ze Z\xC3\x89 zE\xCC\x81", "21:0-2/0-2 21:3-5/3-6 21:6-8/7-9");
    cx_tokenizer_close(tokenizer);

    tokenizer = open_with_token("[MASK][", false, false, false, false);
    check(tokenizer, "[MASK][MASK][MASK]", "21:0-7/0-7 1:7-11/7-11 20:11-12/11-12 4:12-18/12-18");
    cx_tokenizer_close(tokenizer);
}

static void names_and_notice(void **state) {
    (void)state;
    struct cx_tokenizer *tokenizer = open_small(NULL, NULL);
    assert_null(cx_tokenizer_notice(tokenizer));
    assert_int_equal(cx_tokenizer_vocabulary_size(tokenizer), 21);
    assert_string_equal(cx_tokenizer_token(tokenizer, 6), "##aff");
    assert_null(cx_tokenizer_token(tokenizer, 21));
    assert_null(cx_tokenizer_token(tokenizer, -1));
    assert_int_equal(cx_tokenizer_id(tokenizer, "##aff"), 6);
    assert_int_equal(cx_tokenizer_id(tokenizer, "aff"), -1);
    cx_tokenizer_close(tokenizer);
    cx_tokenizer_close(NULL);

    tokenizer = open_small("\"truncation\": null", "\"truncation\": {\"max_length\": 3}");
    assert_non_null(strstr(cx_tokenizer_notice(tokenizer), "tokenizer.json: truncation is ignored."));
    check(tokenizer, "the the the the the", "8:0-3/0-3 8:4-7/4-7 8:8-11/8-11 8:12-15/12-15 8:16-19/16-19");
    cx_tokenizer_close(tokenizer);
    tokenizer = open_small("\"id\": 4", "\"id\": 9");
    assert_non_null(strstr(cx_tokenizer_notice(tokenizer), "added_tokens[0]: token \"[MASK]\" asks for the id 9, but has 4"));
    cx_tokenizer_close(tokenizer);
}

static void zero_characters_and_invalid_texts(void **state) {
    (void)state;
    struct cx_tokenizer *tokenizer = open_small(NULL, NULL);
    struct cx_encoding encoding = {0};
    struct cx_error error = {0};
    char found[256];
    assert_int_equal(cx_tokenizer_encode(tokenizer, "t\0he a", 6, NULL, 0, false, &encoding, &error), CX_OK);
    describe(&encoding, found, sizeof found);
    assert_string_equal(found, "8:0-4/0-4 12:5-6/5-6");
    /* the same encoding is used again, and is empty after a failure */
    assert_int_equal(cx_tokenizer_encode(tokenizer, "the \xC3", 5, NULL, 0, false, &encoding, &error), CX_ERROR_DOCUMENT);
    assert_string_equal(error.message, "the text is not valid UTF-8: byte 4 (0xC3) begins no character");
    assert_int_equal(encoding.count, 0);
    assert_int_equal(cx_tokenizer_encode(tokenizer, "the", 3, "\xED\xA0\x80", 3, true, &encoding, &error), CX_ERROR_DOCUMENT);
    cx_encoding_free(&encoding);
    cx_tokenizer_close(tokenizer);
}

static void vocabulary_file(void **state) {
    (void)state;
    struct tokenizer_folder folder = make_tokenizer_folder();
    write_tokenizer_file(&folder, "vocab.txt", small_vocabulary, strlen(small_vocabulary));
    struct cx_tokenizer *tokenizer = open_folder(&folder);
    check(tokenizer, "Unaffable [MASK]", "5:0-2/0-2 6:2-5/2-5 7:5-9/5-9 4:10-16/10-16");
    cx_tokenizer_close(tokenizer);
    write_tokenizer_file(&folder, "tokenizer_config.json", small_config, strlen(small_config));
    tokenizer = open_folder(&folder);
    check(tokenizer, "Unaffable [MASK]", "5:0-2/0-2 6:2-5/2-5 7:5-9/5-9 4:9-16/9-16");
    assert_int_equal(cx_tokenizer_special_count(tokenizer, true), 3);
    cx_tokenizer_close(tokenizer);
    remove_tokenizer_folder(&folder);
}

static void invalid_utf8_is_repaired_by_maximal_parts(void **state) {
    (void)state;
    static const struct {
        const char *text, *valid;
        size_t replaced;
    } cases[] = {
        {"", NULL, 0},
        {"plain text of more than eight bytes", NULL, 0},
        {"\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80", NULL, 0},
        {"a\x80"
         "b",
         "a?b", 1},
        {"\xE4\xB8", "?", 1}, /* the beginning of a character, cut off: one part */
        {"\xE4\xB8"
         "a",
         "?a", 1},
        {"\xF0\x9F\x98 \xF0\x9F", "? ?", 2},
        {"\xED\xA0\x80", "???", 3}, /* a surrogate: its first byte allows no such second one */
        {"\xC0\xAF", "??", 2},      /* overlong */
        {"\xE0\x80\xAF", "???", 3},
        {"\xF4\x90\x80\x80", "????", 4}, /* beyond U+10FFFF */
        {"\xFFtext", "?text", 1},
        {"eight bytes, then \xC3(", "eight bytes, then ?(", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *valid, expected[128] = "";
        size_t length, replaced;
        struct cx_error error = {0};
        assert_int_equal(cx_utf8_repair(cases[i].text, strlen(cases[i].text), &valid, &length, &replaced, &error), CX_OK);
        assert_int_equal(replaced, cases[i].replaced);
        if (!cases[i].valid) {
            assert_null(valid);
            assert_int_equal(length, strlen(cases[i].text));
            continue;
        }
        for (const char *c = cases[i].valid; *c; c++)
            snprintf(expected + strlen(expected), sizeof expected - strlen(expected), *c == '?' ? "\xEF\xBF\xBD" : "%c", *c);
        assert_string_equal(valid, expected);
        assert_int_equal(length, strlen(expected));
        free(valid);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_split_into_the_longest_pieces),
        cmocka_unit_test(offsets_are_those_of_the_original_text),
        cmocka_unit_test(marks_are_stripped),
        cmocka_unit_test(long_words_are_unknown),
        cmocka_unit_test(special_tokens_and_pairs),
        cmocka_unit_test(bert_processing_and_no_processing),
        cmocka_unit_test(added_tokens_obey_their_flags),
        cmocka_unit_test(names_and_notice),
        cmocka_unit_test(zero_characters_and_invalid_texts),
        cmocka_unit_test(vocabulary_file),
        cmocka_unit_test(invalid_utf8_is_repaired_by_maximal_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
