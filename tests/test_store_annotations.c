/* Words, mentions and labels in the store: parts whose labels have other ids and widths, what run.h5 makes of them, and what verify finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <hdf5.h>

#include "store_folder.h"
#include "store_samples.h"

enum { tokens = 5, longest_label = 12 };

static void must(enum cx_status status, const struct cx_error *error) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), error->message);
}

/* What sequence `number` of a part says of its tokens. */
struct annotated {
    int32_t word[tokens], entity[tokens], original_id[tokens];
    const char *pos[tokens];
};

static uint32_t *make_ids(struct cx_label_table *table, const char *const texts[tokens]) {
    uint32_t *ids = sample_memory(tokens, sizeof *ids);
    struct cx_error error = {0};
    for (size_t k = 0; k < tokens; k++)
        must(cx_label_table_add(table, texts[k], strlen(texts[k]), &ids[k], &error), &error);
    return ids;
}

static enum cx_status write_part(const struct cx_store_options *options, uint64_t shard, const struct annotated *annotated, size_t count,
                                 struct cx_part_summary *summary, struct cx_error *error) {
    static const char *const none[tokens] = {"", "", "", "", ""};
    struct cx_part *part = NULL;
    *summary = (struct cx_part_summary){.shard = shard, .first_document = shard * count, .documents = count, .content_hash = shard + 1};
    must(cx_part_create(options, shard, &part, error), error);
    for (size_t s = 0; s < count; s++) {
        struct sample sample = sample_make(options, shard * count + s, tokens);
        struct cx_sequence *sequence = &sample.sequence;
        sequence->word = (int32_t *)(uintptr_t)annotated[s].word;
        sequence->entity = (int32_t *)(uintptr_t)annotated[s].entity;
        sequence->original_id = (int32_t *)(uintptr_t)annotated[s].original_id;
        sequence->pos = make_ids(options->labels, annotated[s].pos);
        sequence->entity_label = make_ids(options->labels, none);
        sequence->label = make_ids(options->labels, annotated[s].pos);
        must(cx_part_append(part, sequence, &sample.result, 1, error), error);
        free(sequence->pos);
        free(sequence->entity_label);
        free(sequence->label);
        sample_free(&sample);
    }
    return cx_part_finish(part, summary, error);
}

static struct cx_store_options make_options(const char *directory, struct cx_label_table *labels) {
    struct cx_store_options options = sample_options(directory);
    options.per_head = options.hidden_states = false;
    options.vector_layer_count = 0;
    options.annotations = options.masked = true;
    options.labels = labels;
    return options;
}

static const struct annotated first[] = {
    {{-1, 0, 0, 1, -1}, {-1, 0, 0, -1, -1}, {101, 7, 8, 9, 102}, {"", "NOUN", "NOUN", "VERB", ""}},
    {{-1, 0, 1, 2, -1}, {-1, -1, -1, 0, -1}, {101, 4, 5, 6, 102}, {"", "VERB", "", "größer", ""}},
};
static const struct annotated second[] = {
    {{0, 1, 2, 3, 4}, {0, 0, 1, 1, 2}, {1, 2, 3, 4, 5}, {"ADP", "VERB", "ADP", "a", "ADVERB-LONG"}},
    {{-1, -1, -1, -1, -1}, {-1, -1, -1, -1, -1}, {1, 2, 3, 4, 5}, {"", "", "", "", ""}},
};

