/* JSON: strict parsing, and getters that say what they missed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "contexture/json.h"

static void expect(const char *what, enum cx_status found, const struct cx_error *error, enum cx_status expected, const char *piece) {
    if (found != expected || (expected != CX_OK && !strstr(error->message, piece)))
        fail_msg("%s: expected %s with \"%s\", found %s with \"%s\"", what, cx_status_name(expected), piece, cx_status_name(found), error->message);
}

#define BYTES(text) text, sizeof(text) - 1

static void malformed_text_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t length;
        const char *piece;
    } cases[] = {
        {BYTES(""), "line 1, column 0: not valid JSON"},
        {BYTES(" \n "), "line 2, column 1"},
        {BYTES("{"), "string or '}' expected"},
        {BYTES("[1, 2"), "']' expected"},
        {BYTES("{\"a\": 1, \"a\": 2}"), "duplicate object key"},
        {BYTES("{\"a\": {\"b\": 1, \"b\": 1}}"), "duplicate object key"},
        {BYTES("{} x"), "end of file expected"},
        {BYTES("{}{}"), "end of file expected"},
        {BYTES("{\"a\": 1,}"), "string or '}' expected"},
        {BYTES("[1,]"), "unexpected token"},
        {BYTES("{'a': 1}"), "string or '}' expected"},
        {BYTES("{\"a\" 1}"), "':' expected"},
        {BYTES("{a: 1}"), "string or '}' expected"},
        {BYTES("[NaN]"), "invalid token"},
        {BYTES("[Infinity]"), "invalid token"},
        {BYTES("[01]"), "invalid token"},
        {BYTES("[1.]"), "invalid token"},
        {BYTES("[.5]"), "invalid token"},
        {BYTES("[+1]"), "invalid token"},
        {BYTES("[99999999999999999999]"), "too big integer"},
        {BYTES("[-99999999999999999999]"), "too big negative integer"},
        {BYTES("[1e999]"), "real number overflow"},
        {BYTES("\"open"), "premature end of input"},
        {BYTES("\"line\nbreak\""), "unexpected newline"},
        {BYTES("\"\x01\""), "control character"},
        {BYTES("\"\\x\""), "invalid escape"},
        {BYTES("\"\\u12\""), "invalid escape"},
        {BYTES("\"\\ud800\""), "invalid Unicode"},
        {BYTES("\"\xff\""), "unable to decode byte 0xff"},
        {BYTES("\"\xc0\x80\""), "unable to decode byte 0xc0"},
        {BYTES("\"\xed\xa0\x80\""), "unable to decode byte 0xed"},
        {BYTES("\xef\xbb\xbf{}"), "byte order mark"},
        {BYTES("{\"a\\u0000b\": 1}"), "NUL byte in object key"},
        {BYTES("{}\0"), "end of file expected"},
        {BYTES("tru"), "invalid token"},
        {BYTES("// comment\n{}"), "invalid token"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct cx_error error = {0};
        json_t *value = (json_t *)&error;
        expect(cases[k].text, cx_json_parse(cases[k].text, cases[k].length, "some.json", &value, &error), &error, CX_ERROR_INPUT, cases[k].piece);
        assert_null(value);
        assert_int_equal(strncmp(error.message, "some.json: ", 11), 0);
    }
}

static void nesting_has_a_bound(void **state) {
    (void)state;
    static char text[200000];
    struct cx_error error = {0};
    json_t *value;
    memset(text, '[', sizeof text);
    expect("deep", cx_json_parse(text, sizeof text, "deep.json", &value, &error), &error, CX_ERROR_INPUT, "maximum parsing depth");
}

static json_t *parse(const char *text) {
    json_t *value = NULL;
    struct cx_error error = {0};
    if (cx_json_parse(text, strlen(text), "good.json", &value, &error) != CX_OK)
        fail_msg("%s", error.message);
    return value;
}

static void getters_give_values(void **state) {
    (void)state;
    json_t *object = parse("{\"o\": {}, \"a\": [], \"s\": \"t\", \"f\": true, \"n\": 0.5, \"i\": -3, \"null\": null}"), *member = NULL;
    const char *text = "kept";
    bool flag = false;
    double number = 0;
    int64_t integer = 9;
    struct cx_error error = {0};
    assert_int_equal(cx_json_object_member(object, "o", "x", true, &member, &error), CX_OK);
    assert_true(json_is_object(member));
    assert_int_equal(cx_json_array_member(object, "a", "x", true, &member, &error), CX_OK);
    assert_true(json_is_array(member));
    assert_int_equal(cx_json_text(object, "s", "x", true, &text, &error), CX_OK);
    assert_string_equal(text, "t");
    assert_int_equal(cx_json_flag(object, "f", "x", true, &flag, &error), CX_OK);
    assert_true(flag);
    assert_int_equal(cx_json_number(object, "n", "x", true, &number, &error), CX_OK);
    assert_true(number == 0.5);
    assert_int_equal(cx_json_number(object, "i", "x", true, &number, &error), CX_OK);
    assert_true(number == -3.0);
    assert_int_equal(cx_json_integer(object, "i", "x", true, -3, -3, &integer, &error), CX_OK);
    assert_int_equal(integer, -3);

    /* What is missing or null, and may be, leaves the default. */
    static const char *const absent[] = {"none", "null"};
    for (size_t k = 0; k < 2; k++) {
        text = "kept", flag = true, number = 2, integer = 7;
        assert_int_equal(cx_json_text(object, absent[k], "x", false, &text, &error), CX_OK);
        assert_int_equal(cx_json_flag(object, absent[k], "x", false, &flag, &error), CX_OK);
        assert_int_equal(cx_json_number(object, absent[k], "x", false, &number, &error), CX_OK);
        assert_int_equal(cx_json_integer(object, absent[k], "x", false, 0, 1, &integer, &error), CX_OK);
        assert_int_equal(cx_json_object_member(object, absent[k], "x", false, &member, &error), CX_OK);
        assert_null(member);
        assert_int_equal(cx_json_array_member(object, absent[k], "x", false, &member, &error), CX_OK);
        assert_null(member);
        assert_string_equal(text, "kept");
        assert_true(flag && number == 2 && integer == 7);
    }
    json_decref(object);
}

