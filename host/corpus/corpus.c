#include "contexture/corpus.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "byte_source.h"
#include "contexture/memory.h"
#include "document_json.h"
#include "line_reader.h"
#include "source_list.h"

struct cx_corpus {
    struct cx_source_list sources;
    size_t source;                 /* index of the file being read */
    struct cx_line_reader *reader; /* NULL: the next file is not open yet */
    uint64_t number;               /* documents seen so far */
    uint64_t first, end;           /* documents first .. end - 1 are wanted */
    size_t longest_line;
    uint64_t bytes_closed; /* on disk, of the files already behind */
    struct cx_json_lines json;
    char *fields[5];    /* the copies that `json` borrows */
    char id_digits[24]; /* a document's number as its id */
    struct cx_start_sink sink;
    struct cx_corpus_watcher watcher;
};

/* "words" and "words_pair". */
static enum cx_status copy_words_fields(struct cx_corpus *corpus, const char *name, struct cx_error *error) {
    static const char suffix[] = "_pair";
    const size_t length = strlen(name);
    enum cx_status status = cx_copy_text(name, length, &corpus->fields[3], error);
    if (status == CX_OK)
        status = cx_allocate(length + sizeof suffix, 1, "the name of a field", &corpus->fields[4], error);
    if (status != CX_OK)
        return status;
    memcpy(corpus->fields[4], name, length);
    memcpy(corpus->fields[4] + length, suffix, sizeof suffix);
    corpus->json.words_fields[0] = corpus->fields[3];
    corpus->json.words_fields[1] = corpus->fields[4];
    return CX_OK;
}

static enum cx_status copy_field(const char *name, char **copy, const char **borrowed, struct cx_error *error) {
    if (!name)
        return CX_OK;
    enum cx_status status = cx_copy_text(name, strlen(name), copy, error);
    *borrowed = *copy;
    return status;
}

enum cx_status cx_corpus_open(const struct cx_corpus_options *options, struct cx_corpus **corpus, struct cx_error *error) {
    struct cx_corpus *opened;
    *corpus = NULL;
    enum cx_status status = cx_allocate(1, sizeof *opened, "the corpus", &opened, error);
    if (status != CX_OK)
        return status;
    opened->longest_line = cx_corpus_longest_line(options);
    opened->first = options->skip;
    opened->end = options->limit > 0 && options->limit < UINT64_MAX - options->skip ? options->skip + options->limit : UINT64_MAX;
    status = cx_source_list_build(options, &opened->sources, error);
    if (status == CX_OK)
        status = copy_field(cx_corpus_text_field(options), &opened->fields[0], &opened->json.text_field, error);
    if (status == CX_OK)
        status = copy_field(cx_corpus_id_field(options), &opened->fields[1], &opened->json.id_field, error);
    if (status == CX_OK)
        status = copy_field(options->pair_field, &opened->fields[2], &opened->json.pair_field, error);
    if (status == CX_OK)
        status = copy_words_fields(opened, cx_corpus_words_field(options), error);
    if (status != CX_OK) {
        cx_corpus_close(opened);
        return status;
    }
    *corpus = opened;
    return CX_OK;
}

void cx_corpus_close(struct cx_corpus *corpus) {
    if (!corpus)
        return;
    cx_json_lines_free(&corpus->json);
    for (size_t k = 0; k < sizeof corpus->fields / sizeof *corpus->fields; k++)
        free(corpus->fields[k]);
    cx_line_reader_close(corpus->reader);
    cx_source_list_free(&corpus->sources);
    free(corpus);
}