static void read_rows(const struct folder *folder, const char *file, const char *dataset, hid_t type, size_t expected, void *values) {
    hid_t opened = H5Fopen(folder_file(folder, file), H5F_ACC_RDONLY, H5P_DEFAULT), data = H5Dopen2(opened, dataset, H5P_DEFAULT);
    hid_t space = H5Dget_space(data);
    assert_int_equal(H5Sget_simple_extent_npoints(space), expected);
    assert_true(H5Dread(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Sclose(space);
    H5Dclose(data);
    H5Fclose(opened);
}

static void expect_labels(const struct folder *folder, const char *file, const char *dataset, const char *const *expected, size_t count) {
    char found[4 * tokens][longest_label + 1];
    hid_t type = H5Tcopy(H5T_C_S1);
    assert_true(H5Tset_size(type, longest_label + 1) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0);
    read_rows(folder, file, dataset, type, count, found);
    H5Tclose(type);
    for (size_t k = 0; k < count; k++)
        if (strcmp(found[k], expected[k]) != 0)
            fail_msg("%s, %s: token %zu: expected \"%s\", found \"%s\"", file, dataset, k, expected[k], found[k]);
}

static struct folder make_run(struct cx_label_table *labels) {
    struct folder folder = folder_make();
    struct cx_store_options options = make_options(folder.path, labels);
    struct cx_manifest *manifest = NULL;
    struct cx_error error = {0};
    struct cx_part_summary summary;
    const struct cx_skipped_document listed[] = {{.document = 1, .line = 2, .source = "a", .reason = "bad"},
                                                 {.document = 3, .line = 4, .source = "a", .reason = "no word", .stripped = true}};
    must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
    for (uint64_t shard = 0; shard < 2; shard++) {
        must(write_part(&options, shard, shard == 0 ? first : second, 2, &summary, &error), &error);
        summary.skipped = summary.stripped = shard == 0;
        must(cx_manifest_add(manifest, &summary, listed, shard == 0 ? 2 : 0, &error), &error);
    }
    must(cx_store_join(folder.path, NULL, &error), &error);
    must(cx_manifest_complete(manifest, 2, &error), &error);
    cx_manifest_close(manifest);
    return folder;
}

static struct cx_label_table *make_table(void) {
    struct cx_label_table *labels = NULL;
    struct cx_error error = {0};
    must(cx_label_table_create(&labels, &error), &error);
    return labels;
}

static void labels_are_texts(void **state) {
    struct cx_label_table *labels = make_table();
    struct folder folder = make_run(labels);
    const char *expected[4 * tokens], *none[4 * tokens];
    int32_t numbers[4 * tokens];
    (void)state;
    for (size_t k = 0; k < 4 * tokens; k++) {
        expected[k] = (k < 2 * tokens ? first : second)[k / tokens % 2].pos[k % tokens];
        none[k] = "";
    }
    expect_labels(&folder, "parts/shard-000000.h5", "/tok/pos", expected, 2 * tokens);
    expect_labels(&folder, "parts/shard-000001.h5", "/tok/label", expected + 2 * tokens, 2 * tokens);
    expect_labels(&folder, "run.h5", "/tok/pos", expected, 4 * tokens);
    expect_labels(&folder, "run.h5", "/tok/entity_label", none, 4 * tokens);
    read_rows(&folder, "run.h5", "/tok/entity", H5T_NATIVE_INT32, 4 * tokens, numbers);
    assert_memory_equal(numbers, first[0].entity, sizeof first[0].entity);
    assert_memory_equal(numbers + 2 * tokens, second[0].entity, sizeof second[0].entity);
    read_rows(&folder, "run.h5", "/tok/original_id", H5T_NATIVE_INT32, 4 * tokens, numbers);
    assert_memory_equal(numbers + tokens, first[1].original_id, sizeof first[1].original_id);
    folder_remove(&folder);
    cx_label_table_destroy(labels);
}

/* The same part, whatever labels the table had before: as when another process computes it. */
static void bytes_do_not_depend_on_ids(void **state) {
    struct bytes written[2];
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct cx_label_table *labels = make_table();
        struct folder folder = folder_make();
        struct cx_store_options options = make_options(folder.path, labels);
        struct cx_error error = {0};
        struct cx_part_summary summary;
        uint32_t id;
        if (k == 1)
            for (const char *text = "zyxwv"; *text; text++)
                must(cx_label_table_add(labels, text, strlen(text), &id, &error), &error);
        must(write_part(&options, 1, second, 2, &summary, &error), &error);
        written[k] = file_bytes(folder_file(&folder, "parts/shard-000001.h5"));
        folder_remove(&folder);
        cx_label_table_destroy(labels);
    }
    assert_int_equal(written[0].size, written[1].size);
    assert_memory_equal(written[0].data, written[1].data, written[0].size);
    free(written[0].data);
    free(written[1].data);
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

static void verify_looks_at_the_numbers(void **state) {
    static const struct {
        struct annotated annotated;
        const char *words;
    } cases[] = {
        {{{-1, 0, 1, 1, -1}, {-1, 0, -1, 1, 0}, {0}, {"", "", "", "", ""}}, NULL},
        {{{-1, 1, 0, 1, -1}, {-1, -1, -1, -1, -1}, {0}, {"", "", "", "", ""}}, "/tok/word: entry 1 is 1; expected -1 to 0"},
        {{{-1, 0, 2, 1, -1}, {-1, -1, -1, -1, -1}, {0}, {"", "", "", "", ""}}, "/tok/word: entry 2 is 2; expected -1 to 1"},
        {{{-1, 0, -2, 1, -1}, {-1, -1, -1, -1, -1}, {0}, {"", "", "", "", ""}}, "/tok/word: entry 2 is -2"},
        {{{-1, 0, 1, 2, -1}, {-1, 0, 0, 5, -1}, {0}, {"", "", "", "", ""}}, "/tok/entity: entry 3 is 5; expected -1 to 1"},
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct cx_label_table *labels = make_table();
        struct folder folder = folder_make();
        struct cx_store_options options = make_options(folder.path, labels);
        struct cx_manifest *manifest = NULL;
        struct cx_error error = {0};
        struct cx_part_summary summary;
        struct cx_verify_report report;
        struct heard heard = {0};
        must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
        must(write_part(&options, 0, &cases[k].annotated, 1, &summary, &error), &error);
        must(cx_manifest_add(manifest, &summary, NULL, 0, &error), &error);
        must(cx_store_join(folder.path, NULL, &error), &error);
        cx_manifest_close(manifest);
        enum cx_status status = cx_store_verify(folder.path, 1e-5, hear, &heard, &report, &error);
        if (cases[k].words ? status != CX_ERROR_DAMAGED || !strstr(heard.first, cases[k].words) : status != CX_OK)
            fail_msg("case %zu: expected \"%s\", found %s: %s", k, cases[k].words ? cases[k].words : "no fault", cx_status_name(status), heard.first);
        folder_remove(&folder);
        cx_label_table_destroy(labels);
    }
}

struct listed {
    struct cx_skipped_document items[4];
    char reasons[4][32];
    size_t count;
};

static void list(void *context, const struct cx_skipped_document *document) {
    struct listed *listed = context;
    assert_true(listed->count < 4);
    snprintf(listed->reasons[listed->count], sizeof listed->reasons[0], "%s", document->reason);
    listed->items[listed->count++] = *document;
}

static void stripped_documents_are_listed(void **state) {
    struct cx_label_table *labels = make_table();
    struct folder folder = make_run(labels);
    struct cx_manifest *manifest = NULL;
    struct cx_error error = {0};
    struct listed listed = {0};
    (void)state;
    must(cx_store_skipped(folder.path, list, &listed, &error), &error);
    assert_int_equal(listed.count, 2);
    assert_false(listed.items[0].stripped);
    assert_true(listed.items[1].stripped);
    assert_int_equal(listed.items[1].document, 3);
    assert_string_equal(listed.reasons[1], "no word");
    must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
    assert_int_equal(cx_manifest_shard(manifest, 0)->stripped, 1);
    assert_int_equal(cx_manifest_shard(manifest, 1)->stripped, 0);
    cx_manifest_close(manifest);
    folder_remove(&folder);
    cx_label_table_destroy(labels);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_are_texts),
        cmocka_unit_test(bytes_do_not_depend_on_ids),
        cmocka_unit_test(verify_looks_at_the_numbers),
        cmocka_unit_test(stripped_documents_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
