/* What a batch's index arrays hold: what a kernel must know of a token, of a tile of targets and of a tile of pairs. cuda_batch.cu fills them. */
#ifndef CONTEXTURE_CUDA_BATCH_CUH
#define CONTEXTURE_CUDA_BATCH_CUH

#include <cstdint>

/* Of a token: its sequence, by what a kernel needs of it. */
struct cuda_token {
    unsigned long long pairs; /* pair_offset of the sequence */
    unsigned first, length;   /* of the sequence: first token, tokens */
    unsigned sequence;
    unsigned column; /* of its parts in a row of a map; CUDA_NO_COLUMN: it is in a word with others, whose parts are added up */
};
constexpr unsigned CUDA_NO_COLUMN = UINT32_MAX;

/* Up to CUDA_TILE_TARGETS neighbouring tokens of one sequence, as targets. */
struct cuda_tile {
    unsigned long long pairs, map; /* pair_offset of the sequence, and the first element of its maps */
    unsigned first, length;
    unsigned target; /* within the sequence */
    unsigned targets;
    unsigned sources; /* the sequence's first so many tokens are the sources that any of the targets attends to */
    unsigned columns; /* of a map: the sequence's tokens, or words */
    unsigned word;    /* the sequence's first, in the batch's list */
    unsigned unused;
};
enum { CUDA_TILE_TARGETS = 32 }; /* TILE_ROWS of cuda_tile.cuh */

/* --- the pair product's work, see cuda_feedforward.cu --- */
/* Targets and sources of a tile, at most. A product's rows are rounded up to a multiple of CUDA_PAIR_UNIT at least. */
enum { CUDA_PAIR_TARGETS = 32, CUDA_PAIR_SOURCES = 16, CUDA_PAIR_UNIT = 128 };

/*
 * Some targets times some sources of one sequence. Its rows lie in a chunk from `row` on, target by target: row + t * sources + s. Of coefficients it has
 * units, one for every token of its sources and 16 targets, in the chunk from `unit` on. Tiles of the same sources follow each other, so that what is read of
 * a source stays in the cache. In a causal model a tile has no targets before its first source; where none is left it has neither sources nor rows, and
 * stands in the list so that tiles of the same targets keep their distance.
 *
 * An own tile stands for o_ii of tokens that are in a word with others: its targets are tokens of its only source, a word, of which each target takes itself
 * alone. Its rows stand in no map and in no sum.
 */
struct cuda_pair_tile {
    unsigned long long pairs, map; /* as in struct cuda_tile */
    unsigned first, length, columns;
    unsigned target, targets; /* within the sequence */
    unsigned source, sources; /* columns of the map */
    unsigned token, tokens;   /* of the sources, within the sequence */
    unsigned word;            /* the first source, in the batch's list of words */
    unsigned row, unit;
    unsigned is_own;
};

/* Tiles of one chunk that have the same targets: every `step`th from `tile` on, in the batch's list. */
struct cuda_pair_group {
    unsigned tile, tiles, step;
    unsigned token; /* first target, in the batch */
    unsigned targets;
    unsigned continues; /* 1: an earlier chunk holds these targets' first sources */
};

/* What is computed at a time. */
struct cuda_pair_chunk {
    unsigned tile, tiles, group, groups, rows, units;
};

#endif
