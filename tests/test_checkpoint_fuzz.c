/*
 * Thousands of spoiled headers, configs and indexes, the same ones every time: each is either refused with a sentence or read, and what was read lies
 * inside the file. With the sanitizers on, this also looks for bad accesses and leaks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/checkpoint.h"
#include "model_files.h"
#include "safetensors.h"

enum { rounds = 4000, text_limit = 8192, most_changes = 4 };

static char *folder;

/* Pieces that break things more often than random bytes do. */
static const char *const pieces[] = {"0",
                                     "-1",
                                     "1",
                                     "4",
                                     "8",
                                     "9223372036854775807",
                                     "99999999999999999999",
                                     "1e999",
                                     "0.5",
                                     "null",
                                     "true",
                                     "[]",
                                     "{}",
                                     "\"\"",
                                     "\"",
                                     ",",
                                     ":",
                                     "[",
                                     "]",
                                     "{",
                                     "}",
                                     "\\u0000",
                                     "\\",
                                     "F32",
                                     "F4",
                                     "BF16",
                                     "__metadata__",
                                     "\xff",
                                     " ",
                                     "a",
                                     "b"};

/* Replaces, inserts, deletes, repeats or swaps at a random place. `text` has room for text_limit bytes. */
static size_t spoil(char *text, size_t length, uint64_t *state) {
    size_t changes = 1 + test_random(state) % most_changes;
    for (size_t change = 0; change < changes && length > 0; change++) {
        size_t place = test_random(state) % length, span = test_random(state) % 12;
        const char *piece = pieces[test_random(state) % (sizeof pieces / sizeof *pieces)];
        size_t piece_length = strlen(piece);
        if (span > length - place)
            span = length - place;
        switch (test_random(state) % 5) {
        case 0: /* a byte */
            text[place] = (char)test_random(state);
            break;
        case 1: /* a bit */
            text[place] ^= (char)(1 << test_random(state) % 8);
            break;
        case 2: /* a stretch is lost */
            memmove(text + place, text + place + span, length - place - span);
            length -= span;
            break;
        case 3: /* a piece takes a stretch's place */
            if (length + piece_length >= text_limit)
                break;
            memmove(text + place + piece_length, text + place + span, length - place - span);
            memcpy(text + place, piece, piece_length);
            length = length - span + piece_length;
            break;
        default: /* the end is lost, rarely */
            if (test_random(state) % 8 == 0)
                length = place;
            break;
        }
    }
    return length;
}

static void check_status(size_t round, enum cx_status status, const struct cx_error *error) {
    if (status == CX_OK || ((status == CX_ERROR_INPUT || status == CX_ERROR_UNSUPPORTED || status == CX_ERROR_IO) && error->message[0]))
        return;
    fail_msg("round %zu: %s \"%s\"", round, cx_status_name(status), error->message);
}

/* The data of the tensors of a file that was read lie inside it, and cover it. */
static void check_inside(size_t round, const struct cx_safetensors *file) {
    size_t covered = 0;
    const unsigned char *end = file->mapping.data + file->mapping.size;
    for (size_t k = 0; k < file->count; k++) {
        const struct cx_safetensors_tensor *tensor = &file->tensors[k];
        if (tensor->data < file->mapping.data || tensor->data > end || tensor->size > (size_t)(end - tensor->data))
            fail_msg("round %zu: tensor %s lies outside its file", round, tensor->name);
        covered += tensor->size;
    }
    if (covered > file->mapping.size)
        fail_msg("round %zu: the tensors have %zu bytes, the file %zu", round, covered, file->mapping.size);
}

