/* Files and content hashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contexture/file.h"

static char folder[] = "contexture-file-XXXXXX";

static const char *in_folder(const char *name) {
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_bytes(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void expect(enum cx_status found, const struct cx_error *error, enum cx_status expected, const char *piece) {
    if (found != expected || !strstr(error->message, piece))
        fail_msg("expected %s with \"%s\", found %s with \"%s\"", cx_status_name(expected), piece, cx_status_name(found), error->message);
}

static void paths_are_joined(void **state) {
    (void)state;
    static const struct {
        const char *directory, *name, *expected;
    } cases[] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}, {"a", "", "a/"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char *path;
        assert_int_equal(cx_path_join(cases[k].directory, cases[k].name, &path, NULL), CX_OK);
        assert_string_equal(path, cases[k].expected);
        free(path);
    }
}

static void files_are_mapped(void **state) {
    (void)state;
    struct cx_mapping mapping;
    struct cx_error error = {0};
    write_bytes(in_folder("some"), "abc", 3);
    assert_int_equal(cx_file_map(in_folder("some"), &mapping, &error), CX_OK);
    assert_int_equal(mapping.size, 3);
    assert_memory_equal(mapping.data, "abc", 3);
    cx_file_unmap(&mapping);
    assert_null(mapping.data);
    cx_file_unmap(&mapping);

    write_bytes(in_folder("empty"), "", 0);
    assert_int_equal(cx_file_map(in_folder("empty"), &mapping, &error), CX_OK);
    assert_null(mapping.data);
    assert_int_equal(mapping.size, 0);
    cx_file_unmap(&mapping);

    expect(cx_file_map(in_folder("none"), &mapping, &error), &error, CX_ERROR_IO, "cannot open");
    expect(cx_file_map(folder, &mapping, &error), &error, CX_ERROR_INPUT, "found a folder");
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    expect(cx_file_map(in_folder("pipe"), &mapping, &error), &error, CX_ERROR_INPUT, "found a special file");
}

static void files_are_read_within_a_bound(void **state) {
    (void)state;
    char *text, big[10000];
    size_t length;
    struct cx_error error = {0};
    memset(big, 'x', sizeof big);
    write_bytes(in_folder("big"), big, sizeof big);
    assert_int_equal(cx_file_read(in_folder("big"), sizeof big, &text, &length, &error), CX_OK);
    assert_int_equal(length, sizeof big);
    assert_int_equal(text[length], 0);
    assert_memory_equal(text, big, sizeof big);
    free(text);
    expect(cx_file_read(in_folder("big"), sizeof big - 1, &text, &length, &error), &error, CX_ERROR_INPUT, "at most 9999 bytes");
    assert_null(text);

    write_bytes(in_folder("empty"), "", 0);
    assert_int_equal(cx_file_read(in_folder("empty"), 0, &text, &length, &error), CX_OK);
    assert_int_equal(length, 0);
    assert_string_equal(text, "");
    free(text);
    expect(cx_file_read(in_folder("none"), 10, &text, &length, &error), &error, CX_ERROR_IO, "No such file");
    expect(cx_file_read(folder, 10, &text, &length, &error), &error, CX_ERROR_IO, "Is a directory");

    /* Files whose size is stated as 0 have contents all the same. */
    assert_int_equal(cx_file_read("/proc/self/maps", 1 << 20, &text, &length, &error), CX_OK);
    assert_true(length > 0);
    free(text);
    expect(cx_file_read("/proc/self/maps", 10, &text, &length, &error), &error, CX_ERROR_INPUT, "at most 10 bytes");
}

static void files_are_replaced_whole(void **state) {
    (void)state;
    char *text, big[40000];
    size_t length;
    struct cx_error error = {0};
    for (size_t k = 0; k < sizeof big; k++)
        big[k] = (char)(k * 7);
    assert_int_equal(cx_file_replace(in_folder("kept"), big, sizeof big, &error), CX_OK);
    assert_int_equal(cx_file_read(in_folder("kept"), sizeof big, &text, &length, &error), CX_OK);
    assert_int_equal(length, sizeof big);
    assert_memory_equal(text, big, length);
    free(text);
    assert_int_equal(cx_file_replace(in_folder("kept"), "", 0, &error), CX_OK);
    assert_int_equal(cx_file_read(in_folder("kept"), 10, &text, &length, &error), CX_OK);
    assert_int_equal(length, 0);
    free(text);
    assert_false(cx_file_exists(in_folder("kept.tmp")));

    /* A folder cannot be replaced by a file: what was there stands, and no .tmp is left. */
    assert_int_equal(mkdir(in_folder("taken"), 0700), 0);
    write_bytes(in_folder("taken/inside"), "x", 1);
    expect(cx_file_replace(in_folder("taken"), "abc", 3, &error), &error, CX_ERROR_IO, "cannot rename to its name");
    assert_false(cx_file_exists(in_folder("taken.tmp")));
    assert_true(cx_file_exists(in_folder("taken/inside")));
    expect(cx_file_replace(in_folder("no/such"), "abc", 3, &error), &error, CX_ERROR_IO, "cannot create");
}

