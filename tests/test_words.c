/* Words, entity mentions and labels of tokens, through truncation and windows; and masking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "contexture/sequence.h"
#include "corpus_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { cls = 2, sep = 3, mask = 4, longest_text = 20000 };

struct setting {
    struct cx_tokenizer *tokenizer;
    struct cx_label_table *labels;
    struct cx_encoding scratch;
    struct cx_sequence_list list;
    struct cx_sequence_options options;
};

/* Letters as words and as further pieces, and "wxyz" as one token. */
static int open_setting(void **state) {
    char pieces[512] = "wxyz\n";
    size_t used = strlen(pieces);
    for (char letter = 'a'; letter <= 'z'; letter++)
        used += (size_t)sprintf(pieces + used, "%c\n##%c\n", letter, letter);
    struct setting *setting = calloc(1, sizeof *setting);
    struct cx_error error = {0};
    fixture_require(setting != NULL, "calloc");
    fixture_require(cx_label_table_create(&setting->labels, &error) == CX_OK, "cx_label_table_create");
    setting->options = (struct cx_sequence_options){.longest = 512, .vocabulary_size = 58, .token_types = 2, .labels = setting->labels};
    *state = setting;
    return fixture_open_tokenizer(pieces, &setting->tokenizer);
}

static int close_setting(void **state) {
    struct setting *setting = *state;
    cx_tokenizer_close(setting->tokenizer);
    cx_label_table_destroy(setting->labels);
    cx_encoding_free(&setting->scratch);
    cx_sequence_list_free(&setting->list);
    free(setting);
    return 0;
}

static struct cx_document make_document(const char *text, const struct cx_word_annotation *words, size_t count) {
    return (struct cx_document){
        .id = "d", .id_length = 1, .text = text, .text_length = strlen(text), .annotations = {{.present = words != NULL, .words = words, .count = count}}};
}

static const struct cx_sequence *append(struct setting *setting, const struct cx_document *document, size_t expected) {
    struct cx_error error = {0};
    cx_sequence_list_clear(&setting->list);
    if (cx_sequence_append(document, setting->tokenizer, &setting->options, &setting->scratch, &setting->list, &error) != CX_OK)
        fail_msg("%s", error.message);
    assert_int_equal(setting->list.count, expected);
    return setting->list.items;
}

/* Numbers as a word: "." for -1, else a digit or letter. */
static const char *digits_of(const int32_t *numbers, size_t count) {
    static char texts[4][1024];
    static unsigned next;
    char *text = texts[next++ % 4];
    assert_true(count < sizeof texts[0]);
    for (size_t k = 0; k < count; k++)
        text[k] = (char)(numbers[k] < 0 ? '.' : numbers[k] < 10 ? '0' + numbers[k] : 'a' + numbers[k] - 10);
    text[count] = '\0';
    return text;
}

