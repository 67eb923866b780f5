/* clang-format off */
/*
 * The schema of a part, parts/shard-NNNNNN.h5, format version 1. run.h5 has the same datasets, joined over all parts.
 *
 * N sequences; T tokens in all, n of one sequence; W words in all; L stored layers; H heads; V vector layers; d hidden_size; layers: of the model.
 * A block dataset is flat: sequence s owns the elements offset[s] .. offset[s+1] of it, a row-major block of the shape below.
 * The fourth column is the option that switches a dataset on; without one it is always there.
 *
 * /seq/id                                   UTF-8               [N]                                          the document's id, fixed length; windows after the first add #1, #2, …
 * /seq/document                             int64               [N]                                          number of the document in the corpus, from 0
 * /seq/source, /seq/line                    int32, int64        [N]                                          index into /sources; line in that file, from 1
 * /seq/window                               int32               [N]                                          number of the window over a long document, from 0
 * /seq/flags                                int32               [N]                                          bits: 1 truncated, 2 window, 4 invalid UTF-8 replaced, 8 two texts, 16 ready input_ids, 32 annotated words
 * /seq/n_tokens                             int32               [N]                                          n
 * /seq/n_words                              int32               [N]                          --granularity   m: words, neighbouring tokens of one word; a token in none is one by itself
 * /seq/completeness_error                   float32             [N, L]                                       largest ‖Σ_j part + bias − state‖ / ‖state‖ over stages and tokens
 * /seq/tok_offset                           int64               [N+1]                                        the sequence's first row in /tok and /tokstat
 * /seq/word_offset                          int64               [N+1]                        --granularity   the sequence's first row in /word
 * /seq/map_offset                           int64               [N+1]                                        first element of its block in a dataset of /maps
 * /seq/map_head_offset                      int64               [N+1]                        --per-head      … of /maps_head
 * /seq/hidden_offset                        int64               [N+1]                        --hidden-states … of /vectors/hidden_state
 * /seq/vector_offset                        int64               [N+1]                        --vectors       … of /vectors/<stage>
 * /sources                                  UTF-8               [files]                                      the corpus' files
 * /tok/input_id, token_type_id              int32               [T]                                          id in the vocabulary; segment
 * /tok/char_start, char_end                 int32               [T]                                          where the token stands in the stored text, in characters
 * /tok/special                              uint8               [T]                                          1: added by the tokenizer
 * /tok/word_id                              int32               [T]                                          word of its text that the token is part of; −1: none
 * /tok/text_index                           int8                [T]                                          0 first text, 1 second, −1 neither
 * /tok/word                                 int32               [T]                          JSONL corpora   word of the sequence, 0, 1, … in order of appearance: the annotation's, else the tokenizer's; −1: none
 * /tok/entity                               int32               [T]                          JSONL corpora   entity mention of the sequence, 0, 1, … likewise; −1: none
 * /tok/pos, entity_label, label             UTF-8               [T]                          JSONL corpora   labels of the token's annotated word, zero-padded; empty: none
 * /tok/original_id                          int32               [T]                          --mask-rate     id before masking
 * /word/first_token                         int32               [W]                          --granularity   the word's first token in its sequence; its labels are this token's
 * /word/char_start, char_end, text_index    int32, int32, int8  [W]                          --granularity   as of tokens, over all of the word's
 * /text/bytes, offset, start                uint8, int64, int64 block, [N+1], [N]                            the text that the tokens cover; where it begins in bytes; characters of the document before it
 * /text/pair_bytes, pair_offset, pair_start as above            as above                                     the same of the second text
 * /maps/<map>                               float32 or half     block [L, target, source]    --stages        ‖part_ij‖; attn, attn_res, attn_res_ln, ff, ff_res, ff_res_ln; attn_weight: mean of α over the heads
 *                                                               [L, target, source] words    --granularity   mean over the target's tokens of ‖Σ_j part_ij‖, j the source's tokens; of α the sum
 * /maps_head/attn_weight, attn              float32 or half     block [L, H, target, source] --per-head      α per head; α‖f(x_j)‖ per head
 * /tokstat/mixing_ratio/<stage>             float32             [T, L]                                       ‖Σ_{j≠i} part_ij‖ / (‖Σ_{j≠i} part_ij‖ + ‖part_ii‖); NaN for a stage that --stages leaves out
 * /tokstat/bias_norm/<stage>                float32             [T, L]                                       norm of the part that came from no token; NaN likewise
 * /vectors/hidden_state                     float32             block [layers+1, n, d]       --hidden-states layer 0 is the input of the first layer
 * /vectors/<stage>                          float32             block [V, target, source, d] --vectors       part_ij itself
 *
 * /stats holds float64 sums and counts of the shard that can be added up; README, section "Statistics", and host/stats/kinds.c have the tables.
 *
 * Root attributes: format_version, layers, heads, hidden_size, stored_layers [L] and vector_layers [V] (numbers of layers, from 0), maps, stages (of
 * /tokstat), vector_stages, map_type ("float32", "float16"), kept_mantissa_bits, precision (of the pair product), backend, program_version,
 * model_fingerprint, corpus_fingerprint; granularity ("word"), if it is not by token. Every dataset explains itself in its attributes "meaning" and "layout".
 *
 * Chunks of 64 KiB (whole rows), shuffle + deflate + fletcher32, latest file format, no variable-length types, no times: equal input gives equal bytes.
 * run.h5 adds /parts/{shard, file_crc32, sequence_offset}; a part that is missing reads there as NaN, -1 (255 in uint8) or empty text.
 */
