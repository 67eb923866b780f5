/* What a part holds: one table of datasets, from which parts are written, joined, verified and their size planned. */
#ifndef CONTEXTURE_PART_SCHEMA_H
#define CONTEXTURE_PART_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/store.h"

/* Type of a dataset's elements in the file, always little-endian. */
enum cx_store_type { CX_STORE_INT8, CX_STORE_UINT8, CX_STORE_INT32, CX_STORE_INT64, CX_STORE_FLOAT32, CX_STORE_FLOAT64, CX_STORE_MAP, CX_STORE_TEXT };

/* How a dataset grows; every shape is one or two dimensions, of which the first grows. */
enum cx_store_shape {
    CX_SHAPE_SEQUENCE,       /* [N] */
    CX_SHAPE_SEQUENCE_LAYER, /* [N, L] */
    CX_SHAPE_OFFSET,         /* [N + 1], rising from 0 */
    CX_SHAPE_TOKEN,          /* [tokens] */
    CX_SHAPE_TOKEN_LAYER,    /* [tokens, L] */
    CX_SHAPE_WORD,           /* [words] */
    CX_SHAPE_BLOCK,          /* one block of elements a sequence; the row's `offset` names the dataset that says where */
    CX_SHAPE_SOURCE,         /* [files of the corpus] */
    CX_SHAPE_TABLE,          /* [rows of a table of statistics, the row's index]; one dimension if the index is 1 */
};

/* What a row holds, for the code that fills it. Stages and maps are told apart by the row's `index`. */
enum cx_store_field {
    CX_FIELD_ID,
    CX_FIELD_DOCUMENT,
    CX_FIELD_SOURCE,
    CX_FIELD_LINE,
    CX_FIELD_WINDOW,
    CX_FIELD_FLAGS,
    CX_FIELD_TOKEN_COUNT,
    CX_FIELD_WORD_COUNT,
    CX_FIELD_COMPLETENESS,
    CX_FIELD_TOKEN_OFFSET,
    CX_FIELD_WORD_OFFSET,
    CX_FIELD_MAP_OFFSET,
    CX_FIELD_HEAD_OFFSET,
    CX_FIELD_HIDDEN_OFFSET,
    CX_FIELD_VECTOR_OFFSET,
    CX_FIELD_INPUT_ID,
    CX_FIELD_TOKEN_TYPE,
    CX_FIELD_CHAR_START,
    CX_FIELD_CHAR_END,
    CX_FIELD_SPECIAL,
    CX_FIELD_WORD,
    CX_FIELD_TEXT_INDEX,
    CX_FIELD_SEQUENCE_WORD,
    CX_FIELD_ENTITY,
    CX_FIELD_LABEL,
    CX_FIELD_ORIGINAL_ID,
    CX_FIELD_WORD_FIRST,
    CX_FIELD_WORD_START,
    CX_FIELD_WORD_END,
    CX_FIELD_WORD_TEXT,
    CX_FIELD_TEXT,
    CX_FIELD_TEXT_OFFSET,
    CX_FIELD_TEXT_START,
    CX_FIELD_PAIR,
    CX_FIELD_PAIR_OFFSET,
    CX_FIELD_PAIR_START,
    CX_FIELD_MAP,
    CX_FIELD_HEAD_WEIGHT,
    CX_FIELD_HEAD_NORM,
    CX_FIELD_MIXING_RATIO,
    CX_FIELD_BIAS_NORM,
    CX_FIELD_HIDDEN_STATE,
    CX_FIELD_VECTOR,
    CX_FIELD_SOURCE_NAME,
    CX_FIELD_STATISTIC,
};

/* Indexes of the rows of CX_FIELD_LABEL. */
enum { CX_LABEL_POS, CX_LABEL_ENTITY, CX_LABEL_OTHER, CX_LABELS };

struct cx_store_row {
    const char *name; /* of the dataset */
    enum cx_store_type type;
    enum cx_store_shape shape;
    enum cx_store_field field;
    unsigned index;      /* a map or stage, where the field has one for each */
    const char *offset;  /* CX_SHAPE_BLOCK: the dataset with the blocks' offsets */
    const char *layout;  /* attribute "layout": shape, in words; but see cx_store_row_layout() */
    const char *meaning; /* attribute "meaning": what a value is, and its unit */
};

/* The part of the options that decides which datasets there are and how large their blocks are. */
struct cx_store_shapes {
    unsigned maps, vector_stages;
    bool per_head, hidden_states, by_words, annotations, masked;
    size_t layers, stored_layers, vector_layers, heads, hidden_size;
    enum cx_map_type map_type;
};

void cx_store_shapes_of(const struct cx_store_options *options, struct cx_store_shapes *shapes);
bool cx_store_same_shapes(const struct cx_store_shapes *a, const struct cx_store_shapes *b);

/* All rows, in the order in which datasets are created; those that are not wanted must be passed over. */
extern const struct cx_store_row cx_store_rows[];
extern const size_t cx_store_row_count;
bool cx_store_row_wanted(const struct cx_store_row *row, const struct cx_store_shapes *shapes);

/* The wanted row of that dataset name, or NULL. */
const struct cx_store_row *cx_store_row_by_name(const char *name);

/* Bytes of one element; 0 for CX_STORE_TEXT, whose width is chosen per file. */
size_t cx_store_element_size(const struct cx_store_row *row, const struct cx_store_shapes *shapes);

/* Elements of the second dimension; 1 for one-dimensional rows. */
size_t cx_store_row_width(const struct cx_store_row *row, const struct cx_store_shapes *shapes);

/* The attribute "layout". */
const char *cx_store_row_layout(const struct cx_store_row *row, const struct cx_store_shapes *shapes);

/* Elements that a sequence of this size adds to a block dataset of that field; texts have no fixed size and give 0. False if it does not fit. */
CX_MUST_USE bool cx_store_block_size(enum cx_store_field field, const struct cx_store_shapes *shapes, struct cx_store_size size, size_t *elements);

/* The same for the field that holds the offsets of such blocks: the step from one offset to the next. */
CX_MUST_USE bool cx_store_offset_step(enum cx_store_field field, const struct cx_store_shapes *shapes, struct cx_store_size size, size_t *elements);

#endif