static void getters_say_what_they_missed(void **state) {
    (void)state;
    json_t *object = parse("{\"o\": {}, \"s\": \"t\", \"z\": \"a\\u0000b\", \"n\": 0.5, \"i\": 4, \"f\": false, \"null\": null}"), *member = NULL;
    const char *text = NULL;
    bool flag;
    double number;
    int64_t integer;
    struct cx_error error = {0};
    expect("object", cx_json_object_member(object, "s", "w", false, &member, &error), &error, CX_ERROR_INPUT,
           "w: key \"s\": expected an object, found a string");
    expect("array", cx_json_array_member(object, "o", "w", true, &member, &error), &error, CX_ERROR_INPUT, "w: key \"o\": expected an array, found an object");
    expect("array", cx_json_array_member(object, "none", "w", true, &member, &error), &error, CX_ERROR_INPUT, "expected an array, found nothing");
    expect("text", cx_json_text(object, "i", "w", true, &text, &error), &error, CX_ERROR_INPUT, "expected a string, found an integer");
    expect("text", cx_json_text(object, "null", "w", true, &text, &error), &error, CX_ERROR_INPUT, "expected a string, found null");
    expect("text", cx_json_text(object, "z", "w", true, &text, &error), &error, CX_ERROR_INPUT, "U+0000");
    expect("flag", cx_json_flag(object, "s", "w", true, &flag, &error), &error, CX_ERROR_INPUT, "expected true or false, found a string");
    expect("number", cx_json_number(object, "f", "w", false, &number, &error), &error, CX_ERROR_INPUT, "expected a number, found false");
    expect("integer", cx_json_integer(object, "n", "w", true, 0, 9, &integer, &error), &error, CX_ERROR_INPUT, "expected an integer, found a real number");
    expect("integer", cx_json_integer(object, "i", "w", true, 5, 9, &integer, &error), &error, CX_ERROR_INPUT, "expected an integer from 5 to 9, found 4");
    expect("integer", cx_json_integer(object, "i", "w", true, -1, 3, &integer, &error), &error, CX_ERROR_INPUT, "expected an integer from -1 to 3, found 4");
    json_decref(object);
    assert_string_equal(cx_json_type(NULL), "nothing");
}

static void files_hold_one_object(void **state) {
    (void)state;
    static const char name[] = "contexture-test.json";
    struct cx_error error = {0};
    json_t *object;
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_true(fputs("{\"a\": [1]}\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(cx_json_read(name, 100, &object, &error), CX_OK);
    assert_int_equal(json_object_size(object), 1);
    json_decref(object);
    expect("limit", cx_json_read(name, 4, &object, &error), &error, CX_ERROR_INPUT, "at most 4 bytes");
    file = fopen(name, "w");
    assert_non_null(file);
    assert_true(fputs("[1]", file) >= 0);
    assert_int_equal(fclose(file), 0);
    expect("array", cx_json_read(name, 100, &object, &error), &error, CX_ERROR_INPUT, "expected a JSON object, found an array");
    assert_null(object);
    assert_int_equal(remove(name), 0);
    expect("none", cx_json_read(name, 100, &object, &error), &error, CX_ERROR_IO, "No such file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_text_is_refused),    cmocka_unit_test(nesting_has_a_bound),   cmocka_unit_test(getters_give_values),
        cmocka_unit_test(getters_say_what_they_missed), cmocka_unit_test(files_hold_one_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