/* clang-format on */
#include "part_schema.h"

#include <string.h>

#include "contexture/memory.h"

#define TOKEN_LAYER "[tokens, stored layers]"
#define MAP_BLOCK   "flat; a sequence's block at /seq/map_offset is [stored layers, target, source]"
#define WORD_BLOCK                                                                                                                                             \
    "flat; a sequence's block at /seq/map_offset is [stored layers, target word, source word]: the norm of the sum of the source's tokens' parts, of "         \
    "attn_weight their sum; mean over the target's tokens"
#define HEAD_BLOCK   "flat; a sequence's block at /seq/map_head_offset is [stored layers, heads, target, source]"
#define VECTOR_BLOCK "flat; a sequence's block at /seq/vector_offset is [vector layers, target, source, hidden_size]"
#define OFFSETS      "[sequences + 1], rising from 0; in elements"

#define MAP_ROW(enumerator, name, meaning)                                                                                                                     \
    {"/maps/" name, CX_STORE_MAP,      CX_SHAPE_BLOCK, CX_FIELD_MAP,                                                                                           \
     enumerator,    "/seq/map_offset", MAP_BLOCK,      "Euclidean norm of every source's part of every target's vector: " meaning},
#define MIXING_ROW(enumerator, name, meaning)                                                                                                                  \
    {"/tokstat/mixing_ratio/" name,                                                                                                                            \
     CX_STORE_FLOAT32,                                                                                                                                         \
     CX_SHAPE_TOKEN_LAYER,                                                                                                                                     \
     CX_FIELD_MIXING_RATIO,                                                                                                                                    \
     enumerator,                                                                                                                                               \
     NULL,                                                                                                                                                     \
     TOKEN_LAYER,                                                                                                                                              \
     "norm of the sum of the other tokens' parts / (that + norm of the token's own part), 0 to 1: " meaning},
#define BIAS_ROW(enumerator, name, meaning)                                                                                                                    \
    {"/tokstat/bias_norm/" name,                                                                                                                               \
     CX_STORE_FLOAT32,                                                                                                                                         \
     CX_SHAPE_TOKEN_LAYER,                                                                                                                                     \
     CX_FIELD_BIAS_NORM,                                                                                                                                       \
     enumerator,                                                                                                                                               \
     NULL,                                                                                                                                                     \
     TOKEN_LAYER,                                                                                                                                              \
     "Euclidean norm of the part that belongs to no source: " meaning},
#define VECTOR_ROW(enumerator, name, meaning)                                                                                                                  \
    {"/vectors/" name, CX_STORE_FLOAT32,     CX_SHAPE_BLOCK, CX_FIELD_VECTOR,                                                                                  \
     enumerator,       "/seq/vector_offset", VECTOR_BLOCK,   "every source's part of every target's vector, as a vector: " meaning},

