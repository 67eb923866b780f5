/* What op_cases.h does not reach: identities between operations, weights of 16 bits, arguments that do not fit, the choice of a backend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/stage.h"
#include "op_cases.h"

static const struct op_case shape = {"identities", OP_RANDOM, 3, 8, 40, CX_GELU, {5, 1, 12}};

static void check(enum cx_status status, const struct cx_error *error) {
    if (status != CX_OK)
        fail_msg("%s", error->message);
}

static struct cx_backend *open_backend(struct op_data *data, enum cx_pair_precision precision) {
    struct cx_backend_options options = {.kind = CX_BACKEND_CPU, .threads = 2, .pair_precision = precision};
    struct cx_error error = {0};
    struct cx_backend *backend;
    op_data_create(&shape, data);
    check(cx_backend_open(&options, &data->config, &backend, &error), &error);
    check(op_data_upload(data, backend, &error), &error);
    return backend;
}

static void close_backend(struct op_data *data, struct cx_backend *backend) {
    op_data_release(data);
    op_data_free(data);
    cx_backend_close(backend);
}

static struct cx_tensor *tensor(struct cx_backend *backend, enum cx_element element, size_t count, const float *values) {
    struct cx_error error = {0};
    struct cx_tensor *created;
    check(backend->operations->tensor_create(backend, element, count, &created, &error), &error);
    if (values)
        check(backend->operations->write(backend, created, count, values, &error), &error);
    return created;
}

/* M [d, f] with M^h = (W_O^h, centred over its outputs, times γ1) W1: from a head's values to the neurons. */
static float *value_to_ff(const struct op_data *data) {
    size_t d = data->config.hidden_size, f = data->config.intermediate_size;
    float *matrix = calloc(d * f, sizeof *matrix);
    assert_non_null(matrix);
    for (size_t c = 0; c < d; c++) {
        double mean = 0.0;
        for (size_t o = 0; o < d; o++)
            mean += (double)data->square[o * d + c] / (double)d;
        for (size_t m = 0; m < f; m++) {
            double sum = 0.0;
            for (size_t o = 0; o < d; o++)
                sum += ((double)data->square[o * d + c] - mean) * (double)data->scale[o] * (double)data->intermediate[m * d + o];
            matrix[c * f + m] = (float)sum;
        }
    }
    return matrix;
}

/* All six maps of the case by the operations that use the identities; maps[stage] is [pairs]. */
static void maps_by_identities(struct op_data *data, struct cx_tensor *sources, struct cx_tensor *const maps[CX_STAGES]) {
    struct cx_backend *backend = data->backend;
    const struct cx_backend_operations *run = backend->operations;
    size_t T = data->batch.tokens, d = data->config.hidden_size, f = data->config.intermediate_size, H = data->config.heads;
    float *matrix = value_to_ff(data);
    struct cx_error error = {0};
    struct cx_tensor *gram = tensor(backend, CX_ELEMENT_DOUBLE, T * (H + 1) * (H + 1), NULL), *to_ff = tensor(backend, CX_ELEMENT_FLOAT, d * f, matrix);
    struct cx_tensor *normed = tensor(backend, CX_ELEMENT_FLOAT, T * H * d, NULL), *residual = tensor(backend, CX_ELEMENT_FLOAT, T * d, NULL);
    struct cx_tensor *head_ff = tensor(backend, CX_ELEMENT_FLOAT, T * H * f, NULL), *residual_ff = tensor(backend, CX_ELEMENT_FLOAT, T * f, NULL);
    struct cx_tensor *own = tensor(backend, CX_ELEMENT_FLOAT, T * d, NULL), *sum = tensor(backend, CX_ELEMENT_FLOAT, T * d, NULL);

    check(run->head_sources(backend, data->on.value, data->on.square_matrix, sources, &error), &error);
    check(run->gram(backend, sources, data->on.residual, gram, &error), &error);
    check(run->attention_norms(backend, data->on.attention, gram, false, NULL, maps[CX_STAGE_ATTN], &error), &error);
    check(run->attention_norms(backend, data->on.attention, gram, true, NULL, maps[CX_STAGE_ATTN_RES], &error), &error);
    check(run->norm_linear(backend, T * H, sources, data->on.scale, NULL, NULL, normed, &error), &error);
    check(run->norm_linear(backend, T, data->on.residual, data->on.scale, NULL, NULL, residual, &error), &error);
    check(run->gram(backend, normed, residual, gram, &error), &error);
    check(run->attention_norms(backend, data->on.attention, gram, true, data->on.inverse_deviation, maps[CX_STAGE_ATTN_RES_LN], &error), &error);
    check(run->ff_sources(backend, data->on.value, to_ff, head_ff, &error), &error);
    check(run->linear(backend, CX_LINEAR_FORWARD, T, residual, data->on.intermediate_matrix, NULL, NULL, residual_ff, &error), &error);
    struct cx_ff_pairs pairs = {
        .attention = data->on.attention,
        .inverse_deviation1 = data->on.inverse_deviation,
        .ratio = data->on.ratio,
        .head_ff_sources = head_ff,
        .residual_ff_sources = residual_ff,
        .head_norm_sources = normed,
        .residual_norm_sources = residual,
        .output = data->on.pair_matrix,
        .norm2_scale = data->on.scale,
        .inverse_deviation2 = data->on.inverse_deviation2,
        .ff = maps[CX_STAGE_FF],
        .ff_res = maps[CX_STAGE_FF_RES],
        .ff_res_ln = maps[CX_STAGE_FF_RES_LN],
        .own = own,
        .sum = sum,
    };
    check(run->ff_pair_norms(backend, &pairs, &error), &error);

    struct cx_tensor *all[] = {gram, to_ff, normed, residual, head_ff, residual_ff, own, sum};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        run->tensor_destroy(backend, all[k]);
    free(matrix);
}

