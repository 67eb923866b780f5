/*
 * The layer sequence on a small random model: its own identities. The values themselves are held against the numpy oracle by the end-to-end tests.
 * `test_decompose cuda` tests another backend (and is skipped where there is none).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contexture/decompose.h"
#include "contexture/memory.h"

enum { layers = 3, heads = 4, width = 48, neurons = 80, vocabulary = 50, positions = 40, token_types = 2 };

static const struct cx_model_config config = {
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

struct model {
    struct cx_model_weights weights;
    struct cx_layer_weights layer_weights[layers];
    float *memory;
    size_t used;
    uint32_t random;
};

struct fixture {
    struct model model;
    struct cx_backend *backend;
};

static struct cx_error error;
static enum cx_backend_kind tested_kind = CX_BACKEND_CPU;

static void expect_ok(enum cx_status status) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), error.message);
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

static void make_model(struct model *model) {
    *model = (struct model){.random = 7};
    expect_ok(cx_allocate(200000, sizeof(float), "weights", &model->memory, &error));
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

static int setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    make_model(&fixture->model);
    const struct cx_backend_options options = {.kind = tested_kind, .threads = 2};
    expect_ok(cx_backend_open(&options, &config, &fixture->backend, &error));
    *state = fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    cx_backend_close(fixture->backend);
    free(fixture->model.memory);
    free(fixture);
    return 0;
}

/* Sequences of the given lengths with fixed pseudo-random ids, the same for the same `seed` and position in the batch. */
struct packed {
    struct cx_batch batch;
    size_t token_offset[8], pair_offset[8];
    int32_t ids[128], types[128], positions[128];
};

static void pack(struct packed *packed, const size_t *lengths, const uint32_t *seeds, size_t sequences) {
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

/* Results with room for everything; L and V wanted layers. */
static struct cx_sequence_result make_result(size_t n, size_t L, size_t V) {
    struct cx_sequence_result result = {0};
    for (unsigned map = 0; map < CX_MAPS; map++)
        expect_ok(cx_allocate(L * n * n, sizeof(float), "a map", &result.maps[map], &error));
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        expect_ok(cx_allocate(L * n, sizeof(float), "ratios", &result.mixing_ratio[stage], &error));
        expect_ok(cx_allocate(L * n, sizeof(float), "norms", &result.bias_norm[stage], &error));
        if (V > 0)
            expect_ok(cx_allocate(V * n * n * width, sizeof(float), "vectors", &result.vectors[stage], &error));
    }
    expect_ok(cx_allocate(L * heads * n * n, sizeof(float), "α", &result.head_attention_weight, &error));
    expect_ok(cx_allocate(L * heads * n * n, sizeof(float), "α‖f‖", &result.head_attention_norm, &error));
    expect_ok(cx_allocate(L, sizeof(float), "errors", &result.completeness_error, &error));
    expect_ok(cx_allocate((layers + 1) * n * width, sizeof(float), "states", &result.hidden_states, &error));
    return result;
}

static void free_result(struct cx_sequence_result *result) {
    for (unsigned map = 0; map < CX_MAPS; map++)
        free(result->maps[map]);
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        free(result->mixing_ratio[stage]);
        free(result->bias_norm[stage]);
        free(result->vectors[stage]);
    }
    free(result->head_attention_weight);
    free(result->head_attention_norm);
    free(result->completeness_error);
    free(result->hidden_states);
}

static float largest(const float *values, size_t count) {
    float top = 0;
    for (size_t i = 0; i < count; i++)
        top = fabsf(values[i]) > top ? fabsf(values[i]) : top;
    return top;
}

/* Every element within `bound` times the largest expected one. */
static void expect_close(const char *what, const float *found, const float *expected, size_t count, float bound) {
    const float top = largest(expected, count);
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(found[i] - expected[i]) <= bound * top))
            fail_msg("%s, element %zu of %zu: found %.9g, expected %.9g (largest %.9g)", what, i, count, (double)found[i], (double)expected[i], (double)top);
}

