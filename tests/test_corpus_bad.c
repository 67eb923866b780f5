/* Malformed lines and files: the status, the piece of the sentence that tells what is wrong, and that reading goes on where it can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "corpus_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Fails unless status and sentence are as expected; `subject` names the case. */
static void expect_fault(const char *subject, enum cx_status status, const struct cx_error *error, enum cx_status expected, const char *piece) {
    if (status != expected || (piece && !strstr(error->message, piece)))
        fail_msg("%s: expected %s with \"%s\", found %s with \"%s\"", subject, cx_status_name(expected), piece ? piece : "", cx_status_name(status),
                 error->message);
}

/* --- lines --- */

struct bad_line {
    const char *line;
    const char *piece;
};

/* Each stands as line 2 between two good ones. */
static const struct bad_line bad_json_lines[] = {
    /* no JSON */
    {"{", "at byte"},
    {"}", "not a JSON object"},
    {"{\"text\": \"a\"", "'}' expected"},
    {"{\"text\": \"a\"}}", "end of file expected"},
    {"{\"text\": \"a\"} {\"text\": \"b\"}", "end of file expected"},
    {"{\"text\": \"a\",}", "string"},
    {"{\"text\" \"a\"}", "':' expected"},
    {"{text: \"a\"}", "string or '}' expected"},
    {"{'text': 'a'}", "string or '}' expected"},
    {"{\"text\": \"a}", "premature end"},
    {"{\"text\": \"a\\q\"}", "invalid escape"},
    {"{\"text\": \"a\tb\"}", "control character"},
    {"{\"text\": \"\x01\"}", "control character"},
    {"{\"text\": \"\\ud800\"}", "invalid Unicode"},
    {"{\"text\": \"\\udc00x\"}", "invalid Unicode"},
    {"{\"text\": \"\\u12g4\"}", "invalid escape"},
    {"{\"text\": \"a\", \"score\": NaN}", "invalid token"},
    {"{\"text\": \"a\", \"score\": Infinity}", "invalid token"},
    {"{\"text\": \"a\", \"score\": 1e999}", "overflow"},
    {"{\"text\": \"a\", \"score\": 01}", "invalid token"},
    {"{\"text\": \"a\", \"score\": +1}", "invalid token"},
    {"{\"text\": \"a\", \"score\": 99999999999999999999}", "too big integer"},
    {"{\"text\": \"a\", \"ok\": True}", "invalid token"},
    {"{\"text\": \"a\" // why\n}", "expected"},
    {"{\"text\": \"a\", \"text\": \"b\"}", "duplicate object key"},
    {"{\"text\": \"a\", \"x\": {\"y\": 1, \"y\": 2}}", "duplicate object key"},
    {"{\"text\": \"a\", \"\\u0000\": 1}", "NUL byte in object key"},
    {"just text", "not a JSON object"},
    {"\xef\xbb\xbf{\"text\": \"a\"}", "not a JSON object"},
    /* invalid UTF-8 */
    {"{\"text\": \"\xff\"}", "unable to decode byte 0xff"},
    {"{\"text\": \"\xc3(\"}", "unable to decode byte 0xc3"},
    {"{\"text\": \"\xc0\xaf\"}", "unable to decode byte 0xc0"},
    {"{\"text\": \"\xed\xa0\x80\"}", "unable to decode byte 0xed"},
    {"{\"text\": \"\xf4\x90\x80\x80\"}", "unable to decode byte 0xf4"},
    {"{\"te\xffxt\": \"a\"}", "unable to decode byte 0xff"},
    /* no object */
    {"[\"text\"]", "expected a JSON object, found an array"},
    {"\"text\"", "expected a JSON object, found a string"},
    {"42", "expected a JSON object, found an integer"},
    {"null", "expected a JSON object, found null"},
    /* no text, or something else */
    {"{}", "no field \"text\"; the line's fields: none"},
    {"{\"body\": \"a\", \"id\": 1}", "the line's fields: \"body\", \"id\"; name the right one with --text-field"},
    {"{\"Text\": \"a\"}", "no field \"text\""},
    {"{\"text\": null}", "no field \"text\""},
    {"{\"text\": 3}", "field \"text\": expected a string, found an integer"},
    {"{\"text\": 3.5}", "expected a string, found a"},
    {"{\"text\": true}", "expected a string"},
    {"{\"text\": [\"a\"]}", "expected a string, found an array"},
    {"{\"text\": {\"a\": 1}}", "expected a string, found an object"},
    /* ids */
    {"{\"id\": 1.0, \"text\": \"a\"}", "field \"id\": expected a string or an integer"},
    {"{\"id\": true, \"text\": \"a\"}", "field \"id\": expected a string or an integer"},
    {"{\"id\": [1], \"text\": \"a\"}", "field \"id\": expected a string or an integer, found an array"},
    {"{\"id\": \"\", \"text\": \"a\"}", "field \"id\": expected 1 to 1024 bytes, found 0"},
    {"{\"id\": \"a\\u0000b\", \"text\": \"a\"}", "an id may not hold U+0000"},
    /* ready ids */
    {"{\"text\": \"a\", \"input_ids\": [1]}", "both \"text\" and \"input_ids\""},
    {"{\"input_ids\": []}", "expected at least one id"},
    {"{\"input_ids\": 7}", "\"input_ids\": expected an array of integers, found an integer"},
    {"{\"input_ids\": \"7\"}", "expected an array of integers, found a string"},
    {"{\"input_ids\": [[1, 2]]}", "element 0: expected an integer, found an array"},
    {"{\"input_ids\": [1, 2.0]}", "element 1: expected an integer"},
    {"{\"input_ids\": [1, \"2\"]}", "element 1: expected an integer, found a string"},
    {"{\"input_ids\": [1, null]}", "element 1: expected an integer, found null"},
    {"{\"input_ids\": [1, -1]}", "element 1: expected 0 to 2147483647, found -1"},
    {"{\"input_ids\": [2147483648]}", "found 2147483648"},
    {"{\"input_ids\": [1, 2], \"token_type_ids\": [0]}", "expected 2 elements, as many as input_ids, found 1"},
    {"{\"input_ids\": [1], \"token_type_ids\": [0, 0]}", "expected 1 elements"},
    {"{\"input_ids\": [1], \"token_type_ids\": []}", "expected 1 elements"},
    {"{\"input_ids\": [1], \"token_type_ids\": [-1]}", "\"token_type_ids\", element 0: expected 0 to"},
    {"{\"input_ids\": [1], \"token_type_ids\": {}}", "\"token_type_ids\": expected an array of integers, found an object"},
    {"{\"token_type_ids\": [0], \"text\": \"a\"}", "\"token_type_ids\" without \"input_ids\""},
};

