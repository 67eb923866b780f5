/*
 * The feed-forward maps by kernels that keep z and the product on chip. (DESIGN.md, identities 2 and 3; the chunked way is in cuda_feedforward.cu.)
 *
 *     oc_ij = (ρ_i ⊙ Σ_h A_ihj P_jh) W2c,  m_ij = (ρ_i ⊙ Σ_h A_ihj P_jh) · w̄,  tc_ij = Σ_h A_ihj F̂c_jh,   A_ihj = α^h_ij / σ1_i, and row H: [i = j] / σ1_i
 *
 * All three are products of matrices of float16 with float32 sums. Every vector comes with a power of two of its own, so that nothing overflows and nothing
 * that matters is lost:
 *
 *     sources      [T, R, f]      row h of token j: P_jh 2^p_jh, row H: Px_j 2^p_jH; the exponents p bring the largest number to 1 .. 2
 *     norms        [T, R, d]      row h: (F̂_jh - its mean) 2^q_jh, row H: (x̂_j - its mean) 2^q_jH; likewise
 *     ratios       [T, f]         ρ_i 2^r_i; likewise
 *     coefficients [pairs, R]     A_ihj 2^(E_ij - p_jh), with E_ij so that 4 Σ_h |coefficient| lies in 2^14 .. 2^15: a bound of |z|
 *     joiners      [pairs, R]     A_ihj 2^(g_ij - q_jh), with g_ij so that 2 Σ_h |joiner| lies in 2^14 .. 2^15
 *     factors      [pairs]        x = 2^-(E_ij + r_i + w), w the exponent of W2c; y = 2^-g_ij
 *
 *     oc_ij = x ((coefficients_ij sources_j) ⊙ ratios_i) W16      m_ij = x 2^w ((coefficients_ij sources_j) ⊙ ratios_i) · w̄      tc_ij = y joiners_ij norms_j
 *
 * R = fused_rows(H) = H + 1 rounded up to 16, the depth of one tensor-core instruction; rows beyond H are zeros. Pairs are in fused order: pair (i, j) of a
 * sequence is pair_offset + j n + i, so that the targets of one source, which are the rows of a product's tile, are neighbours. Of a causal model pairs with
 * j > i are none: nothing is written to their places or read from them, and fused_finish.cu makes zeros of them.
 *
 * The steps: fused_prepare.cu writes the operands, a fused kernel (fused_wgmma.cu for Hopper, fused_mma.cu for every device) writes sums over slices of d
 * columns, fused_finish.cu makes maps of them. Which kernel: fused_select.cu; what its blocks do: fused_work.cu.
 */
#ifndef CONTEXTURE_CUDA_FUSED_PAIRS_CUH
#define CONTEXTURE_CUDA_FUSED_PAIRS_CUH

#include "cuda_pair_kernels.cuh"

enum {
    FUSED_TARGETS = 64,   /* rows of a tile */
    FUSED_DEPTH = 64,     /* numbers of z that are built at a time; f is a multiple */
    FUSED_STEP = 16,      /* depth of an instruction */
    FUSED_ROWS_MOST = 32, /* so H <= 31 */
    FUSED_CLUSTER = 2,    /* blocks of a cluster, where a kernel has clusters: they share every tile of W2c */
};

static inline __host__ __device__ unsigned fused_rows(unsigned heads) {
    return (heads + 1 + FUSED_STEP - 1) / FUSED_STEP * FUSED_STEP;
}

/*
 * A tile of targets and a slice of d. Tiles of `packed` > 1 hold targets of a short sequence `packed` times, for as many neighbouring sources at once:
 * row r is target r % (64 / packed), source r / (64 / packed) of those.
 */
struct fused_group {
    unsigned long long pairs; /* pair_offset of the sequence */
    unsigned first, length;   /* of the sequence: first token, tokens */
    unsigned target, targets; /* within the sequence */
    unsigned sources;         /* that the tile has, from the sequence's first token on: all, or in a causal model those up to its last target */
    unsigned reach;           /* target t of the tile attends to sources up to reach + t: in a causal model up to itself, else beyond all */
    unsigned packed;
    unsigned column;      /* first of the slice */
    unsigned slice;       /* number of the slice */
    unsigned slot, slots; /* where the kernel leaves Σ_j oc_ij, see fused_problem::slots */
};

