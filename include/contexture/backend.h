/*
 * A backend: the operations from which decompose.c builds the analysis, on memory that only the backend understands.
 *
 * The layer sequence is written once, on this table; the CPU is an ordinary backend and the reference for the others.
 *
 * Letters used for shapes, everywhere in the project:
 *     T  tokens of the packed batch           d  hidden_size          i  target (output) token
 *     N  sequences                            f  intermediate_size    j  source (input) token
 *     H  heads                                e  head_size = d / H    h  head
 *     pairs = Σ n² over the sequences; a map is [pairs], see batch.h. Tensors are dense, row-major.
 * In a batch with words a source is a word J, and its part of a target the sum of its tokens' parts; a map is then [Σ n m], and own and check stay per token.
 * The CPU backend takes such batches, the CUDA backend refuses them.
 *
 * All operations work on the batch given to the latest batch_begin(). A backend may run them asynchronously, in order; read() waits, and so does read_wait(),
 * for its own copy alone: what is computed meanwhile goes on. Numbers are float32 unless said otherwise; norms and Gram matrices are accumulated in float64.
 * The values an operation gives do not depend on the number of threads.
 *
 * In a causal model (config.causal) a sum over sources j of target i goes over j <= i. attend() writes exact zeros above the diagonal, the others rely on them
 * and write zeros there, too; pairs above the diagonal cost no work where there is much of it (ff_pair_norms leaves them out altogether).
 *
 * Ownership: whoever creates a tensor or a matrix destroys it (destroying NULL is allowed), before closing the backend.
 * A backend is used by one thread at a time.
 */
#ifndef CONTEXTURE_BACKEND_H
#define CONTEXTURE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/batch.h"
#include "contexture/error.h"
#include "contexture/model.h"
#include "contexture/profile.h"
#include "contexture/team.h"

enum cx_backend_kind { CX_BACKEND_AUTO, CX_BACKEND_CPU, CX_BACKEND_CUDA };

/*
 * Operands of the feed-forward pair product; sums are float32. float32 is the default of every backend, so that what a run gives does not depend on which
 * device it found; the others are asked for.
 */
enum cx_pair_precision {
    CX_PAIR_F32,
    CX_PAIR_BF16, /* rounded to bfloat16: rms error about 1e-3. CPU backend, where the processor has it */
    CX_PAIR_F16,  /* times powers of two, rounded to float16: rms error about 1e-4 (derived). CUDA backend */
};

/* "f32", "bf16", "f16": as the option --pair-precision and the output call them. */
const char *cx_pair_precision_name(enum cx_pair_precision precision);

/*
 * Operands of the forward pass's dense products; sums and results are float32. The parts are computed from the same float32 weights in any case, so they add up
 * to the states as exactly as these products are.
 */
enum cx_forward_precision {
    CX_FORWARD_F32,
    CX_FORWARD_TF32, /* rounded to 11 bits by the tensor cores. CUDA backend */
    CX_FORWARD_F16,  /* rounded to float16, the weight times a power of two. CUDA backend */
};

/* "f32", "tf32", "f16": as the option --forward-precision and the output call them. */
const char *cx_forward_precision_name(enum cx_forward_precision precision);

/* What a dense layer's product is for: those of the forward pass have the forward precision, all others float32. */
enum cx_linear_use { CX_LINEAR_FORWARD, CX_LINEAR_PARTS };

/* How the CUDA backend computes the feed-forward maps in f16; AUTO: the fastest that fits device and model. One that does not fit is refused. */
enum cx_pair_kernel {
    CX_PAIR_KERNEL_AUTO,
    CX_PAIR_KERNEL_CHUNKED,       /* z and product of some pairs at a time in memory, by cuBLASLt; the only way in f32, and of batches with words */
    CX_PAIR_KERNEL_WGMMA,         /* on chip, for Hopper */
    CX_PAIR_KERNEL_WGMMA_CLUSTER, /* the same in clusters of blocks that share tiles */
    CX_PAIR_KERNEL_MMA,           /* on chip, for every GPU with tensor cores since Ampere */
};

