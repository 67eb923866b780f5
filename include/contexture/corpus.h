/*
 * Documents, one after the other, from any number of files: plain text (one document a line) or JSONL, as they are or
 * compressed with gzip or zstd (told by their first bytes, not by their names), or standard input ("-").
 *
 * Memory does not depend on the corpus: one document is held at a time.
 */
#ifndef CONTEXTURE_CORPUS_H
#define CONTEXTURE_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

enum cx_corpus_format { CX_CORPUS_AUTO, CX_CORPUS_TEXT, CX_CORPUS_JSONL }; /* AUTO: by file name (.jsonl, .ndjson, .json, before .gz or .zst), else text */

struct cx_corpus_options {
    const char *const *paths; /* files, globs, or "-"; a glob stands for its matches in byte order */
    size_t path_count;
    enum cx_corpus_format format;
    const char *text_field;  /* JSONL; default "text" */
    const char *id_field;    /* default "id": a string of 1 to 1024 bytes, or an integer; a document without one is called by its number */
    const char *pair_field;  /* NULL: none */
    const char *words_field; /* default "words"; the second text's annotation is in the field of that name with "_pair" behind it */
    uint64_t skip;           /* documents left out at the beginning */
    uint64_t limit;          /* at most so many after that; 0: all */
    size_t longest_line;     /* bytes; a longer line is a bad document. 0: 64 MiB */
};

/* One word of an annotated text, in characters (code points) of the text. Labels are UTF-8 of 1 to CX_LONGEST_LABEL bytes; NULL: none. */
struct cx_word_annotation {
    uint32_t start, end;
    const char *pos;
    const char *ner; /* as it stands in the corpus: cx_entity_tag_read() tells what it says */
    const char *label;
};

enum { CX_LONGEST_LABEL = 64 };

/* The words of one text, in order and without overlap. */
struct cx_annotation {
    bool present; /* false: the text is not annotated. An empty list of words is an annotation: no token is in a word. */
    const struct cx_word_annotation *words;
    size_t count;
};

/* What an entity tag says of its word. `label` points into the tag; NULL: the word is in no mention. */
struct cx_entity_tag {
    const char *label;
    bool begins; /* a mention; else the word goes on with the mention of the word before it, if that has the same label, and begins one if not */
};

/*
 * "O" and no tag: no mention. "B-X", and "S-X" or "U-X" of the longer schemes: begins a mention of label X. "I-X", "E-X", "L-X": goes on. Any other text is a
 * plain label: neighbouring words of the same label are one mention.
 */
void cx_entity_tag_read(const char *text, struct cx_entity_tag *tag);

/* One document. The memory belongs to the corpus and holds until the next call. */
struct cx_document {
    uint64_t number; /* in the whole corpus, from 0; skipped and bad ones count, blank lines do not */
    size_t source;   /* index of the file, see cx_corpus_source() */
    uint64_t line;   /* in the file, from 1 */
    const char *id;
    size_t id_length;
    const char *text; /* NULL if input_ids are given; may be invalid UTF-8 in plain text files; U+0000 is allowed. Not zero-terminated. */
    size_t text_length;
    const char *pair; /* NULL: none */
    size_t pair_length;
    const int32_t *input_ids;      /* NULL: none */
    const int32_t *token_type_ids; /* NULL: all 0 */
    size_t input_count;
    struct cx_annotation annotations[2]; /* of text and pair */
    const char *annotation_fault;        /* NULL, or a sentence on what is wrong with the annotations; no text of the document is annotated then */
    uint64_t text_bytes;                 /* of that line, without LF, and up to the annotations: what tells how many tokens to expect */
    uint64_t content_hash;               /* XXH3-64 of the line as it stands in the (decompressed) file, without LF and byte order mark */
};

struct cx_corpus;

/*
 * Expands the globs, opens every file once to see that it can be read (CX_ERROR_IO if not, or if a glob matches nothing), and starts before the
 * first document. The options are not needed after the call. Ids are not checked to be unique: that would take memory that grows with the corpus.
 */
CX_MUST_USE enum cx_status cx_corpus_open(const struct cx_corpus_options *options, struct cx_corpus **corpus, struct cx_error *error);
void cx_corpus_close(struct cx_corpus *corpus);