/* The norms of one target's parts against its row of every map; the largest difference in units of the row's largest entry. */
static double compare_target(struct op_data *data, struct cx_tensor *sources, struct cx_tensor *const maps[CX_STAGES], struct cx_tensor *const parts[CX_STAGES],
                             size_t target) {
    struct cx_backend *backend = data->backend;
    size_t s = op_sequence_of(data, target), first = data->batch.token_offset[s], n = data->batch.token_offset[s + 1] - first;
    size_t d = data->config.hidden_size, at = data->batch.pair_offset[s] + (target - first) * n;
    float vectors[12 * 24], row[12];
    double worst = 0.0;
    struct cx_error error = {0};
    struct cx_part_inputs inputs = {
        .attention = data->on.attention,
        .head_sources = sources,
        .residual = data->on.residual,
        .norm1_scale = data->on.scale,
        .inverse_deviation1 = data->on.inverse_deviation,
        .intermediate = data->on.intermediate_matrix,
        .ratio = data->on.ratio,
        .output = data->on.output_matrix,
        .norm2_scale = data->on.scale,
        .inverse_deviation2 = data->on.inverse_deviation2,
    };
    assert_true(n * d <= sizeof vectors / sizeof *vectors);
    check(backend->operations->part_vectors(backend, &inputs, target, parts, &error), &error);
    for (size_t stage = 0; stage < CX_STAGES; stage++) {
        double largest = 0.0, difference = 0.0;
        check(backend->operations->read(backend, parts[stage], 0, n * d, vectors, &error), &error);
        check(backend->operations->read(backend, maps[stage], at, n, row, &error), &error);
        for (size_t j = 0; j < n; j++) {
            double squares = 0.0;
            for (size_t k = 0; k < d; k++)
                squares += (double)vectors[j * d + k] * (double)vectors[j * d + k];
            largest = fmax(largest, sqrt(squares));
            difference = fmax(difference, fabs(sqrt(squares) - (double)row[j]));
        }
        worst = fmax(worst, difference / largest);
    }
    return worst;
}