static void decompose(struct fixture *fixture, const struct cx_decompose_options *options, const struct cx_batch *batch,
                      const struct cx_sequence_result *results) {
    struct cx_decomposer *decomposer = NULL;
    expect_ok(cx_decomposer_open(fixture->backend, &fixture->model.weights, options, &decomposer, &error));
    expect_ok(cx_decompose(decomposer, batch, results, &error));
    cx_decomposer_close(decomposer);
}

static const struct cx_decompose_options everything = {.maps = CX_ALL_MAPS, .per_head = true, .hidden_states = true};

/* The parts and the bias part add up to the true state. Float32 sums over 48 to 80 terms: 1e-6 would be tight, 1e-5 is the promise. */
static void parts_are_complete(void **state) {
    struct packed packed;
    pack(&packed, (size_t[]){17, 1, 30}, (uint32_t[]){1, 2, 3}, 3);
    struct cx_sequence_result results[] = {make_result(17, layers, 0), make_result(1, layers, 0), make_result(30, layers, 0)};
    decompose(*state, &everything, &packed.batch, results);
    for (size_t sequence = 0; sequence < 3; sequence++) {
        for (size_t layer = 0; layer < layers; layer++) {
            const float found = results[sequence].completeness_error[layer];
            if (!(found > 0 && found < 1e-5f))
                fail_msg("sequence %zu, layer %zu: completeness error %g", sequence, layer, (double)found);
        }
        free_result(&results[sequence]);
    }
}

/* Maps, which take the identities' way, are the norms of the vectors, which take the definition's. */
static void maps_are_norms_of_vectors(void **state) {
    enum { n = 13 };
    struct packed packed;
    pack(&packed, (size_t[]){n}, (uint32_t[]){5}, 1);
    const bool chosen[layers] = {true, false, true};
    struct cx_decompose_options options = everything;
    options.vector_layers = chosen;
    struct cx_sequence_result result = make_result(n, layers, 2);
    decompose(*state, &options, &packed.batch, &result);
    for (unsigned stage = 0; stage < CX_STAGES; stage++)
        for (size_t index = 0; index < 2; index++) {
            const size_t layer = index * 2;
            float norms[n * n];
            for (size_t pair = 0; pair < n * n; pair++) {
                double sum = 0;
                for (size_t dimension = 0; dimension < width; dimension++) {
                    const double value = result.vectors[stage][(index * n * n + pair) * width + dimension];
                    sum += value * value;
                }
                norms[pair] = (float)sqrt(sum);
            }
            expect_close(cx_map_name(stage), result.maps[stage] + layer * n * n, norms, n * n, 2e-6f);
        }
    free_result(&result);
}

/* ‖vectors‖ [count] without some of the dimensions, straight from the vectors. */
static void norms_without(const float *vectors, size_t count, const size_t *masked, size_t masked_count, float *norms) {
    for (size_t k = 0; k < count; k++) {
        double sum = 0;
        for (size_t dimension = 0; dimension < width; dimension++) {
            bool is_masked = false;
            for (size_t m = 0; m < masked_count; m++)
                is_masked |= masked[m] == dimension;
            sum += is_masked ? 0 : (double)vectors[k * width + dimension] * (double)vectors[k * width + dimension];
        }
        norms[k] = (float)sqrt(sum);
    }
}

/*
 * Maps without dimensions are norms of the same vectors without them, also where these dimensions hold nearly all of a vector: γ of one masked dimension is
 * large here, and so is a row of W2. All other results stay what they are without the wish.
 */
