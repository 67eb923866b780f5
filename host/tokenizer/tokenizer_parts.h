/*
 * The parts of a tokenizer, one source file each, in the order in which a text passes them:
 *
 *     added tokens in the raw text -> normalizer -> added tokens in the normalized text -> pre-tokenizer -> WordPiece -> post-processor
 *
 * Everything here is equal to PyPI `tokenizers` 0.23, its oddities included; tests/python/test_tokenizer_parity.py compares the two.
 */
#ifndef CONTEXTURE_TOKENIZER_PARTS_H
#define CONTEXTURE_TOKENIZER_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"
#include "contexture/tokenizer.h"

/* Limits on what a file may ask for. */
enum {
    CX_TOKENIZER_FILE_LIMIT = 256 << 20, /* bytes of tokenizer.json, vocab.txt, tokenizer_config.json */
    CX_HIGHEST_ID = (1 << 24) - 1,
    CX_MOST_ADDED_TOKENS = 1 << 16
};

/* --- vocabulary.c: token texts and ids --- */

/* A hash table of texts; a free slot has id -1. */
struct cx_word_table {
    struct cx_word_slot {
        uint32_t hash;
        int32_t id;
    } * slots;
    size_t count, size; /* size is a power of two, or 0 */
};

struct cx_vocabulary {
    char *text; /* all tokens, each with a terminating zero */
    size_t text_length, text_capacity;
    struct cx_token_text {
        size_t offset; /* in `text`; SIZE_MAX: the model has no token of that id */
        size_t length;
        size_t name; /* what the id is called, in `text`; differs where an added token has the id of one of the model's */
    } * tokens;      /* [id_count] */
    size_t id_count, id_capacity;
    struct cx_word_table whole;      /* every token, as it is */
    struct cx_word_table continuing; /* tokens that begin with the prefix, without it */
    size_t prefix_length;
    size_t longest; /* bytes of the longest token */
};

/* A later token of the same text takes the place of the earlier one, as in a Python or Rust dictionary. */
CX_MUST_USE enum cx_status cx_vocabulary_add(struct cx_vocabulary *vocabulary, const char *token, size_t length, int32_t id, struct cx_error *error);

/* Says what an id is called, without making that known to WordPiece. */
CX_MUST_USE enum cx_status cx_vocabulary_name(struct cx_vocabulary *vocabulary, const char *token, size_t length, int32_t id, struct cx_error *error);

/* After the last cx_vocabulary_add(): prepares the pieces that continue a word. */
CX_MUST_USE enum cx_status cx_vocabulary_finish(struct cx_vocabulary *vocabulary, const char *prefix, struct cx_error *error);

/* The id of a token, or -1. */
int32_t cx_vocabulary_id(const struct cx_vocabulary *vocabulary, const char *token, size_t length);

/* The text of an id, or NULL. */
const char *cx_vocabulary_text(const struct cx_vocabulary *vocabulary, int32_t id);

void cx_vocabulary_free(struct cx_vocabulary *vocabulary);

/* The hash grows byte by byte, so that one pass over a word gives the hashes of all its beginnings. */
#define CX_HASH_START UINT64_C(0xcbf29ce484222325)
static inline uint64_t cx_hash_step(uint64_t hash, char byte) {
    return (hash ^ (unsigned char)byte) * UINT64_C(0x9E3779B97F4A7C15);
}

/* The id of bytes[0..length), whose hash is given, as a word's beginning or, with `continuing`, as a later piece; -1: none. */
int32_t cx_vocabulary_piece(const struct cx_vocabulary *vocabulary, bool continuing, uint64_t hash, const char *bytes, size_t length);

/* --- normalizer.c: BertNormalizer --- */

struct cx_normalizer {
    bool clean_text, handle_chinese_chars, strip_accents, lowercase;
};

/* Part of a text after normalization. origins[i] is the byte, in the whole text, where the character begins that bytes[i] came from. */
struct cx_normalized {
    char *bytes;
    uint32_t *origins;
    size_t length, capacity;
    struct cx_pending_mark *marks; /* combining marks that wait to be put into canonical order */
    uint32_t *mark_origins;        /* of the characters that were read since the last starter */
    size_t mark_count, mark_capacity, mark_origin_count, mark_origin_capacity;
    uint32_t last_origin;
};

/* Replaces what `normalized` holds by the normalization of text[start .. end). */
CX_MUST_USE enum cx_status cx_normalize(const struct cx_normalizer *normalizer, const char *text, size_t start, size_t end, struct cx_normalized *normalized,
                                        struct cx_error *error);

void cx_normalized_free(struct cx_normalized *normalized);

/* --- added_tokens.c: tokens that are looked for before the model sees the text --- */

struct cx_added_token {
    const char *content;
    size_t length;
    bool single_word, lstrip, rstrip, normalized, special;
    int32_t id;
    /* set by the list: */
    bool is_replaced; /* a later token has its id */
    char *copy;       /* of the content */
    char *pattern;    /* what is looked for: the content, or its normalization */
    size_t pattern_length;
};