/* The identities of DESIGN.md, section 1: norms through Gram matrices and through the pair product are those of the parts themselves. */
static void test_norms_of_parts_are_the_maps(void **state) {
    struct op_data data;
    struct cx_backend *backend = open_backend(&data, CX_PAIR_F32);
    struct cx_tensor *maps[CX_STAGES], *parts[CX_STAGES];
    struct cx_tensor *sources = tensor(backend, CX_ELEMENT_FLOAT, data.batch.tokens * data.config.heads * data.config.hidden_size, NULL);
    (void)state;
    for (size_t stage = 0; stage < CX_STAGES; stage++) {
        maps[stage] = tensor(backend, CX_ELEMENT_FLOAT, data.batch.pairs, NULL);
        parts[stage] = tensor(backend, CX_ELEMENT_FLOAT, data.batch.longest * data.config.hidden_size, NULL);
    }
    maps_by_identities(&data, sources, maps);
    for (size_t target = 0; target < data.batch.tokens; target++) {
        /* Both sides are sums of up to 64 products of products in float32: a few times 64^(1/2) 2^-24. */
        double worst = compare_target(&data, sources, maps, parts, target);
        if (!(worst < 2e-6))
            fail_msg("target %zu: norms of parts and maps differ by %g of the largest", target, worst);
    }
    for (size_t stage = 0; stage < CX_STAGES; stage++) {
        backend->operations->tensor_destroy(backend, maps[stage]);
        backend->operations->tensor_destroy(backend, parts[stage]);
    }
    backend->operations->tensor_destroy(backend, sources);
    close_backend(&data, backend);
}

/* bfloat16 operands round to 2^-9: each map's rms error stays near 1e-3 of its rms. */
static void test_bfloat16_pairs(void **state) {
    struct op_data exact, rounded;
    struct cx_backend *backends[2] = {open_backend(&exact, CX_PAIR_F32), open_backend(&rounded, CX_PAIR_BF16)};
    struct cx_tensor *maps[2][CX_STAGES];
    (void)state;
    for (size_t b = 0; b < 2; b++) {
        struct op_data *data = b ? &rounded : &exact;
        struct cx_tensor *sources = tensor(backends[b], CX_ELEMENT_FLOAT, data->batch.tokens * data->config.heads * data->config.hidden_size, NULL);
        for (size_t stage = 0; stage < CX_STAGES; stage++)
            maps[b][stage] = tensor(backends[b], CX_ELEMENT_FLOAT, data->batch.pairs, NULL);
        maps_by_identities(data, sources, maps[b]);
        backends[b]->operations->tensor_destroy(backends[b], sources);
    }
    for (size_t stage = CX_STAGE_FF; stage < CX_STAGES; stage++) {
        float left[512], right[512];
        double errors = 0.0, squares = 0.0;
        struct cx_error error = {0};
        assert_true(exact.batch.pairs <= 512);
        check(backends[0]->operations->read(backends[0], maps[0][stage], 0, exact.batch.pairs, left, &error), &error);
        check(backends[1]->operations->read(backends[1], maps[1][stage], 0, exact.batch.pairs, right, &error), &error);
        for (size_t k = 0; k < exact.batch.pairs; k++) {
            errors += pow((double)left[k] - (double)right[k], 2.0);
            squares += pow((double)left[k], 2.0);
        }
        if (!(sqrt(errors / squares) < 4e-3))
            fail_msg("%s: rms error of bfloat16 pairs %g", cx_map_name((unsigned)stage), sqrt(errors / squares));
    }
    for (size_t b = 0; b < 2; b++) {
        for (size_t stage = 0; stage < CX_STAGES; stage++)
            backends[b]->operations->tensor_destroy(backends[b], maps[b][stage]);
        close_backend(b ? &rounded : &exact, backends[b]);
    }
}

