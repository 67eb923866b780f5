/*
 * The CUDA backend from the inside: what its files share. Nobody outside this folder includes it.
 *
 * Every operation is one function `cuda_<operation>` with the arguments of backend.h, in the file of the same name as the CPU backend's; cuda_backend.cu
 * lists them in the table. A file has its formulas first, then the kernels, then the launchers: launchers alone choose grids, blocks and shared memory,
 * and check errors. All work goes to one stream, in order, but for the copies of read_begin(), which have a stream of their own; nothing waits for the device
 * in the loop but read_wait(). Kernels write every element they promise, and no sum is taken by atomics,
 * so that the same call on the same device gives the same bytes.
 *
 * No error ends the process: a call that fails is reported once as CX_ERROR_DEVICE (CX_ERROR_MEMORY where memory is short). What CUDA calls a sticky error
 * makes the device useless to this process, though not to the next: CX_ERROR_DEVICE_LOST. The sentence is kept, and every later call returns it.
 *
 * Nothing is allocated once a batch of the largest size has run: tensors are the caller's, index arrays and scratch grow only, staging is allocated at open.
 */
#ifndef CONTEXTURE_CUDA_BACKEND_CUH
#define CONTEXTURE_CUDA_BACKEND_CUH

#include <cstddef>
#include <cstdint>

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include "cuda_batch.cuh"
#include "launch.cuh"

extern "C" {
#include "contexture/backend.h"
#include "contexture/checksum.h"
#include "contexture/memory.h"
#include "contexture/profile.h"
#include "cuda_open.h"
}

/* Numbers in device memory; of the two pointers the one of the element type is set. A part's memory belongs to the whole. */
struct cx_tensor {
    enum cx_element element;
    bool is_part;
    size_t count;
    float *values;
    double *doubles;
};

/* A dense layer's weight [out, in] in device memory, float32. */
struct cx_matrix {
    size_t out, in;
    float *weight;
    __half *half; /* for --forward-precision f16, else NULL: times 2^half_exponent, [out, padded in], zeros from `in` on */
    int half_exponent;
};

/* W2 prepared; see cuda_pair_matrix.cu. */
struct cx_pair_matrix {
    size_t width, depth; /* d, f */
    enum cx_pair_precision precision;
    void *centred;      /* W2c transposed, [d, padded f], float or __half times 2^scale_exponent; zeros from f on */
    float *row_means;   /* w̄ [f], and behind it `checks` */
    int scale_exponent; /* 0 for float32 */
    float *checks;      /* W2c s [f] of `centred` as stored: contexture/checksum.h */
    float scaled_norm;  /* Frobenius norm of the same */
};

/* An array that only grows. */
struct cuda_list {
    void *memory;
    size_t bytes;
};

/* An embedding table, uploaded when first used. */
struct cuda_table {
    const void *source;
    void *memory;
};

enum { CUDA_TABLES = 8, CUDA_STAGES = 2, CUDA_BATCHES = 2, CUDA_STAGE_BYTES = 4 << 20 };

struct cuda_products;
struct fused_state;
struct cuda_timings;
struct cuda_team;

/* A copy begun by read_begin(): see cuda_read.cu. */
struct cuda_read_slot {
    struct cuda_list pinned;
    cudaEvent_t computed, copied;
    bool is_begun;
};

/* See cuda_read.cu for what becomes of a run in which they are not 0. */
struct cuda_counts {
    unsigned small_pairs;   /* pairs whose numbers were too small for float16 */
    unsigned large_numbers; /* of the forward pass, beyond float16 */
};

/* A batch's index arrays as one block in device memory, with the pinned block it is copied from. */
struct cuda_batch_block {
    struct cuda_list memory, pinned;
    cudaEvent_t copied;
};

struct cuda_backend {
    struct cx_backend base; /* first, so that a pointer to it is a pointer to this */
    int device, capability, multiprocessors, level2_bytes;
    size_t shared_bytes; /* that a block may have */
    size_t memory_bytes; /* of the device */
    enum cx_pair_precision pair_precision;
    enum cx_forward_precision forward_precision;
    enum cx_status broken; /* CX_OK, or what every call returns from now on, with the sentence */
    char broken_message[512];

    cudaStream_t stream;
    struct cuda_products *products; /* cuda_product.cu */

    /* Pinned memory through which write() and read() go, piece by piece, while the other piece is copied. */
    unsigned char *stage[CUDA_STAGES];
    cudaEvent_t stage_free[CUDA_STAGES];

    struct cuda_timings *timings; /* NULL: nothing is timed */