static void maps_without_dimensions_are_norms_of_vectors(void **state) {
    enum { n = 11, masked_count = 2, L = 2 };
    static const size_t masked[L][CX_NORMS][masked_count] = {{{3, 40}, {0, 7}}, {{3, 47}, {7, 21}}};
    struct fixture fixture = {.backend = ((struct fixture *)*state)->backend};
    const bool chosen[layers] = {true, false, true};
    struct packed packed;
    pack(&packed, (size_t[]){n, 5}, (uint32_t[]){51, 52}, 2);
    make_model(&fixture.model);
    for (size_t layer = 0; layer < layers; layer++) {
        ((float *)fixture.model.layer_weights[layer].attention_norm_scale.data)[3] = 60;
        for (size_t neuron = 0; neuron < neurons; neuron++)
            ((float *)fixture.model.layer_weights[layer].output.data)[7 * neurons + neuron] *= 50;
    }
    struct cx_decompose_options options = everything;
    options.layers = options.vector_layers = chosen;
    struct cx_sequence_result plain[] = {make_result(n, L, L), make_result(5, L, L)}, found[] = {make_result(n, L, L), make_result(5, L, L)};
    decompose(&fixture, &options, &packed.batch, plain);
    options.masked = &masked[0][0][0];
    options.masked_count = masked_count;
    for (size_t k = 0; k < (size_t)CX_NORMS * CX_NORM_SIDES; k++)
        expect_ok(cx_allocate(L * n * n, sizeof(float), "a map", &found[0].maps_without[k / CX_NORM_SIDES][k % CX_NORM_SIDES], &error));
    decompose(&fixture, &options, &packed.batch, found);

    for (unsigned map = 0; map < CX_MAPS; map++)
        assert_memory_equal(found[0].maps[map], plain[0].maps[map], L * n * n * sizeof(float));
    for (unsigned stage = 0; stage < CX_STAGES; stage++)
        assert_memory_equal(found[0].mixing_ratio[stage], plain[0].mixing_ratio[stage], L * n * sizeof(float));
    for (size_t k = 0; k < (size_t)L * CX_NORMS * CX_NORM_SIDES; k++) {
        const size_t layer = k / CX_NORM_SIDES / CX_NORMS, norm = k / CX_NORM_SIDES % CX_NORMS, side = k % CX_NORM_SIDES;
        const unsigned stage = cx_norm_stages[norm][side];
        float norms[n * n];
        norms_without(found[0].vectors[stage] + layer * n * n * width, (size_t)n * n, masked[layer][norm], masked_count, norms);
        expect_close(cx_map_name(stage), found[0].maps_without[norm][side] + layer * n * n, norms, (size_t)n * n, 2e-6f);
    }
    for (size_t k = 0; k < (size_t)CX_NORMS * CX_NORM_SIDES; k++)
        free(found[0].maps_without[k / CX_NORM_SIDES][k % CX_NORM_SIDES]);
    for (size_t sequence = 0; sequence < 2; sequence++) {
        free_result(&plain[sequence]);
        free_result(&found[sequence]);
    }
    free(fixture.model.memory);
}

/* The layer norms of their inputs are the states behind them; wanted alone, of some layers. */
static void norm_inputs_are_what_the_norms_see(void **state) {
    enum { n = 9, L = 2 };
    struct fixture *fixture = *state;
    const bool chosen[layers] = {false, true, true};
    struct packed packed;
    pack(&packed, (size_t[]){n}, (uint32_t[]){61}, 1);
    struct cx_sequence_result whole = make_result(n, layers, 0), found = {0};
    for (size_t norm = 0; norm < CX_NORMS; norm++)
        expect_ok(cx_allocate((size_t)L * n * width, sizeof(float), "states", &found.norm_inputs[norm], &error));
    decompose(fixture, &everything, &packed.batch, &whole);
    decompose(fixture, &(struct cx_decompose_options){.layers = chosen, .norm_inputs = true}, &packed.batch, &found);
    for (size_t k = 0; k < (size_t)L * n; k++) {
        const struct cx_layer_weights *layer = &fixture->model.layer_weights[1 + k / n];
        const float *input = found.norm_inputs[1] + k * width, *scale = layer->output_norm_scale.data, *shift = layer->output_norm_shift.data;
        double mean = 0, variance = 0;
        float expected[width];
        for (size_t dimension = 0; dimension < width; dimension++)
            mean += (double)input[dimension] / width;
        for (size_t dimension = 0; dimension < width; dimension++)
            variance += (input[dimension] - mean) * (input[dimension] - mean) / width;
        for (size_t dimension = 0; dimension < width; dimension++)
            expected[dimension] = (float)((input[dimension] - mean) / sqrt(variance + config.norm_epsilon) * scale[dimension] + shift[dimension]);
        expect_close("state", whole.hidden_states + ((2 + k / n) * n + k % n) * width, expected, width, 1e-6f);
        assert_true(largest(found.norm_inputs[0] + k * width, width) > 0);
    }
    for (size_t norm = 0; norm < CX_NORMS; norm++)
        free(found.norm_inputs[norm]);
    free_result(&whole);
}

