/* Whatever happens to a finished folder is found: every flipped bit, and what only looks right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <hdf5.h>
#include <libdeflate.h>

#include "store_folder.h"
#include "store_samples.h"

enum { flips_per_file = 160 };

static void must(enum cx_status status, const struct cx_error *error) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), error->message);
}

struct heard {
    char first[2048];
    size_t count;
};

static void hear(void *context, const char *sentence) {
    struct heard *heard = context;
    if (heard->count++ == 0)
        snprintf(heard->first, sizeof heard->first, "%s", sentence);
}

static struct cx_store_options small_options(const char *directory) {
    struct cx_store_options options = sample_options(directory);
    options.per_head = options.hidden_states = false;
    options.vector_layer_count = 0;
    return options;
}

/* Shards of two sequences. */
static struct folder make_shards(uint64_t shards, bool by_words) {
    struct folder folder = folder_make();
    struct cx_store_options options = small_options(folder.path);
    struct cx_error error = {0};
    options.by_words = by_words;
    must(sample_write_run(&options, shards, 2, &error), &error);
    return folder;
}

static struct folder make_run(void) {
    return make_shards(2, false);
}

/* `words` NULL: nothing may be wrong. */
static void expect_verdict(const struct folder *folder, const char *words) {
    struct heard heard = {0};
    struct cx_error error = {0};
    struct cx_verify_report report;
    enum cx_status status = cx_store_verify(folder->path, 1e-5, hear, &heard, &report, &error);
    if (!words && (status != CX_OK || heard.count > 0))
        fail_msg("expected no fault, found %s; %s", error.message, heard.first);
    if (words && (status != CX_ERROR_DAMAGED || !strstr(heard.first, words)))
        fail_msg("expected a fault with \"%s\", found %s: %s; %s", words, cx_status_name(status), error.message, heard.first);
}

static void a_whole_run_is_whole(void **state) {
    struct folder folder = make_run();
    struct heard heard = {0};
    struct cx_error error = {0};
    struct cx_verify_report report;
    (void)state;
    must(cx_store_verify(folder.path, 1e-5, hear, &heard, &report, &error), &error);
    assert_int_equal(heard.count, 0);
    assert_int_equal(report.shards, 2);
    assert_int_equal(report.sequences, 4);
    assert_int_equal(report.tokens, sample_tokens(0) + sample_tokens(1) + sample_tokens(2) + sample_tokens(3));
    assert_int_equal(report.damaged, 0);
    assert_true(report.complete && report.completeness_error > 0 && report.completeness_error < 1e-6f);
    assert_int_equal(cx_store_verify(folder.path, 1e-12, hear, &heard, &report, &error), CX_ERROR_DAMAGED);
    assert_int_equal(report.damaged, 2);
    assert_non_null(strstr(heard.first, "completeness error"));
    folder_remove(&folder);
    assert_int_equal(cx_store_verify(folder.path, 1e-5, hear, &heard, &report, &error), CX_ERROR_IO);
}

static void every_flipped_bit_is_found(void **state) {
    static const char *const names[] = {"parts/shard-000000.h5", "manifest.json", "run.h5"};
    struct folder folder = make_shards(1, false);
    uint64_t random = 99;
    (void)state;
    for (size_t f = 0; f < 3; f++) {
        const char *path = folder_file(&folder, names[f]);
        struct bytes bytes = file_bytes(path);
        for (size_t flip = 0; flip < flips_per_file; flip++) {
            /* The last bytes are flipped one after the other: line ends and run.h5's own line. */
            size_t at = flip < 64 ? bytes.size - 1 - flip : (size_t)(sample_random(&random) % bytes.size);
            unsigned char mask = (unsigned char)(1u << sample_random(&random) % 8);
            struct heard heard = {0};
            struct cx_error error = {0};
            struct cx_verify_report report;
            bytes.data[at] ^= mask;
            file_write(path, bytes.data, bytes.size);
            enum cx_status status = cx_store_verify(folder.path, 1e-5, hear, &heard, &report, &error);
            if (status != CX_ERROR_DAMAGED || heard.count == 0)
                fail_msg("%s: byte %zu xor %02x was not found: %s", names[f], at, mask, cx_status_name(status));
            bytes.data[at] ^= mask;
        }
        file_write(path, bytes.data, bytes.size);
        free(bytes.data);
    }
    expect_verdict(&folder, NULL);
    folder_remove(&folder);
}

