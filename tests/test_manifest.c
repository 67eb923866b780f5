/* The manifest: goes on from what is whole, refuses what is another run or damaged, and belongs to one process at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "store_folder.h"
#include "store_samples.h"

static void must(enum cx_status status, const struct cx_error *error) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), error->message);
}

static void expect_failure(enum cx_status found, enum cx_status expected, const struct cx_error *error, const char *words) {
    if (found != expected)
        fail_msg("expected %s, found %s: %s", cx_status_name(expected), cx_status_name(found), error->message);
    if (!strstr(error->message, words))
        fail_msg("expected a sentence with \"%s\", found: %s", words, error->message);
}

/* Files of the right size, so that the manifest believes in its parts. */
static struct cx_part_summary make_part(const struct folder *folder, uint64_t shard) {
    char name[64];
    unsigned char content[40] = {(unsigned char)shard};
    struct cx_part_summary part = {.shard = shard,
                                   .first_document = shard * 10,
                                   .documents = 10,
                                   .skipped = 1,
                                   .sequences = 9,
                                   .tokens = 90,
                                   .pairs = 900,
                                   .bytes = sizeof content,
                                   .content_hash = 0xfedcba9876543210u + shard,
                                   .file_crc32 = 0x89abcdefu,
                                   .completeness_error = 1.1e-7f,
                                   .seconds = 0.5};
    snprintf(name, sizeof name, "parts/shard-%06d.h5", (int)shard);
    file_write(folder_file(folder, name), content, sizeof content);
    return part;
}

/* A manifest with shards 0, 1 and 2. */
static void begin(const struct folder *folder) {
    struct cx_manifest *manifest = NULL;
    struct cx_error error = {0};
    must(cx_manifest_open(folder->path, sample_identity, &manifest, &error), &error);
    assert_int_equal(cx_manifest_count(manifest), 0);
    for (uint64_t shard = 0; shard < 3; shard++) {
        struct cx_part_summary part = make_part(folder, shard);
        must(cx_manifest_add(manifest, &part, NULL, 0, &error), &error);
    }
    cx_manifest_close(manifest);
}

static void goes_on(void **state) {
    struct folder folder = folder_make();
    struct cx_manifest *manifest = NULL;
    struct cx_error error = {0};
    (void)state;
    begin(&folder);
    must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
    assert_int_equal(cx_manifest_count(manifest), 3);
    const struct cx_part_summary *part = cx_manifest_shard(manifest, 2), expected = make_part(&folder, 2);
    assert_non_null(part);
    assert_int_equal(part->first_document, expected.first_document);
    assert_int_equal(part->content_hash, expected.content_hash);
    assert_int_equal(part->file_crc32, expected.file_crc32);
    assert_int_equal(part->pairs, expected.pairs);
    assert_true(part->completeness_error == expected.completeness_error && part->seconds == expected.seconds);
    assert_null(cx_manifest_shard(manifest, 3));
    expect_failure(cx_manifest_complete(manifest, 4, &error), CX_ERROR_INTERNAL, &error, "4 shards");
    must(cx_manifest_complete(manifest, 3, &error), &error);
    must(cx_manifest_complete(manifest, 3, &error), &error);
    cx_manifest_close(manifest);
    struct bytes bytes = file_bytes(folder_file(&folder, "manifest.json"));
    size_t lines = 0;
    for (size_t i = 0; i < bytes.size; i++)
        lines += bytes.data[i] == '\n';
    assert_int_equal(lines, 5); /* header, three shards, one end */
    free(bytes.data);
    assert_false(file_there(folder_file(&folder, "lock")));
    folder_remove(&folder);
}