/* What a sequence gives does not depend on what shares its batch, but for rounding. */
static void batches_change_rounding_only(void **state) {
    const size_t lengths[] = {9, 21, 4};
    const uint32_t seeds[] = {11, 12, 13};
    struct packed together;
    pack(&together, lengths, seeds, 3);
    struct cx_sequence_result results[3];
    for (size_t sequence = 0; sequence < 3; sequence++)
        results[sequence] = make_result(lengths[sequence], layers, 0);
    decompose(*state, &everything, &together.batch, results);
    for (size_t sequence = 0; sequence < 3; sequence++) {
        const size_t n = lengths[sequence];
        struct packed alone;
        pack(&alone, &n, &seeds[sequence], 1);
        struct cx_sequence_result result = make_result(n, layers, 0);
        decompose(*state, &everything, &alone.batch, &result);
        for (unsigned map = 0; map < CX_MAPS; map++)
            for (size_t layer = 0; layer < layers; layer++)
                expect_close(cx_map_name(map), results[sequence].maps[map] + layer * n * n, result.maps[map] + layer * n * n, n * n, 1e-6f);
        for (unsigned stage = 0; stage < CX_STAGES; stage++)
            expect_close("mixing ratio", results[sequence].mixing_ratio[stage], result.mixing_ratio[stage], layers * n, 2e-6f);
        free_result(&result);
        free_result(&results[sequence]);
    }
}

/* A choice of layers and stages gives the same numbers as all of them, in the right places. */
static void choices_are_parts_of_the_whole(void **state) {
    enum { n = 12 };
    struct packed packed;
    pack(&packed, (size_t[]){n}, (uint32_t[]){21}, 1);
    const bool chosen[layers] = {false, true, false};
    const struct cx_decompose_options options = {.maps = CX_STAGE_BIT(CX_STAGE_ATTN_RES_LN) | CX_STAGE_BIT(CX_STAGE_FF_RES_LN), .layers = chosen};
    struct cx_sequence_result whole = make_result(n, layers, 0), part = make_result(n, 1, 0);
    decompose(*state, &everything, &packed.batch, &whole);
    decompose(*state, &options, &packed.batch, &part);
    for (unsigned map = 0; map < CX_MAPS; map++) {
        if (options.maps & CX_STAGE_BIT(map))
            assert_memory_equal(part.maps[map], whole.maps[map] + n * n, n * n * sizeof(float));
        else
            assert_true(largest(part.maps[map], n * n) == 0);
    }
    for (size_t token = 0; token < n; token++)
        assert_true(part.mixing_ratio[CX_STAGE_FF_RES_LN][token] == whole.mixing_ratio[CX_STAGE_FF_RES_LN][token * layers + 1]);
    assert_true(largest(part.hidden_states, n * width) == 0);
    free_result(&whole);
    free_result(&part);
}

