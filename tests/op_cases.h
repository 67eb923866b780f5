/*
 * One table of cases and one of operations: they drive the test of every backend against the float64 definitions
 * (op_reference.c), of one backend against another, and the operations' benchmark.
 *
 * A case is a shape and a way to fill the inputs. Every operation runs on every case. An operation reads named inputs, the same for all, and writes
 * out[0], out[1], …; inputs that are results of other operations elsewhere are made of random numbers here, so an operation is tested alone.
 */
#ifndef CONTEXTURE_TESTS_OP_CASES_H
#define CONTEXTURE_TESTS_OP_CASES_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/backend.h"

/* A set. */
enum op_fill {
    OP_RANDOM = 0,   /* as large as in a model */
    OP_INTEGERS = 1, /* small integers and halves: sums of products are exact in float32, whatever their order */
    OP_CAUSAL = 2,   /* a causal model: attention is 0 above the diagonal */
};

/* name, fill, heads, head_size, intermediate_size, activation, lengths of the sequences */
#define OP_CASE_LIST(X)                                                                                                                                        \
    X("one token of width 1", OP_RANDOM, 1, 1, 1, CX_GELU, 1)                                                                                                  \
    X("one token", OP_RANDOM, 3, 4, 17, CX_GELU, 1)                                                                                                            \
    X("one head, odd widths", OP_RANDOM, 1, 13, 29, CX_RELU, 5, 2)                                                                                             \
    X("odd widths, ragged", OP_RANDOM, 5, 3, 31, CX_SILU, 1, 9, 2, 17, 1, 4)                                                                                   \
    X("tile borders", OP_RANDOM, 4, 8, 48, CX_GELU_TANH, 63, 64, 65, 8, 16)                                                                                    \
    X("two tiles and one", OP_RANDOM, 2, 20, 67, CX_GELU, 129)                                                                                                 \
    X("short sentences", OP_RANDOM, 12, 32, 96, CX_GELU, 7, 25, 31, 12, 40, 3, 22, 25)                                                                         \
    X("many heads", OP_RANDOM, 17, 8, 100, CX_GELU, 21, 33)                                                                                                    \
    X("integers", OP_INTEGERS, 4, 8, 36, CX_RELU, 1, 7, 18, 3)                                                                                                 \
    X("integers, odd widths", OP_INTEGERS, 3, 5, 23, CX_RELU, 11, 66)                                                                                          \
    X("integers, one head", OP_INTEGERS, 1, 32, 64, CX_RELU, 10, 20)                                                                                           \
    X("causal, one head", OP_RANDOM | OP_CAUSAL, 1, 13, 29, CX_RELU, 5, 2)                                                                                     \
    X("causal, ragged", OP_RANDOM | OP_CAUSAL, 5, 3, 31, CX_SILU, 1, 9, 2, 17, 1, 4, 36, 48)                                                                   \
    X("causal, tile borders", OP_RANDOM | OP_CAUSAL, 4, 8, 48, CX_GELU, 63, 64, 65, 8, 16)                                                                     \
    X("causal, two tiles and one", OP_RANDOM | OP_CAUSAL, 2, 20, 67, CX_GELU, 129)                                                                             \
    X("causal, many heads", OP_RANDOM | OP_CAUSAL, 17, 8, 100, CX_GELU, 21, 33)                                                                                \
    X("causal integers", OP_INTEGERS | OP_CAUSAL, 3, 5, 23, CX_RELU, 11, 66, 1)

enum { OP_MAX_SEQUENCES = 64, OP_MAX_OUTPUTS = 6, OP_MAX_READS = 8 };

struct op_case {
    const char *name;
    enum op_fill fill;
    size_t heads, head_size, intermediate_size;
    enum cx_activation activation;
    size_t lengths[OP_MAX_SEQUENCES]; /* ended by 0 */
};

/* How numbers of an input are drawn. */
enum op_range {
    OP_SIGNED,   /* normal; or -2 … 2 */
    OP_SMALL,    /* weights: normal / 16; or -1, 0, 1 */
    OP_POSITIVE, /* 1/4 … 4; or 1/2, 1, 2 */
    OP_RATIO,    /* 0 … 1; or 0, 1/2, 1 */
    OP_SHARES,   /* attention weights: rows of sum 1; or multiples of 1/8 */
    OP_WIDE,     /* -12 … 12 */
    OP_TIES,     /* multiples of 1/8, from -2 to 20: some of them equal, and zeros of both signs */
    OP_CHOICE,   /* 1, and every fourth time 0 */
};

