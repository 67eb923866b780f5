/*
 * The CPU backend from the inside: what its files share. Nobody outside this folder includes it.
 *
 * Every operation is one function `cpu_<operation>` with the arguments of backend.h; cpu_backend.c lists them in the table.
 * Work is cut into items (rows, blocks, sequence x head), and an item is computed by one thread from beginning to end. The borders of the items depend on
 * the shapes alone, or else do not enter into what is computed for a row; so the bytes of every result are the same for any number of threads. BLAS runs on one
 * thread inside an item.
 */
#ifndef CONTEXTURE_CPU_BACKEND_H
#define CONTEXTURE_CPU_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "contexture/backend.h"
#include "cpu_kernels.h"
#include "cpu_open.h"

/* Numbers in 64-byte aligned memory; of the two pointers the one of the element type is set. A part's memory belongs to the whole. */
struct cx_tensor {
    enum cx_element element;
    bool is_part;
    size_t count;
    float *values;
    double *doubles;
};

/* A dense layer's weight [out, in] as float32: the caller's own memory if that is float32, else a copy. */
struct cx_matrix {
    size_t out, in;
    const float *weight;
    float *copy;
};

/* Up to CPU_TILE_ROWS neighbouring tokens of one sequence. */
struct cpu_tile {
    uint32_t sequence;
    uint32_t length; /* tokens of the sequence */
    uint32_t first;  /* token within the sequence */
    uint32_t rows;
};
enum { CPU_TILE_ROWS = 64 };

struct cpu_backend {
    struct cx_backend base; /* first, so that a pointer to it is a pointer to this */
    int threads;
    enum cx_pair_precision pair_precision;
    const struct cpu_kernels *kernels; /* for this processor's instruction set */

    const struct cx_batch *batch;
    struct cpu_tile *tiles; /* [tile_count] the batch cut into tiles, the longest sequences first, so that threads end together */
    size_t tile_count, tile_capacity;

    const float *reads[CX_READ_SLOTS]; /* what read_begin() was given */

    struct cx_operation_times times;
    double time_begun, time_ended; /* of the latest operation that was timed; 0: there was none */

    /* Working memory of the operation that is running: `threads` pieces of scratch_bytes. See cpu_scratch_reserve(). */
    unsigned char *scratch;
    size_t scratch_bytes;
};

static inline struct cpu_backend *cpu_backend_of(struct cx_backend *backend) {
    return (struct cpu_backend *)backend;
}

/* The sequence's first so many tokens are the sources that any of the tile's targets attends to. */
static inline size_t cpu_tile_sources(const struct cpu_backend *backend, const struct cpu_tile *tile) {
    return backend->base.config.causal ? (size_t)tile->first + tile->rows : tile->length;
}

/* `bytes` zeroed bytes, aligned to 64, or to the size of a huge page if they are many. *memory is NULL after a failure. Release with free(). */
CX_MUST_USE enum cx_status cpu_allocate(size_t count, size_t size, const char *purpose, void *memory_pointer, struct cx_error *error);

/* Makes every thread's piece of scratch at least `bytes` long; what was in it is lost. Call it outside of parallel regions. */
CX_MUST_USE enum cx_status cpu_scratch_reserve(struct cpu_backend *backend, size_t bytes, struct cx_error *error);

/* The piece of thread omp_get_thread_num(), 64-byte aligned. */
static inline void *cpu_scratch(const struct cpu_backend *backend, int thread) {
    return backend->scratch + (size_t)thread * backend->scratch_bytes;
}

/* CX_ERROR_INTERNAL, naming operation and argument, unless `tensor` has this element type and at least `count` elements. */
CX_MUST_USE enum cx_status cpu_check(const struct cx_tensor *tensor, enum cx_element element, size_t count, const char *operation, const char *argument,
                                     struct cx_error *error);