/* The same, with --pair-field second. */
static const struct bad_line bad_pair_lines[] = {
    {"{\"text\": \"a\"}", "no field \"second\"; the line's fields: \"text\"; name the right one with --pair-field"},
    {"{\"text\": \"a\", \"second\": null}", "no field \"second\""},
    {"{\"text\": \"a\", \"second\": 1}", "field \"second\": expected a string, found an integer"},
    {"{\"second\": \"a\"}", "no field \"text\""},
    {"{\"input_ids\": [1], \"second\": \"a\"}", "both \"second\" and \"input_ids\""},
};

static void expect_document(struct cx_corpus *corpus, const char *subject, const char *text) {
    struct cx_document document;
    struct cx_error error = {0};
    enum cx_status status = cx_corpus_next(corpus, &document, &error);
    if (status != CX_OK)
        fail_msg("%s: expected document \"%s\", found %s: %s", subject, text, cx_status_name(status), error.message);
    if (document.text_length != strlen(text) || memcmp(document.text, text, document.text_length) != 0)
        fail_msg("%s: expected document \"%s\", found \"%.*s\"", subject, text, (int)document.text_length, document.text);
}

/* Good, bad, good: reading goes on behind the bad line. The bad line may hold an LF itself: then the next line is bad, too. */
static void expect_bad_line(const struct fixture *fixture, const char *line, size_t length, const char *pair_field, const char *piece) {
    static const char good[] = "{\"text\": \"good\", \"second\": \"pair\"}\n";
    size_t total = 2 * strlen(good) + length + 1;
    char *text = malloc(total + 1);
    (void)sprintf(text, "%s", good);
    memcpy(text + strlen(good), line, length);
    (void)sprintf(text + strlen(good) + length, "\n%s", good);
    const char *path = fixture_write(fixture, "a.jsonl", text, total);
    struct cx_corpus_options options = fixture_options(&path);
    options.pair_field = pair_field;
    struct cx_corpus *corpus;
    struct cx_document document;
    struct cx_error error = {0};
    assert_int_equal(cx_corpus_open(&options, &corpus, &error), CX_OK);
    expect_document(corpus, line, "good");
    expect_fault(line, cx_corpus_next(corpus, &document, &error), &error, CX_ERROR_DOCUMENT, piece);
    expect_fault(line, error.status, &error, CX_ERROR_DOCUMENT, "a.jsonl:2: ");
    assert_int_equal(document.number, 1);
    assert_int_equal(document.line, 2);
    assert_null(document.text);
    assert_null(document.input_ids);
    if (memchr(line, '\n', length))
        assert_int_equal(cx_corpus_next(corpus, &document, &error), CX_ERROR_DOCUMENT);
    expect_document(corpus, line, "good");
    assert_int_equal(cx_corpus_next(corpus, &document, &error), CX_END);
    cx_corpus_close(corpus);
    free(text);
}