    struct cuda_table tables[CUDA_TABLES];

    cudaStream_t copies; /* of read_begin() */
    struct cuda_read_slot reads[CX_READ_SLOTS];

    /* The batch: the caller's structure, and its index arrays. There are two blocks, so that a batch can be begun while the one before is computed. */
    const struct cx_batch *batch;
    struct cuda_batch_block batch_blocks[CUDA_BATCHES];
    size_t batch_block;                                       /* the one in use */
    const int32_t *input_ids, *token_type_ids, *position_ids; /* [T] */
    const struct cuda_token *tokens;                          /* [T] */
    const unsigned *first_token;                              /* of every word, and of the end; NULL: sources are tokens */
    const struct cuda_tile *tiles;
    size_t tile_count;
    const struct cuda_pair_tile *pair_tiles;
    const struct cuda_pair_group *pair_groups;
    struct cuda_pair_chunk *chunks; /* host */
    size_t chunk_count, chunk_capacity;
    unsigned chunk_rows, chunk_units; /* of the largest chunk, rows rounded up to what a product takes */

    struct cuda_team *team;    /* NULL: none was looked for. cuda_nccl.cu */
    struct fused_state *fused; /* NULL: ff_pair_norms goes in chunks. fused_pairs.cuh */
    unsigned pair_rows;        /* rows of a chunk, at most; a multiple of CUDA_PAIR_UNIT */

    struct cuda_list scratch; /* of the operation that is running */

    /* What float16 could not hold, counted on the device; one place more for every slot, where the counts travel with the slot's numbers, and are looked at
       when they are. The last place is read()'s. */
    struct cuda_counts *counts, *counts_pinned; /* [CUDA_COUNTERS] */
    bool has_counted;                           /* since open: a kernel may have counted */
};

static inline struct cuda_backend *cuda_backend_of(struct cx_backend *backend) {
    return reinterpret_cast<struct cuda_backend *>(backend);
}

/* --- errors: cuda_error.cu --- */

/* CX_OK for cudaSuccess; else the sentence "<operation>: <what> failed: <code name>: <its text>". */
CX_MUST_USE enum cx_status cuda_result(struct cuda_backend *, const char *operation, const char *what, cudaError_t code, struct cx_error *);
/* The same of an error that is not CUDA's own, with its name and text. */
CX_MUST_USE enum cx_status cuda_failure(struct cuda_backend *, enum cx_status, const char *operation, const char *what, const char *name, const char *text,
                                        struct cx_error *);

/* For what is released: nothing can be done about a failure there, when the device, or the process, is at its end. */
static inline void cuda_forget(cudaError_t code) {
    (void)code;
}

/* Every operation begins here: fails with the kept sentence if the device is broken, or if a batch is needed and none was begun. */
CX_MUST_USE enum cx_status cuda_enter(struct cuda_backend *, const char *operation, bool needs_batch, struct cx_error *);