/* A weight of 16 bits, at an odd address, gives the very numbers that its float32 copy gives. */
static void test_weights_of_16_bits(void **state) {
    struct op_data data;
    struct cx_backend *backend = open_backend(&data, CX_PAIR_F32);
    const struct cx_backend_operations *run = backend->operations;
    size_t T = data.batch.tokens, d = data.config.hidden_size, count = (size_t)OP_VOCABULARY * d;
    unsigned char *bytes = malloc(2 * count + 1);
    float *floats = malloc(count * sizeof *floats), *results = malloc(2 * T * d * sizeof *results);
    struct cx_tensor *y = tensor(backend, CX_ELEMENT_FLOAT, T * d, NULL);
    (void)state;
    assert_true(bytes && floats && results);
    for (enum cx_dtype dtype = CX_FLOAT16; dtype <= CX_BFLOAT16; dtype++) {
        for (size_t k = 0; k < count; k++) {
            /* Exponents around 0, so that nothing overflows. */
            uint16_t bits = (uint16_t)((k * 40503u) & (dtype == CX_FLOAT16 ? 0x83FFu : 0x807Fu));
            bits = (uint16_t)(bits | (dtype == CX_FLOAT16 ? 0x3400u : 0x3E80u));
            memcpy(bytes + 1 + 2 * k, &bits, sizeof bits);
        }
        struct cx_error error = {0};
        struct cx_weight half = {"half", bytes + 1, dtype, d, d, 0, 0}, full = {"full", floats, CX_FLOAT32, d, d, 0, 0};
        struct cx_weight words = {"words", bytes + 1, dtype, OP_VOCABULARY, d, 0, 0}, full_words = {"full words", floats, CX_FLOAT32, OP_VOCABULARY, d, 0, 0};
        struct cx_weight position = {"position", data.position, CX_FLOAT32, data.batch.longest, d, 0, 0},
                         type = {"type", data.token_type, CX_FLOAT32, 2, d, 0, 0};
        cx_weight_to_float(&words, floats);
        for (size_t k = 0; k < 2; k++) {
            struct cx_matrix *matrix;
            check(run->matrix_create(backend, k ? &full : &half, &matrix, &error), &error);
            check(run->linear(backend, CX_LINEAR_FORWARD, T, data.on.x, matrix, NULL, NULL, y, &error), &error);
            check(run->read(backend, y, 0, T * d, results + k * T * d, &error), &error);
            run->matrix_destroy(backend, matrix);
        }
        assert_memory_equal(results, results + T * d, T * d * sizeof *results);
        for (size_t k = 0; k < 2; k++) {
            check(run->embed(backend, k ? &full_words : &words, &position, &type, y, &error), &error);
            check(run->read(backend, y, 0, T * d, results + k * T * d, &error), &error);
        }
        assert_memory_equal(results, results + T * d, T * d * sizeof *results);
    }
    run->tensor_destroy(backend, y);
    free(bytes);
    free(floats);
    free(results);
    close_backend(&data, backend);
}

/* add, norm_linear and scale_columns may write over what they read. */
static void test_results_in_place(void **state) {
    struct op_data data;
    struct cx_backend *backend = open_backend(&data, CX_PAIR_F32);
    const struct cx_backend_operations *run = backend->operations;
    size_t T = data.batch.tokens, count = T * data.config.hidden_size;
    struct cx_error error = {0};
    struct cx_tensor *beside = tensor(backend, CX_ELEMENT_FLOAT, count, NULL), *over = tensor(backend, CX_ELEMENT_FLOAT, count, data.x);
    float *left = malloc(count * sizeof *left), *right = malloc(count * sizeof *right);
    (void)state;
    assert_true(left && right);
    check(run->norm_linear(backend, T, data.on.x, data.on.scale, data.on.inverse_deviation, data.on.shift, beside, &error), &error);
    check(run->norm_linear(backend, T, over, data.on.scale, data.on.inverse_deviation, data.on.shift, over, &error), &error);
    check(run->read(backend, beside, 0, count, left, &error), &error);
    check(run->read(backend, over, 0, count, right, &error), &error);
    assert_memory_equal(left, right, count * sizeof *left);
    check(run->scale_columns(backend, T, over, data.on.scale, beside, &error), &error);
    check(run->scale_columns(backend, T, over, data.on.scale, over, &error), &error);
    check(run->add(backend, count, beside, data.on.y, beside, &error), &error);
    check(run->add(backend, count, data.on.y, over, over, &error), &error);
    check(run->read(backend, beside, 0, count, left, &error), &error);
    check(run->read(backend, over, 0, count, right, &error), &error);
    assert_memory_equal(left, right, count * sizeof *left);
    run->tensor_destroy(backend, beside);
    run->tensor_destroy(backend, over);
    free(left);
    free(right);
    close_backend(&data, backend);
}