static void json_lines(void **state) {
    for (size_t k = 0; k < COUNT(bad_json_lines); k++)
        expect_bad_line(*state, bad_json_lines[k].line, strlen(bad_json_lines[k].line), NULL, bad_json_lines[k].piece);
    for (size_t k = 0; k < COUNT(bad_pair_lines); k++)
        expect_bad_line(*state, bad_pair_lines[k].line, strlen(bad_pair_lines[k].line), "second", bad_pair_lines[k].piece);
}

static void json_lines_that_are_generated(void **state) {
    char line[8192];
    memset(line, '[', 3000);
    expect_bad_line(*state, line, 3000, NULL, "maximum parsing depth");
    static const char raw_nul[] = "{\"text\": \"a\0b\"}";
    expect_bad_line(*state, raw_nul, sizeof raw_nul - 1, NULL, "control character");
    int length = sprintf(line, "{\"text\": \"a\", \"id\": \"%01025d\"}", 0);
    expect_bad_line(*state, line, (size_t)length, NULL, "expected 1 to 1024 bytes, found 1025");
    length = sprintf(line, "{\"%03000d\": 1, \"second\": 2}", 0); /* a field name that does not fit into the sentence */
    expect_bad_line(*state, line, (size_t)length, NULL, "no field \"text\"");
    length = sprintf(line, "{\"a\": 1, \"b\": 1, \"c\": 1, \"d\": 1, \"e\": 1, \"f\": 1, \"g\": 1, \"h\": 1, \"i\": 1, \"j\": 1}");
    expect_bad_line(*state, line, (size_t)length, NULL, "\"h\", …; name");
}

