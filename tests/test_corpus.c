/* Documents of well-formed corpora: lines, compression, globs, skip and limit, and memory that does not grow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <xxhash.h>

#include "corpus_fixture.h"

/* What is expected of one document. */
struct expected {
    uint64_t number, line;
    size_t source;
    const char *id, *text, *pair;
};

static struct cx_corpus *open_corpus(const struct cx_corpus_options *options) {
    struct cx_corpus *corpus;
    struct cx_error error = {0};
    if (cx_corpus_open(options, &corpus, &error) != CX_OK)
        fail_msg("%s", error.message);
    return corpus;
}

static struct cx_document next(struct cx_corpus *corpus) {
    struct cx_document document;
    struct cx_error error = {0};
    enum cx_status status = cx_corpus_next(corpus, &document, &error);
    if (status != CX_OK)
        fail_msg("expected a document, found %s: %s", cx_status_name(status), error.message);
    return document;
}

static void expect_end(struct cx_corpus *corpus) {
    struct cx_document document;
    struct cx_error error = {0};
    enum cx_status status = cx_corpus_next(corpus, &document, &error);
    if (status != CX_END)
        fail_msg("expected the end, found %s: line %" PRIu64 " \"%.*s\" %s", cx_status_name(status), document.line, (int)document.text_length,
                 document.text ? document.text : "", error.message);
}

static void expect_text(const char *found, size_t length, const char *expected) {
    if (!expected) {
        assert_null(found);
        return;
    }
    if (!found || length != strlen(expected) || memcmp(found, expected, length) != 0)
        fail_msg("expected \"%s\", found \"%.*s\"", expected, (int)length, found ? found : "(null)");
}

