/*
 * What the model is given of a document: one sequence of tokens, or several windows over a long one, with where every token came from.
 */
#ifndef CONTEXTURE_SEQUENCE_H
#define CONTEXTURE_SEQUENCE_H

#include <stdint.h>

#include "contexture/corpus.h"
#include "contexture/error.h"
#include "contexture/label_table.h"
#include "contexture/tokenizer.h"

enum cx_too_long { CX_TOO_LONG_TRUNCATE, CX_TOO_LONG_WINDOW, CX_TOO_LONG_SKIP };

/* Bits of cx_sequence.flags; stored as /seq/flags. */
enum {
    CX_SEQUENCE_TRUNCATED = 1,  /* tokens at the end were left out */
    CX_SEQUENCE_WINDOW = 2,     /* one of several windows over a document */
    CX_SEQUENCE_REPAIRED = 4,   /* invalid UTF-8 was replaced by U+FFFD */
    CX_SEQUENCE_PAIR = 8,       /* two texts */
    CX_SEQUENCE_IDS = 16,       /* ready input_ids; there is no text, and all offsets are 0 */
    CX_SEQUENCE_ANNOTATED = 32, /* at least one of its texts has annotated words */
};

/* One sequence; owns its memory. Release with cx_sequence_free(). */
struct cx_sequence {
    char *id;          /* UTF-8, zero-terminated: the document's id; windows 1, 2, … add "#1", "#2", … (window 0 adds nothing) */
    uint64_t document; /* number in the corpus */
    uint32_t source;   /* index of the file */
    uint64_t line;
    uint32_t window; /* 0, 1, … */
    uint32_t flags;
    size_t tokens;      /* n */
    int32_t *input_ids; /* [n] */
    int32_t *token_type_ids;
    int32_t *position_ids;
    uint32_t *char_start, *char_end;      /* [n], in characters of `text` or `pair`, whichever the token came from */
    uint8_t *special;                     /* [n] 0 or 1 */
    int32_t *word_ids;                    /* [n] the tokenizer's own words, as Encoding.word_ids: each text's from 0; -1: none */
    int8_t *text_index;                   /* [n] 0 first text, 1 second, -1 neither */
    size_t words;                         /* m: runs of neighbouring tokens that have the same word; a token that is in none is a run by itself */
    uint32_t *word_first;                 /* [m + 1] the runs' first tokens, and n */
    int32_t *word;                        /* [n] word of the sequence, 0, 1, … in order of first appearance; -1: special, or outside of every word */
    int32_t *entity;                      /* [n] entity mention of the sequence, 0, 1, … likewise; -1: none */
    uint32_t *pos, *entity_label, *label; /* [n] ids in the run's label table; 0: none */
    int32_t *original_id;                 /* [n] the token's id before masking: differs from input_ids exactly where the token was masked */
    bool annotated;                       /* as the bit of flags: words come from the annotation (of each text that has one), not from the tokenizer */
    char *text;                           /* the (repaired) text that the tokens cover: all of it, or of a cut document its stretch. "" if there is none */
    size_t text_length;
    uint64_t text_start; /* characters of the document's text before `text`: not 0 only in windows 1, 2, … */
    char *pair;          /* second text or NULL */
    size_t pair_length;
    uint64_t pair_start;
};

/* A growing list of sequences; start zeroed. */
struct cx_sequence_list {
    struct cx_sequence *items;
    size_t count, capacity;
};

struct cx_sequence_options {
    size_t longest; /* tokens a sequence may have: the model's max_positions or less */
    enum cx_too_long too_long;
    size_t window_stride;    /* tokens by which neighbouring windows overlap; 0: a quarter of the longest */
    int32_t vocabulary_size; /* of the model: an id outside is a bad document */
    int32_t token_types;
    struct cx_label_table *labels; /* NULL: annotated words and mentions without their labels */
    double mask_rate;              /* 0 to 1: the share of ordinary tokens that the mask token takes the place of */
    uint64_t mask_seed;
};

/*
 * Appends the sequences of one document. CX_ERROR_DOCUMENT (nothing appended) if it cannot be used: too long with CX_TOO_LONG_SKIP,
 * no token, an id outside the vocabulary … CX_ERROR_USAGE if the options leave no room for text at all. `tokenizer` may be NULL if the
 * document carries ids. `scratch` is working memory, start zeroed.
 *
 * A document of more than `longest` tokens, special tokens counted:
 *   truncate  as `tokenizers` does with "longest_first": special tokens stay; of a pair the longer text loses tokens at its end, and both keep
 *             half where that is not enough.
 *   window    windows of `longest` tokens that overlap by `window_stride`, as truncation with a stride and overflowing tokens: each has its own
 *             special tokens, and positions from 0. Of a pair the longer text is cut into windows and the shorter one stands whole in each; a
 *             shorter text that leaves no room for that is CX_ERROR_DOCUMENT.
 * Ready ids are cut as they stand: which of them are special is not known, so truncation drops the end ([SEP] with it), and windows add nothing.
 *
 * Words: a token of an annotated text belongs to the word that its span shares most characters with, the first of several; in a text without annotation, to
 * the tokenizer's own word. Labels and mentions are the words'. Windows and truncation keep them; a mention cut by a window goes on with another number.
 *
 * Masking: a token is ordinary if neither the post-processor added it nor the tokenizer calls its id special. Whether it is masked depends on the seed, the
 * document's number in the corpus and the token's place in the whole document alone: on no thread, shard, batch or window. CX_ERROR_UNSUPPORTED
 * if the tokenizer has no mask token.
 *
 * A cut sequence keeps only the stretch of text that its tokens cover, so that the windows over one long document hold its text once, not once
 * each. Where nothing was cut, `text` is the whole text.
 */
CX_MUST_USE enum cx_status cx_sequence_append(const struct cx_document *document, const struct cx_tokenizer *tokenizer,
                                              const struct cx_sequence_options *options, struct cx_encoding *scratch, struct cx_sequence_list *list,
                                              struct cx_error *error);

/* Rows and columns of the sequence's maps. */
static inline size_t cx_sequence_map_side(const struct cx_sequence *sequence, bool by_words) {
    return by_words ? sequence->words : sequence->tokens;
}

void cx_sequence_free(struct cx_sequence *sequence);
void cx_sequence_list_clear(struct cx_sequence_list *list); /* frees the sequences, keeps the list's memory */
void cx_sequence_list_free(struct cx_sequence_list *list);

#endif