/* "auto", "chunked", "wgmma", "wgmma-cluster", "mma": as the backend's description and the benchmark's option --pair-kernel call them. */
const char *cx_pair_kernel_name(enum cx_pair_kernel kernel);

enum cx_element { CX_ELEMENT_FLOAT, CX_ELEMENT_DOUBLE };

enum { CX_READ_SLOTS = 4, CX_PART_ALIGNMENT = 64 };

struct cx_backend;     /* one device and its threads or streams */
struct cx_tensor;      /* numbers on the device, or a part of such a tensor */
struct cx_matrix;      /* the weight of a dense layer, in the layout the backend likes */
struct cx_pair_matrix; /* W2 of a feed-forward block, prepared for ff_pair_norms */

struct cx_backend_options {
    enum cx_backend_kind kind;
    int threads; /* of the CPU backend; 0: all cores */
    int device;  /* of the CUDA backend: the usable GPU of that number; 0: the first. Counted anew where there are fewer: a launcher may show each process its
                    own */
    enum cx_forward_precision forward_precision;
    enum cx_pair_precision pair_precision;
    size_t pair_chunk; /* of the CUDA backend: pairs computed at a time, more or less; 0: what suits the device */
    enum cx_pair_kernel pair_kernel;
};

/* Everything ff_pair_norms reads and writes. Notation of DESIGN.md, section 1. */
struct cx_ff_pairs {
    /* input */
    const struct cx_tensor *attention;             /* α [H, pairs] as in batch.h */
    const struct cx_tensor *inverse_deviation1;    /* 1/σ1_i [T] */
    const struct cx_tensor *ratio;                 /* ρ_i = g(u_i)/u_i [T, f] */
    const struct cx_tensor *head_ff_sources;       /* P_jh = f^h(x_j) through LN1's linear part and W1 [T, H, f] */
    const struct cx_tensor *residual_ff_sources;   /* the same of x_j itself [T, f] */
    const struct cx_tensor *head_norm_sources;     /* F̂_jh = γ1 ⊙ (f^h(x_j) - mean) [T, H, d] */
    const struct cx_tensor *residual_norm_sources; /* the same of x_j itself [T, d] */
    const struct cx_pair_matrix *output;           /* W2c [f, d] and w̄ [f] */
    const struct cx_tensor *norm2_scale;           /* γ2 [d] */
    const struct cx_tensor *inverse_deviation2;    /* 1/σ2_i [T] */
    /* output; a map that is NULL is not wanted */
    struct cx_tensor *ff;        /* ‖o_ij‖ [pairs] */
    struct cx_tensor *ff_res;    /* ‖v_ij‖ = ‖o_ij + t_ij‖ [pairs] */
    struct cx_tensor *ff_res_ln; /* ‖w_ij‖ = ‖γ2 ⊙ (v_ij - mean v_ij)‖ / σ2_i [pairs] */
    struct cx_tensor *own;       /* o_ii [T, d] */
    struct cx_tensor *sum;       /* Σ_j o_ij [T, d], summed from the rows of the product itself */
    struct cx_tensor *check; /* [T]: of a target's rows the largest |z_ij·(W2c s) - oc_ij·s| over what rounding allows, see checksum.h; above 1 is wrong */
};

/* The input of part_vectors: what ff_pair_norms reads, and the layer's own vectors and dense layers. */
struct cx_part_inputs {
    const struct cx_tensor *attention;          /* α */
    const struct cx_tensor *head_sources;       /* F_jh = f^h(x_j) [T, H, d] */
    const struct cx_tensor *residual;           /* x_j [T, d] */
    const struct cx_tensor *norm1_scale;        /* γ1 [d] */
    const struct cx_tensor *inverse_deviation1; /* 1/σ1_i [T] */
    const struct cx_matrix *intermediate;       /* W1 */
    const struct cx_tensor *ratio;              /* ρ [T, f] */
    const struct cx_matrix *output;             /* W2 */
    const struct cx_tensor *norm2_scale;        /* γ2 [d] */
    const struct cx_tensor *inverse_deviation2; /* 1/σ2_i [T] */
};

