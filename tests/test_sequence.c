/* Sequences of documents: truncation, windows, ready ids, where each token came from, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contexture/sequence.h"
#include "corpus_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Ids of the vocabulary that open_setting() writes: "a" is first_letter, "b" the next … */
enum { cls = 2, sep = 3, first_letter = 5, vocabulary_size = 5 + 26 };

struct setting {
    struct cx_tokenizer *tokenizer;
    struct cx_encoding scratch;
    struct cx_sequence_list list;
};

/* A WordPiece vocabulary of letters, so that the number of tokens is the number of letters. */
static int open_setting(void **state) {
    char letters[128];
    size_t used = 0;
    for (char letter = 'a'; letter <= 'z'; letter++)
        used += (size_t)sprintf(letters + used, "%c\n", letter);
    struct setting *setting = calloc(1, sizeof *setting);
    fixture_require(setting != NULL, "calloc");
    *state = setting;
    return fixture_open_tokenizer(letters, &setting->tokenizer);
}

static int close_setting(void **state) {
    struct setting *setting = *state;
    cx_tokenizer_close(setting->tokenizer);
    cx_encoding_free(&setting->scratch);
    cx_sequence_list_free(&setting->list);
    free(setting);
    return 0;
}

static struct cx_document text_document(const char *text, const char *pair) {
    return (struct cx_document){.number = 41,
                                .source = 3,
                                .line = 17,
                                .id = "doc-9 and more",
                                .id_length = 5,
                                .text = text,
                                .text_length = strlen(text),
                                .pair = pair,
                                .pair_length = pair ? strlen(pair) : 0};
}

static struct cx_sequence_options make_options(size_t longest, enum cx_too_long too_long, size_t overlap) {
    return (struct cx_sequence_options){
        .longest = longest, .too_long = too_long, .window_stride = overlap, .vocabulary_size = vocabulary_size, .token_types = 2};
}

static enum cx_status append(struct setting *setting, const struct cx_document *document, const struct cx_sequence_options *options, struct cx_error *error) {
    return cx_sequence_append(document, setting->tokenizer, options, &setting->scratch, &setting->list, error);
}

static const struct cx_sequence *append_all(struct setting *setting, const struct cx_document *document, const struct cx_sequence_options *options,
                                            size_t expected) {
    struct cx_error error = {0};
    cx_sequence_list_clear(&setting->list);
    if (append(setting, document, options, &error) != CX_OK)
        fail_msg("%s", error.message);
    assert_int_equal(setting->list.count, expected);
    return setting->list.items;
}

/* Ids as a word: letters, "<" for [CLS], "|" for [SEP]. */
static const char *word_of(const struct cx_sequence *sequence) {
    static char word[256];
    assert_true(sequence->tokens < sizeof word);
    for (size_t k = 0; k < sequence->tokens; k++) {
        int32_t id = sequence->input_ids[k];
        word[k] = (char)(id == cls ? '<' : id == sep ? '|' : id >= first_letter ? 'a' + id - first_letter : '?');
    }
    word[sequence->tokens] = '\0';
    return word;
}

/* What holds for every sequence made from text. */
static void check_invariants(const struct cx_sequence *sequence) {
    int32_t type = 0;
    for (size_t k = 0; k < sequence->tokens; k++) {
        bool special = sequence->input_ids[k] < first_letter;
        assert_int_equal(sequence->position_ids[k], k);
        assert_int_equal(sequence->special[k], special);
        assert_int_equal(sequence->token_type_ids[k], type);
        if (special) {
            assert_int_equal(sequence->char_end[k], 0);
            assert_int_equal(sequence->text_index[k], -1);
            assert_int_equal(sequence->word_ids[k], -1);
            type += sequence->input_ids[k] == sep;
            continue;
        }
        const char *text = type == 0 ? sequence->text : sequence->pair;
        assert_int_equal(sequence->text_index[k], type);
        assert_int_equal(sequence->char_end[k], sequence->char_start[k] + 1);
        assert_int_equal(text[sequence->char_start[k]], 'a' + sequence->input_ids[k] - first_letter); /* the texts are ASCII */
    }
    assert_int_equal(strlen(sequence->text), sequence->text_length);
    assert_int_equal(sequence->pair ? strlen(sequence->pair) : 0, sequence->pair_length);
}

