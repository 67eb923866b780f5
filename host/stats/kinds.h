/* The codes in the tables' key columns, and the tables' numbers. Names are a contract: they stand in the files. */
#ifndef STATS_KINDS_H
#define STATS_KINDS_H

#include "contexture/stage.h"

/* Components of a layer: the change from one stage's map to another's. The first five are single components, in their order. */
#define COMPONENT_LIST(X)                                                                                                                                      \
    X(COMPONENT_RES1, "res1", CX_STAGE_ATTN, CX_STAGE_ATTN_RES)                                                                                                \
    X(COMPONENT_LN1, "ln1", CX_STAGE_ATTN_RES, CX_STAGE_ATTN_RES_LN)                                                                                           \
    X(COMPONENT_FF, "ff", CX_STAGE_ATTN_RES_LN, CX_STAGE_FF)                                                                                                   \
    X(COMPONENT_RES2, "res2", CX_STAGE_FF, CX_STAGE_FF_RES)                                                                                                    \
    X(COMPONENT_LN2, "ln2", CX_STAGE_FF_RES, CX_STAGE_FF_RES_LN)                                                                                               \
    X(COMPONENT_RES2_LN2, "res2_ln2", CX_STAGE_FF, CX_STAGE_FF_RES_LN)                                                                                         \
    X(COMPONENT_FF_BLOCK, "ff_block", CX_STAGE_ATTN_RES_LN, CX_STAGE_FF_RES_LN)

#define COMPONENT_ENUMERATOR(enumerator, name, before, after) enumerator,
enum component { COMPONENT_LIST(COMPONENT_ENUMERATOR) COMPONENTS, SINGLE_COMPONENTS = COMPONENT_LN2 + 1 };
#undef COMPONENT_ENUMERATOR

/* Which elements of a map take part. */
#define VARIANT_LIST(X)                                                                                                                                        \
    X(VARIANT_ALL, "all", "all")                                                                                                                               \
    X(VARIANT_NO_SPECIAL, "no_special", "targets and sources that the tokenizer did not add")                                                                  \
    X(VARIANT_NO_DIAGONAL, "no_diagonal", "target and source are different places")

/* A layer's two layer norms, in the order of cx_norm_stages. */
#define NORM_LIST(X)                                                                                                                                           \
    X(NORM_LN1, "ln1", "behind the attention block")                                                                                                           \
    X(NORM_LN2, "ln2", "behind the feed-forward block")

/* Over which dimensions the norms are of the maps that are compared. */
#define DIMENSIONS_LIST(X)                                                                                                                                     \
    X(DIMENSIONS_ALL, "all", "all")                                                                                                                            \
    X(DIMENSIONS_KEPT, "kept", "all but the masked ones")                                                                                                      \
    X(DIMENSIONS_DIFFERENCE, "difference", "kept less all, of the same sequence")

/* Classes of tokens. Special, mask, word_start, word_piece and no_word part the tokens; the others are apart from that. */
#define CLASS_LIST(X)                                                                                                                                          \
    X(CLASS_ALL, "all", "every token")                                                                                                                         \
    X(CLASS_SPECIAL, "special", "added by the tokenizer")                                                                                                      \
    X(CLASS_MASK, "mask", "masked: the mask token stands in its place")                                                                                        \
    X(CLASS_WORD_START, "word_start", "first token of its word")                                                                                               \
    X(CLASS_WORD_PIECE, "word_piece", "further token of its word")                                                                                             \
    X(CLASS_NO_WORD, "no_word", "outside of every word")                                                                                                       \
    X(CLASS_IN_ENTITY, "in_entity", "in an entity mention")                                                                                                    \
    X(CLASS_NO_ENTITY, "no_entity", "not special, in no mention; of annotated sequences")                                                                      \
    X(CLASS_POS, "pos", "with this part of speech")                                                                                                            \
    X(CLASS_ENTITY, "entity", "in a mention of this label")

/* Categories of pairs of places, i target and j source. */
#define CATEGORY_LIST(X)                                                                                                                                       \
    X(CATEGORY_ALL, "all", "every pair")                                                                                                                       \
    X(CATEGORY_SELF, "self", "i = j")                                                                                                                          \
    X(CATEGORY_ORDINARY, "ordinary", "i ≠ j, neither special")                                                                                                 \
    X(CATEGORY_SAME_WORD, "same_word", "i ≠ j, pieces of one word")                                                                                            \
    X(CATEGORY_OTHER_WORD, "other_word", "ordinary, and not same_word")                                                                                        \
    X(CATEGORY_SAME_ENTITY, "same_entity", "other words of one mention")                                                                                       \
    X(CATEGORY_BOTH_ENTITIES, "both_entities", "of two mentions")                                                                                              \
    X(CATEGORY_ENTITY_OTHER, "entity_other", "ordinary, one of them in a mention")                                                                             \
    X(CATEGORY_NO_ENTITY, "no_entity", "ordinary, neither in a mention; of annotated sequences")                                                               \
    X(CATEGORY_SAME_POS, "same_pos", "of two words with one part of speech")                                                                                   \
    X(CATEGORY_DIFFERENT_POS, "different_pos", "of two words with two parts of speech")                                                                        \
    X(CATEGORY_ADJACENT, "adjacent", "ordinary, neighbours in the sequence")                                                                                   \
    X(CATEGORY_FROM_SPECIAL, "from_special", "source special, target not")                                                                                     \
    X(CATEGORY_TO_SPECIAL, "to_special", "target special, source not")                                                                                         \
    X(CATEGORY_SPECIAL, "special", "both special, i ≠ j")

#define CODE_ENUMERATOR(enumerator, name, meaning) enumerator,
enum variant { VARIANT_LIST(CODE_ENUMERATOR) VARIANTS };
enum norm { NORM_LIST(CODE_ENUMERATOR) NORMS };
enum dimensions { DIMENSIONS_LIST(CODE_ENUMERATOR) DIMENSIONS };
enum token_class { CLASS_LIST(CODE_ENUMERATOR) CLASSES };
enum category { CATEGORY_LIST(CODE_ENUMERATOR) CATEGORIES };
#undef CODE_ENUMERATOR

enum stats_table {
    TABLE_CHANGE,
    TABLE_CLASS,
    TABLE_TOKEN,
    TABLE_FREQUENCY,
    TABLE_CORRELATION,
    TABLE_PAIR,
    TABLE_TOP,
    TABLE_CATEGORY,
    TABLE_POS,
    TABLE_BOOTSTRAP,
    TABLE_BOOTSTRAP_COUNT,
    TABLE_CANCELLATION,
    TABLE_CANCELLED_CATEGORY,
    TABLE_NORM_CHANGE,
    TABLE_NORM_SHARE,
    TABLE_NORM_DIMENSION,
};

#endif