const struct cx_store_row cx_store_rows[] = {
    {"/seq/document", CX_STORE_INT64, CX_SHAPE_SEQUENCE, CX_FIELD_DOCUMENT, 0, NULL, "[sequences]", "number of the document in the corpus, from 0"},
    {"/seq/source", CX_STORE_INT32, CX_SHAPE_SEQUENCE, CX_FIELD_SOURCE, 0, NULL, "[sequences]", "index into /sources"},
    {"/seq/line", CX_STORE_INT64, CX_SHAPE_SEQUENCE, CX_FIELD_LINE, 0, NULL, "[sequences]", "line of the document in its file, from 1"},
    {"/seq/window", CX_STORE_INT32, CX_SHAPE_SEQUENCE, CX_FIELD_WINDOW, 0, NULL, "[sequences]", "number of the window over its document, from 0"},
    {"/seq/flags", CX_STORE_INT32, CX_SHAPE_SEQUENCE, CX_FIELD_FLAGS, 0, NULL, "[sequences]",
     "bits: 1 truncated, 2 one of several windows, 4 invalid UTF-8 was replaced, 8 two texts, 16 ready input_ids without a text, 32 words are annotated"},
    {"/seq/n_tokens", CX_STORE_INT32, CX_SHAPE_SEQUENCE, CX_FIELD_TOKEN_COUNT, 0, NULL, "[sequences]", "number of tokens"},
    {"/seq/n_words", CX_STORE_INT32, CX_SHAPE_SEQUENCE, CX_FIELD_WORD_COUNT, 0, NULL, "[sequences]",
     "number of words: neighbouring tokens of one word, a token that is in none by itself"},
    {"/seq/completeness_error", CX_STORE_FLOAT32, CX_SHAPE_SEQUENCE_LAYER, CX_FIELD_COMPLETENESS, 0, NULL, "[sequences, stored layers]",
     "largest relative error, over stages and tokens, of the sum of all parts against the true vector"},
    {"/seq/tok_offset", CX_STORE_INT64, CX_SHAPE_OFFSET, CX_FIELD_TOKEN_OFFSET, 0, NULL, OFFSETS, "first row of the sequence in /tok and /tokstat"},
    {"/seq/word_offset", CX_STORE_INT64, CX_SHAPE_OFFSET, CX_FIELD_WORD_OFFSET, 0, NULL, OFFSETS, "first row of the sequence in /word"},
    {"/seq/map_offset", CX_STORE_INT64, CX_SHAPE_OFFSET, CX_FIELD_MAP_OFFSET, 0, NULL, OFFSETS,
     "first element of the sequence's block in one dataset of /maps"},
    {"/seq/map_head_offset", CX_STORE_INT64, CX_SHAPE_OFFSET, CX_FIELD_HEAD_OFFSET, 0, NULL, OFFSETS,
     "first element of the sequence's block in one dataset of /maps_head"},
    {"/seq/hidden_offset", CX_STORE_INT64, CX_SHAPE_OFFSET, CX_FIELD_HIDDEN_OFFSET, 0, NULL, OFFSETS,
     "first element of the sequence's block in /vectors/hidden_state"},
    {"/seq/vector_offset", CX_STORE_INT64, CX_SHAPE_OFFSET, CX_FIELD_VECTOR_OFFSET, 0, NULL, OFFSETS,
     "first element of the sequence's block in the stages' datasets of /vectors"},
    {"/tok/input_id", CX_STORE_INT32, CX_SHAPE_TOKEN, CX_FIELD_INPUT_ID, 0, NULL, "[tokens]", "id in the model's vocabulary"},
    {"/tok/token_type_id", CX_STORE_INT32, CX_SHAPE_TOKEN, CX_FIELD_TOKEN_TYPE, 0, NULL, "[tokens]", "segment: 0 first, 1 second"},
    {"/tok/char_start", CX_STORE_INT32, CX_SHAPE_TOKEN, CX_FIELD_CHAR_START, 0, NULL, "[tokens]", "where the token begins in its text, in characters"},
    {"/tok/char_end", CX_STORE_INT32, CX_SHAPE_TOKEN, CX_FIELD_CHAR_END, 0, NULL, "[tokens]", "where the token ends in its text, in characters"},
    {"/tok/special", CX_STORE_UINT8, CX_SHAPE_TOKEN, CX_FIELD_SPECIAL, 0, NULL, "[tokens]", "1: added by the tokenizer, in no text"},
    {"/tok/word_id", CX_STORE_INT32, CX_SHAPE_TOKEN, CX_FIELD_WORD, 0, NULL, "[tokens]", "the word of its text that the token is part of; -1: none"},
    {"/tok/text_index", CX_STORE_INT8, CX_SHAPE_TOKEN, CX_FIELD_TEXT_INDEX, 0, NULL, "[tokens]",
     "0: token of the first text, 1: of the second, -1: of neither"},
    {"/tok/word", CX_STORE_INT32, CX_SHAPE_TOKEN, CX_FIELD_SEQUENCE_WORD, 0, NULL, "[tokens]",
     "the word of its sequence that the token is part of, in order of first appearance: an annotated one, or where the text is not annotated the tokenizer's; "
     "-1: "
     "none"},
    {"/tok/entity", CX_STORE_INT32, CX_SHAPE_TOKEN, CX_FIELD_ENTITY, 0, NULL, "[tokens]",
     "the entity mention of its sequence that the token is part of, in order of first appearance; -1: none"},
    {"/tok/original_id", CX_STORE_INT32, CX_SHAPE_TOKEN, CX_FIELD_ORIGINAL_ID, 0, NULL, "[tokens]",
     "id of the token before masking: differs from /tok/input_id where the token was masked"},
    {"/word/first_token", CX_STORE_INT32, CX_SHAPE_WORD, CX_FIELD_WORD_FIRST, 0, NULL, "[words]",
     "first token of the word in its sequence, from 0; the word ends where the next one begins"},
    {"/word/char_start", CX_STORE_INT32, CX_SHAPE_WORD, CX_FIELD_WORD_START, 0, NULL, "[words]", "where the word begins in its text, in characters"},
    {"/word/char_end", CX_STORE_INT32, CX_SHAPE_WORD, CX_FIELD_WORD_END, 0, NULL, "[words]", "where the word ends in its text, in characters"},
    {"/word/text_index", CX_STORE_INT8, CX_SHAPE_WORD, CX_FIELD_WORD_TEXT, 0, NULL, "[words]", "0: word of the first text, 1: of the second, -1: of neither"},
    {"/text/bytes", CX_STORE_UINT8, CX_SHAPE_BLOCK, CX_FIELD_TEXT, 0, "/text/offset", "flat; a sequence's text at /text/offset", "UTF-8 text"},
    {"/text/offset", CX_STORE_INT64, CX_SHAPE_OFFSET, CX_FIELD_TEXT_OFFSET, 0, NULL, OFFSETS, "first byte of the sequence's text in /text/bytes"},
    {"/text/start", CX_STORE_INT64, CX_SHAPE_SEQUENCE, CX_FIELD_TEXT_START, 0, NULL, "[sequences]",
     "characters of the document's text before the stored one: not 0 only in windows after the first; char_start + this counts in the whole text"},
    {"/text/pair_bytes", CX_STORE_UINT8, CX_SHAPE_BLOCK, CX_FIELD_PAIR, 0, "/text/pair_offset", "flat; a sequence's second text at /text/pair_offset",
     "UTF-8 text"},
    {"/text/pair_offset", CX_STORE_INT64, CX_SHAPE_OFFSET, CX_FIELD_PAIR_OFFSET, 0, NULL, OFFSETS,
     "first byte of the sequence's second text in /text/pair_bytes"},
    {"/text/pair_start", CX_STORE_INT64, CX_SHAPE_SEQUENCE, CX_FIELD_PAIR_START, 0, NULL, "[sequences]", "as /text/start, of the second text"},
    /* clang-format off */
    CX_STAGE_LIST(MIXING_ROW)
    CX_STAGE_LIST(BIAS_ROW)
    CX_STAGE_LIST(MAP_ROW)
    /* clang-format on */
    {"/maps/attn_weight", CX_STORE_MAP, CX_SHAPE_BLOCK, CX_FIELD_MAP, CX_MAP_ATTN_WEIGHT, "/seq/map_offset", MAP_BLOCK,
     "attention weight, mean over the heads, 0 to 1"},
    {"/maps_head/attn_weight", CX_STORE_MAP, CX_SHAPE_BLOCK, CX_FIELD_HEAD_WEIGHT, 0, "/seq/map_head_offset", HEAD_BLOCK, "attention weight, 0 to 1"},
    {"/maps_head/attn", CX_STORE_MAP, CX_SHAPE_BLOCK, CX_FIELD_HEAD_NORM, 0, "/seq/map_head_offset", HEAD_BLOCK,
     "attention weight times the Euclidean norm of the head's transformed source vector"},
    {"/vectors/hidden_state", CX_STORE_FLOAT32, CX_SHAPE_BLOCK, CX_FIELD_HIDDEN_STATE, 0, "/seq/hidden_offset",
     "flat; a sequence's block at /seq/hidden_offset is [layers + 1, tokens, hidden_size]", "hidden state; layer 0 is the input of the first layer"},
    /* clang-format off */
    CX_STAGE_LIST(VECTOR_ROW)
    /* clang-format on */
    {"/seq/id", CX_STORE_TEXT, CX_SHAPE_SEQUENCE, CX_FIELD_ID, 0, NULL, "[sequences]",
     "id of the document, UTF-8, zero-padded; windows after the first add #1, #2, …"},
    {"/tok/pos", CX_STORE_TEXT, CX_SHAPE_TOKEN, CX_FIELD_LABEL, CX_LABEL_POS, NULL, "[tokens]",
     "part of speech of the token's word, as the corpus annotates it, UTF-8, zero-padded; empty: none"},
    {"/tok/entity_label", CX_STORE_TEXT, CX_SHAPE_TOKEN, CX_FIELD_LABEL, CX_LABEL_ENTITY, NULL, "[tokens]",
     "label of the token's entity mention, UTF-8, zero-padded; empty: none"},
    {"/tok/label", CX_STORE_TEXT, CX_SHAPE_TOKEN, CX_FIELD_LABEL, CX_LABEL_OTHER, NULL, "[tokens]",
     "label of the token's word, as the corpus annotates it, UTF-8, zero-padded; empty: none"},
    {"/sources", CX_STORE_TEXT, CX_SHAPE_SOURCE, CX_FIELD_SOURCE_NAME, 0, NULL, "[files]", "the files of the corpus, as they were given, zero-padded"},
};
const size_t cx_store_row_count = sizeof cx_store_rows / sizeof cx_store_rows[0];