static void other_damage_is_found(void **state) {
    struct folder folder = make_run();
    const char *part = folder_file(&folder, "parts/shard-000001.h5"), *run = folder_file(&folder, "run.h5");
    struct bytes bytes = file_bytes(part), joined = file_bytes(run), other = file_bytes(folder_file(&folder, "parts/shard-000000.h5"));
    unsigned char *longer = calloc(1, joined.size + 100);
    (void)state;
    file_write(part, bytes.data, bytes.size - 1);
    expect_verdict(&folder, "bytes, and had");
    file_write(part, other.data, other.size);
    expect_verdict(&folder, "shard-000001.h5");
    assert_int_equal(unlink(part), 0);
    expect_verdict(&folder, "No such file");
    file_write(part, bytes.data, bytes.size);
    expect_verdict(&folder, NULL);

    assert_int_equal(unlink(run), 0);
    expect_verdict(&folder, "run.h5 is missing");
    for (size_t size = 0; size < 100; size++) {
        file_write(run, joined.data, size);
        expect_verdict(&folder, "run.h5");
    }
    assert_non_null(longer);
    memcpy(longer, joined.data, joined.size);
    file_write(run, longer, joined.size + 1);
    expect_verdict(&folder, "run.h5 is damaged");
    file_write(run, joined.data, joined.size);
    expect_verdict(&folder, NULL);
    free(longer);
    free(bytes.data);
    free(other.data);
    free(joined.data);
    folder_remove(&folder);
}

/* run.h5 of an earlier state of the folder. */
static void a_stale_run_file_is_found(void **state) {
    struct folder folder = make_run();
    struct cx_store_options options = small_options(folder.path);
    struct cx_manifest *manifest = NULL;
    struct cx_part_summary summary;
    struct cx_error error = {0};
    (void)state;
    must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
    must(sample_write_part(&options, 2, 2, &summary, &error), &error);
    must(cx_manifest_add(manifest, &summary, NULL, 0, &error), &error);
    cx_manifest_close(manifest);
    expect_verdict(&folder, "made of other parts");
    must(cx_store_join(folder.path, NULL, &error), &error);
    expect_verdict(&folder, NULL);
    folder_remove(&folder);
}

/* Changes one number of a part behind the store's back, and lets the manifest vouch for the result. */
static void forge(const struct folder *folder, const char *dataset_name, hsize_t element, hid_t type, const void *value) {
    const char *path = folder_file(folder, "parts/shard-000001.h5");
    struct cx_manifest *manifest = NULL;
    struct cx_error error = {0};
    hsize_t one = 1;
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), dataset = H5Dopen2(file, dataset_name, H5P_DEFAULT), space = H5Dget_space(dataset);
    hsize_t start[2] = {element, 0}, count[2] = {1, 1};
    hid_t memory = H5Screate_simple(1, &one, NULL);
    assert_true(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0);
    assert_true(H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, value) >= 0);
    H5Sclose(memory), H5Sclose(space), H5Dclose(dataset);
    assert_true(H5Fclose(file) >= 0);
    struct bytes bytes = file_bytes(path);
    struct cx_part_summary summary = {.shard = 1,
                                      .first_document = 2,
                                      .documents = 2,
                                      .sequences = 2,
                                      .tokens = sample_tokens(2) + sample_tokens(3),
                                      .bytes = bytes.size,
                                      .file_crc32 = libdeflate_crc32(0, bytes.data, bytes.size)};
    free(bytes.data);
    must(cx_manifest_open(folder->path, sample_identity, &manifest, &error), &error);
    must(cx_manifest_add(manifest, &summary, NULL, 0, &error), &error);
    cx_manifest_close(manifest);
    must(cx_store_join(folder->path, NULL, &error), &error);
}

struct forgery {
    const char *dataset;
    hsize_t element;
    bool integer;
    const void *value;
    const char *words;
};

