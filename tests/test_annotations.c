/* Annotated words in JSONL: what is read, and every way in which an annotation can be wrong. A wrong one never costs the document. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contexture/label_table.h"
#include "corpus_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* The value of "words" for the text "one two é" (9 characters, 10 bytes), and a piece of the sentence that says what is wrong. */
static const struct bad_words {
    const char *words, *piece;
} bad_words[] = {
    /* no array of objects */
    {"7", "field \"words\": expected an array of words, found an integer"},
    {"\"one\"", "expected an array of words, found a string"},
    {"{\"start\": 0, \"end\": 3}", "expected an array of words, found an object"},
    {"true", "expected an array of words, found"},
    {"[1]", "word 0: expected an object with start and end, found an integer"},
    {"[\"one\"]", "word 0: expected an object with start and end, found a string"},
    {"[[0, 3]]", "word 0: expected an object with start and end, found an array"},
    {"[null]", "word 0: expected an object with start and end, found null"},
    {"[{\"start\": 0, \"end\": 3}, 4]", "word 1: expected an object"},
    /* places that are no places */
    {"[{}]", "\"start\": expected an integer, found nothing"},
    {"[{\"start\": 0}]", "\"end\": expected an integer, found nothing"},
    {"[{\"end\": 3}]", "\"start\": expected an integer, found nothing"},
    {"[{\"start\": null, \"end\": 3}]", "\"start\": expected an integer, found null"},
    {"[{\"start\": \"0\", \"end\": 3}]", "\"start\": expected an integer, found a string"},
    {"[{\"start\": 0, \"end\": 3.0}]", "\"end\": expected an integer, found a"},
    {"[{\"start\": true, \"end\": 3}]", "\"start\": expected an integer, found"},
    /* outside of the text */
    {"[{\"start\": -1, \"end\": 3}]", "\"start\" is -1, outside of the text's 9 characters"},
    {"[{\"start\": 0, \"end\": 10}]", "\"end\" is 10, outside of the text's 9 characters"},
    {"[{\"start\": 10, \"end\": 12}]", "\"start\" is 10, outside"},
    {"[{\"start\": 0, \"end\": 4294967299}]", "\"end\" is 4294967299, outside"},
    {"[{\"start\": 0, \"end\": 9223372036854775807}]", "outside"},
    {"[{\"start\": -9223372036854775807, \"end\": 3}]", "outside"},
    /* empty, backwards, out of order, overlapping */
    {"[{\"start\": 3, \"end\": 3}]", "word 0: it starts at 3 and ends at 3: expected an end behind the start"},
    {"[{\"start\": 5, \"end\": 3}]", "it starts at 5 and ends at 3"},
    {"[{\"start\": 4, \"end\": 7}, {\"start\": 0, \"end\": 3}]", "word 1: it starts at 0, before the word in front of it, which starts at 4"},
    {"[{\"start\": 4, \"end\": 7}, {\"start\": 3, \"end\": 6}]", "expected words sorted by start"},
    {"[{\"start\": 0, \"end\": 4}, {\"start\": 3, \"end\": 7}]", "word 1: it starts at 3, inside of the word in front of it, which ends at 4"},
    {"[{\"start\": 0, \"end\": 3}, {\"start\": 0, \"end\": 3}]", "expected words that do not overlap"},
    {"[{\"start\": 0, \"end\": 9}, {\"start\": 4, \"end\": 7}]", "expected words that do not overlap"},
    /* labels */
    {"[{\"start\": 0, \"end\": 3, \"pos\": 1}]", "\"pos\": expected a string, found an integer"},
    {"[{\"start\": 0, \"end\": 3, \"ner\": [\"B-PER\"]}]", "\"ner\": expected a string, found an array"},
    {"[{\"start\": 0, \"end\": 3, \"label\": {}}]", "\"label\": expected a string, found an object"},
    {"[{\"start\": 0, \"end\": 3, \"pos\": false}]", "\"pos\": expected a string, found"},
    {"[{\"start\": 0, \"end\": 3, \"pos\": \"\"}]", "\"pos\": expected 1 to 64 bytes, found 0"},
    {"[{\"start\": 0, \"end\": 3, \"label\": \"0123456789012345678901234567890123456789012345678901234567890123456789\"}]", "expected 1 to 64 bytes, found 70"},
    {"[{\"start\": 0, \"end\": 3, \"pos\": \"N\\u0000\"}]", "\"pos\": a label may not hold U+0000"},
    {"[{\"start\": 0, \"end\": 3, \"ner\": \"B-\"}]", "\"ner\" is \"B-\", which names no label"},
    {"[{\"start\": 0, \"end\": 3, \"ner\": \"I-\"}]", "\"ner\" is \"I-\", which names no label"},
    /* unknown keys */
    {"[{\"start\": 0, \"end\": 3, \"lemma\": \"one\"}]", "unknown key \"lemma\": a word has start, end, and perhaps pos, ner and label"},
    {"[{\"Start\": 0, \"end\": 3}]", "unknown key \"Start\""},
};