static void left_out_documents_are_listed(void **state) {
    struct folder folder = folder_make();
    struct cx_manifest *manifest = NULL;
    struct cx_error error = {0};
    const struct cx_skipped_document skipped[] = {{7, 8, "a\xff.txt", "line 8: \"quoted\"\nand broken", false}, {9, 10, "b.txt", "größer", false}};
    (void)state;
    must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
    struct cx_part_summary part = make_part(&folder, 0);
    must(cx_manifest_add(manifest, &part, skipped, 2, &error), &error);
    cx_manifest_close(manifest);
    struct bytes bytes = file_bytes(folder_file(&folder, "manifest.json"));
    const char *expected = "\"left_out\":[{\"document\":7,\"line\":8,\"source\":\"a\xef\xbf\xbd.txt\",\"reason\":\"line 8: \\\"quoted\\\"\\nand broken\"},"
                           "{\"document\":9,\"line\":10,\"source\":\"b.txt\",\"reason\":\"größer\"}]";
    if (!strstr((char *)bytes.data, expected))
        fail_msg("expected %s, found %s", expected, (char *)bytes.data);
    free(bytes.data);
    must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
    assert_int_equal(cx_manifest_count(manifest), 1);
    cx_manifest_close(manifest);
    folder_remove(&folder);
}

static void another_run_is_refused(void **state) {
    static const struct {
        const char *identity, *words;
    } cases[] = {
        {"{\"layers\":4,\"model\":\"0123456789abcdef\",\"options\":{\"maps\":[\"attn\"],\"stride\":4}}", "layers was 3 and is now 4"},
        {"{\"layers\":3,\"model\":\"x\",\"options\":{\"maps\":[\"attn\"],\"stride\":4}}", "model was \"0123456789abcdef\" and is now \"x\""},
        {"{\"layers\":3,\"model\":\"0123456789abcdef\",\"options\":{\"maps\":[\"attn\",\"ff\"],\"stride\":4}}",
         "options.maps was [\"attn\"] and is now [\"attn\",\"ff\"]"},
        {"{\"layers\":3,\"model\":\"0123456789abcdef\",\"options\":{\"maps\":[\"attn\"]}}", "options.stride was 4 and is now nothing"},
        {"{\"corpus\":1,\"layers\":4,\"model\":\"0123456789abcdef\",\"options\":{\"maps\":[\"attn\"],\"stride\":4}}", "corpus was nothing and is now 1"},
        {"{\"layers\":3,\"model\":\"0123456789abcdef\",\"options\":null}", "options was {\"maps\":[\"attn\"],\"stride\":4} and is now null"},
    };
    struct folder folder = folder_make();
    struct cx_manifest *manifest = NULL;
    struct cx_error error = {0};
    (void)state;
    begin(&folder);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_failure(cx_manifest_open(folder.path, cases[i].identity, &manifest, &error), CX_ERROR_CONFLICT, &error, cases[i].words);
        assert_null(manifest);
        assert_false(file_there(folder_file(&folder, "lock")));
    }
    expect_failure(cx_manifest_open(folder.path, "[]", &manifest, &error), CX_ERROR_INTERNAL, &error, "an array");
    must(cx_manifest_open(folder.path, "{\"options\":{\"stride\":4,\"maps\":[\"attn\"]}, \"model\":\"0123456789abcdef\",\"layers\":3}", &manifest, &error),
         &error);
    cx_manifest_close(manifest);
    folder_remove(&folder);
}

/* Real numbers in the identity survive: 17 digits are written. */
static void numbers_are_kept(void **state) {
    static const char identity[] = "{\"epsilon\":1.0000000000000002e-12,\"third\":0.33333333333333331}";
    struct folder folder = folder_make();
    struct cx_manifest *manifest = NULL;
    struct cx_error error = {0};
    char *json = NULL;
    (void)state;
    for (int i = 0; i < 2; i++) {
        must(cx_manifest_open(folder.path, identity, &manifest, &error), &error);
        cx_manifest_close(manifest);
    }
    must(cx_store_describe(folder.path, &json, &error), &error);
    assert_non_null(strstr(json, "\"format\":\"contexture run\",\"format_version\":1,"));
    assert_null(strchr(json, '\n'));
    free(json);
    folder_remove(&folder);
}