struct cx_added_tokens {
    struct cx_added_token *tokens;
    size_t count, capacity;
    int32_t next_id; /* of a token that the model does not have */
    struct cx_added_set {
        const struct cx_added_token **sorted; /* by pattern */
        size_t count;
        bool begins[256]; /* a pattern begins with this byte */
    } raw, normalized;
};

/* Adds a copy of `token` (content, length and flags) as `tokenizers` does, which gives it the model's id or the next free one, whatever
 * the file says. *id is the id given, or -1 for a token without content, which is left out. */
CX_MUST_USE enum cx_status cx_added_tokens_add(struct cx_added_tokens *added, const struct cx_added_token *token, struct cx_vocabulary *vocabulary, int32_t *id,
                                               struct cx_error *error);

/* After the last cx_added_tokens_add(). */
CX_MUST_USE enum cx_status cx_added_tokens_finish(struct cx_added_tokens *added, const struct cx_normalizer *normalizer, struct cx_error *error);

void cx_added_tokens_free(struct cx_added_tokens *added);

/* A part of a text: an added token, or text for the model (id -1). */
struct cx_split {
    size_t start, end;
    int32_t id;
};

/* Walks over text[0..length): `search` is where the next match may begin, `covered` the end of what was given out. */
struct cx_added_scan {
    const struct cx_added_set *set;
    const char *text;
    size_t length, search, covered;
    struct cx_split waiting; /* id -1: none */
};

void cx_added_scan_start(struct cx_added_scan *scan, const struct cx_added_set *set, const char *text, size_t length);

/* The next part that is not empty; false at the end. */
CX_MUST_USE bool cx_added_scan_next(struct cx_added_scan *scan, struct cx_split *split);

/* --- pretokenizer.c: BertPreTokenizer --- */

struct cx_word {
    size_t start, end, characters;
};

/* The next word of text[*at .. end), which moves *at behind it; false if there is none. */
CX_MUST_USE bool cx_next_word(const char *text, size_t end, size_t *at, struct cx_word *word);

/* --- wordpiece.c --- */

struct cx_wordpiece {
    int32_t unknown_id;
    size_t most_characters; /* of a word; a longer one is unknown */
};

struct cx_piece {
    size_t start, end; /* bytes of the word */
    int32_t id;
};

/* Working memory of one text. */
struct cx_piece_list {
    struct cx_piece *pieces;
    size_t count, capacity;
    uint64_t *hashes; /* of the beginnings of what is left of a word */
    size_t hash_capacity;
};

/* Splits a word, at least one byte long, into pieces of the vocabulary, always the longest first; a word that has none is one unknown piece. */
CX_MUST_USE enum cx_status cx_wordpiece_split(const struct cx_wordpiece *model, const struct cx_vocabulary *vocabulary, const char *word, size_t length,
                                              size_t characters, struct cx_piece_list *list, struct cx_error *error);

void cx_piece_list_free(struct cx_piece_list *list);

/* --- post_processor.c: TemplateProcessing, BertProcessing --- */

struct cx_template {
    struct cx_template_part {
        int sequence; /* 0: the first text, 1: the second, -1: a special token */
        int32_t id;   /* of the special token */
        int32_t type_id;
    } * parts;
    size_t count, capacity;
};

CX_MUST_USE enum cx_status cx_template_add(struct cx_template *list, int sequence, int32_t id, int32_t type_id, struct cx_error *error);

/* [CLS] A [SEP] and [CLS] A [SEP] B [SEP], types 0 and 1. */
CX_MUST_USE enum cx_status cx_template_bert(struct cx_template *single, struct cx_template *pair, int32_t cls_id, int32_t sep_id, struct cx_error *error);

/* The templates where there is no post-processor: A and A B. */
CX_MUST_USE enum cx_status cx_template_plain(struct cx_template *single, struct cx_template *pair, struct cx_error *error);

/* --- the whole --- */

struct cx_tokenizer {
    struct cx_vocabulary vocabulary;
    struct cx_normalizer normalizer;
    struct cx_added_tokens added;
    struct cx_wordpiece wordpiece;
    struct cx_template single, pair;
    int32_t mask_id; /* -1: none */
    char *notice;    /* or NULL */
};

/* Adds a sentence to the notice. */
CX_PRINTF(3, 4) CX_MUST_USE enum cx_status cx_tokenizer_note(struct cx_tokenizer *tokenizer, struct cx_error *error, const char *format, ...);

/* The mask token's id: the token that tokenizer_config.json or special_tokens_map.json names, else [MASK]; -1 if the tokenizer does not know it. Files that
 * cannot be read count as not there: nothing else of them is needed. */
int32_t cx_find_mask(const struct cx_tokenizer *tokenizer, const char *directory);

/* vocab_txt.c */
CX_MUST_USE enum cx_status cx_read_vocabulary_lines(struct cx_vocabulary *vocabulary, const char *path, struct cx_error *error);

/* tokenizer_json.c and tokenizer_config.c: fill a zeroed tokenizer; after a failure the caller releases what is there. */
CX_MUST_USE enum cx_status cx_tokenizer_read_json(struct cx_tokenizer *tokenizer, const char *path, struct cx_error *error);
CX_MUST_USE enum cx_status cx_tokenizer_read_vocab(struct cx_tokenizer *tokenizer, const char *directory, const char *path, struct cx_error *error);

#endif
