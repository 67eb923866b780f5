/* The safetensors reader: one good file, and every way to be a bad one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_files.h"
#include "safetensors.h"

static char *folder;

static enum cx_status open_file(struct cx_safetensors *file, struct cx_error *error) {
    return cx_safetensors_open(test_path(folder, "x.safetensors"), file, error);
}

static void a_good_file_is_read(void **state) {
    (void)state;
    static const unsigned char data[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    struct cx_safetensors file;
    struct cx_error error = {0};
    test_write_safetensors(
        folder, "x.safetensors",
        "{\"z\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[8,10]},"
        "\"__metadata__\":{\"format\":\"pt\",\"\":\"\"},\"empty\":{\"dtype\":\"F64\",\"shape\":[3,0],\"data_offsets\":[10,10]},"
        "\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[10,18]},\"f4\":{\"dtype\":\"F4\",\"shape\":[28],\"data_offsets\":[18,32]}}   ",
        data, sizeof data);
    if (open_file(&file, &error) != CX_OK)
        fail_msg("%s", error.message);
    assert_int_equal(file.count, 5);
    static const char *const names[] = {"a", "empty", "f4", "i", "z"};
    static const size_t sizes[] = {2, 0, 14, 8, 8};
    static const unsigned char firsts[] = {9, 0, 0, 11, 1};
    for (size_t k = 0; k < 5; k++) {
        assert_string_equal(file.tensors[k].name, names[k]);
        assert_int_equal(file.tensors[k].size, sizes[k]);
        assert_int_equal(file.tensors[k].usable, k == 0 || k == 4);
        if (firsts[k])
            assert_int_equal(file.tensors[k].data[0], firsts[k]);
    }
    char text[64];
    cx_safetensors_shape_text(&file.tensors[0], text, sizeof text);
    assert_string_equal(text, "[]");
    cx_safetensors_shape_text(&file.tensors[4], text, sizeof text);
    assert_string_equal(text, "[2, 1]");
    cx_safetensors_shape_text(&file.tensors[4], text, 29);
    assert_string_equal(text, "[2…]");
    cx_safetensors_close(&file);

    test_write_safetensors(folder, "x.safetensors", "{}", NULL, 0);
    assert_int_equal(open_file(&file, &error), CX_OK);
    assert_int_equal(file.count, 0);
    cx_safetensors_close(&file);
}

/* T(name, dtype, shape, begin, end): one tensor's entry. */
#define T(name, dtype, shape, begin, end) "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"