/* One tensor among an operation's arguments, and what it must have. */
struct cpu_argument {
    const char *name;
    const struct cx_tensor *tensor;
    size_t count;
    enum cx_element element;
    bool optional; /* NULL is allowed */
};
#define CPU_FLOATS(argument, elements)                                                                                                                         \
    { .name = #argument, .tensor = (argument), .count = (elements), .element = CX_ELEMENT_FLOAT }
#define CPU_DOUBLES(argument, elements)                                                                                                                        \
    { .name = #argument, .tensor = (argument), .count = (elements), .element = CX_ELEMENT_DOUBLE }
#define CPU_OPTIONAL(argument, elements)                                                                                                                       \
    { .name = #argument, .tensor = (argument), .count = (elements), .element = CX_ELEMENT_FLOAT, .optional = true }

/* cpu_check() of every argument. */
CX_MUST_USE enum cx_status cpu_check_all(const char *operation, const struct cpu_argument *arguments, size_t count, struct cx_error *error);
#define CPU_CHECK_ALL(operation, arguments, error) cpu_check_all(operation, arguments, sizeof(arguments) / sizeof *(arguments), error)

/* CX_ERROR_INTERNAL if no batch was begun. */
CX_MUST_USE enum cx_status cpu_check_batch(const struct cpu_backend *backend, const char *operation, struct cx_error *error);

/* --- memory: cpu_backend.c --- */
void cpu_close(struct cx_backend *);
void cpu_describe(const struct cx_backend *, char *text, size_t size);
enum cx_status cpu_tensor_create(struct cx_backend *, enum cx_element, size_t count, struct cx_tensor **, struct cx_error *);
void cpu_tensor_destroy(struct cx_backend *, struct cx_tensor *);
enum cx_status cpu_write(struct cx_backend *, struct cx_tensor *, size_t count, const float *values, struct cx_error *);
enum cx_status cpu_read(struct cx_backend *, const struct cx_tensor *, size_t first, size_t count, void *values, struct cx_error *);
enum cx_status cpu_tensor_part(struct cx_backend *, const struct cx_tensor *whole, size_t first, size_t count, struct cx_tensor **part, struct cx_error *);
enum cx_status cpu_read_begin(struct cx_backend *, size_t slot, const struct cx_tensor *, size_t first, size_t count, struct cx_error *);
enum cx_status cpu_read_wait(struct cx_backend *, size_t slot, const float **values, struct cx_error *);
enum cx_status cpu_time_begin(struct cx_backend *, enum cx_operation, struct cx_error *);
enum cx_status cpu_time_end(struct cx_backend *, enum cx_operation, struct cx_error *);
enum cx_status cpu_times_read(struct cx_backend *, struct cx_operation_times *, struct cx_error *);
enum cx_status cpu_product_rate(struct cx_backend *, bool is_half, double *rate, struct cx_error *);
enum cx_status cpu_matrix_create(struct cx_backend *, const struct cx_weight *, struct cx_matrix **, struct cx_error *);
void cpu_matrix_destroy(struct cx_backend *, struct cx_matrix *);
enum cx_status cpu_batch_begin(struct cx_backend *, const struct cx_batch *, struct cx_error *);

/* --- cpu_feedforward.c, pair_*.c --- */
enum cx_status cpu_pair_matrix_create(struct cx_backend *, const struct cx_weight *, struct cx_pair_matrix **, struct cx_error *);
void cpu_pair_matrix_destroy(struct cx_backend *, struct cx_pair_matrix *);
enum cx_status cpu_ff_pair_norms(struct cx_backend *, const struct cx_ff_pairs *, struct cx_error *);

/* --- cpu_embed.c --- */
enum cx_status cpu_embed_open(struct cx_backend *, const struct cx_weight *word, const struct cx_weight *position, const struct cx_weight *token_type,
                              struct cx_error *);
enum cx_status cpu_embed(struct cx_backend *, const struct cx_weight *word, const struct cx_weight *position, const struct cx_weight *token_type,
                         struct cx_tensor *x, struct cx_error *);

/* --- cpu_norm.c --- */
enum cx_status cpu_norm(struct cx_backend *, const struct cx_tensor *x, const struct cx_tensor *scale, const struct cx_tensor *shift, double epsilon,
                        struct cx_tensor *y, struct cx_tensor *inverse_deviation, struct cx_error *);
enum cx_status cpu_add(struct cx_backend *, size_t count, const struct cx_tensor *x, const struct cx_tensor *y, struct cx_tensor *z, struct cx_error *);
enum cx_status cpu_broadcast(struct cx_backend *, size_t rows, const struct cx_tensor *x, struct cx_tensor *y, struct cx_error *);
enum cx_status cpu_norm_linear(struct cx_backend *, size_t rows, const struct cx_tensor *x, const struct cx_tensor *scale,
                               const struct cx_tensor *inverse_deviation, const struct cx_tensor *shift, struct cx_tensor *y, struct cx_error *);
enum cx_status cpu_scale_columns(struct cx_backend *, size_t rows, const struct cx_tensor *x, const struct cx_tensor *scale, struct cx_tensor *y,
                                 struct cx_error *);

/* --- cpu_linear.c --- */
enum cx_status cpu_linear(struct cx_backend *, enum cx_linear_use, size_t rows, const struct cx_tensor *x, const struct cx_matrix *,
                          const struct cx_tensor *bias, const struct cx_tensor *residual, struct cx_tensor *y, struct cx_error *);

/* --- cpu_attention.c --- */
enum cx_status cpu_attend(struct cx_backend *, const struct cx_tensor *query, const struct cx_tensor *key, const struct cx_tensor *value,
                          struct cx_tensor *attention, struct cx_tensor *context, struct cx_error *);
enum cx_status cpu_attention_mean(struct cx_backend *, const struct cx_tensor *attention, struct cx_tensor *map, struct cx_error *);

/* --- cpu_activation.c --- */
enum cx_status cpu_activate(struct cx_backend *, enum cx_activation, const struct cx_tensor *u, struct cx_tensor *activated, struct cx_tensor *ratio,
                            struct cx_error *);
enum cx_status cpu_ff_bias(struct cx_backend *, const struct cx_tensor *ratio, const struct cx_tensor *inverse_deviation, const struct cx_tensor *slope,
                           const struct cx_tensor *offset, struct cx_tensor *y, struct cx_error *);

/* --- cpu_sources.c --- */
enum cx_status cpu_head_sources(struct cx_backend *, const struct cx_tensor *value, const struct cx_matrix *attention_output, struct cx_tensor *sources,
                                struct cx_error *);
enum cx_status cpu_gram(struct cx_backend *, const struct cx_tensor *sources, const struct cx_tensor *residual, struct cx_tensor *gram, struct cx_error *);
enum cx_status cpu_ff_sources(struct cx_backend *, const struct cx_tensor *value, const struct cx_tensor *value_to_ff, struct cx_tensor *sources,
                              struct cx_error *);

/* --- cpu_maps.c --- */
enum cx_status cpu_attention_norms(struct cx_backend *, const struct cx_tensor *attention, const struct cx_tensor *gram, bool with_residual,
                                   const struct cx_tensor *inverse_deviation, struct cx_tensor *map, struct cx_error *);
enum cx_status cpu_attention_parts(struct cx_backend *, const struct cx_tensor *attention, const struct cx_tensor *sources, struct cx_tensor *own,
                                   struct cx_tensor *sum, struct cx_error *);
enum cx_status cpu_head_norms(struct cx_backend *, const struct cx_tensor *attention, const struct cx_tensor *gram, struct cx_tensor *map, struct cx_error *);

/* --- cpu_words.c --- */
enum cx_status cpu_attention_word_norms(struct cx_backend *, const struct cx_tensor *attention, const struct cx_tensor *sources,
                                        const struct cx_tensor *residual, const struct cx_tensor *inverse_deviation, struct cx_tensor *map, struct cx_error *);

/* --- cpu_summary.c --- */
enum cx_status cpu_stage_summary(struct cx_backend *, const struct cx_tensor *state, const struct cx_tensor *bias, const struct cx_tensor *own,
                                 const struct cx_tensor *sum, struct cx_tensor *mixing_ratio, struct cx_tensor *bias_norm, struct cx_tensor *completeness_error,
                                 struct cx_error *);

/* --- cpu_ranks.c --- */
enum cx_status cpu_row_shares(struct cx_backend *, const struct cx_tensor *map, struct cx_tensor *shares, struct cx_error *);
enum cx_status cpu_map_ranks(struct cx_backend *, const struct cx_tensor *map, const struct cx_tensor *keep, bool diagonal, struct cx_tensor *ranks,
                             struct cx_error *);
enum cx_status cpu_rank_change(struct cx_backend *, const struct cx_tensor *ranks_before, const struct cx_tensor *ranks_after, struct cx_tensor *change,
                               struct cx_error *);

/* --- cpu_vectors.c --- */
enum cx_status cpu_part_vectors(struct cx_backend *, const struct cx_part_inputs *, size_t target, struct cx_tensor *const parts[6], struct cx_error *);

#endif