static void a_short_text(void **state) {
    struct cx_document document = text_document(" a b  c ", NULL);
    struct cx_sequence_options options = make_options(5, CX_TOO_LONG_TRUNCATE, 0);
    const struct cx_sequence *sequence = append_all(*state, &document, &options, 1);
    check_invariants(sequence);
    assert_string_equal(word_of(sequence), "<abc|");
    assert_string_equal(sequence->id, "doc-9");
    assert_string_equal(sequence->text, " a b  c ");
    assert_int_equal(sequence->document, 41);
    assert_int_equal(sequence->source, 3);
    assert_int_equal(sequence->line, 17);
    assert_int_equal(sequence->window, 0);
    assert_int_equal(sequence->flags, 0);
    assert_int_equal(sequence->word_ids[2], 1);
    assert_null(sequence->pair);
    document = text_document("", NULL); /* special tokens alone */
    assert_string_equal(word_of(append_all(*state, &document, &options, 1)), "<|");
}

static void truncated_texts(void **state) {
    static const struct {
        size_t longest;
        const char *word, *text;
    } cases[] = {{6, "<abcd|", " a b c d "}, {5, "<abc|", " a b c"}, {4, "<ab|", " a b"}, {3, "<a|", " a"}};
    for (size_t k = 0; k < COUNT(cases); k++) {
        struct cx_document document = text_document(" a b c d ", NULL);
        struct cx_sequence_options options = make_options(cases[k].longest, CX_TOO_LONG_TRUNCATE, 0);
        const struct cx_sequence *sequence = append_all(*state, &document, &options, 1);
        check_invariants(sequence);
        assert_string_equal(word_of(sequence), cases[k].word);
        assert_string_equal(sequence->text, cases[k].text);
        assert_int_equal(sequence->flags, cases[k].longest < 6 ? CX_SEQUENCE_TRUNCATED : 0);
    }
}

/* As `tokenizers` truncates pairs; tests/python/test_truncation_parity.py compares many more with it. */
static void truncated_pairs(void **state) {
    static const struct {
        const char *text, *pair;
        size_t longest;
        const char *word;
    } cases[] = {
        {"a b", "x y", 7, "<ab|xy|"},
        {"a b c d e f", "x", 8, "<abcd|x|"},
        {"a", "u v w x y z", 8, "<a|uvwx|"},
        {"a b c d", "w x y z", 8, "<ab|wxy|"},
        {"a b c d e", "w x y", 8, "<abc|wx|"},
        {"a b c", "v w x y z", 8, "<ab|vwx|"},
        {"a b c d", "w x y z", 4, "<|w|"},
        {"a b", "", 5, "<ab||"},
        {"a b c", "", 5, "<ab||"},
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        struct cx_document document = text_document(cases[k].text, cases[k].pair);
        struct cx_sequence_options options = make_options(cases[k].longest, CX_TOO_LONG_TRUNCATE, 0);
        const struct cx_sequence *sequence = append_all(*state, &document, &options, 1);
        assert_string_equal(word_of(sequence), cases[k].word);
        check_invariants(sequence);
        assert_true(sequence->flags & CX_SEQUENCE_PAIR);
    }
}

static void windows_over_a_text(void **state) {
    static const struct {
        size_t longest, overlap;
        const char *words[8], *texts[8];
        uint64_t starts[8];
    } cases[] = {
        {12, 2, {"<abcdefghij|"}, {" a b c d e f g h i j "}, {0}},
        {8, 2, {"<abcdef|", "<efghij|"}, {" a b c d e f", "e f g h i j "}, {0, 9}},
        {7, 1, {"<abcde|", "<efghi|", "<ij|"}, {" a b c d e", "e f g h i", "i j "}, {0, 9, 17}},
        {5, 0, {"<abc|", "<cde|", "<efg|", "<ghi|", "<ij|"}, {" a b c", "c d e", "e f g", "g h i", "i j "}, {0, 5, 9, 13, 17}}, /* a quarter of 5 is 1 */
        {3, 0, {"<a|", "<b|", "<c|", "<d|", "<e|", "<f|", "<g|", "<h|"}, {" a", "b", "c", "d", "e", "f", "g", "h"}, {0, 3, 5, 7, 9, 11, 13, 15}},
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        struct cx_document document = text_document(" a b c d e f g h i j ", NULL);
        struct cx_sequence_options options = make_options(cases[k].longest, CX_TOO_LONG_WINDOW, cases[k].overlap);
        size_t count = 0;
        while (count < 8 && cases[k].words[count])
            count++;
        const struct cx_sequence *sequences = append_all(*state, &document, &options, count == 8 ? 10 : count);
        for (size_t window = 0; window < count; window++) {
            const struct cx_sequence *sequence = &sequences[window];
            char id[16];
            (void)snprintf(id, sizeof id, window > 0 ? "doc-9#%zu" : "doc-9", window);
            check_invariants(sequence);
            assert_string_equal(word_of(sequence), cases[k].words[window]);
            assert_string_equal(sequence->text, cases[k].texts[window]);
            assert_int_equal(sequence->text_start, cases[k].starts[window]);
            assert_string_equal(sequence->id, id);
            assert_int_equal(sequence->window, window);
            assert_int_equal(sequence->flags, count > 1 ? CX_SEQUENCE_WINDOW : 0);
        }
    }
}