static void long_lines(void **state) {
    enum { longest = 1000, long_line = 900000 };
    char *text = malloc(long_line + 100);
    static const size_t lengths[] = {longest + 1, 70000, 262143, 262144, 262145, 524288, long_line};
    for (size_t k = 0; k < COUNT(lengths); k++)
        for (int last = 0; last < 2; last++) {
            (void)sprintf(text, "good\n");
            memset(text + 5, 'x', lengths[k]);
            (void)sprintf(text + 5 + lengths[k], last ? "" : "\r\ngood\n");
            const char *path = fixture_text(*state, "a.txt", text);
            struct cx_corpus_options options = fixture_options(&path);
            options.longest_line = longest;
            struct cx_corpus *corpus;
            struct cx_document document;
            struct cx_error error = {0};
            assert_int_equal(cx_corpus_open(&options, &corpus, &error), CX_OK);
            expect_document(corpus, "long line", "good");
            expect_fault("long line", cx_corpus_next(corpus, &document, &error), &error, CX_ERROR_DOCUMENT,
                         "a.txt:2: the line is longer than 1000 bytes, the longest allowed");
            if (!last)
                expect_document(corpus, "long line", "good");
            assert_int_equal(cx_corpus_next(corpus, &document, &error), CX_END);
            cx_corpus_close(corpus);
        }
    memset(text, ' ', long_line); /* blank, however long: no document */
    (void)sprintf(text + long_line, "\ngood\n");
    const char *path = fixture_text(*state, "a.txt", text);
    struct cx_corpus_options options = fixture_options(&path);
    options.longest_line = longest;
    struct cx_corpus *corpus;
    assert_int_equal(cx_corpus_open(&options, &corpus, NULL), CX_OK);
    expect_document(corpus, "long blank line", "good");
    cx_corpus_close(corpus);
    free(text);
}

/* --- options and files that cannot be opened --- */

static void expect_no_opening(const struct cx_corpus_options *options, enum cx_status expected, const char *piece) {
    struct cx_corpus *corpus = (struct cx_corpus *)(uintptr_t)1;
    struct cx_error error = {0};
    char fingerprint[33];
    expect_fault("open", cx_corpus_open(options, &corpus, &error), &error, expected, piece);
    assert_null(corpus);
    expect_fault("fingerprint", cx_corpus_fingerprint(options, fingerprint, &error), &error, expected, piece);
}

static void options_that_are_refused(void **state) {
    const char *good = fixture_text(*state, "good.txt", "good\n");
    const char *twice[] = {"-", good, "-"}, *empty[] = {good, ""}, *missing[] = {good, fixture_path(*state, "missing.txt")};
    const char *folder[] = {((const struct fixture *)*state)->folder}, *none[] = {fixture_path(*state, "*.jsonl")};
    const char *below_file[] = {fixture_path(*state, "good.txt/x")};
    static const struct {
        const char *text, *id, *pair, *piece;
    } fields[] = {{"", NULL, NULL, "field name of the corpus"},
                  {NULL, "", NULL, "field name of the corpus"},
                  {NULL, NULL, "", "field name of the corpus"},
                  {NULL, NULL, "text", "both 'text'"},
                  {"a", NULL, "a", "both 'a'"}};
    expect_no_opening(&(struct cx_corpus_options){.path_count = 0}, CX_ERROR_USAGE, "no corpus is given");
    expect_no_opening(&(struct cx_corpus_options){.paths = twice, .path_count = 3}, CX_ERROR_USAGE, "standard input (-) is given twice");
    expect_no_opening(&(struct cx_corpus_options){.paths = empty, .path_count = 2}, CX_ERROR_USAGE, "a corpus path is empty");
    expect_no_opening(&(struct cx_corpus_options){.paths = missing, .path_count = 2}, CX_ERROR_IO, "missing.txt: No such file");
    expect_no_opening(&(struct cx_corpus_options){.paths = folder, .path_count = 1}, CX_ERROR_IO, "is a folder: expected a file");
    expect_no_opening(&(struct cx_corpus_options){.paths = none, .path_count = 1}, CX_ERROR_IO, "no file matches");
    expect_no_opening(&(struct cx_corpus_options){.paths = below_file, .path_count = 1}, CX_ERROR_IO, "Not a directory");
    for (size_t k = 0; k < COUNT(fields); k++)
        expect_no_opening(&(struct cx_corpus_options){.paths = &good,
                                                      .path_count = 1,
                                                      .format = CX_CORPUS_JSONL,
                                                      .text_field = fields[k].text,
                                                      .id_field = fields[k].id,
                                                      .pair_field = fields[k].pair},
                          CX_ERROR_USAGE, fields[k].piece);
}