static void expect_failure(enum cx_status status, enum cx_status expected, const struct cx_error *error, const char *words) {
    if (status != expected || !strstr(error->message, words))
        fail_msg("expected %s with \"%s\", found %s: %s", cx_status_name(expected), words, cx_status_name(status), error->message);
}

/* A caller's mistake is an error that names operation and argument, not memory read beyond its end. */
static void test_wrong_arguments(void **state) {
    struct op_data data;
    struct cx_backend *backend = open_backend(&data, CX_PAIR_F32);
    const struct cx_backend_operations *run = backend->operations;
    struct cx_tensor *small = tensor(backend, CX_ELEMENT_FLOAT, 3, NULL), *parts[6] = {small, NULL, NULL, NULL, NULL, NULL};
    struct cx_part_inputs inputs = {.intermediate = data.on.output_matrix, .output = data.on.intermediate_matrix};
    struct cx_error error = {0};
    float values[4];
    (void)state;
    expect_failure(run->add(backend, 4, data.on.x, data.on.y, small, &error), CX_ERROR_INTERNAL, &error, "add: argument z: expected at least 4");
    expect_failure(run->gram(backend, data.on.head_sources, data.on.residual, data.on.x, &error), CX_ERROR_INTERNAL, &error, "element type");
    expect_failure(run->norm(backend, data.on.x, data.on.scale, NULL, 0.0, data.on.y, small, &error), CX_ERROR_INTERNAL, &error, "shift is missing");
    expect_failure(run->read(backend, small, 2, 2, values, &error), CX_ERROR_INTERNAL, &error, "read: elements 2 to 4 of a tensor of 3");
    expect_failure(run->write(backend, small, 4, values, &error), CX_ERROR_INTERNAL, &error, "write");
    struct cx_weight lost = {"lost", NULL, CX_FLOAT32, OP_VOCABULARY, data.config.hidden_size, 1 << 20, 0};
    expect_failure(run->embed(backend, &lost, &lost, &lost, data.on.y, &error), CX_ERROR_IO, &error, "cannot read the weight lost");
    expect_failure(run->part_vectors(backend, &inputs, 0, parts, &error), CX_ERROR_INTERNAL, &error, "part_vectors: expected matrices");
    expect_failure(run->part_vectors(backend, &inputs, data.batch.tokens, parts, &error), CX_ERROR_INTERNAL, &error, "part_vectors: target");
    run->tensor_destroy(backend, NULL);
    run->matrix_destroy(backend, NULL);
    run->pair_matrix_destroy(backend, NULL);
    run->tensor_destroy(backend, small);
    close_backend(&data, backend);
}