/* Cut anywhere, the manifest has the shards whose lines are whole, and the next line goes behind those. */
static void torn_lines_are_cut_off(void **state) {
    struct folder folder = folder_make();
    struct cx_error error = {0};
    (void)state;
    begin(&folder);
    char path[128];
    snprintf(path, sizeof path, "%s", folder_file(&folder, "manifest.json"));
    struct bytes whole = file_bytes(path), repaired;
    size_t header = (size_t)((unsigned char *)memchr(whole.data, '\n', whole.size) - whole.data) + 1, shards = 0;
    for (size_t size = header; size <= whole.size; size++) {
        struct cx_manifest *manifest = NULL;
        shards += size > header && whole.data[size - 1] == '\n';
        if (size % 7 != 0 && whole.data[size - 1] != '\n')
            continue;
        file_write(path, whole.data, size);
        must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
        assert_int_equal(cx_manifest_count(manifest), shards);
        for (uint64_t shard = shards; shard < 3; shard++) {
            struct cx_part_summary part = make_part(&folder, shard);
            must(cx_manifest_add(manifest, &part, NULL, 0, &error), &error);
        }
        cx_manifest_close(manifest);
        repaired = file_bytes(path);
        if (repaired.size != whole.size || memcmp(repaired.data, whole.data, whole.size) != 0)
            fail_msg("cut at %zu, the manifest became %s", size, (char *)repaired.data);
        free(repaired.data);
    }
    free(whole.data);
    folder_remove(&folder);
}

static void damaged_lines_are_named(void **state) {
    struct folder folder = folder_make();
    struct cx_manifest *manifest = NULL;
    struct cx_error error = {0};
    (void)state;
    begin(&folder);
    const char *path = folder_file(&folder, "manifest.json");
    struct bytes bytes = file_bytes(path);
    size_t line = 1, last_feed = bytes.size - 1;
    char words[32];
    for (size_t i = 0; i < last_feed; i++) {
        unsigned char kept = bytes.data[i];
        snprintf(words, sizeof words, "line %zu ", line);
        line += kept == '\n';
        if (i % 5 != 0 && kept != '\n')
            continue;
        bytes.data[i] ^= (unsigned char)(1u << i % 8);
        file_write(path, bytes.data, bytes.size);
        expect_failure(cx_manifest_open(folder.path, sample_identity, &manifest, &error), CX_ERROR_DAMAGED, &error, words);
        bytes.data[i] = kept;
    }
    file_write(path, bytes.data, 30);
    expect_failure(cx_manifest_open(folder.path, sample_identity, &manifest, &error), CX_ERROR_DAMAGED, &error, "header");
    file_write(path, "", 0);
    expect_failure(cx_manifest_open(folder.path, sample_identity, &manifest, &error), CX_ERROR_DAMAGED, &error, "header");
    free(bytes.data);
    folder_remove(&folder);
}

/* Lines with a right checksum and a wrong meaning. */
static void strange_lines_are_refused(void **state) {
    static const struct {
        const char *line, *words;
        enum cx_status status;
        bool header;
    } cases[] = {
        {"{\"format\":\"other\",\"crc32\":\"3c51a0ee\"}", "other", CX_ERROR_CONFLICT, true},
        {"{\"format\":\"contexture run\",\"format_version\":99,\"crc32\":\"9e5e5b5a\"}", "99", CX_ERROR_UNSUPPORTED, true},
        {"{\"weather\":1,\"crc32\":\"00000000\"}", "does not know", CX_ERROR_UNSUPPORTED, false},
        {"{\"shard\":-1,\"crc32\":\"00000000\"}", "shard", CX_ERROR_INPUT, false},
        {"{\"shard\":\"0\",\"crc32\":\"00000000\"}", "shard", CX_ERROR_INPUT, false},
        {"{\"complete\":true,\"crc32\":\"00000000\"}", "shards", CX_ERROR_INPUT, false},
    };
    struct folder folder = folder_make();
    struct cx_manifest *manifest = NULL;
    struct cx_error error = {0};
    (void)state;
    begin(&folder);
    const char *path = folder_file(&folder, "manifest.json");
    struct bytes bytes = file_bytes(path);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char line[256];
        size_t length = strlen(cases[i].line), body = length - strlen(",\"crc32\":\"00000000\"}"), kept = cases[i].header ? 0 : bytes.size;
        snprintf(line, sizeof line, "%s\n", cases[i].line);
        /* CRC-32, bit by bit. */
        uint32_t crc = 0xffffffffu;
        for (size_t k = 0; k < body; k++) {
            crc ^= (unsigned char)line[k];
            for (int bit = 0; bit < 8; bit++)
                crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
        snprintf(line + body, sizeof line - body, ",\"crc32\":\"%08x\"}\n", (unsigned)~crc);
        unsigned char *joined = malloc(kept + sizeof line);
        assert_non_null(joined);
        memcpy(joined, bytes.data, kept);
        memcpy(joined + kept, line, strlen(line));
        file_write(path, joined, kept + strlen(line));
        free(joined);
        expect_failure(cx_manifest_open(folder.path, sample_identity, &manifest, &error), cases[i].status, &error, cases[i].words);
    }
    free(bytes.data);
    folder_remove(&folder);
}