/* Windows over the longer text of a pair; the shorter one is whole in each. */
static void windows_over_a_pair(void **state) {
    static const struct {
        const char *text, *pair;
        const char *words[3];
    } cases[] = {{"a b c d e f", "x", {"<abcd|x|", "<cdef|x|"}},
                 {"a", "u v w x y z", {"<a|uvwx|", "<a|wxyz|"}},
                 {"a b c", "w x y", {NULL}}, /* 5 tokens of room less 3 leave 2, no more than the overlap */
                 {"a b", "w x y z", {"<ab|wxy|", "<ab|xyz|"}}};
    for (size_t k = 0; k < COUNT(cases); k++) {
        struct setting *setting = *state;
        struct cx_document document = text_document(cases[k].text, cases[k].pair);
        struct cx_sequence_options options = make_options(8, CX_TOO_LONG_WINDOW, 2);
        struct cx_error error = {0};
        if (!cases[k].words[0]) {
            cx_sequence_list_clear(&setting->list);
            assert_int_equal(append(setting, &document, &options, &error), CX_ERROR_DOCUMENT);
            assert_non_null(strstr(error.message, "the shorter text of the pair has 3 tokens"));
            continue;
        }
        const struct cx_sequence *sequences = append_all(setting, &document, &options, 2);
        for (size_t window = 0; window < 2; window++) {
            check_invariants(&sequences[window]);
            assert_string_equal(word_of(&sequences[window]), cases[k].words[window]);
            assert_int_equal(sequences[window].flags, CX_SEQUENCE_WINDOW | CX_SEQUENCE_PAIR);
        }
    }
}

/* The windows over one long document must not hold its text once each. */
static void windows_share_no_text(void **state) {
    enum { letters = 20000 };
    char *text = malloc(2 * letters + 1);
    for (size_t k = 0; k < letters; k++) {
        text[2 * k] = (char)('a' + k % 26);
        text[2 * k + 1] = ' ';
    }
    text[2 * letters] = '\0';
    struct cx_document document = text_document(text, NULL);
    struct cx_sequence_options options = make_options(12, CX_TOO_LONG_WINDOW, 2);
    const struct cx_sequence *sequences = append_all(*state, &document, &options, (letters - 10 + 7) / 8 + 1);
    size_t bytes = 0;
    for (size_t window = 0; window * 8 + 10 < letters; window++) {
        check_invariants(&sequences[window]);
        assert_int_equal(sequences[window].text_start, 16 * window);
        bytes += sequences[window].text_length;
    }
    assert_true(bytes < 2 * 2 * letters);
    free(text);
}