void cx_store_shapes_of(const struct cx_store_options *options, struct cx_store_shapes *shapes) {
    *shapes = (struct cx_store_shapes){
        .maps = options->maps,
        .vector_stages = options->vector_layer_count > 0 ? options->vector_stages : 0,
        .per_head = options->per_head,
        .hidden_states = options->hidden_states,
        .by_words = options->by_words,
        .annotations = options->annotations,
        .masked = options->masked,
        .layers = options->layers,
        .stored_layers = options->stored_layer_count,
        .vector_layers = options->vector_layer_count,
        .heads = options->heads,
        .hidden_size = options->hidden_size,
        .map_type = options->map_type,
    };
}

bool cx_store_same_shapes(const struct cx_store_shapes *a, const struct cx_store_shapes *b) {
    return a->maps == b->maps && a->vector_stages == b->vector_stages && a->per_head == b->per_head && a->hidden_states == b->hidden_states &&
           a->by_words == b->by_words && a->layers == b->layers && a->stored_layers == b->stored_layers && a->vector_layers == b->vector_layers &&
           a->heads == b->heads && a->hidden_size == b->hidden_size && a->map_type == b->map_type && a->annotations == b->annotations && a->masked == b->masked;
}

bool cx_store_row_wanted(const struct cx_store_row *row, const struct cx_store_shapes *shapes) {
    switch (row->field) {
    case CX_FIELD_MAP:
        return shapes->maps & CX_STAGE_BIT(row->index);
    case CX_FIELD_HEAD_OFFSET:
    case CX_FIELD_HEAD_WEIGHT:
    case CX_FIELD_HEAD_NORM:
        return shapes->per_head;
    case CX_FIELD_HIDDEN_OFFSET:
    case CX_FIELD_HIDDEN_STATE:
        return shapes->hidden_states;
    case CX_FIELD_WORD_COUNT:
    case CX_FIELD_WORD_OFFSET:
    case CX_FIELD_WORD_FIRST:
    case CX_FIELD_WORD_START:
    case CX_FIELD_WORD_END:
    case CX_FIELD_WORD_TEXT:
        return shapes->by_words;
    case CX_FIELD_SEQUENCE_WORD:
    case CX_FIELD_ENTITY:
    case CX_FIELD_LABEL:
        return shapes->annotations;
    case CX_FIELD_ORIGINAL_ID:
        return shapes->masked;
    case CX_FIELD_VECTOR_OFFSET:
        return shapes->vector_stages != 0;
    case CX_FIELD_VECTOR:
        return shapes->vector_stages & CX_STAGE_BIT(row->index);
    default:
        return true;
    }
}