static void expect_found(const struct forgery *cases, size_t count, bool by_words) {
    for (size_t i = 0; i < count; i++) {
        struct folder folder = make_shards(2, by_words);
        forge(&folder, cases[i].dataset, cases[i].element, cases[i].integer ? H5T_NATIVE_INT64 : H5T_NATIVE_FLOAT, cases[i].value);
        expect_verdict(&folder, cases[i].words);
        folder_remove(&folder);
    }
}

static void contents_that_cannot_be_are_found(void **state) {
    static const float not_a_number = NAN, negative = -1, infinite = INFINITY, large = 1e-3f;
    static const int64_t five = 5;
    static const struct forgery cases[] = {
        {"/maps/ff_res_ln", 17, false, &not_a_number, "/maps/ff_res_ln: element 17 is nan"},
        {"/maps/attn", 0, false, &negative, "element 0 is -1"},
        {"/maps/attn_weight", 3, false, &infinite, "is inf"},
        {"/tokstat/mixing_ratio/ff", 1, false, &not_a_number, "/tokstat/mixing_ratio/ff"},
        {"/seq/completeness_error", 1, false, &large, "completeness error is 0.001"},
        {"/seq/tok_offset", 0, true, &five, "/seq/tok_offset: entry 0 is 5"},
        {"/seq/map_offset", 1, true, &five, "/seq/map_offset: entry 1 is 5"},
        {"/seq/n_tokens", 1, true, &five, "does not fit the sequence's 5 tokens"},
        {"/text/offset", 2, true, &five, "/text/offset: entry 2 is 5"},
    };
    (void)state;
    expect_found(cases, sizeof cases / sizeof cases[0], false);
}

/* Of maps by words: how many there are, and where they begin. */
static void words_that_cannot_be_are_found(void **state) {
    static const int64_t zero = 0, one = 1, many = 1000;
    static const struct forgery cases[] = {
        {"/seq/n_words", 0, true, &one, "/seq/word_offset: entry 1 is "},
        {"/seq/word_offset", 1, true, &one, "/seq/word_offset: entry 1 is 1"},
        {"/word/first_token", 0, true, &one, "/word/first_token: entry 0 is 1; expected 0"},
        {"/word/first_token", 2, true, &one, "/word/first_token: entry 2 is 1;"},
        {"/word/first_token", 3, true, &zero, "/word/first_token: entry 3 is 0;"},
        {"/word/first_token", 2, true, &many, "/word/first_token: entry 2 is 1000;"},
    };
    struct folder folder = make_shards(2, true);
    (void)state;
    expect_verdict(&folder, NULL);
    folder_remove(&folder);
    expect_found(cases, sizeof cases / sizeof cases[0], true);
}

/* A folder that was moved has no old names in it. */
static void a_moved_folder_reads_the_same(void **state) {
    struct folder folder = make_run(), moved = folder_make();
    float before[32], after[32];
    hsize_t count = 32, start = 0;
    (void)state;
    for (int turn = 0; turn < 2; turn++) {
        hid_t file = H5Fopen(folder_file(turn == 0 ? &folder : &moved, "run.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
        hid_t dataset = H5Dopen2(file, "/maps/attn", H5P_DEFAULT), space = H5Dget_space(dataset), memory = H5Screate_simple(1, &count, NULL);
        assert_true(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0);
        assert_true(H5Dread(dataset, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, turn == 0 ? before : after) >= 0);
        H5Sclose(memory), H5Sclose(space), H5Dclose(dataset), H5Fclose(file);
        if (turn == 0) {
            assert_int_equal(rmdir(moved.path), 0);
            assert_int_equal(rename(folder.path, moved.path), 0);
        }
    }
    assert_memory_equal(before, after, sizeof before);
    assert_true(before[0] > 0);
    expect_verdict(&moved, NULL);
    folder_remove(&moved);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_run_is_whole),          cmocka_unit_test(every_flipped_bit_is_found),        cmocka_unit_test(other_damage_is_found),
        cmocka_unit_test(a_stale_run_file_is_found),     cmocka_unit_test(contents_that_cannot_be_are_found), cmocka_unit_test(words_that_cannot_be_are_found),
        cmocka_unit_test(a_moved_folder_reads_the_same),
    };
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