/* name, elements, range. T, d, f, H and P (pairs) stand for the case's sizes. */
#define OP_INPUT_LIST(X)                                                                                                                                       \
    X(x, T *d, OP_SIGNED)                                                                                                                                      \
    X(y, T *d, OP_SIGNED)                                                                                                                                      \
    X(hidden, T *f, OP_SIGNED)                                                                                                                                 \
    X(pre_activation, T *f, OP_WIDE)                                                                                                                           \
    X(scale, d, OP_POSITIVE)                                                                                                                                   \
    X(shift, d, OP_SIGNED)                                                                                                                                     \
    X(inverse_deviation, T, OP_POSITIVE)                                                                                                                       \
    X(inverse_deviation2, T, OP_POSITIVE)                                                                                                                      \
    X(bias, d, OP_SIGNED)                                                                                                                                      \
    X(bias_f, f, OP_SIGNED)                                                                                                                                    \
    X(slope, f, OP_SIGNED)                                                                                                                                     \
    X(query, T *d, OP_SIGNED)                                                                                                                                  \
    X(key, T *d, OP_SIGNED)                                                                                                                                    \
    X(value, T *d, OP_SIGNED)                                                                                                                                  \
    X(attention, H *P, OP_SHARES)                                                                                                                              \
    X(ratio, T *f, OP_RATIO)                                                                                                                                   \
    X(head_sources, T *H *d, OP_SIGNED)                                                                                                                        \
    X(value_to_ff, d *f, OP_SMALL)                                                                                                                             \
    X(head_ff_sources, T *H *f, OP_SIGNED)                                                                                                                     \
    X(residual_ff_sources, T *f, OP_SIGNED)                                                                                                                    \
    X(residual, T *d, OP_SIGNED)                                                                                                                               \
    X(state, T *d, OP_SIGNED)                                                                                                                                  \
    X(own, T *d, OP_SIGNED)                                                                                                                                    \
    X(sum, T *d, OP_SIGNED)                                                                                                                                    \
    X(square, d *d, OP_SMALL)                                                                                                                                  \
    X(intermediate, f *d, OP_SMALL)                                                                                                                            \
    X(output, d *f, OP_SMALL)                                                                                                                                  \
    X(word, (size_t)OP_VOCABULARY *d, OP_SIGNED)                                                                                                               \
    X(position, P_MAX *d, OP_SIGNED)                                                                                                                           \
    X(token_type, 2 * d, OP_SIGNED)                                                                                                                            \
    X(map, P, OP_TIES)                                                                                                                                         \
    X(map_after, P, OP_TIES)                                                                                                                                   \
    X(keep, T, OP_CHOICE)

enum { OP_VOCABULARY = 97 };

/* A case's numbers in memory, and on a device. */
struct op_data {
    const struct op_case *shape;
    struct cx_model_config config;
    struct cx_batch batch;
#define OP_HOST_ARRAY(name, count, range)                                                                                                                      \
    float *name;                                                                                                                                               \
    size_t name##_count;
    OP_INPUT_LIST(OP_HOST_ARRAY)
#undef OP_HOST_ARRAY

    struct cx_backend *backend;
    struct {
#define OP_DEVICE_TENSOR(name, count, range) struct cx_tensor *name;
        OP_INPUT_LIST(OP_DEVICE_TENSOR)
#undef OP_DEVICE_TENSOR
        struct cx_tensor *gram;                       /* of head_sources and residual, by the backend itself */
        struct cx_tensor *ranks_before, *ranks_after; /* of map and map_after, likewise */
        struct cx_matrix *square_matrix, *intermediate_matrix, *output_matrix;
        struct cx_pair_matrix *pair_matrix;
    } on;
    struct cx_tensor *out[OP_MAX_OUTPUTS];
};

/* What an output or an input is: its number of elements. */
enum op_size {
    OP_NONE,
    OP_T,
    OP_TD,
    OP_TF,
    OP_PAIRS,
    OP_HEAD_PAIRS,
    OP_THD,
    OP_THF,
    OP_GRAM,
    OP_TARGET_PARTS,
    OP_RANKS,
    OP_SEQUENCES,
    OP_D,
    OP_F,
    OP_DD,
    OP_DF
};

struct op {
    const char *name;      /* of the case in the table: "linear d f" */
    const char *operation; /* of backend.h: "linear" */
    enum cx_status (*run)(struct op_data *data, struct cx_error *error);
    enum op_size outputs[OP_MAX_OUTPUTS];
    double tolerance; /* see op_expected */
    bool exact;       /* on OP_INTEGERS the result is exact */
    int variant;
    double (*work)(const struct op_data *data); /* useful floating-point operations, as in host/compute/operation_flop.h; NULL: none */
    enum op_size reads[OP_MAX_READS];           /* the inputs that matter, each read once: with the outputs, the least that must be moved */
};

extern const struct op op_table[];
/* The last ones of the table are of interest to the benchmark alone: op_table_count leaves them out, op_bench_count has them. */
extern const size_t op_table_count, op_bench_count;

/* Builds the inputs of a case: the same numbers every time. Aborts the test program if there is no memory. */
void op_data_create(const struct op_case *shape, struct op_data *data);
void op_data_free(struct op_data *data);

/* Copies the inputs to `backend`, which must be open for data->config, and begins the batch. After a failure, too, call op_data_release(). */
CX_MUST_USE enum cx_status op_data_upload(struct op_data *data, struct cx_backend *backend, struct cx_error *error);
void op_data_release(struct op_data *data);

/* Creates and destroys the operation's outputs. They start as NaN, so that what is not written shows. */
CX_MUST_USE enum cx_status op_outputs_create(struct op_data *data, const struct op *op, struct cx_error *error);
void op_outputs_destroy(struct op_data *data);

size_t op_output_count(const struct op_data *data, const struct op *op, size_t output);
/* What the operation must read and write at least. */
double op_bytes(const struct op_data *data, const struct op *op);
static inline enum cx_element op_output_element(enum op_size size) {
    return size == OP_GRAM || size == OP_RANKS || size == OP_SEQUENCES ? CX_ELEMENT_DOUBLE : CX_ELEMENT_FLOAT;
}

/* The target of part_vectors in a variant, and its sequence. */
size_t op_target(const struct op_data *data, int variant);
size_t op_sequence_of(const struct op_data *data, size_t token);

/*
 * What the definition gives in float64, with `magnitude`: the sum of the absolute values of all terms that the result is a sum of.
 * Float32 arithmetic in any sensible order stays within tolerance * 2^-24 * magnitude, and a float64 result within tolerance * 2^-53 * magnitude.
 */
struct op_expected {
    size_t count;
    double *value, *magnitude;
};

/* false: there is no reference for this operation. Release with op_expected_free(). */
bool op_reference(const struct op_data *data, const struct op *op, struct op_expected expected[OP_MAX_OUTPUTS]);
void op_expected_free(struct op_expected expected[OP_MAX_OUTPUTS]);

#endif