static void files_that_cannot_be_opened(void **state) {
    const char *unreadable = fixture_text(*state, "secret.txt", "x\n"), *dangling = fixture_path(*state, "dangling");
    const char *folders = fixture_path(*state, "fold*"), *looped = fixture_path(*state, "loop");
    assert_int_equal(mkdir(fixture_path(*state, "folder"), 0700), 0);
    assert_int_equal(symlink("nowhere", dangling), 0);
    assert_int_equal(symlink("loop", looped), 0);
    assert_int_equal(chmod(unreadable, 0), 0);
    expect_no_opening(&(struct cx_corpus_options){.paths = &dangling, .path_count = 1}, CX_ERROR_IO, "dangling: No such file");
    expect_no_opening(&(struct cx_corpus_options){.paths = &looped, .path_count = 1}, CX_ERROR_IO, "loop: Too many levels");
    expect_no_opening(&(struct cx_corpus_options){.paths = &folders, .path_count = 1}, CX_ERROR_IO, "matches folders alone");
    if (geteuid() != 0) /* root may read everything */
        expect_no_opening(&(struct cx_corpus_options){.paths = &unreadable, .path_count = 1}, CX_ERROR_IO, "secret.txt: Permission denied");
}

static void files_that_are_no_text(void **state) {
    static const struct {
        const char *bytes;
        size_t length;
        const char *piece;
    } cases[] = {
        {"\xff\xfe"
         "a\0\n\0",
         6, "UTF-16 text: expected UTF-8"},
        {"\xfe\xff\0a\0\n", 6, "UTF-16 text: expected UTF-8"},
        {"\xff\xfe\0\0a\0\0\0", 8, "UTF-32 text: expected UTF-8"},
        {"\0\0\xfe\xff\0\0\0a", 8, "UTF-32 text: expected UTF-8"},
        {"\xfd"
         "7zXZ\0\0\4",
         8, "an xz archive"},
        {"\x5d\0\0\x80\0\xff\xff", 7, "an lzma archive"},
        {"BZh61AY&SYxyz", 13, "a bzip2 archive"},
        {"\x04\x22\x4d\x18\x64\x40", 6, "an lz4 archive"},
        {"7z\xbc\xaf\x27\x1c\0\4", 8, "a 7-Zip archive"},
        {"PK\x03\x04\x14\0", 6, "a zip archive"},
        {"\x1f\x9d\x90xyz", 6, "compress (.Z)"},
        {"PAR1\x15\x04\x15\x10", 8, "a Parquet table"},
        {"ARROW1\0\0\xff\xff", 10, "an Arrow table"},
        {"SQLite format 3\0\x10\0", 18, "an SQLite database"},
        {"\x89HDF\r\n\x1a\n\0\0", 10, "an HDF5 file"},
        {"%PDF-1.7\n%", 10, "a PDF document"},
    };
    for (size_t k = 0; k <= COUNT(cases); k++) {
        char tar[600] = "corpus.txt";
        memcpy(tar + 257, "ustar", 5);
        const char *bytes = k < COUNT(cases) ? cases[k].bytes : tar, *piece = k < COUNT(cases) ? cases[k].piece : "a tar archive";
        size_t length = k < COUNT(cases) ? cases[k].length : sizeof tar;
        unsigned char *compressed;
        size_t compressed_length = fixture_gzip(bytes, length, &compressed);
        for (int twice = 0; twice < 2; twice++) { /* as it is, and compressed */
            const char *path = twice ? fixture_write(*state, "b.gz", compressed, compressed_length) : fixture_write(*state, "a", bytes, length);
            struct cx_corpus_options options = fixture_options(&path);
            struct cx_corpus *corpus;
            struct cx_document document;
            struct cx_error error = {0};
            assert_int_equal(cx_corpus_open(&options, &corpus, &error), CX_OK);
            for (int again = 0; again < 2; again++)
                expect_fault(piece, cx_corpus_next(corpus, &document, &error), &error, CX_ERROR_UNSUPPORTED, piece);
            cx_corpus_close(corpus);
        }
        free(compressed);
    }
}