static enum cx_status read_line(const struct fixture *fixture, const char *line, const char *pair_field, const char *words_field, struct cx_corpus **corpus,
                                struct cx_document *document, struct cx_error *error) {
    char text[2048];
    (void)snprintf(
        text, sizeof text,
        "{\"text\": \"before\", \"second\": \"x\"}\n%s\n{\"text\": \"ab\", \"second\": \"x\", \"words\": [{\"start\": 1, \"end\": 2, \"pos\": \"X\"}]}\n",
        line);
    const char *path = fixture_text(fixture, "a.jsonl", text);
    struct cx_corpus_options options = fixture_options(&path);
    options.pair_field = pair_field;
    options.words_field = words_field;
    assert_int_equal(cx_corpus_open(&options, corpus, error), CX_OK);
    assert_int_equal(cx_corpus_next(*corpus, document, error), CX_OK);
    assert_false(document->annotations[0].present);
    assert_null(document->annotation_fault);
    return cx_corpus_next(*corpus, document, error);
}

/* The line behind a bad one is read, with its annotation. */
static void expect_good_end(struct cx_corpus *corpus) {
    struct cx_document document;
    struct cx_error error = {0};
    assert_int_equal(cx_corpus_next(corpus, &document, &error), CX_OK);
    assert_null(document.annotation_fault);
    assert_true(document.annotations[0].present);
    assert_int_equal(document.annotations[0].count, 1);
    assert_int_equal(document.annotations[0].words[0].start, 1);
    assert_string_equal(document.annotations[0].words[0].pos, "X");
    assert_null(document.annotations[0].words[0].ner);
    assert_int_equal(cx_corpus_next(corpus, &document, &error), CX_END);
    cx_corpus_close(corpus);
}

static void expect_fault(const struct cx_document *document, const char *subject, const char *piece) {
    const char *fault = document->annotation_fault ? document->annotation_fault : "none";
    if (!strstr(fault, piece) || !strstr(fault, "/a.jsonl:2: "))
        fail_msg("%s: expected a fault with file, line 2 and \"%s\", found \"%s\"", subject, piece, fault);
    assert_false(document->annotations[0].present || document->annotations[1].present);
}

static void bad_annotations_leave_the_document(void **state) {
    assert_true(COUNT(bad_words) >= 25);
    for (size_t k = 0; k < COUNT(bad_words); k++) {
        char line[512];
        struct cx_corpus *corpus;
        struct cx_document document;
        struct cx_error error = {0};
        (void)snprintf(line, sizeof line, "{\"id\": \"x\", \"text\": \"one two é\", \"words\": %s}", bad_words[k].words);
        enum cx_status status = read_line(*state, line, NULL, NULL, &corpus, &document, &error);
        if (status != CX_OK)
            fail_msg("%s: expected a document, found %s: %s", line, cx_status_name(status), error.message);
        expect_fault(&document, line, bad_words[k].piece);
        assert_int_equal(document.text_length, 10);
        assert_memory_equal(document.id, "x", 1);
        expect_good_end(corpus);
    }
}