struct cx_backend_operations {
    const char *name; /* "cpu", "cuda" */

    /* Several processes with a device each; NULL: this kind of device is shared by processes, and its weights by their mapping of the same file. */
    const struct cx_team_operations *team;

    /* A name of the device that it has in all processes, without blanks. NULL, too, where devices are shared. */
    void (*device_name)(const struct cx_backend *backend, char *text, size_t size);

    void (*close)(struct cx_backend *backend);

    /* One line about the device: processor, instruction set, threads. */
    void (*describe)(const struct cx_backend *backend, char *text, size_t size);

    /* --- memory --- */

    CX_MUST_USE enum cx_status (*tensor_create)(struct cx_backend *, enum cx_element, size_t count, struct cx_tensor **, struct cx_error *);
    void (*tensor_destroy)(struct cx_backend *, struct cx_tensor *);
    /* tensor[0 .. count) = values; on a team those of the member that reads the weights. */
    CX_MUST_USE enum cx_status (*write)(struct cx_backend *, struct cx_tensor *, size_t count, const float *values, struct cx_error *);
    /* values = tensor[first .. first + count), in the tensor's element type (float or double). */
    CX_MUST_USE enum cx_status (*read)(struct cx_backend *, const struct cx_tensor *, size_t first, size_t count, void *values, struct cx_error *);

    /*
     * *part = whole[first .. first + count), sharing its memory; made if *part is NULL, else turned to this place. Destroy it before the whole. Kernels like
     * parts to begin at multiples of CX_PART_ALIGNMENT elements.
     */
    CX_MUST_USE enum cx_status (*tensor_part)(struct cx_backend *, const struct cx_tensor *whole, size_t first, size_t count, struct cx_tensor **part,
                                              struct cx_error *);

    /*
     * read() in two steps, for float tensors. read_begin returns before the copy is made: the copy takes what the operations called before it leave in the
     * tensor, beside the operations called after it, which must not change the tensor until read_wait() has returned. read_wait waits for that one copy;
     * `values` is the backend's memory, and holds until the tensor is changed or the slot is used again. slot: 0 .. CX_READ_SLOTS - 1, a copy each.
     */
    CX_MUST_USE enum cx_status (*read_begin)(struct cx_backend *, size_t slot, const struct cx_tensor *, size_t first, size_t count, struct cx_error *);
    CX_MUST_USE enum cx_status (*read_wait)(struct cx_backend *, size_t slot, const float **values, struct cx_error *);

    /* A dense layer's weight [out, in]. The view's memory must live as long as the matrix: it may be used in place. */
    CX_MUST_USE enum cx_status (*matrix_create)(struct cx_backend *, const struct cx_weight *, struct cx_matrix **, struct cx_error *);
    void (*matrix_destroy)(struct cx_backend *, struct cx_matrix *);

    /* W2 [d, f] (Hugging Face's layout): stores W2c = its transpose [f, d] less each row's mean over d, and the means w̄ [f]. */
    CX_MUST_USE enum cx_status (*pair_matrix_create)(struct cx_backend *, const struct cx_weight *, struct cx_pair_matrix **, struct cx_error *);
    void (*pair_matrix_destroy)(struct cx_backend *, struct cx_pair_matrix *);

    /* Makes `batch` the one that the following operations work on. It must live until the next call. */
    CX_MUST_USE enum cx_status (*batch_begin)(struct cx_backend *, const struct cx_batch *batch, struct cx_error *);

    /* --- forward pass --- */

    /* Brings embed()'s tables to the device. Without it, which a team does not allow, the first embed() does so. */
    CX_MUST_USE enum cx_status (*embed_open)(struct cx_backend *, const struct cx_weight *word, const struct cx_weight *position,
                                             const struct cx_weight *token_type, struct cx_error *);

    /* x [T, d] = word + position + token type embedding of every token. The three views' memory lives as long as the backend. */
    CX_MUST_USE enum cx_status (*embed)(struct cx_backend *, const struct cx_weight *word, const struct cx_weight *position, const struct cx_weight *token_type,
                                        struct cx_tensor *x, struct cx_error *);

