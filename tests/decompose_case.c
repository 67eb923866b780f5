#include "decompose_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "batch_words.h"
#include "contexture/memory.h"

const struct cx_model_config case_config = {
    .layers = layers,
    .heads = heads,
    .head_size = width / heads,
    .hidden_size = width,
    .intermediate_size = neurons,
    .vocabulary_size = vocabulary,
    .max_positions = positions,
    .token_types = token_types,
    .norm_epsilon = 1e-12,
    .activation = CX_GELU,
};

const struct cx_decompose_options case_everything = {.maps = CX_ALL_MAPS, .per_head = true, .hidden_states = true};

struct cx_error case_error;
enum cx_backend_kind case_backend_kind = CX_BACKEND_CPU;

void expect_ok(enum cx_status status) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), case_error.message);
}

/* Uniform in [centre - spread, centre + spread]. */
static float draw(struct model *model, float centre, float spread) {
    model->random = model->random * 1664525u + 1013904223u;
    return centre + spread * ((float)(model->random >> 8) / 8388608.0f - 1.0f);
}

static struct cx_weight weight(struct model *model, const char *name, size_t rows, size_t columns, float centre, float spread) {
    float *data = model->memory + model->used;
    model->used += rows * columns;
    for (size_t i = 0; i < rows * columns; i++)
        data[i] = draw(model, centre, spread);
    return (struct cx_weight){.name = name, .data = data, .dtype = CX_FLOAT32, .rows = rows, .columns = columns};
}

void case_model_create(struct model *model) {
    *model = (struct model){.random = 7};
    expect_ok(cx_allocate(200000, sizeof(float), "weights", &model->memory, &case_error));
    model->weights = (struct cx_model_weights){
        .word_embedding = weight(model, "words", vocabulary, width, 0, 1),
        .position_embedding = weight(model, "positions", positions, width, 0, 0.5f),
        .token_type_embedding = weight(model, "types", token_types, width, 0, 0.5f),
        .embedding_norm_scale = weight(model, "scale", 1, width, 1, 0.5f),
        .embedding_norm_shift = weight(model, "shift", 1, width, 0, 0.3f),
        .layers = model->layer_weights,
    };
    for (size_t layer = 0; layer < layers; layer++) {
        const float spread = 0.2f;
        model->layer_weights[layer] = (struct cx_layer_weights){
            .query = weight(model, "query", width, width, 0, spread),
            .query_bias = weight(model, "query_bias", 1, width, 0, 0.3f),
            .key = weight(model, "key", width, width, 0, spread),
            .key_bias = weight(model, "key_bias", 1, width, 0, 0.3f),
            .value = weight(model, "value", width, width, 0, spread),
            .value_bias = weight(model, "value_bias", 1, width, 0, 0.3f),
            .attention_output = weight(model, "attention_output", width, width, 0, spread),
            .attention_output_bias = weight(model, "attention_output_bias", 1, width, 0, 0.3f),
            .attention_norm_scale = weight(model, "attention_norm_scale", 1, width, 1, 0.5f),
            .attention_norm_shift = weight(model, "attention_norm_shift", 1, width, 0, 0.3f),
            .intermediate = weight(model, "intermediate", neurons, width, 0, spread),
            .intermediate_bias = weight(model, "intermediate_bias", 1, neurons, 0, 0.3f),
            .output = weight(model, "output", width, neurons, 0, spread),
            .output_bias = weight(model, "output_bias", 1, width, 0, 0.3f),
            .output_norm_scale = weight(model, "output_norm_scale", 1, width, 1, 0.5f),
            .output_norm_shift = weight(model, "output_norm_shift", 1, width, 0, 0.3f),
        };
    }
    assert_true(model->used <= 200000);
}

int case_setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    case_model_create(&fixture->model);
    const struct cx_backend_options options = {.kind = case_backend_kind, .threads = 2};
    expect_ok(cx_backend_open(&options, &case_config, &fixture->backend, &case_error));
    *state = fixture;
    return 0;
}

int case_teardown(void **state) {
    struct fixture *fixture = *state;
    cx_backend_close(fixture->backend);
    free(fixture->model.memory);
    free(fixture);
    return 0;
}

void pack_batch(struct packed *packed, const size_t *lengths, const uint32_t *seeds, size_t sequences) {
    memset(packed, 0, sizeof *packed);
    size_t token = 0;
    for (size_t sequence = 0; sequence < sequences; sequence++) {
        uint32_t random = seeds[sequence];
        const size_t n = lengths[sequence];
        for (size_t position = 0; position < n; position++, token++) {
            random = random * 1664525u + 1013904223u;
            packed->ids[token] = (int32_t)((random >> 8) % vocabulary);
            packed->types[token] = position * 2 > n;
            packed->positions[token] = (int32_t)position;
        }
        packed->token_offset[sequence + 1] = token;
        packed->pair_offset[sequence + 1] = packed->pair_offset[sequence] + n * n;
        packed->batch.longest = n > packed->batch.longest ? n : packed->batch.longest;
    }
    packed->batch.sequences = sequences;
    packed->batch.tokens = token;
    packed->batch.pairs = packed->pair_offset[sequences];
    packed->batch.token_offset = packed->token_offset;
    packed->batch.pair_offset = packed->pair_offset;
    packed->batch.input_ids = packed->ids;
    packed->batch.token_type_ids = packed->types;
    packed->batch.position_ids = packed->positions;
}