/* Faults that need another line than a text with words. */
static void bad_annotations_of_other_documents(void **state) {
    static const struct {
        const char *line, *pair_field, *words_field, *piece;
    } cases[] = {
        {"{\"input_ids\": [1, 2], \"words\": []}", NULL, NULL, "words belong to a text, and this document has ready input_ids"},
        {"{\"input_ids\": [1, 2], \"words_pair\": []}", "second", NULL, "field \"words_pair\": words belong to a text"},
        {"{\"text\": \"\", \"words\": [{\"start\": 0, \"end\": 1}]}", NULL, NULL, "\"end\" is 1, outside of the text's 0 characters"},
        {"{\"text\": \"a\", \"second\": \"b\", \"words\": [], \"words_pair\": [{\"start\": 1, \"end\": 2}]}", "second", NULL,
         "field \"words_pair\", word 0: \"end\" is 2"},
        {"{\"text\": \"a\", \"tokens\": [{\"start\": 1, \"end\": 2}]}", NULL, "tokens", "field \"tokens\", word 0: \"end\" is 2"},
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        struct cx_corpus *corpus;
        struct cx_document document;
        struct cx_error error = {0};
        assert_int_equal(read_line(*state, cases[k].line, cases[k].pair_field, cases[k].words_field, &corpus, &document, &error), CX_OK);
        expect_fault(&document, cases[k].line, cases[k].piece);
        cx_corpus_close(corpus);
    }
}

static void good_annotations(void **state) {
    static const char line[] =
        "{\"text\": \"one two é\", \"second\": \"b c\", \"words_pair\": [], \"words\": [{\"start\": 0, \"end\": 3, \"pos\": \"NUM\", \"ner\": null},"
        "{\"end\": 7, \"start\": 4, \"ner\": \"B-PER\"}, {\"start\": 8, \"end\": 9, \"label\": \"größe\"}]}";
    struct cx_corpus *corpus;
    struct cx_document document;
    struct cx_error error = {0};
    assert_int_equal(read_line(*state, line, "second", NULL, &corpus, &document, &error), CX_OK);
    const struct cx_annotation *first = &document.annotations[0], *second = &document.annotations[1];
    assert_null(document.annotation_fault);
    assert_true(first->present && second->present);
    assert_int_equal(first->count, 3);
    assert_int_equal(second->count, 0);
    assert_string_equal(first->words[0].pos, "NUM");
    assert_null(first->words[0].ner);
    assert_int_equal(first->words[1].start, 4);
    assert_int_equal(first->words[1].end, 7);
    assert_string_equal(first->words[1].ner, "B-PER");
    assert_string_equal(first->words[2].label, "größe");
    assert_int_equal(first->words[2].end, 9);
    expect_good_end(corpus);

    /* Without --pair-field the second annotation is one of the fields that are not looked at, and null is no annotation. */
    assert_int_equal(read_line(*state, "{\"text\": \"a\", \"words\": null, \"words_pair\": 7}", NULL, NULL, &corpus, &document, &error), CX_OK);
    assert_null(document.annotation_fault);
    assert_false(document.annotations[0].present);
    expect_good_end(corpus);
}

static void which_corpora_may_be_annotated(void **state) {
    static const char *const names[] = {"a.txt", "a.jsonl"};
    for (size_t k = 0; k < COUNT(names); k++) {
        const char *path = fixture_text(*state, names[k], "{\"text\": \"a\"}\n");
        struct cx_corpus_options options = fixture_options(&path);
        struct cx_corpus *corpus;
        struct cx_error error = {0};
        assert_int_equal(cx_corpus_open(&options, &corpus, &error), CX_OK);
        assert_int_equal(cx_corpus_may_be_annotated(corpus), k);
        cx_corpus_close(corpus);
    }
}