/* Memory and derived weights are had only for what is wanted: each thing wanted alone is what it is among all. */
static void what_is_wanted_alone_is_the_same(void **state) {
    enum { n = 12 };
    struct packed packed;
    pack(&packed, (size_t[]){n}, (uint32_t[]){22}, 1);
    const bool last[layers] = {false, false, true};
    struct cx_decompose_options all = everything;
    all.vector_layers = last;
    struct cx_sequence_result whole = make_result(n, layers, 1);
    decompose(*state, &all, &packed.batch, &whole);
    for (unsigned wanted = 0; wanted < CX_MAPS + 3; wanted++) {
        const struct cx_decompose_options options = {
            .maps = wanted < CX_MAPS ? CX_STAGE_BIT(wanted) : 0,
            .per_head = wanted == CX_MAPS,
            .hidden_states = wanted == CX_MAPS + 1,
            .vector_layers = wanted == CX_MAPS + 2 ? last : NULL,
        };
        struct cx_sequence_result alone = make_result(n, layers, 1);
        decompose(*state, &options, &packed.batch, &alone);
        if (wanted < CX_MAPS)
            assert_memory_equal(alone.maps[wanted], whole.maps[wanted], layers * n * n * sizeof(float));
        if (options.per_head) {
            assert_memory_equal(alone.head_attention_weight, whole.head_attention_weight, layers * heads * n * n * sizeof(float));
            assert_memory_equal(alone.head_attention_norm, whole.head_attention_norm, layers * heads * n * n * sizeof(float));
        }
        if (options.hidden_states)
            assert_memory_equal(alone.hidden_states, whole.hidden_states, (layers + 1) * n * width * sizeof(float));
        if (options.vector_layers)
            for (unsigned stage = 0; stage < CX_STAGES; stage++)
                assert_memory_equal(alone.vectors[stage], whole.vectors[stage], n * n * width * sizeof(float));
        free_result(&alone);
    }
    free_result(&whole);
}

/* Per head: α's mean is the map attn_weight, each row sums to 1, and one head's share is never more than the whole head norms' sum. */
static void heads_agree_with_their_mean(void **state) {
    enum { n = 10 };
    struct packed packed;
    pack(&packed, (size_t[]){n}, (uint32_t[]){31}, 1);
    struct cx_sequence_result result = make_result(n, layers, 0);
    decompose(*state, &everything, &packed.batch, &result);
    for (size_t layer = 0; layer < layers; layer++)
        for (size_t target = 0; target < n; target++) {
            double row = 0;
            for (size_t source = 0; source < n; source++) {
                double mean = 0, norms = 0;
                for (size_t head = 0; head < heads; head++) {
                    const size_t element = ((layer * heads + head) * n + target) * n + source;
                    mean += result.head_attention_weight[element] / (double)heads;
                    norms += result.head_attention_norm[element];
                }
                const size_t element = (layer * n + target) * n + source;
                assert_true(fabs(mean - result.maps[CX_MAP_ATTN_WEIGHT][element]) < 1e-6);
                assert_true(result.maps[CX_STAGE_ATTN][element] <= norms * (1 + 1e-5));
                row += mean;
            }
            assert_true(fabs(row - 1) < 1e-6);
        }
    free_result(&result);
}

static void expect_same(const char *what, const float *found, const float *expected, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (memcmp(&found[i], &expected[i], sizeof *found) != 0)
            fail_msg("%s, element %zu of %zu: found %.9g, expected %.9g", what, i, count, (double)found[i], (double)expected[i]);
}