/* The next line that is a document, in this file or a later one. */
static enum cx_status next_line(struct cx_corpus *corpus, bool want_hash, struct cx_line *line, struct cx_error *error) {
    while (corpus->source < corpus->sources.count) {
        enum cx_status status = CX_OK;
        if (!corpus->reader)
            status = cx_line_reader_open(corpus->sources.items[corpus->source].path, corpus->longest_line, corpus->watcher.found ? &corpus->sink : NULL,
                                         &corpus->reader, error);
        if (status == CX_OK)
            status = cx_line_reader_next(corpus->reader, want_hash, line, error);
        if (status == CX_OK && line->blank)
            continue;
        if (status != CX_END)
            return status;
        corpus->bytes_closed += cx_line_reader_bytes_read(corpus->reader);
        cx_line_reader_close(corpus->reader);
        corpus->reader = NULL;
        corpus->source++;
    }
    return CX_END;
}

static enum cx_status pass_over_until(struct cx_corpus *corpus, uint64_t number, struct cx_error *error) {
    while (corpus->number < number) {
        struct cx_line line;
        enum cx_status status = next_line(corpus, false, &line, error);
        if (status != CX_OK)
            return status;
        corpus->number++;
    }
    return CX_OK;
}

enum cx_status cx_corpus_pass_over(struct cx_corpus *corpus, uint64_t count, struct cx_error *error) {
    if (count == 0)
        return CX_OK;
    uint64_t from = corpus->number > corpus->first ? corpus->number : corpus->first;
    uint64_t until = count < corpus->end - from ? from + count : corpus->end;
    enum cx_status status = pass_over_until(corpus, until, error);
    return status == CX_OK && until - from < count ? CX_END : status;
}

/* The bytes before the annotations, if they come behind the text. A line is not parsed for that: it is an estimate's input. */
static uint64_t text_bytes(const struct cx_corpus *corpus, const struct cx_line *line) {
    const char *name = corpus->json.words_fields[0];
    const size_t length = strlen(name);
    if (line->too_long || corpus->sources.items[corpus->source].format != CX_CORPUS_JSONL)
        return line->bytes;
    for (const char *at = line->text, *end = at + line->length; (at = memmem(at, (size_t)(end - at), name, length)); at += length)
        if (at > line->text && at[-1] == '"' && at + length < end && at[length] == '"')
            return (uint64_t)(at - line->text) - 1;
    return line->bytes;
}

static void describe(struct cx_corpus *corpus, const struct cx_line *line, struct cx_document *document) {
    int length = snprintf(corpus->id_digits, sizeof corpus->id_digits, "%" PRIu64, corpus->number);
    *document = (struct cx_document){
        .number = corpus->number,
        .source = corpus->source,
        .line = line->number,
        .id = corpus->id_digits,
        .id_length = length > 0 ? (size_t)length : 0,
        .content_hash = line->hash,
        .text_bytes = text_bytes(corpus, line),
    };
}

/* The next document's line, and what can be said of it without looking into it. */
static enum cx_status next_document(struct cx_corpus *corpus, struct cx_line *line, struct cx_document *document, struct cx_error *error) {
    *document = (struct cx_document){0};
    enum cx_status status = pass_over_until(corpus, corpus->first, error);
    if (status == CX_OK && corpus->number >= corpus->end)
        status = CX_END;
    if (status == CX_OK)
        status = next_line(corpus, true, line, error);
    if (status != CX_OK)
        return status;
    describe(corpus, line, document);
    corpus->number++;
    return CX_OK;
}

enum cx_status cx_corpus_next_line(struct cx_corpus *corpus, struct cx_document *document, struct cx_error *error) {
    struct cx_line line;
    return next_document(corpus, &line, document, error);
}

enum cx_status cx_corpus_next(struct cx_corpus *corpus, struct cx_document *document, struct cx_error *error) {
    struct cx_line line;
    enum cx_status status = next_document(corpus, &line, document, error);
    if (status != CX_OK)
        return status;
    const struct cx_source *source = &corpus->sources.items[corpus->source];
    if (line.too_long)
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": the line is longer than %zu bytes, the longest allowed", source->path, line.number,
                       corpus->longest_line);
    if (source->format == CX_CORPUS_TEXT) {
        document->text = line.text;
        document->text_length = line.length;
        return CX_OK;
    }
    struct cx_document parsed = *document;
    status = cx_json_lines_parse(&corpus->json, line.text, line.length, source->path, &parsed, error);
    if (status == CX_OK)
        *document = parsed;
    return status;
}