static void a_full_device_is_noticed(void **state) {
    (void)state;
    struct cx_error error = {0};
    /* path.tmp is a link to a device on which every write fails. */
    if (symlink("/dev/full", in_folder("full.tmp")) != 0 || access("/dev/full", W_OK) != 0)
        skip();
    expect(cx_file_replace(in_folder("full"), "abc", 3, &error), &error, CX_ERROR_IO, "No space left");
    assert_false(cx_file_exists(in_folder("full")));
    assert_int_equal(access(in_folder("full.tmp"), F_OK), -1);
}

static void folders_are_made(void **state) {
    (void)state;
    struct cx_error error = {0};
    assert_int_equal(cx_folder_create(in_folder("one/two//three/"), &error), CX_OK);
    assert_true(cx_file_exists(in_folder("one/two/three")));
    assert_int_equal(cx_folder_create(in_folder("one/two/three"), &error), CX_OK);
    write_bytes(in_folder("one/file"), "x", 1);
    expect(cx_folder_create(in_folder("one/file"), &error), &error, CX_ERROR_IO, "in the way");
    expect(cx_folder_create(in_folder("one/file/more"), &error), &error, CX_ERROR_IO, "in the way");
    expect(cx_folder_create("", &error), &error, CX_ERROR_IO, "without a name");
    assert_int_equal(cx_folder_sync(in_folder("one/file"), &error), CX_OK);
    assert_int_equal(cx_folder_sync("no-slash", &error), CX_OK);
    expect(cx_folder_sync(in_folder("absent/file"), &error), &error, CX_ERROR_IO, "cannot open the folder");
}

static void hash_pieces(char digits[33], const char *first, const char *second) {
    struct cx_hasher *hasher;
    assert_int_equal(cx_hasher_create(&hasher, NULL), CX_OK);
    cx_hasher_add(hasher, first, strlen(first));
    if (second)
        cx_hasher_add(hasher, second, strlen(second));
    cx_hasher_text(hasher, digits);
    cx_hasher_destroy(hasher);
}

static void hashes_show_where_pieces_end(void **state) {
    (void)state;
    char one[33], other[33];
    struct cx_hasher *hasher;
    struct cx_error error = {0};
    hash_pieces(one, "ab", "c");
    assert_int_equal(strlen(one), 32);
    assert_int_equal(strspn(one, "0123456789abcdef"), 32);
    hash_pieces(other, "a", "bc");
    assert_string_not_equal(one, other);
    hash_pieces(other, "abc", NULL);
    assert_string_not_equal(one, other);
    hash_pieces(other, "abc", "");
    assert_string_not_equal(one, other);
    hash_pieces(other, "ab", "c");
    assert_string_equal(one, other);

    /* A file is a piece like any other. */
    write_bytes(in_folder("hashed"), "c", 1);
    assert_int_equal(cx_hasher_create(&hasher, &error), CX_OK);
    cx_hasher_add(hasher, "ab", 2);
    assert_int_equal(cx_hasher_add_file(hasher, in_folder("hashed"), &error), CX_OK);
    cx_hasher_text(hasher, other);
    assert_string_equal(one, other);
    expect(cx_hasher_add_file(hasher, in_folder("none"), &error), &error, CX_ERROR_IO, "cannot open");
    expect(cx_hasher_add_file(hasher, folder, &error), &error, CX_ERROR_IO, "cannot read");
    cx_hasher_destroy(hasher);
    cx_hasher_destroy(NULL);
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const names[] = {"some",     "empty", "pipe",     "big",           "kept",    "taken/inside", "taken",
                                        "full.tmp", "full",  "one/file", "one/two/three", "one/two", "one",          "hashed"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        (void)remove(in_folder(names[k]));
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_joined),
        cmocka_unit_test(files_are_mapped),
        cmocka_unit_test(files_are_read_within_a_bound),
        cmocka_unit_test(files_are_replaced_whole),
        cmocka_unit_test(a_full_device_is_noticed),
        cmocka_unit_test(folders_are_made),
        cmocka_unit_test(hashes_show_where_pieces_end),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
