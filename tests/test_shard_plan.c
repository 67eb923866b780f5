/* Plans of shards: what a worker reads of one shard is what a reading of the whole corpus gives there, in every format and from every shard. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>

#include "contexture/shard_plan.h"
#include "corpus_fixture.h"

enum { large_bytes = 6 << 20, piece_bytes = 3 << 19 };

static void require(enum cx_status status, const struct cx_error *error) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), error->message);
}

/* Lines that do not compress well, so that a few MiB of gzip data come together; lengths vary. */
static char *make_text(size_t bytes) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    char *text = malloc(bytes);
    uint64_t state = 7;
    fixture_require(text != NULL, "malloc");
    for (size_t k = 0, left = 5; k < bytes; k++, left--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        text[k] = left == 0 ? '\n' : letters[state >> 58];
        if (left == 0)
            left = 1 + (state >> 40) % 3000;
    }
    text[bytes - 1] = '\n';
    return text;
}

struct whole {
    struct cx_document documents[20000];
    size_t count;
};

static struct cx_corpus *open_corpus(const struct cx_corpus_options *options) {
    struct cx_error error = {0};
    struct cx_corpus *corpus = NULL;
    require(cx_corpus_open(options, &corpus, &error), &error);
    return corpus;
}

static struct whole *read_whole(const struct cx_corpus_options *options) {
    struct whole *whole = calloc(1, sizeof *whole);
    struct cx_error error = {0};
    struct cx_corpus *corpus = open_corpus(options);
    enum cx_status status;
    fixture_require(whole != NULL, "calloc");
    while ((status = cx_corpus_next_line(corpus, &whole->documents[whole->count], &error)) == CX_OK)
        assert_true(++whole->count < sizeof whole->documents / sizeof *whole->documents);
    assert_int_equal(status, CX_END);
    cx_corpus_close(corpus);
    return whole;
}

static struct cx_shard_rule rule_of(uint64_t documents, uint64_t work) {
    return (struct cx_shard_rule){documents, work, {.longest = 512, .too_long = CX_TOO_LONG_TRUNCATE}};
}

static struct cx_shard_plan *make_plan(const struct fixture *fixture, const struct cx_corpus_options *options, const struct cx_shard_rule *rule) {
    struct cx_error error = {0};
    struct cx_corpus *corpus = open_corpus(options);
    struct cx_shard_plan *plan = NULL;
    char *text = NULL;
    size_t length = 0;
    require(cx_shard_plan_make(corpus, options, rule, "name", NULL, NULL, &text, &length, &error), &error);
    require(cx_shard_plan_write(fixture->folder, text, length, &error), &error);
    require(cx_shard_plan_open(fixture->folder, corpus, options, rule, &plan, &error), &error);
    free(text);
    cx_corpus_close(corpus);
    return plan;
}

static void expect_shard(struct cx_shard_plan *plan, struct cx_corpus *corpus, uint64_t shard, const struct whole *whole, uint64_t first_number,
                         const struct cx_shard_rule *rule) {
    const struct cx_shard_range *range = cx_shard_plan_range(plan, shard);
    struct cx_error error = {0};
    struct cx_shard_cut cut = {0};
    require(cx_shard_plan_go(plan, corpus, shard, &error), &error);
    for (uint64_t k = 0; k < range->documents; k++) {
        struct cx_document document;
        const struct cx_document *expected = &whole->documents[range->begin.number - first_number + k];
        enum cx_status status = cx_corpus_next(corpus, &document, &error);
        if (status != CX_ERROR_DOCUMENT)
            require(status, &error);
        assert_int_equal(document.number, expected->number);
        assert_int_equal(document.source, expected->source);
        assert_int_equal(document.line, expected->line);
        assert_int_equal(document.text_bytes, expected->text_bytes);
        assert_true(document.content_hash == expected->content_hash);
        bool ends = cx_shard_cut_add(&cut, rule, &document);
        assert_true(!ends || k + 1 == range->documents);
    }
    assert_true(cut.content_hash == range->content_hash);
    assert_int_equal(cut.pairs, range->pairs);
}

/* All shards, by falling work, on one open corpus; and they are the whole corpus. Returns their number. */
static uint64_t expect_plan(const struct fixture *fixture, const struct cx_corpus_options *options, uint64_t documents, uint64_t work) {
    const struct cx_shard_rule rule = rule_of(documents, work);
    struct whole *whole = read_whole(options);
    struct cx_shard_plan *plan = make_plan(fixture, options, &rule);
    struct cx_corpus *corpus = open_corpus(options);
    const uint64_t count = cx_shard_plan_count(plan), first = whole->count > 0 ? whole->documents[0].number : 0;
    uint64_t *order = malloc(count * sizeof *order + 1), next = first;
    fixture_require(order != NULL, "malloc");
    for (uint64_t k = 0; k < count; k++) {
        const struct cx_shard_range *range = cx_shard_plan_range(plan, k);
        assert_int_equal(range->begin.number, next);
        next += range->documents;
    }
    assert_int_equal(next - first, whole->count);
    cx_shard_plan_order(plan, order);
    for (uint64_t k = 0; k < count; k++) {
        if (k > 0)
            assert_true(cx_shard_plan_range(plan, order[k - 1])->pairs >= cx_shard_plan_range(plan, order[k])->pairs);
        expect_shard(plan, corpus, order[k], whole, first, &rule);
    }
    free(order);
    cx_corpus_close(corpus);
    cx_shard_plan_close(plan);
    free(whole);
    return count;
}