const struct cx_store_row *cx_store_row_by_name(const char *name) {
    for (size_t i = 0; i < cx_store_row_count; i++)
        if (strcmp(cx_store_rows[i].name, name) == 0)
            return &cx_store_rows[i];
    return NULL;
}

size_t cx_store_element_size(const struct cx_store_row *row, const struct cx_store_shapes *shapes) {
    static const size_t sizes[] = {[CX_STORE_INT8] = 1, [CX_STORE_UINT8] = 1,   [CX_STORE_INT32] = 4,   [CX_STORE_INT64] = 8,
                                   [CX_STORE_MAP] = 4,  [CX_STORE_FLOAT32] = 4, [CX_STORE_FLOAT64] = 8, [CX_STORE_TEXT] = 0};
    if (row->type == CX_STORE_MAP && shapes->map_type == CX_MAP_FLOAT16)
        return 2;
    return sizes[row->type];
}

size_t cx_store_row_width(const struct cx_store_row *row, const struct cx_store_shapes *shapes) {
    if (row->shape == CX_SHAPE_TABLE)
        return row->index;
    return row->shape == CX_SHAPE_SEQUENCE_LAYER || row->shape == CX_SHAPE_TOKEN_LAYER ? shapes->stored_layers : 1;
}

const char *cx_store_row_layout(const struct cx_store_row *row, const struct cx_store_shapes *shapes) {
    return row->field == CX_FIELD_MAP && shapes->by_words ? WORD_BLOCK : row->layout;
}