/* A part whose file is gone or was cut is computed again, and its new line replaces the old one. */
static void lost_parts_are_forgotten(void **state) {
    struct folder folder = folder_make();
    struct cx_manifest *manifest = NULL;
    struct cx_error error = {0};
    (void)state;
    begin(&folder);
    must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
    must(cx_manifest_complete(manifest, 3, &error), &error);
    cx_manifest_close(manifest);
    assert_int_equal(unlink(folder_file(&folder, "parts/shard-000001.h5")), 0);
    file_write(folder_file(&folder, "parts/shard-000002.h5"), "short", 5);
    must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
    assert_int_equal(cx_manifest_count(manifest), 1);
    assert_non_null(cx_manifest_shard(manifest, 0));
    assert_null(cx_manifest_shard(manifest, 1));
    for (uint64_t shard = 2; shard > 0; shard--) {
        struct cx_part_summary part = make_part(&folder, shard);
        part.tokens = 77;
        must(cx_manifest_add(manifest, &part, NULL, 0, &error), &error);
    }
    must(cx_manifest_complete(manifest, 3, &error), &error);
    cx_manifest_close(manifest);
    must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
    assert_int_equal(cx_manifest_count(manifest), 3);
    assert_int_equal(cx_manifest_shard(manifest, 1)->tokens, 77);
    cx_manifest_close(manifest);
    folder_remove(&folder);
}

static void leftovers_are_removed(void **state) {
    static const char *const leftovers[] = {"parts/shard-000007.h5.tmp", "run.h5.tmp", "manifest.json.tmp"};
    static const char *const others[] = {"notes.tmp", "parts/mine.tmp", "parts/shard-000007.h5"};
    struct folder folder = folder_make();
    struct cx_manifest *manifest = NULL;
    struct cx_error error = {0};
    (void)state;
    begin(&folder);
    for (size_t i = 0; i < 3; i++) {
        file_write(folder_file(&folder, leftovers[i]), "x", 1);
        file_write(folder_file(&folder, others[i]), "x", 1);
    }
    must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
    cx_manifest_close(manifest);
    for (size_t i = 0; i < 3; i++) {
        assert_false(file_there(folder_file(&folder, leftovers[i])));
        assert_true(file_there(folder_file(&folder, others[i])));
    }
    folder_remove(&folder);
}