static void expect_documents(const struct cx_corpus_options *options, const struct expected *documents, size_t count) {
    struct cx_corpus *corpus = open_corpus(options);
    for (size_t k = 0; k < count; k++) {
        struct cx_document document = next(corpus);
        assert_int_equal(document.number, documents[k].number);
        assert_int_equal(document.line, documents[k].line);
        assert_int_equal(document.source, documents[k].source);
        expect_text(document.id, document.id_length, documents[k].id);
        expect_text(document.text, document.text_length, documents[k].text);
        expect_text(document.pair, document.pair_length, documents[k].pair);
    }
    expect_end(corpus);
    expect_end(corpus);
    cx_corpus_close(corpus);
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void lines_and_their_ends(void **state) {
    const char *path = fixture_text(*state, "a.txt",
                                    "\xef\xbb\xbf"
                                    "one\r\n\n  two \n \t\r\n\r\nthree\rand more\n\v\f\nfour");
    const struct expected documents[] = {
        {0, 1, 0, "0", "one", NULL}, {1, 3, 0, "1", "  two ", NULL}, {2, 6, 0, "2", "three\rand more", NULL}, {3, 8, 0, "3", "four", NULL}};
    struct cx_corpus_options options = fixture_options(&path);
    expect_documents(&options, documents, COUNT(documents));
}

static void small_files(void **state) {
    static const struct {
        const char *bytes;
        size_t length;
        const char *text; /* NULL: no document */
    } cases[] = {{"", 0, NULL},
                 {"\n", 1, NULL},
                 {"\r\n", 2, NULL},
                 {"\xef\xbb\xbf", 3, NULL},
                 {"\xef\xbb\xbf\n", 4, NULL},
                 {"x", 1, "x"},
                 {"x\n", 2, "x"},
                 {"x\r\n\r\n", 5, "x"},
                 {"x\r", 2, "x"},
                 {"\x1f", 1, "\x1f"},
                 {"\x28\xb5\x2f", 3, "\x28\xb5\x2f"},
                 {"PK", 2, "PK"},
                 {"\xff bad", 5, "\xff bad"},
                 {"\n\n\nx", 4, "x"},
                 {"\xef\xbb", 2, "\xef\xbb"}};
    for (size_t k = 0; k < COUNT(cases); k++) {
        const char *path = fixture_write(*state, "small", cases[k].bytes, cases[k].length);
        struct cx_corpus_options options = fixture_options(&path);
        struct cx_corpus *corpus = open_corpus(&options);
        if (cases[k].text) {
            struct cx_document document = next(corpus);
            expect_text(document.text, document.text_length, cases[k].text);
        }
        expect_end(corpus);
        assert_int_equal(cx_corpus_bytes_read(corpus), cases[k].length);
        assert_int_equal(cx_corpus_bytes_total(corpus), cases[k].length);
        cx_corpus_close(corpus);
    }
}

static void json_lines(void **state) {
    const char *path = fixture_text(*state, "a.jsonl",
                                    "{\"id\": \"first\", \"text\": \"caf\\u00e9 \\ud83d\\ude00\", \"other\": [1, {\"text\": 2}]}\n"
                                    "\n"
                                    "{\"text\": \"\", \"id\": -9223372036854775808}\r\n"
                                    "{\"text\":\"no id\",\"id\":null,\"input_ids\":null}\n"
                                    " \t{\"id\": \"\xc3\xa9/\\\"\", \"text\": \"x\"} ");
    const struct expected documents[] = {{0, 1, 0, "first", "caf\xc3\xa9 \xf0\x9f\x98\x80", NULL},
                                         {1, 3, 0, "-9223372036854775808", "", NULL},
                                         {2, 4, 0, "2", "no id", NULL},
                                         {3, 5, 0, "\xc3\xa9/\"", "x", NULL}};
    struct cx_corpus_options options = fixture_options(&path);
    expect_documents(&options, documents, COUNT(documents));
}

static void json_fields_by_name(void **state) {
    const char *path = fixture_text(*state, "a.txt", "{\"key\": 7, \"question\": \"why?\", \"answer\": \"because\", \"text\": 3, \"id\": []}\n");
    const struct expected documents[] = {{0, 1, 0, "7", "why?", "because"}};
    struct cx_corpus_options options = fixture_options(&path);
    options.format = CX_CORPUS_JSONL;
    options.text_field = "question";
    options.pair_field = "answer";
    options.id_field = "key";
    expect_documents(&options, documents, COUNT(documents));
}

static void null_characters_are_text(void **state) {
    static const char text[] = "a\0b\n";
    const char *paths[] = {fixture_write(*state, "a.txt", text, sizeof text - 1), fixture_text(*state, "b.jsonl", "{\"text\": \"a\\u0000b\"}\n")};
    struct cx_corpus_options options = {.paths = paths, .path_count = 2};
    struct cx_corpus *corpus = open_corpus(&options);
    for (int k = 0; k < 2; k++) {
        struct cx_document document = next(corpus);
        assert_int_equal(document.text_length, 3);
        assert_memory_equal(document.text, "a\0b", 3);
    }
    expect_end(corpus);
    cx_corpus_close(corpus);
}

static void ready_ids(void **state) {
    const char *path = fixture_text(*state, "a.jsonl",
                                    "{\"input_ids\": [101, 0, 2147483647], \"token_type_ids\": [0, 1, 1]}\n"
                                    "{\"id\": 5, \"input_ids\": [7]}\n");
    struct cx_corpus_options options = fixture_options(&path);
    struct cx_corpus *corpus = open_corpus(&options);
    struct cx_document document = next(corpus);
    assert_null(document.text);
    assert_int_equal(document.input_count, 3);
    assert_int_equal(document.input_ids[0], 101);
    assert_int_equal(document.input_ids[2], INT32_MAX);
    assert_int_equal(document.token_type_ids[1], 1);
    document = next(corpus);
    expect_text(document.id, document.id_length, "5");
    assert_int_equal(document.input_count, 1);
    assert_int_equal(document.input_ids[0], 7);
    assert_null(document.token_type_ids);
    expect_end(corpus);
    cx_corpus_close(corpus);
}

/* Content hashes are those of the line's bytes, whatever the compression and however long the line. */
static void content_hashes(void **state) {
    enum { long_line = 700000 };
    char *text = malloc(long_line + 20);
    memset(text, 'y', long_line);
    memcpy(text + long_line, "\nshort\r\nlast", 12);
    const uint64_t hashes[] = {XXH3_64bits(text, long_line), XXH3_64bits("short\r", 6), XXH3_64bits("last", 4)};
    unsigned char *compressed;
    size_t compressed_length = fixture_gzip(text, long_line + 12, &compressed);
    const char *paths[] = {fixture_write(*state, "a.txt", text, long_line + 12), fixture_write(*state, "a.txt.gz", compressed, compressed_length)};
    struct cx_corpus_options options = {.paths = paths, .path_count = 2};
    for (size_t longest = 0; longest <= 100000; longest += 100000) { /* the second time, the first line is too long */
        options.longest_line = longest;
        struct cx_corpus *corpus = open_corpus(&options);
        for (size_t k = 0; k < 6; k++) {
            struct cx_document document;
            enum cx_status status = cx_corpus_next(corpus, &document, NULL);
            assert_int_equal(status, longest > 0 && k % 3 == 0 ? CX_ERROR_DOCUMENT : CX_OK);
            assert_int_equal(document.content_hash, hashes[k % 3]);
        }
        expect_end(corpus);
        cx_corpus_close(corpus);
    }
    free(compressed);
    free(text);
}

/* A line of exactly the longest length is kept, with either end, at every position relative to the reader's blocks. */
static void longest_line_is_exact(void **state) {
    static const char *const ends[] = {"\n", "\r\n", ""};
    for (size_t longest = 1; longest < 5; longest++)
        for (size_t length = longest; length <= longest + 1; length++)
            for (size_t end = 0; end < COUNT(ends); end++) {
                char text[32] = "";
                memset(text, 'x', length);
                strcat(text, ends[end]);
                const char *path = fixture_text(*state, "a.txt", text);
                struct cx_corpus_options options = fixture_options(&path);
                options.longest_line = longest;
                struct cx_corpus *corpus = open_corpus(&options);
                struct cx_document document;
                struct cx_error error = {0};
                assert_int_equal(cx_corpus_next(corpus, &document, &error), length > longest ? CX_ERROR_DOCUMENT : CX_OK);
                expect_end(corpus);
                cx_corpus_close(corpus);
            }
}

/* `count` lines "line k" of very different lengths; returns the text. */
static char *many_lines(size_t count, size_t *length) {
    char *text = malloc(count * 2100);
    size_t used = 0;
    for (size_t k = 0; k < count; k++) {
        used += (size_t)sprintf(text + used, "line %zu ", k);
        size_t padding = k % 97 == 0 ? 2000 : k % 13;
        memset(text + used, 'a' + (int)(k % 26), padding);
        used += padding;
        text[used++] = '\n';
    }
    *length = used;
    return text;
}

static void expect_many_lines(const char *path, size_t count) {
    struct cx_corpus_options options = fixture_options(&path);
    struct cx_corpus *corpus = open_corpus(&options);
    for (size_t k = 0; k < count; k++) {
        struct cx_document document = next(corpus);
        assert_int_equal(document.line, k + 1);
        assert_int_equal(strtoull(document.text + 5, NULL, 10), k);
    }
    expect_end(corpus);
    assert_int_equal(cx_corpus_bytes_read(corpus), cx_corpus_bytes_total(corpus));
    cx_corpus_close(corpus);
}

static void compressed_files(void **state) {
    enum { lines = 60000, parts = 5 };
    size_t length;
    char *text = many_lines(lines, &length);
    unsigned char *joined = malloc(2 * length + 4096);
    for (int zstd = 0; zstd < 2; zstd++) {
        size_t used = 0;
        for (size_t k = 0; k < parts; k++) { /* cut anywhere, within lines, too; one part is empty */
            size_t begin = length * k / parts, end = k == 2 ? begin : length * (k + 1) / parts;
            if (k == 3)
                begin = length * 2 / parts;
            unsigned char *part;
            size_t part_length = zstd ? fixture_zstd(text + begin, end - begin, &part) : fixture_gzip(text + begin, end - begin, &part);
            memcpy(joined + used, part, part_length);
            used += part_length;
            free(part);
            if (zstd) { /* a skippable frame of 5 bytes */
                memcpy(joined + used, "\x5e\x2a\x4d\x18\x05\0\0\0hello", 13);
                used += 13;
            }
        }
        expect_many_lines(fixture_write(*state, zstd ? "b.zst" : "b.gz", joined, used), lines);
        if (zstd) {
            memmove(joined + 13, joined, used);
            memcpy(joined, "\x50\x2a\x4d\x18\x05\0\0\0hello", 13);
            expect_many_lines(fixture_write(*state, "c", joined, used + 13), lines);
        } else {
            memset(joined + used, 0, 1000); /* tape padding */
            expect_many_lines(fixture_write(*state, "c", joined, used + 1000), lines);
        }
    }
    expect_many_lines(fixture_write(*state, "plain", text, length), lines);
    free(joined);
    free(text);
}

static void compressed_empty_files(void **state) {
    for (int zstd = 0; zstd < 2; zstd++) {
        unsigned char *compressed;
        size_t length = zstd ? fixture_zstd("", 0, &compressed) : fixture_gzip("", 0, &compressed);
        const char *path = fixture_write(*state, "empty", compressed, length);
        struct cx_corpus_options options = fixture_options(&path);
        expect_documents(&options, NULL, 0);
        free(compressed);
    }
}

static void formats_by_name(void **state) {
    static const struct {
        const char *name;
        bool json;
    } cases[] = {{"a.jsonl", true}, {"a.ndjson", true}, {"a.json", true}, {"a.jsonl.gz", true},  {"a.json.zst", true},
                 {"a.txt", false},  {"jsonl", false},   {"a.gz", false},  {"a.jsonl.txt", false}};
    for (size_t k = 0; k < COUNT(cases); k++) {
        const char *path = fixture_text(*state, cases[k].name, "{\"text\": \"x\"}\n");
        const struct expected document = {0, 1, 0, "0", cases[k].json ? "x" : "{\"text\": \"x\"}", NULL};
        struct cx_corpus_options options = fixture_options(&path);
        expect_documents(&options, &document, 1);
    }
}

static void globs_in_byte_order(void **state) {
    static const char *const names[] = {"b.txt", "B.txt", "a10.txt", "a2.txt", "\xc3\xa4.txt", "[x].txt", "x.txt"};
    for (size_t k = 0; k < COUNT(names); k++)
        (void)fixture_text(*state, names[k], names[k]);
    (void)mkdir(fixture_path(*state, "folder.txt"), 0700);
    const char *path = fixture_path(*state, "*.txt");
    struct cx_corpus_options options = fixture_options(&path);
    const struct expected documents[] = {{0, 1, 0, "0", "B.txt", NULL},       {1, 1, 1, "1", "[x].txt", NULL}, {2, 1, 2, "2", "a10.txt", NULL},
                                         {3, 1, 3, "3", "a2.txt", NULL},      {4, 1, 4, "4", "b.txt", NULL},   {5, 1, 5, "5", "x.txt", NULL},
                                         {6, 1, 6, "6", "\xc3\xa4.txt", NULL}};
    expect_documents(&options, documents, COUNT(documents));
    struct cx_corpus *corpus = open_corpus(&options);
    assert_int_equal(cx_corpus_source_count(corpus), COUNT(documents));
    assert_string_equal(cx_corpus_source(corpus, 1), fixture_path(*state, "[x].txt"));
    assert_null(cx_corpus_source(corpus, COUNT(documents)));
    cx_corpus_close(corpus);
    path = fixture_path(*state, "[x].txt"); /* exists, so it is no glob */
    const struct expected literal = {0, 1, 0, "0", "[x].txt", NULL};
    expect_documents(&options, &literal, 1);
}

static void skip_and_limit(void **state) {
    const char *paths[] = {fixture_text(*state, "a.txt", "0\n\n1\n2\n"), fixture_text(*state, "b.txt", "\n3\n4\n5")};
    static const uint64_t lines[] = {1, 3, 4, 2, 3, 4};
    for (uint64_t skip = 0; skip < 8; skip++)
        for (uint64_t limit = 0; limit < 8; limit++)
            for (uint64_t passed = 0; passed < 8; passed++) {
                struct cx_corpus_options options = {.paths = paths, .path_count = 2, .skip = skip, .limit = limit};
                struct cx_corpus *corpus = open_corpus(&options);
                uint64_t end = limit > 0 && skip + limit < 6 ? skip + limit : 6;
                enum cx_status status = cx_corpus_pass_over(corpus, passed, NULL);
                assert_int_equal(status, skip + passed > end && passed > 0 ? CX_END : CX_OK);
                for (uint64_t k = skip + passed; k < end; k++) {
                    struct cx_document document = next(corpus);
                    assert_int_equal(document.number, k);
                    assert_int_equal(document.line, lines[k]);
                    assert_int_equal(document.source, k >= 3);
                    assert_int_equal(document.text[0], '0' + (int)k);
                }
                expect_end(corpus);
                cx_corpus_close(corpus);
            }
}

/* Bad documents are numbered and count for skip and limit, so that a resumed run agrees with an uninterrupted one. */
static void bad_documents_count(void **state) {
    const char *path = fixture_text(*state, "a.jsonl", "{\"text\": \"0\"}\n{\n{\"text\": \"2\"}\n{\"text\": 3}\n{\"text\": \"4\"}\n");
    struct cx_corpus_options options = fixture_options(&path);
    options.skip = 1;
    options.limit = 3;
    struct cx_corpus *corpus = open_corpus(&options);
    static const enum cx_status statuses[] = {CX_ERROR_DOCUMENT, CX_OK, CX_ERROR_DOCUMENT, CX_END};
    for (size_t k = 0; k < COUNT(statuses); k++) {
        struct cx_document document;
        struct cx_error error = {0};
        assert_int_equal(cx_corpus_next(corpus, &document, &error), statuses[k]);
        if (statuses[k] != CX_END) {
            assert_int_equal(document.number, k + 1);
            assert_int_equal(document.line, k + 2);
            assert_int_equal(document.id_length, 1);
            assert_int_equal(document.id[0], '1' + (int)k);
            assert_int_not_equal(document.content_hash, 0);
        }
    }
    cx_corpus_close(corpus);
}

/* Standard input and pipes are read once, from wherever they stand. */
static void standard_input_and_pipes(void **state) {
    unsigned char *compressed;
    size_t length = fixture_gzip("piped\nlines\n", 12, &compressed);
    int standard_input = dup(STDIN_FILENO);
    const char *fifo = fixture_path(*state, "fifo.txt");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    for (int use_fifo = 0; use_fifo < 2; use_fifo++) {
        int ends[2];
        if (use_fifo) {
            ends[0] = open(fifo, O_RDONLY | O_NONBLOCK); /* so that opening for writing does not wait */
            ends[1] = open(fifo, O_WRONLY);
        } else {
            assert_int_equal(pipe(ends), 0);
            assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
        }
        assert_int_equal(write(ends[1], compressed, length), (ssize_t)length);
        const char *path = use_fifo ? fifo : "-";
        struct cx_corpus_options options = fixture_options(&path);
        struct cx_corpus *corpus = open_corpus(&options);
        assert_int_equal(cx_corpus_bytes_total(corpus), 0);
        if (!use_fifo)
            assert_int_equal(close(ends[1]), 0);
        struct cx_document document = next(corpus);
        expect_text(document.text, document.text_length, "piped");
        document = next(corpus);
        expect_text(document.text, document.text_length, "lines");
        if (use_fifo)
            assert_int_equal(close(ends[1]), 0);
        expect_end(corpus);
        cx_corpus_close(corpus);
        assert_int_equal(close(ends[0]), 0);
        char fingerprint[33];
        assert_int_equal(cx_corpus_fingerprint(&options, fingerprint, NULL), CX_OK);
        assert_string_equal(fingerprint, "stdin");
    }
    assert_int_equal(dup2(standard_input, STDIN_FILENO), STDIN_FILENO);
    close(standard_input);
    free(compressed);
}

static void expect_fingerprints(const struct cx_corpus_options *first, const struct cx_corpus_options *second, bool equal) {
    char fingerprints[2][33];
    struct cx_error error = {0};
    if (cx_corpus_fingerprint(first, fingerprints[0], &error) != CX_OK || cx_corpus_fingerprint(second, fingerprints[1], &error) != CX_OK)
        fail_msg("%s", error.message);
    assert_int_equal(strlen(fingerprints[0]), 32);
    if (equal)
        assert_string_equal(fingerprints[0], fingerprints[1]);
    else
        assert_string_not_equal(fingerprints[0], fingerprints[1]);
}

static void fingerprints(void **state) {
    const char *text[] = {fixture_text(*state, "a.txt", "one\n"), fixture_text(*state, "b.txt", "two\n"), fixture_text(*state, "c.txt", "two\n")};
    const char *swapped[] = {text[1], text[0]}, *renamed[] = {text[0], text[2]};
    const char *json = fixture_text(*state, "d.jsonl", "{}\n");
    const struct cx_corpus_options base = {.paths = text, .path_count = 2};
    struct cx_corpus_options other = base;
    expect_fingerprints(&base, &other, true);
    other.paths = renamed;
    expect_fingerprints(&base, &other, true);
    other.paths = swapped;
    expect_fingerprints(&base, &other, false);
    other = base;
    other.text_field = "body"; /* plain text has no fields */
    other.longest_line = 64 * 1024 * 1024;
    other.format = CX_CORPUS_TEXT;
    expect_fingerprints(&base, &other, true);
    other.format = CX_CORPUS_JSONL;
    expect_fingerprints(&base, &other, false);
    const struct cx_corpus_options changes[] = {
        {.path_count = 1}, {.path_count = 3}, {.path_count = 2, .skip = 1}, {.path_count = 2, .limit = 1}, {.path_count = 2, .longest_line = 99}};
    for (size_t k = 0; k < COUNT(changes); k++) {
        other = changes[k];
        other.paths = text;
        expect_fingerprints(&base, &other, false);
    }
    const struct cx_corpus_options json_base = {.paths = &json, .path_count = 1};
    const struct cx_corpus_options json_changes[] = {{.text_field = "body"}, {.id_field = "key"}, {.pair_field = "text2"}, {.format = CX_CORPUS_TEXT}};
    for (size_t k = 0; k < COUNT(json_changes); k++) {
        other = json_changes[k];
        other.paths = &json;
        other.path_count = 1;
        expect_fingerprints(&json_base, &other, false);
    }
    other = json_base;
    other.text_field = "text";
    other.id_field = "id";
    expect_fingerprints(&json_base, &other, true);
}

static long peak_kilobytes(void) {
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

static void read_all(const char *path, uint64_t count) {
    struct cx_corpus_options options = fixture_options(&path);
    struct cx_corpus *corpus = open_corpus(&options);
    struct cx_document document;
    enum cx_status status;
    uint64_t found = 0;
    while ((status = cx_corpus_next(corpus, &document, NULL)) == CX_OK)
        found++;
    assert_int_equal(status, CX_END);
    assert_int_equal(found, count);
    cx_corpus_close(corpus);
}

static void write_lines(const char *path, const char *format, uint64_t count) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (uint64_t k = 0; k < count; k++)
        assert_true(fprintf(file, format, (unsigned long long)k) > 0);
    assert_int_equal(fclose(file), 0);
}

/* The sanitizer keeps freed memory for a while. */
#ifdef __SANITIZE_ADDRESS__
static const bool memory_is_measurable = false;
#else
static const bool memory_is_measurable = true;
#endif

/* The process's peak is all that can be asked for, so this test comes before those that need more. */
static void memory_is_flat(void **state) {
    static const struct {
        const char *name, *format;
    } cases[] = {{"a.txt", "line %llu\n"}, {"a.jsonl", "{\"id\": \"%llu\", \"text\": \"x\"}\n"}, {"b.jsonl", "{\"id\": %llu, \"input_ids\": [1, 2]}\n"}};
    if (!memory_is_measurable)
        skip();
    for (size_t k = 0; k < COUNT(cases); k++) {
        const char *path = fixture_path(*state, cases[k].name);
        write_lines(path, cases[k].format, 1000);
        read_all(path, 1000);
        long before = peak_kilobytes();
        write_lines(path, cases[k].format, 1000000);
        read_all(path, 1000000);
        long grown = peak_kilobytes() - before;
        if (grown > 1024)
            fail_msg("%s: 1,000,000 lines took %ld KiB more than 1,000 (%ld KiB)", cases[k].name, grown, before);
    }
}

int main(void) {
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, fixture_create, fixture_remove)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(memory_is_flat),
        WITH_FOLDER(lines_and_their_ends),
        WITH_FOLDER(small_files),
        WITH_FOLDER(json_lines),
        WITH_FOLDER(json_fields_by_name),
        WITH_FOLDER(null_characters_are_text),
        WITH_FOLDER(ready_ids),
        WITH_FOLDER(content_hashes),
        WITH_FOLDER(longest_line_is_exact),
        WITH_FOLDER(compressed_files),
        WITH_FOLDER(compressed_empty_files),
        WITH_FOLDER(formats_by_name),
        WITH_FOLDER(globs_in_byte_order),
        WITH_FOLDER(skip_and_limit),
        WITH_FOLDER(bad_documents_count),
        WITH_FOLDER(standard_input_and_pipes),
        WITH_FOLDER(fingerprints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