static const struct {
    const char *header;
    size_t data_size;
    const char *piece;
} bad_headers[] = {
    /* no JSON object */
    {"[]", 0, "begin with '{'"},
    {" {}", 0, "begin with '{'"},
    {"{", 0, "begin with '{'"},
    {"{ ", 0, "line 1, column 2: not valid JSON"},
    {"{} {}", 0, "end of file expected"},
    {"{\"a\":1", 0, "not valid JSON"},
    {"{\"a\xff\":1}", 0, "unable to decode byte 0xff"},
    {"{\"\\u0000\":1}", 0, "NUL byte"},
    /* twice the same */
    {"{" T("a", "F32", "1", "0", "4") "," T("a", "F32", "1", "0", "4") "}", 4, "duplicate object key"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "duplicate object key"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "duplicate object key"},
    /* metadata */
    {"{\"__metadata__\":[]}", 0, "\"__metadata__\": expected an object of strings, found an array"},
    {"{\"__metadata__\":null}", 0, "found null"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "\"__metadata__\": key \"a\": expected a string, found an integer"},
    {"{\"__metadata__\":{\"a\":{}}}", 0, "expected a string, found an object"},
    /* entries */
    {"{\"a\":1}", 0, "tensor a: expected an object, found an integer"},
    {"{\"a\":null}", 0, "tensor a: expected an object, found null"},
    {"{\"a\":{}}", 0, "tensor a: key \"dtype\": expected a string, found nothing"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "key \"data_offsets\": expected an array, found nothing"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "key \"shape\": expected an array, found nothing"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "key \"dtype\": expected a string, found nothing"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"strides\":[1]}}", 4, "found key \"strides\""},
    /* dtype */
    {"{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "key \"dtype\": expected a string, found an integer"},
    {"{" T("a", "f32", "1", "0", "4") "}", 4, "\"dtype\": f32 is none of the safetensors format"},
    {"{" T("a", "", "1", "0", "4") "}", 4, "is none of the safetensors format"},
    {"{" T("a", "F32\\u0000", "1", "0", "4") "}", 4, "U+0000"},
    {"{" T("a", "F4", "3", "0", "2") "}", 2, "12 bits of F4 do not fill whole bytes"},
    /* shape */
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "key \"shape\": expected an array, found an integer"},
    {"{" T("a", "F32", "1.0", "0", "4") "}", 4, "\"shape\": expected integers, found a real number"},
    {"{" T("a", "F32", "\"1\"", "0", "4") "}", 4, "\"shape\": expected integers, found a string"},
    {"{" T("a", "F32", "[1]", "0", "4") "}", 4, "\"shape\": expected integers, found an array"},
    {"{" T("a", "F32", "-1", "0", "4") "}", 4, "\"shape\": expected integers from 0 on, found -1"},
    {"{" T("a", "F32", "4294967296,4294967296", "0", "4") "}", 4, "does not fit into 64 bits"},
    {"{" T("a", "F32", "9223372036854775807", "0", "4") "}", 4, "does not fit into 64 bits"},
    {"{" T("a", "F32", "9223372036854775807,9223372036854775807,0", "0", "0") "}", 0, "does not fit into 64 bits"},
    {"{" T("a", "F32", "18446744073709551616", "0", "4") "}", 4, "too big integer"},
    {"{" T("a", "F32", "2", "0", "4") "}", 4, "shape [2] of F32 needs 8 bytes, but data_offsets hold 4"},
    {"{" T("a", "F32", "1", "0", "8") "}", 8, "shape [1] of F32 needs 4 bytes, but data_offsets hold 8"},
    {"{" T("a", "BF16", "2,3", "0", "24") "}", 24, "shape [2, 3] of BF16 needs 12 bytes"},
    {"{" T("a", "F32", "0", "0", "4") "}", 4, "shape [0] of F32 needs 0 bytes"},
    /* offsets */
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{}}}", 4, "key \"data_offsets\": expected an array, found an object"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "\"data_offsets\": expected 2 integers, found 1 values"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", 4, "\"data_offsets\": expected 2 integers, found 3 values"},
    {"{" T("a", "F32", "1", "0", "4.0") "}", 4, "\"data_offsets\": expected integers, found a real number"},
    {"{" T("a", "F32", "1", "null", "4") "}", 4, "\"data_offsets\": expected integers, found null"},
    {"{" T("a", "F32", "1", "-4", "0") "}", 4, "\"data_offsets\": expected integers from 0 on, found -4"},
    {"{" T("a", "F32", "1", "8", "4") "}", 8, "the end, 4, lies before the begin, 8"},
    {"{" T("a", "F32", "2", "0", "8") "}", 4, "should end at byte 8, but the file has only 4 bytes of data"},
    {"{" T("a", "U8", "5", "0", "5") "}", 4, "should end at byte 5, but the file has only 4 bytes of data"},
    {"{" T("a", "F32", "1", "9223372036854775803", "9223372036854775807") "}", 4, "should end at byte 9223372036854775807"},
    /* cover */
    {"{" T("a", "F32", "1", "0", "4") "," T("b", "F32", "1", "0", "4") "}", 4, "tensors a and b overlap"},
    {"{" T("a", "F32", "2", "0", "8") "," T("b", "F32", "1", "4", "8") "}", 8, "overlap: the second begins at byte 4 of the data, the first ends at 8"},
    {"{" T("b", "F32", "2", "0", "8") "," T("a", "F32", "0", "4", "4") "}", 8, "tensors b and a overlap"},
    {"{" T("a", "F32", "1", "4", "8") "}", 8, "a hole of 4 bytes between the header and tensor a"},
    {"{" T("a", "F32", "1", "0", "4") "," T("b", "F32", "1", "8", "12") "}", 12, "a hole of 4 bytes between a and tensor b"},
    {"{" T("a", "F32", "1", "0", "4") "}", 5, "the tensors end at byte 4 of the data, but the file has 5 bytes of data"},
    {"{}", 1, "the tensors end at byte 0 of the data, but the file has 1 bytes of data"},
};