size_t cx_corpus_source_count(const struct cx_corpus *corpus) {
    return corpus->sources.count;
}

const char *cx_corpus_source(const struct cx_corpus *corpus, size_t source) {
    return source < corpus->sources.count ? corpus->sources.items[source].path : NULL;
}

bool cx_corpus_may_be_annotated(const struct cx_corpus *corpus) {
    for (size_t k = 0; k < corpus->sources.count; k++)
        if (corpus->sources.items[k].format == CX_CORPUS_JSONL)
            return true;
    return false;
}

uint64_t cx_corpus_bytes_read(const struct cx_corpus *corpus) {
    return corpus->bytes_closed + (corpus->reader ? cx_line_reader_bytes_read(corpus->reader) : 0);
}

uint64_t cx_corpus_bytes_total(const struct cx_corpus *corpus) {
    uint64_t total = 0;
    for (size_t k = 0; k < corpus->sources.count; k++) {
        if (!corpus->sources.items[k].regular)
            return 0;
        total += corpus->sources.items[k].bytes;
    }
    return total;
}

/* --- places --- */

bool cx_corpus_has_places(const struct cx_corpus *corpus) {
    for (size_t k = 0; k < corpus->sources.count; k++)
        if (!corpus->sources.items[k].regular)
            return false;
    return true;
}

enum cx_status cx_corpus_find_place(struct cx_corpus *corpus, struct cx_corpus_place *place, struct cx_error *error) {
    enum cx_status status = pass_over_until(corpus, corpus->first, error);
    *place = (struct cx_corpus_place){.number = corpus->number, .source = corpus->source};
    if (corpus->reader) {
        place->line = cx_line_reader_lines(corpus->reader);
        place->offset = cx_line_reader_offset(corpus->reader);
    }
    return status;
}

enum cx_status cx_corpus_go(struct cx_corpus *corpus, const struct cx_corpus_place *place, const struct cx_corpus_checkpoint *checkpoint,
                            struct cx_error *error) {
    if (place->source >= corpus->sources.count)
        return cx_fail(error, CX_ERROR_CONFLICT, "the plan of shards names file %zu of the corpus, which has %zu", place->source, corpus->sources.count);
    cx_line_reader_close(corpus->reader);
    corpus->reader = NULL;
    corpus->source = place->source;
    corpus->number = place->number;
    corpus->bytes_closed = 0;
    for (size_t k = 0; k < place->source; k++)
        corpus->bytes_closed += corpus->sources.items[k].bytes;
    if (place->offset == 0)
        return CX_OK;
    struct cx_decoder_start start = {0};
    if (checkpoint)
        start = (struct cx_decoder_start){checkpoint->compressed, checkpoint->offset, checkpoint->bits, checkpoint->window, checkpoint->window_length};
    return cx_line_reader_open_at(corpus->sources.items[place->source].path, corpus->longest_line, place->offset, place->line, checkpoint ? &start : NULL,
                                  &corpus->reader, error);
}

static enum cx_status tell_watcher(void *context, const struct cx_decoder_start *start, struct cx_error *error) {
    struct cx_corpus *corpus = context;
    const struct cx_corpus_checkpoint checkpoint = {corpus->source, start->decoded, start->offset, start->bits, start->window, start->window_length};
    return corpus->watcher.found(corpus->watcher.context, &checkpoint, error);
}

void cx_corpus_watch(struct cx_corpus *corpus, const struct cx_corpus_watcher *watcher) {
    corpus->watcher = *watcher;
    corpus->sink = (struct cx_start_sink){watcher->spacing, tell_watcher, corpus};
}