/* The label of every token, "-" between them. */
static const char *labels_of(struct setting *setting, const uint32_t *ids, size_t count) {
    static char text[1024];
    size_t used = 0;
    for (size_t k = 0; k < count; k++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", k > 0 ? "-" : "", cx_label_table_text(setting->labels, ids[k]));
    return text;
}

#define AT(from, to)                                                                                                                                           \
    { .start = (from), .end = (to) }
#define WORDS(...)                                                                                                                                             \
    (const struct cx_word_annotation[]) {                                                                                                                      \
        __VA_ARGS__                                                                                                                                            \
    }

static void check_words(struct setting *setting, const char *text, const struct cx_word_annotation *words, size_t count, const char *expected,
                        const char *entities) {
    struct cx_document document = make_document(text, words, count);
    const struct cx_sequence *sequence = append(setting, &document, 1);
    const char *found = digits_of(sequence->word, sequence->tokens), *mentions = digits_of(sequence->entity, sequence->tokens);
    if (strcmp(found, expected) != 0 || strcmp(mentions, entities) != 0)
        fail_msg("%s: expected words %s and mentions %s, found %s and %s", text, expected, entities, found, mentions);
    assert_int_equal(sequence->annotated, words != NULL);
    assert_int_equal(!!(sequence->flags & CX_SEQUENCE_ANNOTATED), words != NULL);
    assert_memory_equal(sequence->original_id, sequence->input_ids, sequence->tokens * sizeof(int32_t));
}

static void tokens_find_their_words(void **state) {
    struct setting *setting = *state;
    /* the tokenizer's own words, where there is no annotation */
    check_words(setting, "abc d-e f", NULL, 0, ".0001234.", ".........");
    /* pieces of a word; a word over several of the tokenizer's; tokens outside of every word; a word without a token */
    check_words(setting, "abc d-e f", WORDS(AT(0, 3), AT(4, 7)), 2, ".000111..", ".........");
    check_words(setting, "abc d-e f", WORDS(AT(1, 2), AT(3, 4), AT(8, 9)), 3, "..0....1.", ".........");
    check_words(setting, "abc d-e f", WORDS(AT(0, 0)), 0, ".........", ".........");
    /* most characters in common, the first word of several */
    check_words(setting, "wxyz", WORDS(AT(0, 2), AT(2, 4)), 2, ".0.", "...");
    check_words(setting, "a wxyz", WORDS(AT(0, 1), AT(2, 3), AT(3, 6)), 3, ".01.", "....");
    check_words(setting, "wxyz a", WORDS(AT(1, 2), AT(2, 3), AT(5, 6)), 3, ".01.", "....");
    check_words(setting, "a wxyz b", WORDS(AT(0, 4), AT(4, 8)), 2, ".001.", ".....");
    /* characters, not bytes; accents that the normaliser takes away */
    check_words(setting, "é à ab", WORDS(AT(2, 3), AT(4, 6)), 2, "..011.", "......");
}

static void mentions_are_runs_of_tags(void **state) {
    struct setting *setting = *state;
#define W(at, tag) {.start = (at), .end = (at) + 1, .ner = (tag)}
    check_words(setting, "a b c d e f", WORDS(W(0, "B-P"), W(2, "I-P"), W(4, "I-Q"), W(6, "B-Q"), W(8, "O"), W(10, "I-P")), 6, ".012345.", ".0012.3.");
    check_words(setting, "a b c d e f", WORDS(W(0, "P"), W(2, "P"), W(4, "Q"), W(6, NULL), W(8, "Q"), W(10, "Q")), 6, ".012345.", ".001.22.");
    check_words(setting, "a b c d e f", WORDS(W(0, "B-P"), W(2, "E-P"), W(4, "S-P"), W(6, "U-P"), W(8, "I-P"), W(10, "L-P")), 6, ".012345.", ".001222.");
    /* all pieces of a word are in its mention */
    check_words(setting, "abc d", WORDS({.start = 0, .end = 3, .ner = "B-P"}, W(4, "I-P")), 2, ".0001.", ".0000.");
}

static void labels_of_tokens(void **state) {
    struct setting *setting = *state;
    const struct cx_word_annotation words[] = {{0, 2, "NOUN", "B-PER", NULL}, {3, 4, NULL, "I-PER", "x"}, {5, 6, "VERB", NULL, "x"}};
    struct cx_document document = make_document("ab c d e", words, COUNT(words));
    const struct cx_sequence *sequence = append(setting, &document, 1);
    assert_string_equal(labels_of(setting, sequence->pos, sequence->tokens), "-NOUN-NOUN--VERB--");
    assert_string_equal(labels_of(setting, sequence->entity_label, sequence->tokens), "-PER-PER-PER---");
    assert_string_equal(labels_of(setting, sequence->label, sequence->tokens), "---x-x--");
    setting->options.labels = NULL;
    sequence = append(setting, &document, 1);
    for (size_t k = 0; k < sequence->tokens; k++)
        assert_int_equal(sequence->pos[k] + sequence->entity_label[k] + sequence->label[k], 0);
    assert_string_equal(digits_of(sequence->word, sequence->tokens), ".0012..");
}

static void pairs_and_ready_ids(void **state) {
    struct setting *setting = *state;
    const struct cx_word_annotation first[] = {{0, 3, NULL, "P", NULL}}, second[] = {{2, 3, NULL, "P", NULL}};
    struct cx_document document = make_document("a b", first, 1);
    document.pair = "c de";
    document.pair_length = 4;
    const struct cx_sequence *sequence = append(setting, &document, 1);
    assert_string_equal(digits_of(sequence->word, sequence->tokens), ".00.122."); /* the second text has the tokenizer's words */
    assert_string_equal(digits_of(sequence->entity, sequence->tokens), ".00.....");
    document.annotations[1] = (struct cx_annotation){true, second, 1};
    sequence = append(setting, &document, 1);
    assert_string_equal(digits_of(sequence->word, sequence->tokens), ".00..1..");
    assert_string_equal(digits_of(sequence->entity, sequence->tokens), ".00..1..");
    const int32_t ids[] = {2, 9, 10, 3};
    document = (struct cx_document){.id = "d", .id_length = 1, .input_ids = ids, .input_count = COUNT(ids)};
    sequence = append(setting, &document, 1);
    assert_string_equal(digits_of(sequence->word, sequence->tokens), "....");
    assert_string_equal(digits_of(sequence->entity, sequence->tokens), "....");
    assert_memory_equal(sequence->original_id, ids, sizeof ids);
    assert_false(sequence->annotated);
}

static void cuts_keep_words(void **state) {
    struct setting *setting = *state;
    const struct cx_word_annotation words[] = {{0, 3, "A", "B-P", NULL}, {4, 7, "B", "I-P", NULL}, {8, 9, "C", "O", NULL}, {10, 13, "D", "B-Q", NULL}};
    struct cx_document document = make_document("abc def g hij", words, COUNT(words));
    setting->options.longest = 7;
    const struct cx_sequence *sequence = append(setting, &document, 1);
    assert_string_equal(digits_of(sequence->word, 7), ".00011.");
    assert_string_equal(digits_of(sequence->entity, 7), ".00000.");
    setting->options.too_long = CX_TOO_LONG_WINDOW;
    setting->options.window_stride = 1;
    sequence = append(setting, &document, 3);
    assert_string_equal(digits_of(sequence[1].word, 7), ".00122."); /* e f | g | h i */
    assert_string_equal(digits_of(sequence[1].entity, 7), ".00.11.");
    assert_string_equal(labels_of(setting, sequence[1].pos, 7), "-B-B-C-D-D-");
    assert_string_equal(labels_of(setting, sequence[1].entity_label, 7), "-P-P--Q-Q-");
    assert_string_equal(digits_of(sequence[2].word, sequence[2].tokens), ".00.");
    assert_true(sequence[2].annotated);
}

/* --- masking --- */

/* "a b c …" of `count` one-letter tokens. */
static struct cx_document letters(char *text, size_t count, uint64_t number) {
    for (size_t k = 0; k < count; k++) {
        text[2 * k] = (char)('a' + k % 20);
        text[2 * k + 1] = ' ';
    }
    text[2 * count] = '\0';
    struct cx_document document = make_document(text, NULL, 0);
    document.number = number;
    return document;
}

static char text[2 * longest_text + 1];

static void the_share_is_masked(void **state) {
    struct setting *setting = *state;
    struct cx_document document = letters(text, longest_text, 5);
    setting->options.longest = longest_text + 2;
    static const double rates[] = {0, 0.12, 0.5, 1};
    for (size_t r = 0; r < COUNT(rates); r++) {
        setting->options.mask_rate = rates[r];
        const struct cx_sequence *sequence = append(setting, &document, 1);
        size_t masked = 0;
        for (size_t k = 0; k < sequence->tokens; k++) {
            bool different = sequence->input_ids[k] != sequence->original_id[k];
            masked += different;
            assert_true(!different || (sequence->input_ids[k] == mask && !sequence->special[k]));
        }
        double expected = rates[r] * longest_text, deviation = 4 * sqrt(longest_text * rates[r] * (1 - rates[r]));
        if (masked < expected - deviation || masked > expected + deviation)
            fail_msg("rate %g: expected %g ± %g masked tokens, found %zu", rates[r], expected, deviation, masked);
    }
}

/* Which tokens are masked must never change: runs of another version would be of other inputs. */
static void the_choice_is_fixed(void **state) {
    struct setting *setting = *state;
    static const struct {
        uint64_t document, seed;
        const char *expected;
    } cases[] = {
        {0, 0, ".xx....x.......xx.x.xxx.x.x........x....x."},
        {1, 0, ".x....xx.xx...x.....x..xxx.....x.xx.x....."},
        {0, 1, ".....xx.......x.xx............x.x...x.x..."},
        {7, 42, "....x........x.x.x.xx....x...x...x..x..x.."},
    };
    setting->options.mask_rate = 0.25;
    for (size_t c = 0; c < COUNT(cases); c++) {
        struct cx_document document = letters(text, 40, cases[c].document);
        setting->options.mask_seed = cases[c].seed;
        const struct cx_sequence *sequence = append(setting, &document, 1);
        char found[64] = "";
        for (size_t k = 0; k < sequence->tokens; k++)
            found[k] = sequence->input_ids[k] == mask ? 'x' : '.';
        if (strcmp(found, cases[c].expected) != 0)
            fail_msg("document %d, seed %d: expected %s, found %s", (int)cases[c].document, (int)cases[c].seed, cases[c].expected, found);
    }
}

static void windows_mask_alike(void **state) {
    struct setting *setting = *state;
    char whole[64];
    struct cx_document document = letters(text, 50, 3);
    setting->options.mask_rate = 0.5;
    const struct cx_sequence *sequence = append(setting, &document, 1);
    for (size_t k = 0; k < 50; k++)
        whole[k] = sequence->input_ids[k + 1] == mask;
    setting->options.longest = 12;
    setting->options.too_long = CX_TOO_LONG_WINDOW;
    setting->options.window_stride = 4;
    sequence = append(setting, &document, 8);
    for (size_t w = 0; w < 8; w++)
        for (size_t k = 1; k + 1 < sequence[w].tokens; k++)
            if ((sequence[w].input_ids[k] == mask) != whole[6 * w + k - 1])
                fail_msg("window %zu, token %zu: masked as the whole document's token %zu is not", w, k, 6 * w + k - 1);
}

/* Special tokens stay, whether the tokenizer adds them, the text has them, or they come as ids. */
static void special_tokens_are_not_masked(void **state) {
    struct setting *setting = *state;
    setting->options.mask_rate = 1;
    struct cx_document document = make_document("a [SEP] ! [MASK] b", NULL, 0); /* "!" is [UNK] */
    const struct cx_sequence *sequence = append(setting, &document, 1);
    const int32_t expected[] = {cls, mask, sep, 1, mask, mask, sep};
    assert_memory_equal(sequence->input_ids, expected, sizeof expected);
    assert_int_equal(sequence->original_id[4], mask);
    assert_int_not_equal(sequence->original_id[5], mask);
    const int32_t ids[] = {cls, 9, 10, sep};
    document = (struct cx_document){.id = "d", .id_length = 1, .input_ids = ids, .input_count = COUNT(ids)};
    sequence = append(setting, &document, 1);
    const int32_t masked[] = {cls, mask, mask, sep};
    assert_memory_equal(sequence->input_ids, masked, sizeof masked);
    assert_memory_equal(sequence->original_id, ids, sizeof ids);
}

static void no_mask_token_is_refused(void **state) {
    struct setting *setting = *state;
    const int32_t ids[] = {cls, sep};
    struct cx_document document = {.id = "d", .id_length = 1, .input_ids = ids, .input_count = COUNT(ids)};
    struct cx_error error = {0};
    setting->options.mask_rate = 0.5;
    enum cx_status status = cx_sequence_append(&document, NULL, &setting->options, &setting->scratch, &setting->list, &error);
    assert_int_equal(status, CX_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "no mask token"));
    setting->options.vocabulary_size = mask; /* the model does not know it */
    status = cx_sequence_append(&document, setting->tokenizer, &setting->options, &setting->scratch, &setting->list, &error);
    assert_int_equal(status, CX_ERROR_UNSUPPORTED);
}