    /* y [T, d] = γ ⊙ (x - mean x)/σ + β, inverse_deviation [T] = 1/σ, σ = sqrt(Var x + ε), variance over d about the mean. */
    CX_MUST_USE enum cx_status (*norm)(struct cx_backend *, const struct cx_tensor *x, const struct cx_tensor *scale, const struct cx_tensor *shift,
                                       double epsilon, struct cx_tensor *y, struct cx_tensor *inverse_deviation, struct cx_error *);

    /* y [rows, out] = x [rows, in] W^T + bias [out] + residual [rows, out]; bias and residual may be NULL. y is none of the inputs. */
    CX_MUST_USE enum cx_status (*linear)(struct cx_backend *, enum cx_linear_use, size_t rows, const struct cx_tensor *x, const struct cx_matrix *,
                                         const struct cx_tensor *bias, const struct cx_tensor *residual, struct cx_tensor *y, struct cx_error *);

    /* α^h_ij = softmax_j(q_i^h · k_j^h / sqrt(e)) [H, pairs]; context [T, d] = Σ_j α^h_ij v_j^h, heads side by side. q, k, v: [T, d]. */
    CX_MUST_USE enum cx_status (*attend)(struct cx_backend *, const struct cx_tensor *query, const struct cx_tensor *key, const struct cx_tensor *value,
                                         struct cx_tensor *attention, struct cx_tensor *context, struct cx_error *);

    /* activated [T, f] = g(u), ratio [T, f] = g(u)/u, with the limit g'(0) as u → 0 (never NaN). */
    CX_MUST_USE enum cx_status (*activate)(struct cx_backend *, enum cx_activation, const struct cx_tensor *u, struct cx_tensor *activated,
                                           struct cx_tensor *ratio, struct cx_error *);

    /* --- small linear pieces --- */

    /* z [count] = x + y; z may be x or y. */
    CX_MUST_USE enum cx_status (*add)(struct cx_backend *, size_t count, const struct cx_tensor *x, const struct cx_tensor *y, struct cx_tensor *z,
                                      struct cx_error *);

    /* y [rows, d] = every row the vector x [d]. */
    CX_MUST_USE enum cx_status (*broadcast)(struct cx_backend *, size_t rows, const struct cx_tensor *x, struct cx_tensor *y, struct cx_error *);

    /* The linear part of a layer norm: y [rows, d] = scale ⊙ (x - mean x) * inverse_deviation [rows] + shift [d].
       inverse_deviation NULL: factor 1. shift NULL: none. y may be x. */
    CX_MUST_USE enum cx_status (*norm_linear)(struct cx_backend *, size_t rows, const struct cx_tensor *x, const struct cx_tensor *scale,
                                              const struct cx_tensor *inverse_deviation, const struct cx_tensor *shift, struct cx_tensor *y, struct cx_error *);

    /* y [rows, d] = scale [d] ⊙ every row of x [rows, d]. y may be x. */
    CX_MUST_USE enum cx_status (*scale_columns)(struct cx_backend *, size_t rows, const struct cx_tensor *x, const struct cx_tensor *scale, struct cx_tensor *y,
                                                struct cx_error *);

    /* y [T, f] = ρ ⊙ (inverse_deviation_i * slope [f] + offset [f]): the bias part's way through the activation. */
    CX_MUST_USE enum cx_status (*ff_bias)(struct cx_backend *, const struct cx_tensor *ratio, const struct cx_tensor *inverse_deviation,
                                          const struct cx_tensor *slope, const struct cx_tensor *offset, struct cx_tensor *y, struct cx_error *);

    /* --- attention block's parts --- */

    /* F [T, H, d]: F_jh = v_j^h W_O^h, from value [T, d] and W_O [d, d]. */
    CX_MUST_USE enum cx_status (*head_sources)(struct cx_backend *, const struct cx_tensor *value, const struct cx_matrix *attention_output,
                                               struct cx_tensor *sources, struct cx_error *);