static void ready_ids(void **state) {
    static const int32_t ids[] = {9, 8, 7, 6, 5}, types[] = {0, 0, 1, 1, 1};
    struct cx_document document = {.id = "7", .id_length = 1, .input_ids = ids, .input_count = 5};
    struct cx_sequence_options options = make_options(5, CX_TOO_LONG_SKIP, 0);
    struct setting *setting = *state;
    for (int typed = 0; typed < 2; typed++) {
        document.token_type_ids = typed ? types : NULL;
        cx_sequence_list_clear(&setting->list);
        assert_int_equal(cx_sequence_append(&document, NULL, &options, &setting->scratch, &setting->list, NULL), CX_OK);
        const struct cx_sequence *sequence = setting->list.items;
        assert_int_equal(sequence->tokens, 5);
        assert_int_equal(sequence->flags, CX_SEQUENCE_IDS);
        assert_string_equal(sequence->text, "");
        assert_null(sequence->pair);
        for (size_t k = 0; k < 5; k++) {
            assert_int_equal(sequence->input_ids[k], ids[k]);
            assert_int_equal(sequence->token_type_ids[k], typed ? types[k] : 0);
            assert_int_equal(sequence->position_ids[k], k);
            assert_int_equal(sequence->special[k], 0);
            assert_int_equal(sequence->char_start[k] + sequence->char_end[k], 0);
            assert_int_equal(sequence->word_ids[k], -1);
            assert_int_equal(sequence->text_index[k], -1);
        }
    }
    options = make_options(3, CX_TOO_LONG_TRUNCATE, 0); /* the end is cut off, whatever stands there */
    const struct cx_sequence *sequence = append_all(setting, &document, &options, 1);
    assert_int_equal(sequence->tokens, 3);
    assert_int_equal(sequence->input_ids[2], 7);
    assert_int_equal(sequence->flags, CX_SEQUENCE_IDS | CX_SEQUENCE_TRUNCATED);
    options = make_options(3, CX_TOO_LONG_WINDOW, 1);
    sequence = append_all(setting, &document, &options, 2);
    assert_int_equal(sequence[1].tokens, 3);
    assert_int_equal(sequence[1].input_ids[0], 7);
    assert_int_equal(sequence[1].token_type_ids[0], 1);
    assert_int_equal(sequence[1].position_ids[0], 0);
    assert_string_equal(sequence[1].id, "7#1");
}

static void invalid_utf8_is_repaired(void **state) {
    struct cx_document document = text_document("a \xff b \xc3", "x\xe2\x82");
    struct cx_sequence_options options = make_options(20, CX_TOO_LONG_TRUNCATE, 0);
    const struct cx_sequence *sequence = append_all(*state, &document, &options, 1);
    assert_int_equal(sequence->flags, CX_SEQUENCE_REPAIRED | CX_SEQUENCE_PAIR);
    assert_string_equal(sequence->text, "a \xef\xbf\xbd b \xef\xbf\xbd");
    assert_string_equal(sequence->pair, "x\xef\xbf\xbd");
    assert_int_equal(sequence->char_start[2], 4); /* "b", counted in the repaired text */
}

static void a_text_with_u0000(void **state) {
    struct cx_document document = text_document("a b", NULL);
    document.text = "a \0 b";
    document.text_length = 5;
    struct cx_sequence_options options = make_options(20, CX_TOO_LONG_TRUNCATE, 0);
    const struct cx_sequence *sequence = append_all(*state, &document, &options, 1);
    assert_string_equal(word_of(sequence), "<ab|");
    assert_int_equal(sequence->text_length, 5);
    assert_memory_equal(sequence->text, "a \0 b", 6);
}