/* --- compressed files that are damaged --- */

enum { good_lines = 20000 };

/* Lines "number" and a reproducible tail, so that compression leaves something to damage. */
static char *make_lines(size_t *length) {
    char *text = malloc((size_t)good_lines * 40);
    uint64_t noise = 88172645463325252u;
    *length = 0;
    for (size_t k = 0; k < good_lines; k++) {
        noise ^= noise << 13, noise ^= noise >> 7, noise ^= noise << 17;
        *length += (size_t)sprintf(text + *length, "%zu %016llx\n", k, (unsigned long long)noise);
    }
    return text;
}

/* Every document before the damage must be whole and right. */
static void expect_line(const struct cx_document *document, uint64_t number) {
    const char *blank = memchr(document->text, ' ', document->text_length);
    if (strtoull(document->text, NULL, 10) != number || !blank || blank + 17 != document->text + document->text_length)
        fail_msg("expected line %llu, found \"%.*s\"", (unsigned long long)number, (int)document->text_length, document->text);
}

/* What is expected of reading a damaged file to its end. */
struct damage {
    const char *subject;
    enum cx_status status;
    const char *pieces[2]; /* of the sentence */
    uint64_t least;        /* lines that come before it */
    bool wrong_lines;      /* the format's checksum stands behind them, so lines near the damage may be wrong */
};

static void expect_damage(const char *path, struct damage expected) {
    struct cx_corpus_options options = fixture_options(&path);
    struct cx_corpus *corpus;
    struct cx_document document;
    struct cx_error error = {0};
    enum cx_status status;
    uint64_t count = 0;
    assert_int_equal(cx_corpus_open(&options, &corpus, &error), CX_OK);
    for (; (status = cx_corpus_next(corpus, &document, &error)) == CX_OK; count++)
        if (!expected.wrong_lines)
            expect_line(&document, count);
    if (expected.status == CX_END) {
        expect_fault(expected.subject, status, &error, CX_END, NULL);
    } else {
        char read[64];
        (void)snprintf(read, sizeof read, "the %llu lines before it were read", (unsigned long long)count);
        expect_fault(expected.subject, status, &error, expected.status, expected.pieces[0]);
        expect_fault(expected.subject, status, &error, expected.status, expected.pieces[1]);
        expect_fault(expected.subject, status, &error, expected.status, expected.wrong_lines ? "lines before it were read" : read);
        expect_fault(expected.subject, status, &error, expected.status, path);
        struct cx_error again = {0};
        expect_fault(expected.subject, cx_corpus_next(corpus, &document, &again), &again, expected.status, error.message);
    }
    if (count < expected.least)
        fail_msg("%s: expected at least %llu lines before the damage, found %llu", expected.subject, (unsigned long long)expected.least,
                 (unsigned long long)count);
    cx_corpus_close(corpus);
}