/*
 * The next document. CX_END after the last. CX_ERROR_DOCUMENT: this line is no usable document (the sentence says file, line and
 * why); `document` still has number, source, line, content_hash and, as id, its number; the next call goes on behind it. Anything else ends the
 * reading, and comes again from further calls: CX_ERROR_INPUT for a compressed file that is corrupt or ends early, which says where and how many
 * lines of it were given before (both formats keep their checksum at the end, so lines shortly before the damage may be wrong), CX_ERROR_IO,
 * CX_ERROR_UNSUPPORTED for a file that is no text.
 * Lines of ASCII white space alone are no documents, in either format. A line ends in LF or CR LF; a byte order mark at a file's start is dropped.
 *
 * A JSONL line is an object with a text field (and a pair field, if one is named), or with "input_ids" and perhaps "token_type_ids"; and perhaps with
 * "words", the text's annotation, an array of {"start", "end", "pos"?, "ner"?, "label"?}, and "words_pair", that of the second text. Other fields are
 * ignored, and null is the same as no field. A fault in an annotation is no fault of the document: see annotation_fault.
 */
CX_MUST_USE enum cx_status cx_corpus_next(struct cx_corpus *corpus, struct cx_document *document, struct cx_error *error);

/* Passes over the next `count` documents without parsing them, as fast as lines can be found. CX_END if there are fewer within the limit. */
CX_MUST_USE enum cx_status cx_corpus_pass_over(struct cx_corpus *corpus, uint64_t count, struct cx_error *error);

/* As cx_corpus_next(), but does not look into the line: text, ids and what is wrong with it remain unknown. As fast as lines can be found and hashed. */
CX_MUST_USE enum cx_status cx_corpus_next_line(struct cx_corpus *corpus, struct cx_document *document, struct cx_error *error);

/* --- places, for reading a part of a corpus without what comes before it --- */

/* A place between two lines. */
struct cx_corpus_place {
    uint64_t number; /* documents before it in the corpus */
    size_t source;   /* the file */
    uint64_t line;   /* lines of the file before it */
    uint64_t offset; /* bytes of the file's text before it, decompressed */
};

/* A place in a compressed file at which decompression can begin. */
struct cx_corpus_checkpoint {
    size_t source;
    uint64_t offset;     /* bytes of text before it */
    uint64_t compressed; /* bytes of the file before it */
    unsigned bits;       /* gzip: of the byte before, so many bits belong to what follows */
    const unsigned char *window;
    size_t window_length; /* gzip: the text before it, at most 32 KiB; 0: a gzip member or a zstd frame begins here */
};

/* False if a file can be read only once: standard input, or a pipe. */
bool cx_corpus_has_places(const struct cx_corpus *corpus);

/* Where the next document is looked for. */
CX_MUST_USE enum cx_status cx_corpus_find_place(struct cx_corpus *corpus, struct cx_corpus_place *place, struct cx_error *error);

/* Goes on from `place`. `checkpoint`, of the same file and not behind the place, saves decompressing what is before it; NULL: none. */
CX_MUST_USE enum cx_status cx_corpus_go(struct cx_corpus *corpus, const struct cx_corpus_place *place, const struct cx_corpus_checkpoint *checkpoint,
                                        struct cx_error *error);

/* Before the first document is read: `found` is called for checkpoints at least `spacing` bytes of a compressed file apart, when reading has come there. */
struct cx_corpus_watcher {
    uint64_t spacing;
    CX_MUST_USE enum cx_status (*found)(void *context, const struct cx_corpus_checkpoint *checkpoint, struct cx_error *error);
    void *context;
};
void cx_corpus_watch(struct cx_corpus *corpus, const struct cx_corpus_watcher *watcher);

/* Paths after expanding globs. */
size_t cx_corpus_source_count(const struct cx_corpus *corpus);
const char *cx_corpus_source(const struct cx_corpus *corpus, size_t source);

/* Whether documents of this corpus may be annotated: one of its files at least is JSONL. */
bool cx_corpus_may_be_annotated(const struct cx_corpus *corpus);

/* Bytes read so far of the files as they are on disk, and their total (0: unknown, as for standard input and pipes). For the progress bar. */
uint64_t cx_corpus_bytes_read(const struct cx_corpus *corpus);
uint64_t cx_corpus_bytes_total(const struct cx_corpus *corpus);

/*
 * 32 hexadecimal digits of XXH3-128 over the files' contents as they are on disk and the options that choose documents (not over paths); "stdin" if
 * standard input or a pipe is among them.
 */
CX_MUST_USE enum cx_status cx_corpus_fingerprint(const struct cx_corpus_options *options, char fingerprint[33], struct cx_error *error);

#endif