static void expect_same_result(const struct cx_sequence_result *found, const struct cx_sequence_result *expected, size_t n) {
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

/* A batch begun while the one before is not finished gives the same bytes as alone; the third is larger than what was seen so far. */
static void batches_under_way_do_not_mix(void **state) {
    enum { batches = 4 };
    static const size_t lengths[batches] = {11, 6, 23, 9};
    struct fixture *fixture = *state;
    struct packed packed[batches];
    struct cx_sequence_result together[batches], alone[batches];
    struct cx_decomposer *decomposer = NULL;
    for (size_t k = 0; k < batches; k++) {
        pack(&packed[k], &lengths[k], (uint32_t[]){50 + (uint32_t)k}, 1);
        together[k] = make_result(lengths[k], layers, 0);
        alone[k] = make_result(lengths[k], layers, 0);
        decompose(fixture, &everything, &packed[k].batch, &alone[k]);
    }
    expect_ok(cx_decomposer_open(fixture->backend, &fixture->model.weights, &everything, &decomposer, &error));
    for (size_t k = 0; k < batches; k++)
        expect_ok(cx_decompose_begin(decomposer, &packed[k].batch, &together[k], &error));
    if (fixture->backend->reads_ahead > 0)
        assert_true(cx_decompose_unfinished(decomposer) > 0);
    while (cx_decompose_unfinished(decomposer) > 0)
        expect_ok(cx_decompose_advance(decomposer, &error));
    expect_ok(cx_decompose_advance(decomposer, &error)); /* nothing to do is no error */
    cx_decomposer_close(decomposer);
    for (size_t k = 0; k < batches; k++) {
        expect_same_result(&together[k], &alone[k], lengths[k]);
        free_result(&together[k]);
        free_result(&alone[k]);
    }
}

/* Timing changes no byte; every operation is counted once a call. */
static void a_profile_counts_operations(void **state) {
    enum { n = 14 };
    struct fixture *fixture = *state;
    struct packed packed;
    pack(&packed, (size_t[]){n}, (uint32_t[]){61}, 1);
    struct cx_decompose_options options = everything;
    struct cx_sequence_result timed = make_result(n, layers, 0), plain = make_result(n, layers, 0);
    struct cx_decomposer *decomposer = NULL;
    struct cx_decompose_profile profile;
    double rate = -1;
    decompose(fixture, &options, &packed.batch, &plain);
    options.profile = true;
    expect_ok(cx_decomposer_open(fixture->backend, &fixture->model.weights, &options, &decomposer, &error));
    for (int twice = 0; twice < 2; twice++)
        for (int k = 0; k < 5; k++) /* more operations than there are events */
            expect_ok(cx_decompose(decomposer, &packed.batch, &timed, &error));
    expect_ok(cx_decompose_profile(decomposer, &profile, &error));
    expect_same_result(&timed, &plain, n);
    assert_int_equal(profile.times.operations[CX_OPERATION_embed].calls, 10);
    assert_int_equal(profile.times.operations[CX_OPERATION_ff_pair_norms].calls, 10 * layers);
    assert_int_equal(profile.times.operations[CX_OPERATION_linear].calls, 10 * 8 * layers);
    assert_int_equal(profile.times.operations[CX_OPERATION_part_vectors].calls, 0);
    assert_true(profile.operations_flop[CX_OPERATION_ff_pair_norms] == 10.0 * layers * 2 * n * n * neurons * width);
    assert_true(profile.operations_flop[CX_OPERATION_linear] == 10.0 * layers * 2 * n * (4.0 * width * width + 4.0 * neurons * width));
    for (unsigned k = 0; k < CX_OPERATIONS; k++)
        assert_true(profile.times.operations[k].calls > 0 ? profile.times.operations[k].seconds > 0 : profile.times.operations[k].seconds == 0);
    assert_true(profile.times.idle_seconds >= 0 && profile.wait_seconds >= 0);
    cx_decomposer_close(decomposer);
    expect_ok(fixture->backend->operations->product_rate(fixture->backend, false, &rate, &error));
    assert_true(rate > 1e6);
    free_result(&timed);
    free_result(&plain);
}

/* An input that overflows, in a state (3e38 many times) or in the square of one (1e25), is an error with the layer's number, not a file full of infinities. */
static void expect_overflow(struct fixture *fixture, float too_large) {
    float *data = (float *)(uintptr_t)fixture->model.layer_weights[1].output.data, kept[neurons];
    memcpy(kept, data, sizeof kept);
    for (size_t i = 0; i < neurons; i++)
        data[i] = too_large;
    struct packed packed;
    pack(&packed, (size_t[]){6}, (uint32_t[]){41}, 1);
    struct cx_sequence_result result = make_result(6, layers, 0);
    struct cx_decomposer *decomposer = NULL;
    expect_ok(cx_decomposer_open(fixture->backend, &fixture->model.weights, &everything, &decomposer, &error));
    const enum cx_status status = cx_decompose(decomposer, &packed.batch, &result, &error);
    cx_decomposer_close(decomposer);
    memcpy(data, kept, sizeof kept);
    free_result(&result);
    assert_int_equal(status, CX_ERROR_INPUT);
    assert_non_null(strstr(error.message, "layer 1"));
}

static void overflow_is_an_error(void **state) {
    expect_overflow(*state, 3e38f);
    expect_overflow(*state, 1e25f);
}

/* A backend whose ff_pair_norms is as it is, and then damages one token's output: the third of layer 1. */
static const struct cx_backend_operations *right_operations;
static unsigned damaged_calls;

enum { DAMAGED_CHECK, DAMAGED_SUM };
static int damaged_output;

static enum cx_status damaging_pair_norms(struct cx_backend *backend, const struct cx_ff_pairs *pairs, struct cx_error *failure) {
    float values[64 * width];
    struct cx_tensor *tensor = damaged_output == DAMAGED_CHECK ? pairs->check : pairs->sum;
    const size_t count = damaged_output == DAMAGED_CHECK ? 5 : 5 * (size_t)width;
    enum cx_status status = right_operations->ff_pair_norms(backend, pairs, failure);
    if (status != CX_OK || damaged_calls++ != 1 || !tensor)
        return status;
    status = right_operations->read(backend, tensor, 0, count, values, failure);
    values[count / 5 * 2] += 100.0f;
    return status == CX_OK ? right_operations->write(backend, tensor, count, values, failure) : status;
}

static void expect_damage(struct fixture *fixture, int output, bool unchecked, const char *word) {
    struct packed packed;
    struct cx_backend_operations wrong = *fixture->backend->operations;
    struct cx_decompose_options options = everything;
    struct cx_sequence_result result = make_result(5, layers, 0);
    struct cx_decomposer *decomposer = NULL;
    pack(&packed, (size_t[]){5}, (uint32_t[]){71}, 1);
    result.name = "chapter 9";
    options.unchecked = unchecked;
    right_operations = fixture->backend->operations;
    damaged_output = output;
    damaged_calls = 0;
    wrong.ff_pair_norms = damaging_pair_norms;
    fixture->backend->operations = &wrong;
    expect_ok(cx_decomposer_open(fixture->backend, &fixture->model.weights, &options, &decomposer, &error));
    const enum cx_status status = cx_decompose(decomposer, &packed.batch, &result, &error);
    cx_decomposer_close(decomposer);
    fixture->backend->operations = right_operations;
    free_result(&result);
    assert_int_equal(status, unchecked ? CX_OK : CX_ERROR_DEVICE);
    assert_true(unchecked || (strstr(error.message, "layer 1, sequence chapter 9") && strstr(error.message, "token 2") && strstr(error.message, word)));
}

/* What a device got wrong ends the batch with layer, sequence and token, unless it is not to be checked. */
static void wrong_results_are_found(void **state) {
    expect_damage(*state, DAMAGED_CHECK, false, "checksum");
    expect_damage(*state, DAMAGED_SUM, false, "miss its state");
    expect_damage(*state, DAMAGED_CHECK, true, NULL);
    expect_damage(*state, DAMAGED_SUM, true, NULL);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_complete),
        cmocka_unit_test(maps_are_norms_of_vectors),
        cmocka_unit_test(maps_without_dimensions_are_norms_of_vectors),
        cmocka_unit_test(norm_inputs_are_what_the_norms_see),
        cmocka_unit_test(batches_change_rounding_only),
        cmocka_unit_test(choices_are_parts_of_the_whole),
        cmocka_unit_test(what_is_wanted_alone_is_the_same),
        cmocka_unit_test(heads_agree_with_their_mean),
        cmocka_unit_test(overflow_is_an_error),
        cmocka_unit_test(batches_under_way_do_not_mix),
        cmocka_unit_test(a_profile_counts_operations),
        cmocka_unit_test(wrong_results_are_found),
    };
    if (argc > 1 && strcmp(argv[1], "cuda") == 0) {
        const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA};
        struct cx_backend *backend;
        tested_kind = CX_BACKEND_CUDA;
        if (cx_backend_open(&options, &config, &backend, &error) != CX_OK) {
            print_message("skipped: %s\n", error.message);
            return 77;
        }
        cx_backend_close(backend);
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