static void files_that_end_early(void **state) {
    size_t length;
    char *text = make_lines(&length);
    for (int zstd = 0; zstd < 2; zstd++) {
        unsigned char *compressed;
        size_t whole = zstd ? fixture_zstd(text, length, &compressed) : fixture_gzip(text, length, &compressed);
        const size_t cuts[] = {whole - 1, whole - 3, whole - 4, whole - 5, whole - 8, whole - 9, whole / 2, 1000, 11, 10, 9, 5, 4};
        for (size_t k = 0; k < COUNT(cuts); k++) {
            char subject[64], at[64];
            (void)snprintf(subject, sizeof subject, "%s cut to %zu of %zu bytes", zstd ? "zstd" : "gzip", cuts[k], whole);
            (void)snprintf(at, sizeof at, "ends early, at byte %zu of the file", cuts[k]);
            struct damage expected = {subject, CX_ERROR_INPUT, {at, zstd ? "of frame 1 are missing" : "rest of member 1"}, 0, false};
            if (cuts[k] >= whole / 2) /* zstd gives whole blocks */
                expected.least = cuts[k] == whole / 2 ? good_lines / 4 : good_lines * 3 / 4;
            expect_damage(fixture_write(*state, "cut", compressed, cuts[k]), expected);
        }
        compressed = realloc(compressed, 2 * whole);
        assert_non_null(compressed);
        memcpy(compressed + whole, compressed, 20); /* the second of two streams ends early */
        expect_damage(fixture_write(*state, "cut", compressed, whole + 20),
                      (struct damage){"second stream cut", CX_ERROR_INPUT, {"ends early", zstd ? "frame 2" : "member 2"}, good_lines, false});
        free(compressed);
    }
    free(text);
}

/* One byte of a good file changed: at `offset`, or counted from the end if that is negative. */
static const struct {
    bool zstd;
    long offset;
    unsigned char flipped;
    struct damage damage;
} corruptions[] = {
    {false, -1, 0x40, {"gzip: length", CX_ERROR_INPUT, {"the gzip data is corrupt at byte", "incorrect length check"}, good_lines, false}},
    {false, -8, 0x01, {"gzip: checksum", CX_ERROR_INPUT, {"the gzip data is corrupt at byte", "incorrect data check"}, good_lines, false}},
    {false, 2, 0x0f, {"gzip: method", CX_ERROR_INPUT, {"the gzip data is corrupt at byte", "unknown compression method"}, 0, false}},
    {false, 3, 0xe0, {"gzip: flags", CX_ERROR_INPUT, {"the gzip data is corrupt at byte", "unknown header flags"}, 0, false}},
    {false, 10, 0x06, {"gzip: block type", CX_ERROR_INPUT, {"the gzip data is corrupt at byte", "in member 1"}, 0, true}},
    {true, -1, 0x40, {"zstd: checksum", CX_ERROR_INPUT, {"the zstd data is corrupt at byte", "checksum"}, good_lines * 3 / 4, false}},
    {true, 4, 0x08, {"zstd: reserved bit", CX_ERROR_INPUT, {"the zstd data is corrupt at byte", "in frame 1"}, 0, false}},
};

static void files_that_are_corrupt(void **state) {
    size_t length;
    char *text = make_lines(&length);
    unsigned char *compressed[2];
    size_t lengths[2] = {fixture_gzip(text, length, &compressed[0]), fixture_zstd(text, length, &compressed[1])};
    for (size_t k = 0; k < COUNT(corruptions); k++) {
        bool zstd = corruptions[k].zstd;
        size_t at = corruptions[k].offset < 0 ? lengths[zstd] - (size_t)-corruptions[k].offset : (size_t)corruptions[k].offset;
        compressed[zstd][at] ^= corruptions[k].flipped;
        expect_damage(fixture_write(*state, "bad", compressed[zstd], lengths[zstd]), corruptions[k].damage);
        compressed[zstd][at] ^= corruptions[k].flipped;
    }
    memset(compressed[0] + lengths[0] / 2, 0xff, 64);
    expect_damage(fixture_write(*state, "bad", compressed[0], lengths[0]),
                  (struct damage){"gzip: middle", CX_ERROR_INPUT, {"the gzip data is corrupt at byte", "in member 1"}, good_lines / 4, true});
    memset(compressed[1] + lengths[1] / 2, 0xff, 64);
    expect_damage(fixture_write(*state, "bad", compressed[1], lengths[1]),
                  (struct damage){"zstd: middle", CX_ERROR_INPUT, {"the zstd data is corrupt at byte", "in frame 1"}, good_lines / 8, true});
    free(compressed[0]);
    free(compressed[1]);
    free(text);
}

