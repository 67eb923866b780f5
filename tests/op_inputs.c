/* The inputs of op_cases.h: random numbers from a fixed seed, and their copies on a backend. */
#include "op_cases.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRY(call)                                                                                                                                              \
    do {                                                                                                                                                       \
        enum cx_status status_ = (call);                                                                                                                       \
        if (status_ != CX_OK)                                                                                                                                  \
            return status_;                                                                                                                                    \
    } while (0)

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "not enough memory for the test's inputs\n");
        exit(1);
    }
    return memory;
}

/* xorshift64*: its upper bits are good enough to fill matrices. */
static uint32_t next_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * 0x2545F4914F6CDD1Dull) >> 32);
}

static double next_unit(uint64_t *state) {
    return (next_random(state) + 0.5) / 4294967296.0;
}

/* Nearly normal: the sum of 12 uniform numbers. */
static double next_normal(uint64_t *state) {
    double sum = -6.0;
    for (int k = 0; k < 12; k++)
        sum += next_unit(state);
    return sum;
}

static float draw(enum op_range range, enum op_fill fill, uint64_t *state) {
    static const float powers[] = {0.5f, 1.0f, 2.0f};
    bool integers = (fill & OP_INTEGERS) != 0;
    switch (range) {
    case OP_SIGNED:
        return integers ? (float)(next_random(state) % 5) - 2.0f : (float)next_normal(state);
    case OP_SMALL:
        return integers ? (float)(next_random(state) % 3) - 1.0f : (float)(next_normal(state) / 16.0);
    case OP_POSITIVE:
        return integers ? powers[next_random(state) % 3] : (float)exp2(4.0 * next_unit(state) - 2.0);
    case OP_RATIO:
        return integers ? 0.5f * (float)(next_random(state) % 3) : (float)next_unit(state);
    case OP_SHARES:
        return integers ? 0.125f * (float)(next_random(state) % 5) : (float)exp(2.0 * next_normal(state));
    case OP_WIDE:
        return (float)(24.0 * next_unit(state) - 12.0);
    case OP_TIES: {
        const float number = 0.125f * ((float)(next_random(state) % 177) - 16.0f);
        return number == 0.0f && next_random(state) % 2 == 0 ? -0.0f : number;
    }
    case OP_CHOICE:
        return next_random(state) % 4 == 0 ? 0.0f : 1.0f;
    }
    return 0.0f;
}

static float *fill_array(size_t count, enum op_range range, enum op_fill fill, uint64_t *state) {
    float *array = allocate(count, sizeof *array);
    for (size_t k = 0; k < count; k++)
        array[k] = draw(range, fill, state);
    return array;
}

/* Clears what is above the diagonal in a causal model, and gives every row the sum 1, unless it is made of integers. */
static void finish_attention(struct op_data *data) {
    size_t row = 0;
    for (size_t s = 0; s < data->batch.sequences; s++) {
        size_t n = data->batch.token_offset[s + 1] - data->batch.token_offset[s];
        for (size_t k = 0; k < data->config.heads * n; k++, row += n) {
            double sum = 0.0;
            for (size_t j = data->config.causal ? k % n + 1 : n; j < n; j++)
                data->attention[row + j] = 0.0f;
            if (data->shape->fill & OP_INTEGERS)
                continue;
            for (size_t j = 0; j < n; j++)
                sum += data->attention[row + j];
            for (size_t j = 0; j < n; j++)
                data->attention[row + j] = (float)(data->attention[row + j] / sum);
        }
    }
}

static void create_batch(const struct op_case *shape, struct op_data *data, uint64_t *state) {
    struct cx_batch *batch = &data->batch;
    while (batch->sequences < OP_MAX_SEQUENCES && shape->lengths[batch->sequences])
        batch->sequences++;
    size_t *offsets = allocate(2 * (batch->sequences + 1), sizeof *offsets);
    size_t *pair_offsets = offsets + batch->sequences + 1;
    for (size_t s = 0; s < batch->sequences; s++) {
        size_t n = shape->lengths[s];
        offsets[s + 1] = offsets[s] + n;
        pair_offsets[s + 1] = pair_offsets[s] + n * n;
        batch->longest = n > batch->longest ? n : batch->longest;
    }
    batch->tokens = offsets[batch->sequences];
    batch->pairs = pair_offsets[batch->sequences];
    batch->token_offset = offsets;
    batch->pair_offset = pair_offsets;
    int32_t *ids = allocate(3 * batch->tokens, sizeof *ids);
    for (size_t s = 0; s < batch->sequences; s++) {
        for (size_t token = offsets[s]; token < offsets[s + 1]; token++) {
            ids[token] = (int32_t)(next_random(state) % OP_VOCABULARY);
            ids[batch->tokens + token] = (int32_t)(next_random(state) % 2);
            ids[2 * batch->tokens + token] = (int32_t)(token - offsets[s]);
        }
    }
    batch->input_ids = ids;
    batch->token_type_ids = ids + batch->tokens;
    batch->position_ids = ids + 2 * batch->tokens;
}