/* What the maps of op_cases.h do not have: a NaN, a map without a correlation, and one with its opposite. */
static void test_ranks_at_the_edges(void **state) {
    enum { first = 5 * 5, second = 1, third = 12 * 12, count = first + second + third, not_a_number = 3 };
    struct op_data data;
    struct cx_backend *backend = open_backend(&data, CX_PAIR_F32);
    const struct cx_backend_operations *run = backend->operations;
    float rising[count], falling[count];
    double ranks[count], change[3];
    struct cx_error error = {0};
    (void)state;
    assert_int_equal(data.batch.pairs, count);
    for (int k = 0; k < count; k++) {
        rising[k] = (float)k;
        falling[k] = -rising[k];
    }
    rising[not_a_number] = falling[not_a_number] = NAN;
    rising[first + second] = -0.0f;
    rising[first + second + 1] = 0.0f;
    falling[first + second] = falling[first + second + 1] = 0.0f;
    struct cx_tensor *maps[2] = {tensor(backend, CX_ELEMENT_FLOAT, count, rising), tensor(backend, CX_ELEMENT_FLOAT, count, falling)};
    struct cx_tensor *places[2] = {tensor(backend, CX_ELEMENT_DOUBLE, count, NULL), tensor(backend, CX_ELEMENT_DOUBLE, count, NULL)};
    struct cx_tensor *changes = tensor(backend, CX_ELEMENT_DOUBLE, 3, NULL);
    for (int k = 0; k < 2; k++)
        check(run->map_ranks(backend, maps[k], NULL, true, places[k], &error), &error);
    check(run->read(backend, places[0], 0, count, ranks, &error), &error);
    for (int k = 0; k < count; k++) {
        const int place = k < first ? k : k < first + second ? 0 : k - first - second;
        const double expected = k >= first + second && place < 2 ? 1.5 : k < first && k > not_a_number ? place : place + 1;
        if (k == not_a_number ? !isnan(ranks[k]) : ranks[k] != expected)
            fail_msg("pair %d: expected the rank %g, found %g", k, k == not_a_number ? (double)NAN : expected, ranks[k]);
    }
    /* Exact: the sums are whole numbers below 2^26, so the root of their product has no rounding. */
    for (int k = 0; k < 2; k++) {
        check(run->rank_change(backend, places[0], places[k], changes, &error), &error);
        check(run->read(backend, changes, 0, 3, change, &error), &error);
        if (!isnan(change[0]) || !isnan(change[1]) || change[2] != 2.0 * k)
            fail_msg("expected the changes nan, nan, %d, found %g, %g, %g", 2 * k, change[0], change[1], change[2]);
        run->tensor_destroy(backend, maps[k]);
    }
    for (int k = 0; k < 2; k++)
        run->tensor_destroy(backend, places[k]);
    run->tensor_destroy(backend, changes);
    close_backend(&data, backend);
}

static void test_choice_of_backend(void **state) {
    struct cx_model_config config = {.layers = 1, .heads = 1, .head_size = 1, .hidden_size = 1, .intermediate_size = 1};
    struct cx_backend_options options = {.kind = CX_BACKEND_AUTO};
    struct cx_backend *backend;
    struct cx_tensor *x;
    struct cx_error error = {0};
    char text[256] = "";
    (void)state;
    check(cx_backend_open(&options, &config, &backend, &error), &error);
    assert_non_null(backend->operations->name);
    backend->operations->describe(backend, text, sizeof text);
    assert_true(strstr(text, "thread") != NULL);
    check(backend->operations->tensor_create(backend, CX_ELEMENT_FLOAT, 1, &x, &error), &error);
    if (strcmp(backend->operations->name, "cpu") == 0)
        expect_failure(backend->operations->attention_mean(backend, x, x, &error), CX_ERROR_INTERNAL, &error, "no batch was begun");
    backend->operations->tensor_destroy(backend, x);
    cx_backend_close(backend);
    cx_backend_close(NULL);
    cx_backend_report(text, sizeof text);
    assert_true(strncmp(text, "auto takes", 10) == 0);

    options = (struct cx_backend_options){.kind = CX_BACKEND_CPU, .threads = -1};
    expect_failure(cx_backend_open(&options, &config, &backend, &error), CX_ERROR_USAGE, &error, "threads");
    assert_null(backend);
    for (unsigned k = CX_FORWARD_TF32; k <= CX_FORWARD_F16; k++) {
        options = (struct cx_backend_options){.kind = CX_BACKEND_CPU, .forward_precision = (enum cx_forward_precision)k};
        expect_failure(cx_backend_open(&options, &config, &backend, &error), CX_ERROR_USAGE, &error, "--forward-precision");
        assert_null(backend);
    }
    options = (struct cx_backend_options){.kind = CX_BACKEND_CUDA};
    if (cx_backend_open(&options, &config, &backend, &error) != CX_OK) {
        assert_int_equal(error.status, CX_ERROR_DEVICE);
        assert_null(backend);
    }
    cx_backend_close(backend);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms_of_parts_are_the_maps),
        cmocka_unit_test(test_bfloat16_pairs),
        cmocka_unit_test(test_weights_of_16_bits),
        cmocka_unit_test(test_results_in_place),
        cmocka_unit_test(test_wrong_arguments),
        cmocka_unit_test(test_ranks_at_the_edges),
        cmocka_unit_test(test_choice_of_backend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
