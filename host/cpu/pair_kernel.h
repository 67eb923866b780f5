/*
 * The pair product, tile by tile: what cpu_feedforward.c, the packing and the kernels share. (DESIGN.md, identities 2 and 3.)
 *
 * A row is a pair (target i, source j). A tile is a list of segments, each some targets times some sources of one sequence,
 * source-major. A source that is a word has the rows of its tokens' P, F̂, Px and x̂, which stand one behind the other, where a token has its own: the sums
 * over h below are over tokens and heads then. For a tile the kernels compute, over blocks of f,
 *     z = ρ_i ⊙ (Σ_h α^h_ij P_jh + [i=j] Px_j) / σ1_i   [rows, block]     build
 *     product (+)= z W2c                                [rows, d]         multiply
 * and at the end the norms, own_i and sum_i of the rows [rows, d]         finish
 * so that neither [n, n, f] nor [n, n, d] exists. What is computed for a pair depends on the pair alone, never on the tile it is
 * in: the partition of the work may be anything, and the numbers stay the same, bit by bit.
 *
 * pair_kernel_body.h is compiled once for every instruction set.
 */
#ifndef CONTEXTURE_PAIR_KERNEL_H
#define CONTEXTURE_PAIR_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/backend.h"
#include "contexture/checksum.h"

/*
 * Sizes, with their reasons. Measured on Zen 4 (32 KiB L1, 1 MiB L2, shared L3) with BERT-base and MiniLM shapes: 128 to 256 rows and 256 to 512
 * of depth are all within 2 % of each other; 192 x 384 has the smallest working set of the best ones.
 *
 *   PAIR_DEPTH     f per block. z [PAIR_ROWS, PAIR_DEPTH] (288 KiB) and a strip of W2c, [PAIR_DEPTH, 48] (72 KiB), stay in L2 beside much of the product;
 *                  a shorter block reads and writes the product more often.
 *   PAIR_ROWS      rows of a tile. W2c is read from L3 once per tile: 64 / PAIR_ROWS bytes a cycle at one 512-bit multiply-add a cycle.
 *   PAIR_PRODUCT   bytes that the product [rows, d] may take: wide models get fewer rows.
 *   PAIR_SKEW      floats added to a row of z and of the product, so that rows do not all fall into the same cache sets.
 *   PAIR_TARGETS   targets of a segment, at most: P_jh is read once for all of them, and their ρ (48 KiB a block) stay in L2.
 */
enum {
    PAIR_DEPTH = 384,
    PAIR_ROWS = 192,
    PAIR_PRODUCT = 2 << 20,
    PAIR_SKEW = 16,
    PAIR_TARGETS = 32,
    PAIR_MAX_LANES = 16,
};

/* Everything of one call that does not change from tile to tile: struct cx_ff_pairs as plain pointers. */
struct pair_problem {
    size_t width, depth, heads; /* d, f, H */
    const size_t *first_token;  /* of every word of the batch, and of the end; NULL: sources are tokens */
    size_t longest_source;      /* in tokens */
    const float *attention, *inverse_deviation1, *ratio;
    const float *head_ff_sources, *residual_ff_sources, *head_norm_sources, *residual_norm_sources;
    const float *norm2_scale, *inverse_deviation2;
    float *ff, *ff_res, *ff_res_ln, *own, *sum, *check; /* NULL: not wanted */
    const struct cx_pair_matrix *output;
};

/* Rows first_row + (j - source) * targets + (i - target), of one sequence. Tokens and sources are counted over the batch. */
struct pair_segment {
    size_t first_row;
    size_t target, targets;
    size_t source, sources;
    size_t sequence_start, sequence_length; /* in tokens */
    size_t first_source, source_count;      /* of the sequence */
    size_t pair_offset, map_offset;         /* of the sequence */
    bool only_own; /* the source is a token, the target itself, and stands in no map: for own parts of tokens whose word is longer than they */
};

/* A source's tokens: first .. first + count. */
struct pair_source {
    size_t first, count;
};
static inline struct pair_source pair_source_of(const struct pair_problem *problem, const struct pair_segment *segment, size_t source) {
    if (!problem->first_token || segment->only_own)
        return (struct pair_source){source, 1};
    return (struct pair_source){problem->first_token[source], problem->first_token[source + 1] - problem->first_token[source]};
}