/* What is said of a document's length without parsing its line. */
static void annotations_are_no_text(void **state) {
    static const struct {
        const char *line, *text; /* the line's beginning that counts */
    } cases[] = {
        {"{\"text\": \"one two\"}", "{\"text\": \"one two\"}"},
        {"{\"text\": \"one two\", \"words\": [{\"start\": 0, \"end\": 3}]}", "{\"text\": \"one two\", "},
        {"{\"text\": \"words \\\"words\\\", sword\", \"wordy\": 1}", "{\"text\": \"words \\\"words\\\", sword\", \"wordy\": 1}"},
        {"{\"text\": \"a \\\"words\\\" b\",\"words\":[]}", "{\"text\": \"a \\\"words\\\" b\","},
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        char text[256];
        (void)snprintf(text, sizeof text, "%s\n", cases[k].line);
        const char *paths[] = {fixture_text(*state, "lengths.jsonl", text), fixture_text(*state, "lengths.txt", text)};
        for (size_t format = 0; format < COUNT(paths); format++) {
            struct cx_corpus_options options = fixture_options(&paths[format]);
            struct cx_corpus *corpus;
            struct cx_document document;
            struct cx_error error = {0};
            assert_int_equal(cx_corpus_open(&options, &corpus, &error), CX_OK);
            assert_int_equal(cx_corpus_next_line(corpus, &document, &error), CX_OK);
            assert_int_equal(document.text_bytes, strlen(format == 0 ? cases[k].text : cases[k].line));
            cx_corpus_close(corpus);
        }
    }
}

static void entity_tags(void **state) {
    static const struct {
        const char *text, *label;
        bool begins;
    } cases[] = {
        {NULL, NULL, false},     {"O", NULL, false},        {"B-PER", "PER", true},    {"I-PER", "PER", false}, {"S-LOC", "LOC", true},
        {"U-LOC", "LOC", true},  {"E-LOC", "LOC", false},   {"L-LOC", "LOC", false},   {"PER", "PER", false},   {"B", "B", false},
        {"Oslo", "Oslo", false}, {"b-per", "b-per", false}, {"X-PER", "X-PER", false}, {"B-I-X", "I-X", true},
    };
    (void)state;
    for (size_t k = 0; k < COUNT(cases); k++) {
        struct cx_entity_tag tag;
        cx_entity_tag_read(cases[k].text, &tag);
        const char *found = tag.label ? tag.label : "none", *expected = cases[k].label ? cases[k].label : "none";
        if (strcmp(found, expected) != 0 || tag.begins != cases[k].begins)
            fail_msg("%s: expected %s %d, found %s %d", cases[k].text ? cases[k].text : "no tag", expected, cases[k].begins, found, tag.begins);
    }
}

static void labels_are_numbered(void **state) {
    struct cx_label_table *table;
    struct cx_error error = {0};
    uint32_t id;
    (void)state;
    assert_int_equal(cx_label_table_create(&table, &error), CX_OK);
    assert_int_equal(cx_label_table_add(table, "", 0, &id, &error), CX_OK);
    assert_int_equal(id, 0);
    for (int round = 0; round < 2; round++)
        for (uint32_t k = 0; k < CX_MOST_LABELS; k++) {
            char text[16];
            int length = snprintf(text, sizeof text, "l%u", k);
            assert_int_equal(cx_label_table_add(table, text, (size_t)length, &id, &error), CX_OK);
            assert_int_equal(id, k + 1);
        }
    assert_int_equal(cx_label_table_count(table), CX_MOST_LABELS);
    assert_string_equal(cx_label_table_text(table, 1), "l0");
    assert_string_equal(cx_label_table_text(table, 65535), "l65534");
    assert_string_equal(cx_label_table_text(table, 0), "");
    assert_string_equal(cx_label_table_text(table, 65536), "");
    assert_int_equal(cx_label_table_add(table, "l12", 2, &id, &error), CX_OK); /* "l1", not "l12" */
    assert_int_equal(id, 2);
    assert_int_equal(cx_label_table_add(table, "one more", 8, &id, &error), CX_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "\"one more\" is one more than the 65535 different labels"));
    cx_label_table_destroy(table);
    cx_label_table_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bad_annotations_leave_the_document, fixture_create, fixture_remove),
        cmocka_unit_test_setup_teardown(bad_annotations_of_other_documents, fixture_create, fixture_remove),
        cmocka_unit_test_setup_teardown(good_annotations, fixture_create, fixture_remove),
        cmocka_unit_test_setup_teardown(which_corpora_may_be_annotated, fixture_create, fixture_remove),
        cmocka_unit_test_setup_teardown(annotations_are_no_text, fixture_create, fixture_remove),
        cmocka_unit_test(entity_tags),
        cmocka_unit_test(labels_are_numbered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