/* What one block does without a break: some sources of one group, in steps of as many as the kernel takes at a time. */
struct fused_segment {
    unsigned group;
    unsigned source, sources; /* within the sequence */
    unsigned slot;
};

/* What the blocks of a cluster do side by side: segments of one slice and of tiles with as many sources, so that all go through the same tiles of W2c. */
struct fused_round {
    unsigned segments[FUSED_CLUSTER]; /* FUSED_NOTHING: the block has none; the first has one always */
    unsigned steps;                   /* of the longest */
    unsigned shares_ratios;           /* whether all are of the same group, and so of the same targets */
};
constexpr unsigned FUSED_NOTHING = ~0u;

/* Everything the steps read and write. */
struct fused_problem {
    struct pair_problem pairs; /* the operation's arguments; its scratch is not used */
    unsigned tokens, rows;     /* T, R */
    bool causal;
    unsigned long long pair_count;

    __half *sources, *norms, *ratios, *coefficients, *joiners;
    float2 *factors;
    float *part_means; /* [pairs]: mt_ij = Σ_h A_ihj mean_jh, fused order */
    float *limits;     /* [pairs]: ±: a ‖oc‖ below it has lost its precision; negative: but 0 is exact. fused order */
    int *source_exponents, *norm_exponents, *ratio_exponents; /* p [T, R], q [T, R], r [T] */
    float2 *source_sizes, *ratio_sizes;                       /* [T, R], [T]: as stored, root mean square, and error of the smallest numbers */
    float *norm_means;                                        /* [T, R]: of F̂_jh, x̂_j */

    /* What the fused kernel writes, in fused order, at its true scale: */
    float *partials;       /* [slices * parts, 3, pairs]: Σ oc², Σ vc², Σ γ2² vc² over one part of a slice's columns, with vc = oc + tc */
    float *means;          /* [pairs]: m */
    float *check_partials; /* [slices * parts, pairs]: oc·s over one part of a slice's columns (contexture/checksum.h), and */
    float2 *check_sums;    /* [pairs]: x z·(W2c s), and ‖z‖², of z as rounded */
    float *slots;          /* [slots, 64, slice_columns]: Σ oc over the sources that one of a step's tiles had in one segment, row by row */
    unsigned slices, slice_columns, parts;
    unsigned packed; /* largest of the groups */
    /* pairs.own gets oc_ii; the means are added to own and sum by fused_finish.cu. Nothing is written where pairs.own or pairs.sum is NULL. */

    const struct fused_group *groups;
    unsigned group_count;
    const struct fused_segment *segments; /* block b does segments block_segments[b] .. block_segments[b + 1] - 1, in this order */
    const unsigned *block_segments;
    unsigned blocks;
    const struct fused_round *rounds; /* of a kernel with clusters: cluster c does rounds cluster_rounds[c] .. cluster_rounds[c + 1] - 1, in this order */
    const unsigned *cluster_rounds;
    unsigned clusters; /* 0: the kernel has none */
};

/* What a kernel's blocks are like. Every number but the last is at least 1. */
struct fused_plan {
    unsigned slice_columns; /* columns of d that a block has at a time */
    unsigned sources;       /* tiles, so sources times `packed`, that a block takes per step */
    unsigned parts;         /* of a slice's columns, each with sums of its own */
    unsigned slots;         /* slots of a segment; the kernel writes all of them whole, zeros where it had no source */
    unsigned packed;        /* sources of a packed tile, at most: 1, 2, or 4 */
    unsigned blocks;        /* that run at the same time on the device */
    unsigned clusters;      /* likewise, of FUSED_CLUSTER blocks; 0: the kernel has none */
};