static void one_process_at_a_time(void **state) {
    struct folder folder = folder_make();
    struct cx_manifest *manifest = NULL, *second = NULL;
    struct cx_error error = {0};
    char process[32];
    int ready[2];
    (void)state;
    must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
    snprintf(process, sizeof process, "process %d on host", (int)getpid());
    expect_failure(cx_manifest_open(folder.path, sample_identity, &second, &error), CX_ERROR_CONFLICT, &error, process);
    cx_manifest_close(manifest);

    /* One that dies without a word leaves a lock file, but no lock. */
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        if (cx_manifest_open(folder.path, sample_identity, &manifest, &error) == CX_OK && write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    snprintf(process, sizeof process, "process %d on host", (int)child);
    expect_failure(cx_manifest_open(folder.path, sample_identity, &second, &error), CX_ERROR_CONFLICT, &error, process);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    assert_true(file_there(folder_file(&folder, "lock")));
    must(cx_manifest_open(folder.path, sample_identity, &manifest, &error), &error);
    cx_manifest_close(manifest);
    assert_false(file_there(folder_file(&folder, "lock")));
    folder_remove(&folder);
}

/* What another process noted is seen even if its journal has been folded into manifest.json since the last look. */
static void folded_journals_are_seen(void **state) {
    struct folder folder = folder_make();
    struct cx_manifest *first = NULL, *second = NULL, *alone = NULL;
    struct cx_error error = {0};
    bool complete = true;
    (void)state;
    must(cx_manifest_prepare(folder.path, sample_identity, &error), &error);
    must(cx_manifest_open_shared(folder.path, sample_identity, "first", &first, &error), &error);
    must(cx_manifest_open_shared(folder.path, sample_identity, "second", &second, &error), &error);
    for (uint64_t shard = 0; shard < 3; shard++) {
        struct cx_part_summary part = make_part(&folder, shard);
        must(cx_manifest_add(first, &part, NULL, 0, &error), &error);
        if (shard == 0)
            must(cx_manifest_refresh(second, &error), &error);
    }
    assert_int_equal(cx_manifest_count(second), 1);
    must(cx_store_is_complete(folder.path, &complete, &error), &error);
    assert_false(complete);

    must(cx_manifest_open(folder.path, sample_identity, &alone, &error), &error);
    must(cx_manifest_complete(alone, 3, &error), &error);
    cx_manifest_close(alone);
    assert_false(file_there(folder_file(&folder, "manifest.d")));
    must(cx_manifest_refresh(second, &error), &error);
    assert_int_equal(cx_manifest_count(second), 3);
    assert_int_equal(cx_manifest_shard(second, 2)->bytes, 40);
    must(cx_store_is_complete(folder.path, &complete, &error), &error);
    assert_true(complete);
    cx_manifest_close(second);
    cx_manifest_close(first);
    folder_remove(&folder);
}

/* A process that was held up, and did once more what another had done for it, leaves a journal behind; then the run has to be joined again. */
static void late_lines_make_it_incomplete(void **state) {
    struct folder folder = folder_make();
    struct cx_manifest *late = NULL, *alone = NULL;
    struct cx_error error = {0};
    bool complete = true;
    (void)state;
    begin(&folder);
    must(cx_manifest_open_shared(folder.path, sample_identity, "late", &late, &error), &error);
    for (int round = 0; round < 2; round++) {
        must(cx_manifest_open(folder.path, sample_identity, &alone, &error), &error);
        must(cx_manifest_complete(alone, 3, &error), &error);
        cx_manifest_close(alone);
        must(cx_store_is_complete(folder.path, &complete, &error), &error);
        assert_true(complete);
        if (round > 0)
            break;
        struct cx_part_summary part = make_part(&folder, 2);
        must(cx_manifest_add(late, &part, NULL, 0, &error), &error);
        must(cx_store_is_complete(folder.path, &complete, &error), &error);
        assert_false(complete);
    }
    cx_manifest_close(late);
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on),
        cmocka_unit_test(left_out_documents_are_listed),
        cmocka_unit_test(another_run_is_refused),
        cmocka_unit_test(numbers_are_kept),
        cmocka_unit_test(torn_lines_are_cut_off),
        cmocka_unit_test(damaged_lines_are_named),
        cmocka_unit_test(strange_lines_are_refused),
        cmocka_unit_test(lost_parts_are_forgotten),
        cmocka_unit_test(leftovers_are_removed),
        cmocka_unit_test(one_process_at_a_time),
        cmocka_unit_test(folded_journals_are_seen),
        cmocka_unit_test(late_lines_make_it_incomplete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