/* One tensor among an operation's arguments, and what it must have. */
struct cuda_argument {
    const char *name;
    const struct cx_tensor *tensor;
    size_t count;
    enum cx_element element;
    bool optional; /* NULL is allowed */
};
#define CUDA_FLOATS(argument, elements)                                                                                                                        \
    { #argument, (argument), (elements), CX_ELEMENT_FLOAT, false }
#define CUDA_DOUBLES(argument, elements)                                                                                                                       \
    { #argument, (argument), (elements), CX_ELEMENT_DOUBLE, false }
#define CUDA_OPTIONAL(argument, elements)                                                                                                                      \
    { #argument, (argument), (elements), CX_ELEMENT_FLOAT, true }

/* CX_ERROR_INTERNAL, naming operation and argument, for the first that does not fit. */
CX_MUST_USE enum cx_status cuda_check_all(const char *operation, const struct cuda_argument *arguments, size_t count, struct cx_error *);
#define CUDA_CHECK_ALL(operation, arguments, error) cuda_check_all(operation, arguments, sizeof(arguments) / sizeof *(arguments), error)

/* Launches and checks; the block's threads are given as a number. Returns enum cx_status. */
#define CUDA_LAUNCH(cuda, operation, error, kernel, grid, threads, shared, ...)                                                                                \
    cuda_result(cuda, operation, "launching " #kernel, launch_kernel(kernel, grid, dim3(threads), shared, (cuda)->stream, __VA_ARGS__), error)

/* Blocks that cover `count` with `each`. */
static inline unsigned cuda_blocks(size_t count, size_t each) {
    return static_cast<unsigned>((count + each - 1) / each);
}

enum { CUDA_COUNTERS = 1 + CX_READ_SLOTS + 1 };

/* --- memory: cuda_memory.cu, cuda_read.cu --- */

/* Makes the list at least `bytes` long; what was in it is lost. */
CX_MUST_USE enum cx_status cuda_list_fit(struct cuda_backend *, struct cuda_list *, size_t bytes, const char *purpose, struct cx_error *);
/* The same in pinned host memory. */
CX_MUST_USE enum cx_status cuda_pinned_fit(struct cuda_backend *, struct cuda_list *, size_t bytes, const char *purpose, struct cx_error *);
CX_MUST_USE enum cx_status cuda_allocate(struct cuda_backend *, size_t count, size_t size, const char *purpose, void **memory, struct cx_error *);
/* From pageable host memory, through the pinned pieces; returns when `values` may be changed. */
CX_MUST_USE enum cx_status cuda_upload(struct cuda_backend *, const char *operation, void *target, const void *values, size_t bytes, struct cx_error *);
/* A weight on its way: on a team the values of the member that reads, for all. */
CX_MUST_USE enum cx_status cuda_upload_shared(struct cuda_backend *, const char *operation, void *target, const void *values, size_t bytes, struct cx_error *);
/* The other direction; returns when `values` has them. */
CX_MUST_USE enum cx_status cuda_download(struct cuda_backend *, const char *operation, void *values, const void *source, size_t bytes, struct cx_error *);

enum cx_status cuda_tensor_create(struct cx_backend *, enum cx_element, size_t count, struct cx_tensor **, struct cx_error *);
void cuda_tensor_destroy(struct cx_backend *, struct cx_tensor *);
enum cx_status cuda_write(struct cx_backend *, struct cx_tensor *, size_t count, const float *values, struct cx_error *);
enum cx_status cuda_read(struct cx_backend *, const struct cx_tensor *, size_t first, size_t count, void *values, struct cx_error *);
enum cx_status cuda_tensor_part(struct cx_backend *, const struct cx_tensor *whole, size_t first, size_t count, struct cx_tensor **part, struct cx_error *);
enum cx_status cuda_read_begin(struct cx_backend *, size_t slot, const struct cx_tensor *, size_t first, size_t count, struct cx_error *);
enum cx_status cuda_read_wait(struct cx_backend *, size_t slot, const float **values, struct cx_error *);
CX_MUST_USE enum cx_status cuda_reads_open(struct cuda_backend *, struct cx_error *);
void cuda_reads_close(struct cuda_backend *);

/* --- cuda_profile.cu --- */
enum cx_status cuda_time_begin(struct cx_backend *, enum cx_operation, struct cx_error *);
enum cx_status cuda_time_end(struct cx_backend *, enum cx_operation, struct cx_error *);
enum cx_status cuda_times_read(struct cx_backend *, struct cx_operation_times *, struct cx_error *);
enum cx_status cuda_product_rate(struct cx_backend *, bool is_half, double *rate, struct cx_error *);
void cuda_timings_close(struct cuda_backend *);

/* --- cuda_batch.cu --- */
enum cx_status cuda_batch_begin(struct cx_backend *, const struct cx_batch *, struct cx_error *);

/* --- dense products: cuda_product.cu --- */

/*
 * y [rows, out] = x [rows, in] W + bias + residual, `batches` times with the given distances between one product's numbers and the next's, in elements.
 * W is [out, in] or, if `transposed` is false, [in, out]; strides are those of rows. float32 throughout; or operands of __half, or rounded to TF32, with
 * float32 sums. W as it is stored is times 2^weight_exponent.
 */
struct cuda_product {
    const char *operation;
    size_t rows, in, out, batches;
    bool is_half, is_tf32, transposed;
    int weight_exponent;
    const void *x, *weight;
    size_t x_stride, weight_stride, y_stride;
    size_t x_distance, weight_distance, y_distance;
    const float *bias, *residual; /* or NULL; residual has y's strides */
    float *y;
};
CX_MUST_USE enum cx_status cuda_multiply(struct cuda_backend *, const struct cuda_product *, struct cx_error *);
/* False with the reason, as the end of "… because", if this machine lacks what the products are made with. */
bool cuda_products_usable(char *reason, size_t size);
CX_MUST_USE enum cx_status cuda_products_open(struct cuda_backend *, struct cx_error *);
void cuda_products_close(struct cuda_backend *);

/* --- float16 operands: cuda_half.cu --- */

/* The power of two that brings the largest number to 2^14 .. 2^15, from where 29 binary orders below keep 11 bits; 0 for zeros or what is not finite. */
int cuda_half_exponent(size_t count, const float *values);
/* operand [rows, stride] = values [rows, columns] times 2^exponent; values become what is stored. */
void cuda_half_fill(size_t rows, size_t columns, size_t stride, int exponent, float *values, __half *operand);
/* On the device: rounded [rows, cuda_padded(columns)] = values [rows, columns], zeros from `columns` on. Numbers that float16 cannot hold are counted. */
CX_MUST_USE enum cx_status cuda_half_round(struct cuda_backend *, const char *operation, size_t rows, size_t columns, const float *values, __half *rounded,
                                           struct cx_error *);

/* --- cuda_pair_matrix.cu, cuda_feedforward.cu --- */
enum cx_status cuda_pair_matrix_create(struct cx_backend *, const struct cx_weight *, struct cx_pair_matrix **, struct cx_error *);
void cuda_pair_matrix_destroy(struct cx_backend *, struct cx_pair_matrix *);
enum cx_status cuda_ff_pair_norms(struct cx_backend *, const struct cx_ff_pairs *, struct cx_error *);

/* Columns of z in memory: f, rounded up so that every row begins at a multiple of 16 bytes; likewise the product's columns. */
static inline size_t cuda_padded(size_t columns) {
    return (columns + 7) / 8 * 8;
}

/* Rows of a chunk's product: one of 16 numbers between neighbouring powers of two, so that few shapes occur for which an algorithm has to be chosen. */
static inline unsigned cuda_pair_rounded(const struct cuda_backend *cuda, unsigned rows) {
    unsigned unit = CUDA_PAIR_UNIT;
    while (rows / unit > 32)
        unit *= 2;
    const unsigned rounded = (rows + unit - 1) / unit * unit;
    return rounded < cuda->pair_rows ? rounded : cuda->pair_rows;
}

/* Chooses pair_rows for the device and the model, unless the options have set it; rounds what they have set. */
void cuda_pair_sizes(struct cuda_backend *);

/* Sources of a tile in a batch of so many pairs, of targets and sources: fewer where there would be too few tiles to occupy the device. */
unsigned cuda_pair_sources_of(const struct cuda_backend *, size_t pairs);

/* --- several processes: cuda_nccl.cu, or cuda_nccl_absent.cu in a build without NCCL --- */

extern const struct cx_team_operations cuda_team_operations;
/* What is in device memory, or, of a few bytes, on the host, of the member that reads the weights, for all. Nothing happens where there is no team. */
CX_MUST_USE enum cx_status cuda_team_share_device(struct cuda_backend *, void *memory, size_t bytes, struct cx_error *);
CX_MUST_USE enum cx_status cuda_team_share(struct cuda_backend *, const char *operation, void *values, size_t bytes, struct cx_error *);
void cuda_team_close(struct cuda_backend *);

/* --- cuda_embed.cu --- */
void cuda_tables_drop(struct cuda_backend *);
enum cx_status cuda_embed_open(struct cx_backend *, const struct cx_weight *word, const struct cx_weight *position, const struct cx_weight *token_type,
                               struct cx_error *);
enum cx_status cuda_embed(struct cx_backend *, const struct cx_weight *word, const struct cx_weight *position, const struct cx_weight *token_type,
                          struct cx_tensor *x, struct cx_error *);

/* --- cuda_norm.cu --- */
enum cx_status cuda_norm(struct cx_backend *, const struct cx_tensor *x, const struct cx_tensor *scale, const struct cx_tensor *shift, double epsilon,
                         struct cx_tensor *y, struct cx_tensor *inverse_deviation, struct cx_error *);
enum cx_status cuda_add(struct cx_backend *, size_t count, const struct cx_tensor *x, const struct cx_tensor *y, struct cx_tensor *z, struct cx_error *);
enum cx_status cuda_broadcast(struct cx_backend *, size_t rows, const struct cx_tensor *x, struct cx_tensor *y, struct cx_error *);
enum cx_status cuda_norm_linear(struct cx_backend *, size_t rows, const struct cx_tensor *x, const struct cx_tensor *scale,
                                const struct cx_tensor *inverse_deviation, const struct cx_tensor *shift, struct cx_tensor *y, struct cx_error *);
enum cx_status cuda_scale_columns(struct cx_backend *, size_t rows, const struct cx_tensor *x, const struct cx_tensor *scale, struct cx_tensor *y,
                                  struct cx_error *);

/* --- cuda_linear.cu --- */
enum cx_status cuda_matrix_create(struct cx_backend *, const struct cx_weight *, struct cx_matrix **, struct cx_error *);
void cuda_matrix_destroy(struct cx_backend *, struct cx_matrix *);
enum cx_status cuda_linear(struct cx_backend *, enum cx_linear_use, size_t rows, const struct cx_tensor *x, const struct cx_matrix *,
                           const struct cx_tensor *bias, const struct cx_tensor *residual, struct cx_tensor *y, struct cx_error *);

/* --- cuda_attention.cu --- */
enum cx_status cuda_attend(struct cx_backend *, const struct cx_tensor *query, const struct cx_tensor *key, const struct cx_tensor *value,
                           struct cx_tensor *attention, struct cx_tensor *context, struct cx_error *);
enum cx_status cuda_attention_mean(struct cx_backend *, const struct cx_tensor *attention, struct cx_tensor *map, struct cx_error *);

/* --- cuda_activation.cu --- */
enum cx_status cuda_activate(struct cx_backend *, enum cx_activation, const struct cx_tensor *u, struct cx_tensor *activated, struct cx_tensor *ratio,
                             struct cx_error *);
enum cx_status cuda_ff_bias(struct cx_backend *, const struct cx_tensor *ratio, const struct cx_tensor *inverse_deviation, const struct cx_tensor *slope,
                            const struct cx_tensor *offset, struct cx_tensor *y, struct cx_error *);

/* --- cuda_sources.cu --- */
enum cx_status cuda_head_sources(struct cx_backend *, const struct cx_tensor *value, const struct cx_matrix *attention_output, struct cx_tensor *sources,
                                 struct cx_error *);
enum cx_status cuda_gram(struct cx_backend *, const struct cx_tensor *sources, const struct cx_tensor *residual, struct cx_tensor *gram, struct cx_error *);
enum cx_status cuda_ff_sources(struct cx_backend *, const struct cx_tensor *value, const struct cx_tensor *value_to_ff, struct cx_tensor *sources,
                               struct cx_error *);

/* --- cuda_maps.cu --- */
enum cx_status cuda_attention_norms(struct cx_backend *, const struct cx_tensor *attention, const struct cx_tensor *gram, bool with_residual,
                                    const struct cx_tensor *inverse_deviation, struct cx_tensor *map, struct cx_error *);
enum cx_status cuda_attention_parts(struct cx_backend *, const struct cx_tensor *attention, const struct cx_tensor *sources, struct cx_tensor *own,
                                    struct cx_tensor *sum, struct cx_error *);
enum cx_status cuda_head_norms(struct cx_backend *, const struct cx_tensor *attention, const struct cx_tensor *gram, struct cx_tensor *map, struct cx_error *);

/* --- cuda_words.cu --- */
enum cx_status cuda_attention_word_norms(struct cx_backend *, const struct cx_tensor *attention, const struct cx_tensor *sources,
                                         const struct cx_tensor *residual, const struct cx_tensor *inverse_deviation, struct cx_tensor *map, struct cx_error *);
/* attention_mean of a batch with words, its arguments checked. */
CX_MUST_USE enum cx_status cuda_word_means(struct cuda_backend *, const struct cx_tensor *attention, struct cx_tensor *map, struct cx_error *);

/* --- cuda_summary.cu --- */
enum cx_status cuda_stage_summary(struct cx_backend *, const struct cx_tensor *state, const struct cx_tensor *bias, const struct cx_tensor *own,
                                  const struct cx_tensor *sum, struct cx_tensor *mixing_ratio, struct cx_tensor *bias_norm,
                                  struct cx_tensor *completeness_error, struct cx_error *);

/* --- cuda_ranks.cu --- */
enum cx_status cuda_row_shares(struct cx_backend *, const struct cx_tensor *map, struct cx_tensor *shares, struct cx_error *);
enum cx_status cuda_map_ranks(struct cx_backend *, const struct cx_tensor *map, const struct cx_tensor *keep, bool diagonal, struct cx_tensor *ranks,
                              struct cx_error *);
enum cx_status cuda_rank_change(struct cx_backend *, const struct cx_tensor *ranks_before, const struct cx_tensor *ranks_after, struct cx_tensor *change,
                                struct cx_error *);

/* --- cuda_vectors.cu --- */
enum cx_status cuda_part_vectors(struct cx_backend *, const struct cx_part_inputs *, size_t target, struct cx_tensor *const parts[6], struct cx_error *);

#endif