/* Whether one of `targets` targets from `target` on is one of the source's tokens. */
static inline bool pair_source_meets(struct pair_source source, size_t target, size_t targets) {
    return source.first < target + targets && target < source.first + source.count;
}

/* One thread's working memory, see pair_tile.c. */
struct pair_tile {
    const struct pair_problem *problem;
    size_t row_capacity, rows;
    size_t segment_count;
    struct pair_segment *segments; /* [row_capacity] */
    size_t coefficient_stride;     /* H + 1 for each token of the longest source */
    float *coefficients; /* [row_capacity, coefficient_stride]: α^h_ij / σ1_i of each of the source's tokens, then for each 1/σ1_i if it is i, else 0 */
    float *part_means;   /* [row_capacity]: mt, the mean over d of t_ij */
    float *mean_lanes;   /* [row_capacity, PAIR_MAX_LANES]: m = z·w̄, in lanes to be summed */
    float *check_lanes;  /* [row_capacity, 2, PAIR_MAX_LANES]: z·(W2c s), ‖z‖², in lanes to be summed */
    void *operand;       /* z [row_capacity, operand_stride], float or bfloat16 */
    size_t operand_stride;
    float *product; /* oc [row_capacity, product_stride] */
    size_t product_stride;
    float *source_means; /* [coefficient_stride] */
    float *edge;         /* [coefficient_stride + 4 * 3 + 3, 2 * PAIR_MAX_LANES]: rows of which only a part is left, filled up with zeros */
};

struct pair_kernel {
    const char *name;
    size_t lanes;         /* floats of a vector */
    size_t operand_bytes; /* of one element of z and W2c */

    /* Rounds numbers of W2c to what is packed of them. */
    void (*round)(float *values, size_t count);

    /* Packs block_depth rows of W2c [block_depth, padded_width], zeros included, into strips. */
    void (*pack)(size_t block_depth, size_t padded_width, const float *rows, void *packed);

    /* z of the tile's rows for k = first .. first + block_depth; adds to mean_lanes. */
    void (*build)(struct pair_tile *tile, size_t first, size_t block_depth);

    /* Adds z·(W2c s) and ‖z‖² of the same block to check_lanes. */
    void (*check)(struct pair_tile *tile, size_t first, size_t block_depth);

    /* product = z W2c, or += if the block is not the first. */
    void (*multiply)(struct pair_tile *tile, size_t block_depth, const void *packed, bool is_first);

    /* Norms, own, sum and check. */
    void (*finish)(struct pair_tile *tile);
};

/* W2 prepared: its blocks of PAIR_DEPTH rows one after the other, each packed by the kernel. */
struct cx_pair_matrix {
    const struct pair_kernel *kernel;
    size_t width, depth;               /* d, f */
    size_t padded_width, padded_depth; /* multiples of two vectors */
    void *packed;                      /* W2c */
    float *row_means;                  /* w̄ [padded_depth] */
    float *checks;                     /* W2c s [padded_depth], of what is packed */
    float *signs;                      /* s [padded_width], 0 from d on */
    double norm;                       /* ‖W2c‖, likewise */
    float *width_mask;                 /* [padded_width]: 1 below d, else 0 */
};

/* The kernels for this precision that this processor can run, best first; returns how many, 0 if the precision cannot be had. */
enum { PAIR_MOST_KERNELS = 3 };
size_t pair_kernels_list(enum cx_pair_precision precision, const struct pair_kernel *kernels[static PAIR_MOST_KERNELS]);

/* Whether CX_PAIR_BF16 can be had. */
bool pair_kernel_has_bf16(void);

/* pair_matrix_create with a kernel of one's choice. */
CX_MUST_USE enum cx_status pair_matrix_pack(const struct cx_weight *weight, const struct pair_kernel *kernel, int threads, struct cx_pair_matrix **matrix,
                                            struct cx_error *error);

/* Bytes that a tile for this matrix, and sources of so many tokens, needs, and the tile in that memory (aligned to 64). */
CX_MUST_USE bool pair_tile_bytes(const struct cx_pair_matrix *matrix, size_t heads, size_t longest_source, size_t *bytes);
void pair_tile_place(struct pair_tile *tile, const struct pair_problem *problem, void *memory);

/* Appends rows; the caller has seen to it that they fit. */
void pair_tile_append(struct pair_tile *tile, const struct pair_segment *segment);

/* Computes the rows of the tile and empties it. */
void pair_tile_run(struct pair_tile *tile);

#endif