static bool product(size_t a, size_t b, size_t c, size_t d, size_t *result) {
    return cx_multiply(a, b, result) && cx_multiply(*result, c, result) && cx_multiply(*result, d, result);
}

bool cx_store_block_size(enum cx_store_field field, const struct cx_store_shapes *shapes, struct cx_store_size size, size_t *elements) {
    const size_t tokens = size.tokens, side = shapes->by_words ? size.words : tokens;
    *elements = 0;
    switch (field) {
    case CX_FIELD_MAP:
        return product(shapes->stored_layers, side, side, 1, elements);
    case CX_FIELD_HEAD_WEIGHT:
    case CX_FIELD_HEAD_NORM:
        return product(shapes->stored_layers, shapes->heads, tokens, tokens, elements);
    case CX_FIELD_HIDDEN_STATE:
        return product(shapes->layers + 1, tokens, shapes->hidden_size, 1, elements);
    case CX_FIELD_VECTOR:
        return product(shapes->vector_layers, tokens, tokens, shapes->hidden_size, elements);
    default:
        return true;
    }
}

bool cx_store_offset_step(enum cx_store_field field, const struct cx_store_shapes *shapes, struct cx_store_size size, size_t *elements) {
    switch (field) {
    case CX_FIELD_TOKEN_OFFSET:
        *elements = size.tokens;
        return true;
    case CX_FIELD_WORD_OFFSET:
        *elements = size.words;
        return true;
    case CX_FIELD_MAP_OFFSET:
        return cx_store_block_size(CX_FIELD_MAP, shapes, size, elements);
    case CX_FIELD_HEAD_OFFSET:
        return cx_store_block_size(CX_FIELD_HEAD_NORM, shapes, size, elements);
    case CX_FIELD_HIDDEN_OFFSET:
        return cx_store_block_size(CX_FIELD_HIDDEN_STATE, shapes, size, elements);
    case CX_FIELD_VECTOR_OFFSET:
        return cx_store_block_size(CX_FIELD_VECTOR, shapes, size, elements);
    default:
        *elements = 0;
        return true;
    }
}