/* Frames that a decoder of bounded memory and without a dictionary cannot read. */
static void zstd_frames_that_are_refused(void **state) {
    static const unsigned char wide[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00}; /* a window of 2 GiB, and an empty block */
    static const unsigned char dictionary[] = {0x28, 0xb5, 0x2f, 0xfd, 0x21, 0x07, 0x05, 0x29, 0x00, 0x00, 'h', 'e', 'l', 'l', 'o'};
    expect_damage(fixture_write(*state, "wide", wide, sizeof wide),
                  (struct damage){"wide window", CX_ERROR_UNSUPPORTED, {"window of more than 128 MiB", "frame 1"}, 0, false});
    expect_damage(fixture_write(*state, "dictionary", dictionary, sizeof dictionary),
                  (struct damage){"dictionary", CX_ERROR_INPUT, {"the zstd data is corrupt at byte", "ictionary"}, 0, false});
}

static void something_behind_the_stream(void **state) {
    static const struct {
        const char *bytes;
        size_t length;
        bool gzip_allows; /* padding of zero bytes */
    } tails[] = {{"trailing text", 13, false}, {"\0\0\0\0\0\0\0\0", 8, true}, {"\0\0\0\0x", 5, false}, {"\0\0\x1f\x8b\x08\0\0", 7, false}, {"\x28", 1, false}};
    size_t length;
    char *text = make_lines(&length);
    for (int zstd = 0; zstd < 2; zstd++) {
        unsigned char *compressed;
        size_t whole = zstd ? fixture_zstd(text, length, &compressed) : fixture_gzip(text, length, &compressed);
        compressed = realloc(compressed, whole + 16);
        assert_non_null(compressed);
        for (size_t k = 0; k < COUNT(tails); k++) {
            struct damage expected = {tails[k].bytes, CX_ERROR_INPUT, {"begins no other gzip member", "behind gzip member 1"}, good_lines, false};
            if (zstd) {
                expected.pieces[0] = "the zstd data ";
                expected.pieces[1] = "frame 2";
            } else if (tails[k].gzip_allows) {
                expected.status = CX_END;
            }
            memcpy(compressed + whole, tails[k].bytes, tails[k].length);
            expect_damage(fixture_write(*state, "bad", compressed, whole + tails[k].length), expected);
        }
        free(compressed);
    }
    free(text);
}

/* A file that vanishes between opening the corpus and reading it. */
static void files_that_vanish(void **state) {
    const char *paths[] = {fixture_text(*state, "a.txt", "good\n"), fixture_text(*state, "b.txt", "good\n")};
    struct cx_corpus_options options = {.paths = paths, .path_count = 2};
    struct cx_corpus *corpus;
    struct cx_document document;
    struct cx_error error = {0};
    assert_int_equal(cx_corpus_open(&options, &corpus, &error), CX_OK);
    assert_int_equal(unlink(paths[1]), 0);
    expect_document(corpus, "vanished", "good");
    for (int again = 0; again < 2; again++)
        expect_fault("vanished", cx_corpus_next(corpus, &document, &error), &error, CX_ERROR_IO, "b.txt: No such file");
    cx_corpus_close(corpus);
}

int main(void) {
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, fixture_create, fixture_remove)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(json_lines),
        WITH_FOLDER(json_lines_that_are_generated),
        WITH_FOLDER(long_lines),
        WITH_FOLDER(options_that_are_refused),
        WITH_FOLDER(files_that_cannot_be_opened),
        WITH_FOLDER(files_that_are_no_text),
        WITH_FOLDER(files_that_end_early),
        WITH_FOLDER(files_that_are_corrupt),
        WITH_FOLDER(zstd_frames_that_are_refused),
        WITH_FOLDER(something_behind_the_stream),
        WITH_FOLDER(files_that_vanish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