static void test_plain_files(void **state) {
    const struct fixture *fixture = *state;
    const char *paths[] = {fixture_text(fixture, "a.txt",
                                        "\xef\xbb\xbf"
                                        "one\r\n\n \ntwo\nthree\n"),
                           fixture_text(fixture, "b.txt", ""), fixture_text(fixture, "c.jsonl", "{\"text\": \"x\"}\nno document\n{\"text\": \"y\"}"),
                           fixture_text(fixture, "d.txt", "\n\nlast")};
    struct cx_corpus_options options = {.paths = paths, .path_count = 4};
    assert_int_equal(expect_plan(fixture, &options, 1, 0), 7);
    assert_int_equal(expect_plan(fixture, &options, 2, 0), 4);
    assert_int_equal(expect_plan(fixture, &options, 100, 0), 1);
    options.skip = 2;
    options.limit = 4;
    assert_int_equal(expect_plan(fixture, &options, 3, 0), 2);
    options.skip = 7;
    assert_int_equal(expect_plan(fixture, &options, 3, 0), 0);
}

static void test_work_ends_shards(void **state) {
    const struct fixture *fixture = *state;
    char text[40 * 101 + 1] = "";
    for (int k = 0; k < 40; k++) { /* 20 long lines, then 20 short ones */
        memset(text + strlen(text), 'a', k < 20 ? 98 : 2);
        strcat(text, "\n");
    }
    const char *path = fixture_text(fixture, "work.txt", text);
    const struct cx_corpus_options options = {.paths = &path, .path_count = 1};
    /* 98 bytes: 27 tokens, 729 pairs; 2 bytes: 3 tokens, 9 pairs. */
    const struct cx_shard_rule rule = rule_of(1000, 5 * 729);
    struct cx_shard_plan *plan = make_plan(fixture, &options, &rule);
    assert_int_equal(cx_shard_plan_count(plan), 5);
    assert_int_equal(cx_shard_plan_range(plan, 3)->pairs, 5 * 729);
    assert_int_equal(cx_shard_plan_range(plan, 4)->pairs, 20 * 9);
    cx_shard_plan_close(plan);
    assert_int_equal(expect_plan(fixture, &options, 7, 5 * 729), 7);
}

static void test_estimates(void **state) {
    (void)state;
    struct cx_sequence_options options = {.longest = 100, .too_long = CX_TOO_LONG_TRUNCATE};
    assert_int_equal(cx_estimate_pairs(&options, 0), 4);
    assert_int_equal(cx_estimate_pairs(&options, 5), 16);
    assert_int_equal(cx_estimate_pairs(&options, 392), 10000);
    assert_int_equal(cx_estimate_pairs(&options, 1 << 30), 10000);
    options.too_long = CX_TOO_LONG_SKIP;
    assert_int_equal(cx_estimate_pairs(&options, 393), 0);
    options.too_long = CX_TOO_LONG_WINDOW; /* 202 tokens: windows from 0, 75 and 150 */
    assert_int_equal(cx_estimate_pairs(&options, 800), 30000);
    options.longest = SIZE_MAX;
    assert_true(cx_estimate_pairs(&options, UINT64_MAX) >= (uint64_t)1 << 62);
}

/* The text in pieces, each a member or frame of its own; 0: one. */
static const char *write_compressed(const struct fixture *fixture, const char *name, const char *text, size_t bytes, size_t piece, bool zstd) {
    unsigned char *joined = malloc(2 * bytes);
    size_t used = 0;
    fixture_require(joined != NULL, "malloc");
    for (size_t begin = 0; begin < bytes; begin += piece) {
        unsigned char *part;
        size_t part_bytes = bytes - begin < piece ? bytes - begin : piece;
        size_t length = zstd ? fixture_zstd(text + begin, part_bytes, &part) : fixture_gzip(text + begin, part_bytes, &part);
        memcpy(joined + used, part, length);
        used += length;
        free(part);
    }
    const char *path = fixture_write(fixture, name, joined, used);
    free(joined);
    return path;
}

/* Once more mends it again. */
static void damage_beginning(const char *path) {
    struct stat facts;
    struct timespec times[2];
    unsigned char bytes[1000];
    int file = open(path, O_RDWR);
    fixture_require(file >= 0 && fstat(file, &facts) == 0 && pread(file, bytes, sizeof bytes, 100000) == sizeof bytes, path);
    for (size_t k = 0; k < sizeof bytes; k++)
        bytes[k] ^= 0xff;
    times[0] = facts.st_atim;
    times[1] = facts.st_mtim;
    fixture_require(pwrite(file, bytes, sizeof bytes, 100000) == sizeof bytes && futimens(file, times) == 0 && close(file) == 0, path);
}