    /* G [T, H+1, H+1], float64: scalar products of the H rows of sources [T, H, d] and, as row H, residual [T, d]. */
    CX_MUST_USE enum cx_status (*gram)(struct cx_backend *, const struct cx_tensor *sources, const struct cx_tensor *residual, struct cx_tensor *gram,
                                       struct cx_error *);

    /* map_ij [pairs] = sqrt(c^T G_j c) * inverse_deviation_i, c = [α^1_ij … α^H_ij, with_residual and i = j ? 1 : 0].
       inverse_deviation NULL: factor 1. (DESIGN.md, identity 1.) */
    CX_MUST_USE enum cx_status (*attention_norms)(struct cx_backend *, const struct cx_tensor *attention, const struct cx_tensor *gram, bool with_residual,
                                                  const struct cx_tensor *inverse_deviation, struct cx_tensor *map, struct cx_error *);

    /* The columns of words of several tokens, which attention_norms leaves as they are, for a Gram matrix knows nothing of other tokens:
       map_iJ = ‖Σ_{j∈J} (Σ_h α^h_ij F_jh + [i = j] residual_j)‖ * inverse_deviation_i, from sources [T, H, d] and residual [T, d], which may be NULL.
       Only for batches with words. */
    CX_MUST_USE enum cx_status (*attention_word_norms)(struct cx_backend *, const struct cx_tensor *attention, const struct cx_tensor *sources,
                                                       const struct cx_tensor *residual, const struct cx_tensor *inverse_deviation, struct cx_tensor *map,
                                                       struct cx_error *);

    /* own [T, d] = Σ_h α^h_ii F_ih;  sum [T, d] = Σ_j Σ_h α^h_ij F_jh. */
    CX_MUST_USE enum cx_status (*attention_parts)(struct cx_backend *, const struct cx_tensor *attention, const struct cx_tensor *sources,
                                                  struct cx_tensor *own, struct cx_tensor *sum, struct cx_error *);

    /* map_ij [pairs] = mean of α^h_ij over the heads; of a word, the sum of its tokens' means. */
    CX_MUST_USE enum cx_status (*attention_mean)(struct cx_backend *, const struct cx_tensor *attention, struct cx_tensor *map, struct cx_error *);

    /* map^h_ij [H, pairs] as in batch.h: α^h_ij * ‖F_jh‖, the norm from the Gram matrix's diagonal (a product, so that it does not underflow). */
    CX_MUST_USE enum cx_status (*head_norms)(struct cx_backend *, const struct cx_tensor *attention, const struct cx_tensor *gram, struct cx_tensor *map,
                                             struct cx_error *);

    /* --- feed-forward block's parts --- */

    /* P [T, H, f]: P_jh = v_j^h M^h, from value [T, d] and M [d, f] = [M^1; … M^H], M^h [e, f]. (Identity 2.) */
    CX_MUST_USE enum cx_status (*ff_sources)(struct cx_backend *, const struct cx_tensor *value, const struct cx_tensor *value_to_ff, struct cx_tensor *sources,
                                             struct cx_error *);

    /* The three feed-forward maps of every pair. (Identities 2 and 3; 95 % of the time.) */
    CX_MUST_USE enum cx_status (*ff_pair_norms)(struct cx_backend *, const struct cx_ff_pairs *pairs, struct cx_error *);

    /* --- statistics and vectors --- */

    /* Per token, in float64 inside: with other = state - bias - own,
       mixing_ratio [T] = ‖other‖ / (‖other‖ + ‖own‖) (0 where both are 0), bias_norm [T] = ‖bias‖,
       completeness_error [T] = ‖sum + bias - state‖ / ‖state‖. state, bias, own, sum: [T, d]. */
    CX_MUST_USE enum cx_status (*stage_summary)(struct cx_backend *, const struct cx_tensor *state, const struct cx_tensor *bias, const struct cx_tensor *own,
                                                const struct cx_tensor *sum, struct cx_tensor *mixing_ratio, struct cx_tensor *bias_norm,
                                                struct cx_tensor *completeness_error, struct cx_error *);