/* A row of the table in fused_select.cu. */
struct fused_kernel {
    enum cx_pair_kernel kind;
    int least_capability, most_capability; /* of the devices it is written for */
    unsigned most_heads, unit;             /* of the models it takes: heads, and what d and f are multiples of */
    /* Whether it fits such a device and model, with the plan; else the reason, which follows "because". */
    bool (*plan)(const struct cuda_backend *, struct fused_plan *, char *reason, size_t size);
    enum cx_status (*run)(struct cuda_backend *, const struct fused_problem *, const struct cx_pair_matrix *, struct cx_error *);
};

/* Of an open backend with a fused kernel: which, and the batch's work list. */
struct fused_state {
    const struct fused_kernel *kernel;
    struct fused_plan plan;
    bool is_named; /* by the options, which leave no choice */
    bool causal;
    struct cuda_list memory[CUDA_BATCHES], pinned[CUDA_BATCHES]; /* groups, segments, rounds and whose they are; take turns as the batch's blocks do */
    const struct fused_group *groups;
    const struct fused_segment *segments;
    const unsigned *block_segments;
    const struct fused_round *rounds;
    const unsigned *cluster_rounds;
    unsigned group_count, blocks, clusters, slices, packed;
    size_t slots;
};

/* Gives the next `count` elements of memory to *pointer if there is any, and counts their bytes in any case. */
template <typename Element> static inline void fused_take(unsigned char *memory, size_t *used, size_t count, Element **pointer) {
    *pointer = memory ? reinterpret_cast<Element *>(memory + *used) : NULL;
    *used += (count * sizeof(Element) + 255) / 256 * 256;
}

/* --- fused_work.cu --- */

/* Makes the work list and sends it to the device; the caller waits before and marks afterwards that the pinned memory is being read. */
CX_MUST_USE enum cx_status fused_work_begin(struct cuda_backend *, const struct cx_batch *, struct cx_error *);

/* --- fused_clusters.cu --- */

/* The segments as rounds, at most as many as they are, dealt out to up to `*clusters` clusters; *clusters becomes the number of those that have any.
   cluster_rounds: one more than clusters. */
CX_MUST_USE enum cx_status fused_clusters_deal(const struct fused_group *, const struct fused_segment *, size_t segments, unsigned sources,
                                               struct fused_round *, unsigned *cluster_rounds, unsigned *clusters, struct cx_error *);

/* --- fused_select.cu --- */

/* Sets cuda->fused to the kernel that the options ask for or, for CX_PAIR_KERNEL_AUTO, to the fastest that fits; NULL: the chunked way. */
CX_MUST_USE enum cx_status fused_open(struct cuda_backend *, enum cx_pair_kernel, struct cx_error *);
void fused_close(struct cuda_backend *);
/* Names of the kernels for devices of this compute capability, in the order in which they are tried: "wgmma, wgmma-cluster, mma, chunked". */
void fused_list(int capability, char *text, size_t size);
CX_MUST_USE enum cx_status fused_pair_norms(struct cuda_backend *, const struct pair_problem *, const struct cx_pair_matrix *, struct cx_error *);

/* --- the steps --- */

/* Writes everything up to norm_means. */
CX_MUST_USE enum cx_status fused_prepare(struct cuda_backend *, const struct fused_problem *, struct cx_error *);
/* The kernels, and what the blocks of each are like: false, with the reason, which follows "because", where it does not fit the device. */
bool fused_wgmma_plan(const struct cuda_backend *, struct fused_plan *, char *reason, size_t size);
bool fused_wgmma_cluster_plan(const struct cuda_backend *, struct fused_plan *, char *reason, size_t size);
bool fused_mma_plan(const struct cuda_backend *, struct fused_plan *, char *reason, size_t size);
/* In clusters where the plan has them. */
CX_MUST_USE enum cx_status fused_wgmma(struct cuda_backend *, const struct fused_problem *, const struct cx_pair_matrix *, struct cx_error *);
CX_MUST_USE enum cx_status fused_mma(struct cuda_backend *, const struct fused_problem *, const struct cx_pair_matrix *, struct cx_error *);
/* Maps, own, sum, and the count of pairs that were too small. */
CX_MUST_USE enum cx_status fused_finish(struct cuda_backend *, const struct fused_problem *, struct cx_error *);

#endif
