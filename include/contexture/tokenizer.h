/*
 * Text to token ids, equal to Hugging Face `tokenizers` in ids and offsets.
 *
 * Reads tokenizer.json (BertNormalizer, BertPreTokenizer, WordPiece, TemplateProcessing or BertProcessing, added tokens), else
 * vocab.txt with tokenizer_config.json, special_tokens_map.json and added_tokens.json, as `transformers` does for BertTokenizerFast.
 * Truncation and padding blocks in the file are ignored; cx_tokenizer_notice() says so. Anything else that could change the tokens is
 * CX_ERROR_UNSUPPORTED with its name.
 * A tokenizer does not change after opening: any number of threads may encode with it.
 */
#ifndef CONTEXTURE_TOKENIZER_H
#define CONTEXTURE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

struct cx_tokenizer;

/* Where a token stands in its text: characters are Unicode code points, as Hugging Face counts. (0, 0) for tokens that are in no text. */
struct cx_span {
    uint32_t char_start, char_end;
    uint32_t byte_start, byte_end;
};

/* Parallel arrays of `count` tokens. Owned by the caller: start zeroed, reuse for many texts, end with cx_encoding_free(). */
struct cx_encoding {
    size_t count, capacity;
    int32_t *ids;
    int32_t *type_ids;
    struct cx_span *spans;
    uint8_t *special;  /* 1: added by the post-processor ([CLS], [SEP]), as special_tokens_mask */
    int32_t *word_ids; /* index of the pre-token in its text, as Encoding.word_ids; -1: none */
    int8_t *sequence;  /* 0: first text, 1: second, -1: neither, as Encoding.sequence_ids */
};

CX_MUST_USE enum cx_status cx_tokenizer_open(const char *directory, struct cx_tokenizer **tokenizer, struct cx_error *error);
void cx_tokenizer_close(struct cx_tokenizer *tokenizer);

/* A sentence on what the tokenizer's files ask for and is ignored (truncation, padding); NULL if nothing. */
const char *cx_tokenizer_notice(const struct cx_tokenizer *tokenizer);

/* Ids run from 0 to vocabulary_size - 1, added tokens included. */
size_t cx_tokenizer_vocabulary_size(const struct cx_tokenizer *tokenizer);

/* The token's text ("##ing"), or NULL; owned by the tokenizer. */
const char *cx_tokenizer_token(const struct cx_tokenizer *tokenizer, int32_t id);

/* The id of a token, or -1. */
int32_t cx_tokenizer_id(const struct cx_tokenizer *tokenizer, const char *token);

/* The id of the mask token, or -1 if the tokenizer has none. */
int32_t cx_tokenizer_mask_id(const struct cx_tokenizer *tokenizer);

/* Whether the tokenizer's files call the token of this id special ([CLS], [SEP], [PAD], [UNK], [MASK] …). */
bool cx_tokenizer_is_special(const struct cx_tokenizer *tokenizer, int32_t id);

/* Number of special tokens that the post-processor adds to one text (2 for BERT) or to a pair (3). */
size_t cx_tokenizer_special_count(const struct cx_tokenizer *tokenizer, bool pair);

/*
 * Encodes `text` (valid UTF-8 of `length` bytes; U+0000 allowed) and, if not NULL, `pair` as its second text; the post-processor's special
 * tokens are added when add_special is true. Spans refer to the text a token came from. A text that is not valid UTF-8, or has more than
 * INT32_MAX bytes, is CX_ERROR_DOCUMENT.
 */
CX_MUST_USE enum cx_status cx_tokenizer_encode(const struct cx_tokenizer *tokenizer, const char *text, size_t length, const char *pair, size_t pair_length,
                                               bool add_special, struct cx_encoding *encoding, struct cx_error *error);

void cx_encoding_free(struct cx_encoding *encoding);

/*
 * Replaces every maximal invalid part of `text` by U+FFFD, as Python's bytes.decode("utf-8", "replace") does. *valid is a new string
 * (release with free()) and *replaced says how many parts were replaced; *valid is NULL if the text was valid already.
 */
CX_MUST_USE enum cx_status cx_utf8_repair(const char *text, size_t length, char **valid, size_t *valid_length, size_t *replaced, struct cx_error *error);

/* A text that may be no UTF-8, such as a file's name, as a JSON string of jansson, repaired so. NULL: no memory. */
struct json_t *cx_utf8_json(const char *text, size_t length);

#endif