static void spoiled_headers(void **state) {
    (void)state;
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]},\"c\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[32,40]}}";
    uint64_t random = 20230901;
    size_t good = 0;
    for (size_t round = 0; round < rounds; round++) {
        char bytes[8 + text_limit + 40] = {0};
        struct cx_safetensors file;
        struct cx_error error = {0};
        memcpy(bytes + 8, header, sizeof header - 1);
        size_t length = spoil(bytes + 8, sizeof header - 1, &random), stated = length;
        /* Sometimes the length itself is wrong. */
        if (test_random(&random) % 8 == 0)
            stated = test_random(&random) >> test_random(&random) % 64;
        for (int k = 0; k < 8; k++)
            bytes[k] = (char)((uint64_t)stated >> 8 * k);
        test_write(folder, "x.safetensors", bytes, 8 + length + 40);
        enum cx_status status = cx_safetensors_open(test_path(folder, "x.safetensors"), &file, &error);
        check_status(round, status, &error);
        if (status == CX_OK) {
            good++;
            check_inside(round, &file);
        }
        cx_safetensors_close(&file);
    }
    print_message("%zu of %d spoiled headers are still well formed\n", good, rounds);
    assert_in_range(good, 1, rounds / 2);
}

static void spoiled_configs(void **state) {
    (void)state;
    struct test_model model;
    uint64_t random = 7;
    size_t good = 0;
    test_model_create(&model, "F32");
    for (size_t round = 0; round < rounds; round++) {
        char text[text_limit];
        struct cx_model_config config;
        struct cx_error error = {0};
        size_t length = strlen(model.config);
        memcpy(text, model.config, length);
        length = spoil(text, length, &random);
        test_write(folder, "config.json", text, length);
        enum cx_status status = cx_checkpoint_read_config(folder, &config, &error);
        check_status(round, status, &error);
        if (status != CX_OK)
            continue;
        good++;
        if (config.heads * config.head_size != config.hidden_size || config.layers == 0 || !(config.norm_epsilon > 0))
            fail_msg("round %zu: %.*s gives sizes that do not fit", round, (int)length, text);
    }
    print_message("%zu of %d spoiled configs are still well formed\n", good, rounds);
    assert_in_range(good, 1, rounds / 2);
    test_model_destroy(&model);
}

/* The bytes of a file, of at most `limit`. */
static size_t load(const char *name, char *bytes, size_t limit) {
    FILE *file = fopen(test_path(folder, name), "rb");
    assert_non_null(file);
    size_t length = fread(bytes, 1, limit, file);
    assert_int_equal(fclose(file), 0);
    return length;
}

/* A whole folder, one of whose files is spoiled in its first bytes, where the names and numbers are. */
static void spoil_folder(const char *name, uint64_t seed) {
    static char original[32768], bytes[32768 + text_limit];
    size_t size = load(name, original, sizeof original);
    assert_true(size < sizeof original);
    size_t head = size < text_limit - 512 ? size : text_limit - 512;
    uint64_t random = seed;
    for (size_t round = 0; round < rounds / 8; round++) {
        struct cx_checkpoint *checkpoint;
        struct cx_error error = {0};
        memcpy(bytes, original, head);
        /* Of a weight file the length of the header, 8 bytes, stays: a wrong one is tried above. */
        size_t kept = strstr(name, ".json") ? 0 : 8;
        size_t length = kept + spoil(bytes + kept, head - kept, &random);
        memcpy(bytes + length, original + head, size - head);
        test_write(folder, name, bytes, length + size - head);
        enum cx_status status = cx_checkpoint_open(folder, &checkpoint, &error);
        check_status(round, status, &error);
        if (status == CX_OK)
            cx_checkpoint_release_pages(checkpoint);
        cx_checkpoint_close(checkpoint);
    }
    test_write(folder, name, original, size);
}

static void spoiled_folders(void **state) {
    (void)state;
    struct test_model model;
    struct cx_checkpoint *checkpoint;
    struct cx_error error = {0};
    test_model_create(&model, "F16");
    test_model_write_sharded(&model, folder);
    spoil_folder("model.safetensors.index.json", 11);
    spoil_folder("model-00001-of-00002.safetensors", 12);
    spoil_folder("model-00002-of-00002.safetensors", 13);
    spoil_folder("config.json", 14);
    if (cx_checkpoint_open(folder, &checkpoint, &error) != CX_OK)
        fail_msg("%s", error.message);
    cx_checkpoint_close(checkpoint);
    test_model_destroy(&model);
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
        cmocka_unit_test_setup_teardown(spoiled_headers, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(spoiled_configs, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(spoiled_folders, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