static void mask_tokens_of_tokenizers(void **state) {
    static const struct {
        const char *config, *map;
        int32_t expected;
    } cases[] = {
        {"{}", NULL, 4},
        {"{\"mask_token\": \"a\"}", NULL, 5},
        {"{\"mask_token\": {\"content\": \"b\", \"lstrip\": false}}", NULL, 6},
        {"{\"mask_token\": null}", NULL, -1},
        {"{}", "{\"mask_token\": \"b\"}", 6},
    };
    (void)state;
    for (size_t k = 0; k < COUNT(cases); k++) {
        void *fixture;
        struct cx_tokenizer *tokenizer = NULL;
        struct cx_error error = {0};
        (void)fixture_create(&fixture);
        (void)fixture_text(fixture, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n");
        (void)fixture_text(fixture, "tokenizer_config.json", cases[k].config);
        if (cases[k].map)
            (void)fixture_text(fixture, "special_tokens_map.json", cases[k].map);
        enum cx_status status = cx_tokenizer_open(((struct fixture *)fixture)->folder, &tokenizer, &error);
        (void)fixture_remove(&fixture);
        if (status != CX_OK)
            fail_msg("%s: %s", cases[k].config, error.message);
        if (cx_tokenizer_mask_id(tokenizer) != cases[k].expected)
            fail_msg("%s: expected id %d, found %d", cases[k].config, (int)cases[k].expected, (int)cx_tokenizer_mask_id(tokenizer));
        assert_true(cx_tokenizer_is_special(tokenizer, 2));
        cx_tokenizer_close(tokenizer);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_setting, close_setting)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(tokens_find_their_words),
        TEST(mentions_are_runs_of_tags),
        TEST(labels_of_tokens),
        TEST(pairs_and_ready_ids),
        TEST(cuts_keep_words),
        TEST(the_share_is_masked),
        TEST(the_choice_is_fixed),
        TEST(windows_mask_alike),
        TEST(special_tokens_are_not_masked),
        TEST(no_mask_token_is_refused),
        cmocka_unit_test(mask_tokens_of_tokenizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