void op_data_create(const struct op_case *shape, struct op_data *data) {
    uint64_t state = 0x9E3779B97F4A7C15ull;
    memset(data, 0, sizeof *data);
    data->shape = shape;
    create_batch(shape, data, &state);
    size_t T = data->batch.tokens, P = data->batch.pairs, P_MAX = data->batch.longest, H = shape->heads, d = H * shape->head_size;
    size_t f = shape->intermediate_size;
    data->config = (struct cx_model_config){
        .layers = 1,
        .heads = H,
        .head_size = shape->head_size,
        .hidden_size = d,
        .intermediate_size = f,
        .vocabulary_size = OP_VOCABULARY,
        .max_positions = P_MAX,
        .token_types = 2,
        .norm_epsilon = 1e-12,
        .activation = shape->activation,
        .causal = (shape->fill & OP_CAUSAL) != 0,
    };
#define OP_FILL(name, count, range)                                                                                                                            \
    data->name##_count = (count);                                                                                                                              \
    data->name = fill_array(data->name##_count, range, shape->fill, &state);
    OP_INPUT_LIST(OP_FILL)
#undef OP_FILL
    finish_attention(data);
}

void op_data_free(struct op_data *data) {
#define OP_FREE(name, count, range) free(data->name);
    OP_INPUT_LIST(OP_FREE)
#undef OP_FREE
    free((void *)(uintptr_t)data->batch.token_offset);
    free((void *)(uintptr_t)data->batch.input_ids);
    memset(data, 0, sizeof *data);
}

static struct cx_weight view(const char *name, const float *values, size_t rows, size_t columns) {
    return (struct cx_weight){.name = name, .data = values, .dtype = CX_FLOAT32, .rows = rows, .columns = columns};
}

enum cx_status op_data_upload(struct op_data *data, struct cx_backend *backend, struct cx_error *error) {
    const struct cx_backend_operations *operations = backend->operations;
    size_t d = data->config.hidden_size, f = data->config.intermediate_size, H = data->config.heads;
    data->backend = backend;
#define OP_UPLOAD(name, count, range)                                                                                                                          \
    TRY(operations->tensor_create(backend, CX_ELEMENT_FLOAT, data->name##_count, &data->on.name, error));                                                      \
    TRY(operations->write(backend, data->on.name, data->name##_count, data->name, error));
    OP_INPUT_LIST(OP_UPLOAD)
#undef OP_UPLOAD
    struct cx_weight square = view("square", data->square, d, d), intermediate = view("intermediate", data->intermediate, f, d);
    struct cx_weight output = view("output", data->output, d, f);
    TRY(operations->matrix_create(backend, &square, &data->on.square_matrix, error));
    TRY(operations->matrix_create(backend, &intermediate, &data->on.intermediate_matrix, error));
    TRY(operations->matrix_create(backend, &output, &data->on.output_matrix, error));
    TRY(operations->pair_matrix_create(backend, &output, &data->on.pair_matrix, error));
    TRY(operations->batch_begin(backend, &data->batch, error));
    TRY(operations->tensor_create(backend, CX_ELEMENT_DOUBLE, data->batch.tokens * (H + 1) * (H + 1), &data->on.gram, error));
    TRY(operations->gram(backend, data->on.head_sources, data->on.residual, data->on.gram, error));
    TRY(operations->tensor_create(backend, CX_ELEMENT_DOUBLE, data->batch.pairs, &data->on.ranks_before, error));
    TRY(operations->tensor_create(backend, CX_ELEMENT_DOUBLE, data->batch.pairs, &data->on.ranks_after, error));
    TRY(operations->map_ranks(backend, data->on.map, data->on.keep, false, data->on.ranks_before, error));
    return operations->map_ranks(backend, data->on.map_after, data->on.keep, false, data->on.ranks_after, error);
}

void op_data_release(struct op_data *data) {
    struct cx_backend *backend = data->backend;
    if (!backend)
        return;
    op_outputs_destroy(data);
#define OP_RELEASE(name, count, range) backend->operations->tensor_destroy(backend, data->on.name);
    OP_INPUT_LIST(OP_RELEASE)
#undef OP_RELEASE
    backend->operations->tensor_destroy(backend, data->on.gram);
    backend->operations->tensor_destroy(backend, data->on.ranks_before);
    backend->operations->tensor_destroy(backend, data->on.ranks_after);
    backend->operations->matrix_destroy(backend, data->on.square_matrix);
    backend->operations->matrix_destroy(backend, data->on.intermediate_matrix);
    backend->operations->matrix_destroy(backend, data->on.output_matrix);
    backend->operations->pair_matrix_destroy(backend, data->on.pair_matrix);
    memset(&data->on, 0, sizeof data->on);
    data->backend = NULL;
}

size_t op_sequence_of(const struct op_data *data, size_t token) {
    size_t s = 0;
    while (data->batch.token_offset[s + 1] <= token)
        s++;
    return s;
}

size_t op_target(const struct op_data *data, int variant) {
    return variant == 0 ? 0 : data->batch.tokens - 1;
}

static size_t count_of(const struct op_data *data, const struct op *op, enum op_size size) {
    size_t T = data->batch.tokens, P = data->batch.pairs, d = data->config.hidden_size, f = data->config.intermediate_size, H = data->config.heads;
    switch (size) {
    case OP_NONE:
        return 0;
    case OP_SEQUENCES:
        return data->batch.sequences;
    case OP_T:
        return T;
    case OP_TD:
        return T * d;
    case OP_TF:
        return T * f;
    case OP_PAIRS:
        return cx_batch_map_elements(&data->batch);
    case OP_RANKS:
        return P;
    case OP_HEAD_PAIRS:
        return H * P;
    case OP_THD:
        return T * H * d;
    case OP_THF:
        return T * H * f;
    case OP_GRAM:
        return T * (H + 1) * (H + 1);
    case OP_D:
        return d;
    case OP_F:
        return f;
    case OP_DD:
        return d * d;
    case OP_DF:
        return d * f;
    case OP_TARGET_PARTS: {
        size_t s = op_sequence_of(data, op_target(data, op->variant));
        return (data->batch.token_offset[s + 1] - data->batch.token_offset[s]) * d;
    }
    }
    return 0;
}

size_t op_output_count(const struct op_data *data, const struct op *op, size_t output) {
    return count_of(data, op, op->outputs[output]);
}

static double bytes_of(const struct op_data *data, const struct op *op, enum op_size size) {
    return (double)count_of(data, op, size) * (op_output_element(size) == CX_ELEMENT_DOUBLE ? sizeof(double) : sizeof(float));
}

double op_bytes(const struct op_data *data, const struct op *op) {
    double bytes = 0.0;
    for (size_t k = 0; k < OP_MAX_OUTPUTS; k++)
        bytes += bytes_of(data, op, op->outputs[k]);
    for (size_t k = 0; k < OP_MAX_READS; k++)
        bytes += bytes_of(data, op, op->reads[k]);
    return bytes;
}

enum cx_status op_outputs_create(struct op_data *data, const struct op *op, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < OP_MAX_OUTPUTS && status == CX_OK; k++) {
        size_t count = op_output_count(data, op, k);
        if (count == 0)
            continue;
        enum cx_element element = op_output_element(op->outputs[k]);
        status = data->backend->operations->tensor_create(data->backend, element, count, &data->out[k], error);
        if (status != CX_OK || element != CX_ELEMENT_FLOAT)
            continue;
        float *nans = allocate(count, sizeof *nans);
        for (size_t j = 0; j < count; j++)
            nans[j] = NAN;
        status = data->backend->operations->write(data->backend, data->out[k], count, nans, error);
        free(nans);
    }
    return status;
}

void op_outputs_destroy(struct op_data *data) {
    for (size_t k = 0; k < OP_MAX_OUTPUTS; k++) {
        data->backend->operations->tensor_destroy(data->backend, data->out[k]);
        data->out[k] = NULL;
    }
}