    /* The parts themselves of one target token of the batch (0 .. T-1): parts[k] [n, d] for the six stages attn, attn_res,
       attn_res_ln, ff, ff_res, ff_res_ln; NULL where not wanted. Computed straight from the definition, without the
       identities that the norms use. n: tokens of the target's sequence. */
    CX_MUST_USE enum cx_status (*part_vectors)(struct cx_backend *, const struct cx_part_inputs *, size_t target, struct cx_tensor *const parts[6],
                                               struct cx_error *);

    /*
     * --- statistics of maps ---
     *
     * No run calls these: tests and benchmarks do. A run's statistics are computed on the host (contexture/stats.h), from the maps that arrive there: with the
     * same order of numbers (rank_key.h), but float64 sums over a whole map and shares in float64, so that last bits differ.
     */

    /* shares_ij [pairs] = map_ij / Σ_j map_ij, what a source is of its target's row; the sum in float64. 0 in a row whose sum is 0. shares may be map. */
    CX_MUST_USE enum cx_status (*row_shares)(struct cx_backend *, const struct cx_tensor *map, struct cx_tensor *shares, struct cx_error *);

    /*
     * ranks [pairs], float64: of map_ij among the selected pairs of its sequence, from 1 on, the mean of their ranks for equal numbers, such as -0 and 0;
     * 0 for a pair that is not selected. keep [T], NULL: all: a token with 0 is left out as target and as source; without `diagonal`, so are the pairs (i,
     * i). NaN has the rank NaN and is above all numbers.
     */
    CX_MUST_USE enum cx_status (*map_ranks)(struct cx_backend *, const struct cx_tensor *map, const struct cx_tensor *keep, bool diagonal,
                                            struct cx_tensor *ranks, struct cx_error *);

    /*
     * change [N], float64: 1 - the correlation of the ranks of two maps over the pairs that were selected, so Spearman's with ties; NaN where there is none,
     * for one of the maps is constant. Both must come from the same selection. Integer sums: the same bits on every backend.
     */
    CX_MUST_USE enum cx_status (*rank_change)(struct cx_backend *, const struct cx_tensor *ranks_before, const struct cx_tensor *ranks_after,
                                              struct cx_tensor *change, struct cx_error *);

    /* --- measuring --- */

    /* Between time_begin and time_end of the same name stands one operation, which is timed. Costs nothing where it is not called. */
    CX_MUST_USE enum cx_status (*time_begin)(struct cx_backend *, enum cx_operation, struct cx_error *);
    CX_MUST_USE enum cx_status (*time_end)(struct cx_backend *, enum cx_operation, struct cx_error *);

    /* Waits for all that was begun, and tells what was timed since the backend was opened. */
    CX_MUST_USE enum cx_status (*times_read)(struct cx_backend *, struct cx_operation_times *, struct cx_error *);

    /* What the device makes of a large matrix product of random numbers, in FLOP/s: float32 operands, or float16 with float32 sums; 0 where there is no such
       product. Takes a part of a second. */
    CX_MUST_USE enum cx_status (*product_rate)(struct cx_backend *, bool is_half, double *rate, struct cx_error *);
};

/* Every backend's structure begins with this one. */
struct cx_backend {
    const struct cx_backend_operations *operations;
    struct cx_model_config config;
    bool is_given_weights; /* by another process of its team: the memory of a weight's view is not looked at. contexture/team.h */
    size_t reads_ahead;    /* reads that should be on their way before one is waited for: 0 where read_begin() has them done, at most CX_READ_SLOTS - 1 */
};

/*
 * Opens the backend that `options` asks for, for models of this shape. AUTO takes a usable GPU, else the CPU; cx_backend_report() says which, and why.
 * CUDA on a machine without a usable GPU fails with CX_ERROR_DEVICE and the reason.
 */
CX_MUST_USE enum cx_status cx_backend_open(const struct cx_backend_options *options, const struct cx_model_config *config, struct cx_backend **backend,
                                           struct cx_error *error);

/* NULL is allowed. */
void cx_backend_close(struct cx_backend *backend);

/* One sentence: which backend AUTO takes on this machine, and why. False where this build has a CUDA backend and AUTO does not take it. */
bool cx_backend_report(char *text, size_t size);

#endif