/* The last shard is read though the beginning of the file cannot be decompressed: nobody tried. */
static void expect_direct_way(const struct fixture *fixture, const struct cx_corpus_options *options) {
    const struct cx_shard_rule rule = rule_of(50, 0);
    struct cx_error error = {0};
    struct cx_shard_plan *plan = make_plan(fixture, options, &rule);
    struct whole *whole = read_whole(options);
    const uint64_t last = cx_shard_plan_count(plan) - 1;
    damage_beginning(options->paths[0]);
    struct cx_corpus *corpus = open_corpus(options);
    expect_shard(plan, corpus, last, whole, 0, &rule);
    require(cx_shard_plan_go(plan, corpus, 0, &error), &error);
    enum cx_status status = CX_OK;
    struct cx_document document;
    while (status == CX_OK)
        status = cx_corpus_next(corpus, &document, &error);
    assert_int_equal(status, CX_ERROR_INPUT);
    damage_beginning(options->paths[0]);
    cx_corpus_close(corpus);
    cx_shard_plan_close(plan);
    free(whole);
}

static void test_compressed_files(void **state) {
    const struct fixture *fixture = *state;
    char *text = make_text(large_bytes);
    const struct {
        const char *name;
        size_t piece;
        bool zstd, direct;
    } cases[] = {{"one.gz", large_bytes, false, true},
                 {"many.gz", piece_bytes, false, true},
                 {"many.zst", piece_bytes, true, true},
                 {"one.zst", large_bytes, true, false}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const char *path = write_compressed(fixture, cases[k].name, text, large_bytes, cases[k].piece, cases[k].zstd);
        const struct cx_corpus_options options = {.paths = &path, .path_count = 1};
        assert_true(expect_plan(fixture, &options, 200, 0) > 10);
        if (cases[k].direct)
            expect_direct_way(fixture, &options);
    }
    free(text);
}

static void test_other_plans_do_not_fit(void **state) {
    const struct fixture *fixture = *state;
    const char *path = fixture_text(fixture, "fit.txt", "one\ntwo\nthree\n");
    struct cx_corpus_options options = {.paths = &path, .path_count = 1};
    struct cx_shard_rule rule = rule_of(2, 0), other = rule_of(2, 5);
    struct cx_shard_plan *plan = make_plan(fixture, &options, &rule);
    struct cx_error error = {0};
    assert_string_equal(cx_shard_plan_corpus(plan), "name");
    cx_shard_plan_close(plan);
    struct cx_corpus *corpus = open_corpus(&options);
    assert_int_equal(cx_shard_plan_open(fixture->folder, corpus, &options, &other, &plan, &error), CX_END);
    options.limit = 2;
    assert_int_equal(cx_shard_plan_open(fixture->folder, corpus, &options, &rule, &plan, &error), CX_END);
    options.limit = 0;
    fixture_text(fixture, "fit.txt", "one\ntwo\nthree\nfour\n");
    assert_int_equal(cx_shard_plan_open(fixture->folder, corpus, &options, &rule, &plan, &error), CX_END);
    assert_null(plan);
    cx_corpus_close(corpus);
}

/* A flipped byte, or a cut, wherever it is. */
static void test_damage_is_noticed(void **state) {
    const struct fixture *fixture = *state;
    const char *path = fixture_text(fixture, "damage.txt", "one\ntwo\nthree\n");
    const struct cx_corpus_options options = {.paths = &path, .path_count = 1};
    const struct cx_shard_rule rule = rule_of(1, 0);
    cx_shard_plan_close(make_plan(fixture, &options, &rule));
    struct cx_corpus *corpus = open_corpus(&options);
    char bytes[8192], spoilt[8192];
    FILE *file = fopen(fixture_path(fixture, "plan.json"), "rb");
    size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_in_range(length, 100, sizeof bytes - 1);
    for (size_t k = 0; k < length; k += 5) {
        struct cx_shard_plan *plan = NULL;
        struct cx_error error = {0};
        memcpy(spoilt, bytes, length);
        spoilt[k] ^= 4;
        fixture_write(fixture, "plan.json", spoilt, length);
        assert_int_equal(cx_shard_plan_open(fixture->folder, corpus, &options, &rule, &plan, &error), CX_ERROR_DAMAGED);
        fixture_write(fixture, "plan.json", bytes, k);
        assert_int_equal(cx_shard_plan_open(fixture->folder, corpus, &options, &rule, &plan, &error), CX_ERROR_DAMAGED);
        assert_null(plan);
    }
    cx_corpus_close(corpus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plain_files, fixture_create, fixture_remove),
        cmocka_unit_test_setup_teardown(test_work_ends_shards, fixture_create, fixture_remove),
        cmocka_unit_test(test_estimates),
        cmocka_unit_test_setup_teardown(test_compressed_files, fixture_create, fixture_remove),
        cmocka_unit_test_setup_teardown(test_other_plans_do_not_fit, fixture_create, fixture_remove),
        cmocka_unit_test_setup_teardown(test_damage_is_noticed, fixture_create, fixture_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