static void documents_that_are_refused(void **state) {
    static const int32_t outside[] = {5, vocabulary_size}, negative[] = {-1}, good[] = {5, 6, 7, 8}, types[] = {0, 2, 0, 0}, negative_types[] = {-1, 0, 0, 0};
    struct setting *setting = *state;
    const struct {
        struct cx_document document;
        struct cx_sequence_options options;
        bool without_tokenizer;
        enum cx_status status;
        const char *piece;
    } cases[] = {
        {text_document("a b c", NULL), make_options(4, CX_TOO_LONG_SKIP, 0), false, CX_ERROR_DOCUMENT, "document \"doc-9\" (line 17): 5 tokens, of at most 4"},
        {text_document("a b c", "d"), make_options(6, CX_TOO_LONG_SKIP, 0), false, CX_ERROR_DOCUMENT, "7 tokens, of at most 6"},
        {text_document("a", NULL), make_options(8, CX_TOO_LONG_SKIP, 0), true, CX_ERROR_DOCUMENT, "needs the model's tokenizer"},
        {text_document("a", NULL), make_options(2, CX_TOO_LONG_TRUNCATE, 0), false, CX_ERROR_USAGE, "at most 2 tokens has no room beside its 2 special"},
        {text_document("a", "b"), make_options(3, CX_TOO_LONG_TRUNCATE, 0), false, CX_ERROR_USAGE, "no room beside its 3 special"},
        {text_document("a", NULL), make_options(8, CX_TOO_LONG_WINDOW, 6), false, CX_ERROR_USAGE, "cannot overlap by 6: expected an overlap of less than 6"},
        {text_document("a", NULL), make_options(8, CX_TOO_LONG_WINDOW, SIZE_MAX), false, CX_ERROR_USAGE, "cannot overlap by"},
        {text_document("a b c", "d e f"), make_options(8, CX_TOO_LONG_WINDOW, 2), false, CX_ERROR_DOCUMENT, "shorter text of the pair"},
        {{.id = "x", .id_length = 1, .input_ids = good, .input_count = 0}, make_options(8, CX_TOO_LONG_SKIP, 0), true, CX_ERROR_DOCUMENT, "no token is in it"},
        {{.id = "x", .id_length = 1, .input_ids = good, .input_count = 4}, make_options(3, CX_TOO_LONG_SKIP, 0), true, CX_ERROR_DOCUMENT, "4 tokens, of at"},
        {{.id = "x", .id_length = 1, .input_ids = good, .input_count = 4}, make_options(0, CX_TOO_LONG_SKIP, 0), true, CX_ERROR_USAGE, "at most 0 tokens"},
        {{.id = "x", .id_length = 1, .input_ids = outside, .input_count = 2},
         make_options(8, CX_TOO_LONG_SKIP, 0),
         true,
         CX_ERROR_DOCUMENT,
         "token 1 has id 31: the model knows 0 to 30"},
        {{.id = "x", .id_length = 1, .input_ids = negative, .input_count = 1}, make_options(8, CX_TOO_LONG_SKIP, 0), true, CX_ERROR_DOCUMENT, "id -1"},
        {{.id = "x", .id_length = 1, .input_ids = good, .token_type_ids = types, .input_count = 4},
         make_options(8, CX_TOO_LONG_SKIP, 0),
         true,
         CX_ERROR_DOCUMENT,
         "token 1 has token type 2: the model knows 0 to 1"},
        {{.id = "x", .id_length = 1, .input_ids = good, .token_type_ids = negative_types, .input_count = 4},
         make_options(8, CX_TOO_LONG_SKIP, 0),
         true,
         CX_ERROR_DOCUMENT,
         "token type -1"},
        {{.id = "x", .source = (size_t)UINT32_MAX + 1, .id_length = 1, .input_ids = good, .input_count = 4},
         make_options(8, CX_TOO_LONG_SKIP, 0),
         true,
         CX_ERROR_UNSUPPORTED,
         "files"},
    };
    struct cx_document before = text_document("a", NULL);
    struct cx_sequence_options plain = make_options(8, CX_TOO_LONG_TRUNCATE, 0);
    (void)append_all(setting, &before, &plain, 1);
    for (size_t k = 0; k < COUNT(cases); k++) {
        struct cx_error error = {0};
        enum cx_status status = cx_sequence_append(&cases[k].document, cases[k].without_tokenizer ? NULL : setting->tokenizer, &cases[k].options,
                                                   &setting->scratch, &setting->list, &error);
        if (status != cases[k].status || !strstr(error.message, cases[k].piece))
            fail_msg("case %zu: expected %s with \"%s\", found %s with \"%s\"", k, cx_status_name(cases[k].status), cases[k].piece, cx_status_name(status),
                     error.message);
        assert_int_equal(setting->list.count, 1); /* nothing was appended */
    }
    struct cx_sequence_options small = plain;
    small.vocabulary_size = first_letter + 1; /* the tokenizer knows more tokens than the model */
    small.token_types = 1;
    struct cx_document document = text_document("a b", NULL), pair = text_document("a", "a");
    struct cx_error error = {0};
    assert_int_equal(append(setting, &document, &small, &error), CX_ERROR_DOCUMENT);
    assert_non_null(strstr(error.message, "token 2 has id 6: the model knows 0 to 5"));
    assert_int_equal(append(setting, &pair, &small, &error), CX_ERROR_DOCUMENT);
    assert_non_null(strstr(error.message, "token type 1: the model knows 0 to 0"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_text),        cmocka_unit_test(truncated_texts),
        cmocka_unit_test(truncated_pairs),     cmocka_unit_test(windows_over_a_text),
        cmocka_unit_test(windows_over_a_pair), cmocka_unit_test(windows_share_no_text),
        cmocka_unit_test(ready_ids),           cmocka_unit_test(invalid_utf8_is_repaired),
        cmocka_unit_test(a_text_with_u0000),   cmocka_unit_test(documents_that_are_refused),
    };
    return cmocka_run_group_tests(tests, open_setting, close_setting);
}