static void bad_headers_are_refused(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof bad_headers / sizeof *bad_headers; k++) {
        struct cx_safetensors file;
        struct cx_error error = {0};
        test_write_safetensors(folder, "x.safetensors", bad_headers[k].header, NULL, bad_headers[k].data_size);
        test_expect_failure(bad_headers[k].header, open_file(&file, &error), &error, CX_ERROR_INPUT, bad_headers[k].piece);
        assert_non_null(strstr(error.message, "x.safetensors: "));
        assert_null(file.mapping.data);
    }
}

#define BYTES(text) text, sizeof(text) - 1

static void files_of_another_kind_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *piece;
    } cases[] = {
        {BYTES(""), "found only 0 bytes"},
        {BYTES("\2\0\0\0\0\0\0"), "found only 7 bytes"},
        {BYTES("\2\0\0\0\0\0\0\0"), "the header should have 2 bytes, but the file ends 0 bytes after its start"},
        {BYTES("\2\0\0\0\0\0\0\0{"), "the header should have 2 bytes, but the file ends 1 bytes"},
        {BYTES("\0\0\0\0\0\0\0\0"), "begin with '{'"},
        {BYTES("\1\0\0\0\0\0\0\0{"), "begin with '{'"},
        {BYTES("\1\341\365\5\0\0\0\0{}"), "at most 100000000 bytes, found a length of 100000001"},
        {BYTES("\0\341\365\5\0\0\0\0{}"), "should have 100000000 bytes"},
        {BYTES("\377\377\377\377\377\377\377\377{}"), "found a length of 18446744073709551615"},
        {BYTES("PK\3\4\0\0\10\10\0\0"), "is this a safetensors file?"},
        {BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"), "git lfs pull"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct cx_safetensors file;
        struct cx_error error = {0};
        test_write(folder, "x.safetensors", cases[k].bytes, cases[k].size);
        test_expect_failure(cases[k].piece, open_file(&file, &error), &error, CX_ERROR_INPUT, cases[k].piece);
    }
    struct cx_safetensors file;
    struct cx_error error = {0};
    test_expect_failure("absent", cx_safetensors_open(test_path(folder, "absent"), &file, &error), &error, CX_ERROR_IO, "cannot open");
    test_expect_failure("folder", cx_safetensors_open(folder, &file, &error), &error, CX_ERROR_INPUT, "found a folder");
}

/* A file that was cut off anywhere is refused, and so is one with a byte too many. */
static void cut_files_are_refused(void **state) {
    (void)state;
    static const char header[] = "{" T("a", "F32", "1", "0", "4") "," T("b", "F16", "3", "4", "10") "}";
    size_t size = 8 + sizeof header - 1 + 10;
    unsigned char bytes[256] = {sizeof header - 1};
    memcpy(bytes + 8, header, sizeof header - 1);
    for (size_t length = 0; length <= size + 1; length++) {
        struct cx_safetensors file;
        struct cx_error error = {0};
        test_write(folder, "x.safetensors", bytes, length);
        enum cx_status status = open_file(&file, &error);
        if ((status == CX_OK) != (length == size))
            fail_msg("%zu of %zu bytes: %s %s", length, size, cx_status_name(status), error.message);
        cx_safetensors_close(&file);
    }
}

static void long_names_leave_room_for_the_message(void **state) {
    (void)state;
    char header[6000], name[5001];
    struct cx_safetensors file;
    struct cx_error error = {0};
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    (void)snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19],\"data_offsets\":[0,4]}}",
                   name);
    test_write_safetensors(folder, "x.safetensors", header, NULL, 4);
    test_expect_failure("long name", open_file(&file, &error), &error, CX_ERROR_INPUT, "but data_offsets hold 4");
}

static int make_folder(void **state) {
    (void)state;
    folder = test_folder_create();
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    test_folder_remove(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_read),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(files_of_another_kind_are_refused),
        cmocka_unit_test(cut_files_are_refused),
        cmocka_unit_test(long_names_leave_room_for_the_message),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
