/* A folder of its own for the files that a corpus test reads, and short ways to write them. */
#ifndef CONTEXTURE_TEST_CORPUS_FIXTURE_H
#define CONTEXTURE_TEST_CORPUS_FIXTURE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "contexture/corpus.h"
#include "contexture/tokenizer.h"

enum { path_bytes = 512 };

struct fixture {
    char folder[path_bytes];
};

static inline void fixture_require(bool fine, const char *what) {
    if (!fine) {
        perror(what);
        exit(1);
    }
}

static inline int fixture_create(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture_require(fixture != NULL, "calloc");
    const char *temporary = getenv("TMPDIR");
    (void)snprintf(fixture->folder, sizeof fixture->folder, "%s/contexture-corpus-XXXXXX", temporary ? temporary : "/tmp");
    fixture_require(mkdtemp(fixture->folder) != NULL, "mkdtemp");
    *state = fixture;
    return 0;
}

/* One level deep is all that the tests make. */
static inline int fixture_remove(void **state) {
    struct fixture *fixture = *state;
    DIR *folder = opendir(fixture->folder);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[2 * path_bytes];
        (void)snprintf(path, sizeof path, "%s/%s", fixture->folder, entry->d_name);
        if (unlink(path) != 0)
            (void)rmdir(path);
    }
    if (folder)
        closedir(folder);
    (void)rmdir(fixture->folder);
    free(fixture);
    return 0;
}

/* The path of a file of that name; valid until the eighth call after this one. */
static inline const char *fixture_path(const struct fixture *fixture, const char *name) {
    static char paths[8][2 * path_bytes];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", fixture->folder, name);
    return path;
}

static inline const char *fixture_write(const struct fixture *fixture, const char *name, const void *bytes, size_t length) {
    const char *path = fixture_path(fixture, name);
    FILE *file = fopen(path, "wb");
    fixture_require(file && (length == 0 || fwrite(bytes, 1, length, file) == length) && fclose(file) == 0, path);
    return path;
}

static inline const char *fixture_text(const struct fixture *fixture, const char *name, const char *text) {
    return fixture_write(fixture, name, text, strlen(text));
}

/* A folder with the files of a WordPiece tokenizer: BERT's special tokens with the ids 0 to 4, then `more`, a token a line. For a setup function. */
static inline int fixture_open_tokenizer(const char *more, struct cx_tokenizer **tokenizer) {
    static const char special[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    void *fixture;
    struct cx_error error = {0};
    char vocabulary[1024];
    (void)fixture_create(&fixture);
    (void)snprintf(vocabulary, sizeof vocabulary, "%s%s", special, more);
    (void)fixture_text(fixture, "vocab.txt", vocabulary);
    (void)fixture_text(fixture, "tokenizer_config.json", "{\"tokenizer_class\": \"BertTokenizer\", \"do_lower_case\": true}");
    enum cx_status status = cx_tokenizer_open(((struct fixture *)fixture)->folder, tokenizer, &error);
    (void)fixture_remove(&fixture);
    if (status != CX_OK)
        (void)fprintf(stderr, "%s\n", error.message);
    return status == CX_OK ? 0 : -1;
}

/* One gzip member. Returns its length; release *compressed with free(). */
static inline size_t fixture_gzip(const void *bytes, size_t length, unsigned char **compressed) {
    size_t bound = compressBound(length) + 64;
    *compressed = malloc(bound);
    z_stream stream = {0};
    fixture_require(*compressed && deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, "deflateInit2");
    stream.next_in = (unsigned char *)(uintptr_t)bytes;
    stream.avail_in = (uInt)length;
    stream.next_out = *compressed;
    stream.avail_out = (uInt)bound;
    fixture_require(deflate(&stream, Z_FINISH) == Z_STREAM_END, "deflate");
    size_t total = stream.total_out;
    deflateEnd(&stream);
    return total;
}

/* One zstd frame with a checksum. */
static inline size_t fixture_zstd(const void *bytes, size_t length, unsigned char **compressed) {
    size_t bound = ZSTD_compressBound(length);
    *compressed = malloc(bound);
    ZSTD_CCtx *context = ZSTD_createCCtx();
    fixture_require(*compressed && context, "ZSTD_createCCtx");
    fixture_require(!ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)), "checksumFlag");
    size_t total = ZSTD_compress2(context, *compressed, bound, bytes, length);
    fixture_require(!ZSTD_isError(total), "ZSTD_compress2");
    ZSTD_freeCCtx(context);
    return total;
}

/* A corpus of one file with default settings. */
static inline struct cx_corpus_options fixture_options(const char *const *path) {
    return (struct cx_corpus_options){.paths = path, .path_count = 1};
}

#endif