/* Lengths that come in turn. */
struct turns {
    const size_t *lengths;
    size_t count, next;
};

static size_t next_in_turn(void *context, size_t sequence) {
    struct turns *turns = context;
    (void)sequence;
    return turns->lengths[turns->next++ % turns->count];
}

void group_words(struct packed *packed, const size_t *lengths, size_t count) {
    struct turns turns = {lengths, count, 0};
    packed->words = batch_words_make(&packed->batch, next_in_turn, &turns, packed->first_token, packed->word_offset, packed->map_offset);
    packed->batch.words = &packed->words;
}

struct cx_sequence_result make_result(size_t n, size_t L, size_t V) {
    struct cx_sequence_result result = {0};
    for (unsigned map = 0; map < CX_MAPS; map++)
        expect_ok(cx_allocate(L * n * n, sizeof(float), "a map", &result.maps[map], &case_error));
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        expect_ok(cx_allocate(L * n, sizeof(float), "ratios", &result.mixing_ratio[stage], &case_error));
        expect_ok(cx_allocate(L * n, sizeof(float), "norms", &result.bias_norm[stage], &case_error));
        if (V > 0)
            expect_ok(cx_allocate(V * n * n * width, sizeof(float), "vectors", &result.vectors[stage], &case_error));
    }
    expect_ok(cx_allocate(L * heads * n * n, sizeof(float), "α", &result.head_attention_weight, &case_error));
    expect_ok(cx_allocate(L * heads * n * n, sizeof(float), "α‖f‖", &result.head_attention_norm, &case_error));
    expect_ok(cx_allocate(L, sizeof(float), "errors", &result.completeness_error, &case_error));
    expect_ok(cx_allocate((layers + 1) * n * width, sizeof(float), "states", &result.hidden_states, &case_error));
    return result;
}

void free_result(struct cx_sequence_result *result) {
    for (unsigned map = 0; map < CX_MAPS; map++)
        free(result->maps[map]);
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        free(result->mixing_ratio[stage]);
        free(result->bias_norm[stage]);
        free(result->vectors[stage]);
    }
    for (unsigned norm = 0; norm < CX_NORMS; norm++) {
        for (unsigned side = 0; side < CX_NORM_SIDES; side++)
            free(result->maps_without[norm][side]);
        free(result->norm_inputs[norm]);
    }
    free(result->head_attention_weight);
    free(result->head_attention_norm);
    free(result->completeness_error);
    free(result->hidden_states);
}

float largest(const float *values, size_t count) {
    float top = 0;
    for (size_t i = 0; i < count; i++)
        top = fabsf(values[i]) > top ? fabsf(values[i]) : top;
    return top;
}

void expect_close(const char *what, const float *found, const float *expected, size_t count, float bound) {
    const float top = largest(expected, count);
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(found[i] - expected[i]) <= bound * top))
            fail_msg("%s, element %zu of %zu: found %.9g, expected %.9g (largest %.9g)", what, i, count, (double)found[i], (double)expected[i], (double)top);
}

void decompose_batch(struct fixture *fixture, const struct cx_decompose_options *options, const struct cx_batch *batch,
                     const struct cx_sequence_result *results) {
    struct cx_decomposer *decomposer = NULL;
    expect_ok(cx_decomposer_open(fixture->backend, &fixture->model.weights, options, &decomposer, &case_error));
    expect_ok(cx_decompose(decomposer, batch, results, &case_error));
    cx_decomposer_close(decomposer);
}

static void expect_same(const char *what, const float *found, const float *expected, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (memcmp(&found[i], &expected[i], sizeof *found) != 0)
            fail_msg("%s, element %zu of %zu: found %.9g, expected %.9g", what, i, count, (double)found[i], (double)expected[i]);
}

void expect_same_result(const struct cx_sequence_result *found, const struct cx_sequence_result *expected, size_t n) {
    for (unsigned map = 0; map < CX_MAPS; map++)
        expect_same(cx_map_name(map), found->maps[map], expected->maps[map], layers * n * n);
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        expect_same("mixing ratio", found->mixing_ratio[stage], expected->mixing_ratio[stage], layers * n);
        expect_same("bias norm", found->bias_norm[stage], expected->bias_norm[stage], layers * n);
    }
    expect_same("α", found->head_attention_weight, expected->head_attention_weight, layers * heads * n * n);
    expect_same("α‖f‖", found->head_attention_norm, expected->head_attention_norm, layers * heads * n * n);
    expect_same("completeness error", found->completeness_error, expected->completeness_error, layers);
    expect_same("hidden states", found->hidden_states, expected->hidden_states, (layers + 1) * n * width);
}
