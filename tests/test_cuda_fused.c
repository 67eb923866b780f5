/*
 * The kernels that keep the feed-forward product on chip, against the float64 definitions: every kernel that this device has, each on lengths that fill tiles,
 * leave them half empty, and are packed several sources to a tile. Runs on a GPU, or on the emulation; skipped where there is neither.
 *
 *     test_cuda_fused [small|large] [KERNEL]     small: what is quick enough for many schedules of the emulation; KERNEL: wgmma, wgmma-cluster, mma
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda_cases.h"

static const struct op_case small_shapes[] = {
    {"one token", OP_RANDOM, 4, 16, 64, CX_GELU, {1}},
    {"packed", OP_RANDOM, 4, 16, 128, CX_GELU, {1, 2, 3, 5, 8, 15, 16, 17, 31, 32}},
    {"tile borders", OP_RANDOM, 1, 64, 64, CX_GELU, {33, 63, 64, 65}},
    {"two slices", OP_RANDOM, 12, 16, 128, CX_GELU, {40, 3}},
    {"16 heads", OP_RANDOM, 16, 8, 64, CX_GELU, {37, 13, 20}},
    {"31 heads", OP_RANDOM, 31, 64, 64, CX_GELU, {5, 18}},
    {"wide slices", OP_RANDOM, 12, 64, 64, CX_GELU, {3, 34}},
};
static const struct op_case large_shapes[] = {
    {"minilm", OP_RANDOM, 12, 32, 1536, CX_GELU, {9, 35}},
    {"minilm, 16 heads", OP_RANDOM, 16, 24, 1536, CX_GELU, {6, 17}},
    {"bert-base", OP_RANDOM, 12, 64, 3072, CX_GELU, {7}},
    {"bert-base, 16 heads", OP_RANDOM, 16, 48, 3072, CX_GELU, {2, 3}},
    {"bert-base, one head", OP_RANDOM, 1, 768, 3072, CX_GELU, {3}},
    {"bert-base, four heads", OP_RANDOM, 4, 192, 3072, CX_GELU, {17}},
    {"long", OP_RANDOM, 2, 32, 64, CX_GELU, {200}},
    {"long, 16 heads", OP_RANDOM, 16, 8, 64, CX_GELU, {97}},
    {"one head, ragged", OP_RANDOM, 1, 128, 128, CX_GELU, {66, 1, 4, 30}},
};
enum { small_count = sizeof small_shapes / sizeof *small_shapes, large_count = sizeof large_shapes / sizeof *large_shapes };
static bool with_small = true, with_large = true;

/* On the emulation each has a device of its own; on a GPU the kernels that it has are tested once. */
static const struct {
    enum cx_pair_kernel kind;
    const char *name, *architecture;
    size_t small_cases, large_cases; /* so many of them; the other tests: where it has all */
} kernels[] = {
    {CX_PAIR_KERNEL_WGMMA, "wgmma", "90", small_count, large_count},
    {CX_PAIR_KERNEL_WGMMA_CLUSTER, "wgmma-cluster", "90", 2, large_count}, /* its bytes are those of wgmma, which is a test */
    {CX_PAIR_KERNEL_MMA, "mma", "100", small_count, large_count},
    {CX_PAIR_KERNEL_MMA, "mma, little shared memory", "86", 2, 1},
};
enum { kernel_count = sizeof kernels / sizeof *kernels };
static bool is_here[kernel_count];

static bool tests_all(size_t kernel) {
    return is_here[kernel] && kernels[kernel].small_cases == small_count;
}

static size_t kernel_of(enum cx_pair_kernel kind) {
    size_t kernel = 0;
    while (kernels[kernel].kind != kind)
        kernel++;
    return kernel;
}

static bool is_emulated(void) {
    return getenv("EMULATION_DEVICES") != NULL;
}

static void choose_device(const char *architecture) {
    if (is_emulated())
        assert_int_equal(setenv("EMULATION_ARCHITECTURE", architecture, 1), 0);
}

static struct cx_error error;

static void expect_ok(enum cx_status status) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), error.message);
}

static enum cx_status open_backend(const struct cx_model_config *config, enum cx_pair_kernel kernel, struct cx_backend **backend) {
    const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA, .pair_precision = CX_PAIR_F16, .pair_kernel = kernel};
    return cx_backend_open(&options, config, backend, &error);
}

/* Runs the operation `times` times and reads what the last one gives; the status is that of the first reading that failed. */
static enum cx_status run(struct op_data *data, size_t kernel, int times, struct pair_result *result) {
    const struct op *op = op_named("ff_pair_norms");
    struct cx_backend *backend;
    choose_device(kernels[kernel].architecture);
    expect_ok(open_backend(&data->config, kernels[kernel].kind, &backend));
    expect_ok(op_data_upload(data, backend, &error));
    expect_ok(op_outputs_create(data, op, &error));
    for (int k = 0; k < times; k++)
        expect_ok(op->run(data, &error));
    enum cx_status status = pair_result_read(data, result, &error);
    op_data_release(data);
    cx_backend_close(backend);
    return status;
}

static void check_case(const struct op_case *shape, size_t kernel, float factor) {
    const struct op *op = op_named("ff_pair_norms");
    struct op_data data;
    struct op_expected expected[OP_MAX_OUTPUTS];
    struct pair_result result;
    op_data_create(shape, &data);
    for (size_t k = 0; k < data.head_ff_sources_count; k++)
        data.head_ff_sources[k] *= factor;
    for (size_t k = 0; k < data.residual_ff_sources_count; k++)
        data.residual_ff_sources[k] *= factor;
    for (size_t k = 0; k < data.output_count; k++)
        data.output[k] /= factor;
    assert_true(op_reference(&data, op, expected));
    expect_ok(run(&data, kernel, 1, &result));
    for (size_t k = 0; k < PAIR_OUTPUTS; k++) {
        const bool is_map = k < PAIR_MAPS;
        /* A vector's element has no sum over d that averages its error; few pairs have no sum that averages theirs. */
        const double most = is_map ? 1e-3 : 1e-2, most_mean = data.batch.pairs < 100 ? most : is_map ? 2.5e-4 : 5e-4;
        double largest, mean;
        (is_map ? norm_errors : vector_errors)(result.counts[k], result.values[k], expected[k].value, &largest, &mean);
        if (getenv("CONTEXTURE_TEST_VERBOSE"))
            print_message("%-6s %-13s output %zu: largest %.2e, root mean square %.2e\n", kernels[kernel].name, shape->name, k, largest, mean);
        if (!(largest <= most && mean <= most_mean))
            fail_msg("%s, %s, output %zu: largest error %g (allowed %g), root mean square %g (allowed %g)", kernels[kernel].name, shape->name, k, largest, most,
                     mean, most_mean);
    }
    pair_result_free(&result);
    op_expected_free(expected);
    op_data_free(&data);
}

static void maps_keep_their_bounds(void **state) {
    (void)state;
    for (size_t kernel = 0; kernel < kernel_count; kernel++) {
        for (size_t s = 0; s < kernels[kernel].small_cases && is_here[kernel] && with_small; s++)
            check_case(&small_shapes[s], kernel, 1.0f);
        for (size_t s = 0; s < kernels[kernel].large_cases && is_here[kernel] && with_large; s++)
            check_case(&large_shapes[s], kernel, 1.0f);
    }
}

/* Numbers far outside of float16 keep their relative precision, because they are scaled. */
static void large_and_small_numbers_fit(void **state) {
    (void)state;
    for (size_t kernel = 0; kernel < kernel_count; kernel++) {
        if (tests_all(kernel)) {
            check_case(&small_shapes[3], kernel, 1e-12f);
            check_case(&small_shapes[3], kernel, 1e12f);
        }
    }
}

/* The same bytes every time, and a second call finds nothing of the first. */
static void calls_give_the_same_bytes(void **state) {
    (void)state;
    for (size_t kernel = 0; kernel < kernel_count; kernel++) {
        for (size_t s = 3; s < 5 && tests_all(kernel); s++) {
            struct op_data data;
            struct pair_result once, twice;
            op_data_create(&small_shapes[s], &data);
            expect_ok(run(&data, kernel, 1, &once));
            expect_ok(run(&data, kernel, 2, &twice));
            for (size_t k = 0; k < PAIR_OUTPUTS; k++) {
                if (memcmp(once.values[k], twice.values[k], once.counts[k] * sizeof *once.values[k]) != 0)
                    fail_msg("%s, %s, output %zu: other bytes the second time", kernels[kernel].name, small_shapes[s].name, k);
            }
            pair_result_free(&once);
            pair_result_free(&twice);
            op_data_free(&data);
        }
    }
}

/* One neuron has all of ρ and nothing to give, the others give but have next to no ρ; and the other way round. */
static void too_small_numbers_are_reported(void **state) {
    (void)state;
    for (size_t k = 0; k < 2 * kernel_count; k++) {
        const size_t kernel = k / 2;
        struct op_data data;
        struct pair_result result;
        if (!tests_all(kernel))
            continue;
        op_data_create(&small_shapes[3], &data);
        const size_t f = data.config.intermediate_size;
        float *most = k % 2 ? data.head_ff_sources : data.ratio, *least = k % 2 ? data.ratio : data.head_ff_sources;
        const size_t most_count = k % 2 ? data.head_ff_sources_count : data.ratio_count, least_count = k % 2 ? data.ratio_count : data.head_ff_sources_count;
        for (size_t e = 0; e < most_count; e++)
            most[e] = e % f == 0 ? 1.0f : 1e-7f;
        for (size_t e = 0; e < least_count; e += f)
            least[e] = 0.0f;
        for (size_t e = 0; e < data.residual_ff_sources_count; e++)
            data.residual_ff_sources[e] = 0.0f;
        enum cx_status status = run(&data, kernel, 1, &result);
        pair_result_free(&result);
        if (status != CX_ERROR_INPUT)
            fail_msg("%s: %s, too small %s were not reported", kernels[kernel].name, cx_status_name(status), k % 2 ? "sources" : "ratios");
        assert_non_null(strstr(error.message, "--pair-precision f32"));
        op_data_free(&data);
    }
}

/* Neurons that ReLU switched off, and attention that is 0, make parts that are 0, and nothing to report. */
static void parts_without_a_cause_are_zero(void **state) {
    (void)state;
    for (size_t k = 0; k < 2 * kernel_count; k++) {
        const size_t kernel = k / 2;
        struct op_data data;
        struct pair_result result;
        if (!tests_all(kernel))
            continue;
        op_data_create(&small_shapes[3], &data);
        memset(k % 2 ? data.attention : data.ratio, 0, (k % 2 ? data.attention_count : data.ratio_count) * sizeof(float));
        expect_ok(run(&data, kernel, 1, &result));
        const size_t n = small_shapes[3].lengths[0];
        for (size_t j = 0; j < n * n; j++)
            assert_true((k % 2 && j / n == j % n) || result.values[0][j] == 0.0);
        pair_result_free(&result);
        op_data_free(&data);
    }
}

/* A kernel that is asked for by name is refused, with the reason, where it does not fit; AUTO then takes another way. */
static void what_does_not_fit_is_refused(void **state) {
    static const struct {
        struct cx_model_config config;
        const char *reason;
    } cases[] = {
        {{.layers = 1, .heads = 2, .head_size = 24, .hidden_size = 48, .intermediate_size = 64}, "multiples of 64"},
        {{.layers = 1, .heads = 2, .head_size = 32, .hidden_size = 64, .intermediate_size = 100}, "multiples of 64"},
        {{.layers = 1, .heads = 32, .head_size = 2, .hidden_size = 64, .intermediate_size = 64}, "32"},
    };
    const struct cx_model_config config = {.layers = 1, .heads = 1, .head_size = 64, .hidden_size = 64, .intermediate_size = 64};
    struct cx_backend *backend;
    (void)state;
    for (size_t kernel = 0; kernel < kernel_count; kernel++) {
        if (!is_here[kernel])
            continue;
        choose_device(kernels[kernel].architecture);
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            assert_int_equal(open_backend(&cases[k].config, kernels[kernel].kind, &backend), CX_ERROR_UNSUPPORTED);
            assert_non_null(strstr(error.message, cases[k].reason));
            expect_ok(open_backend(&cases[k].config, CX_PAIR_KERNEL_AUTO, &backend));
            cx_backend_close(backend);
        }
        const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA, .pair_precision = CX_PAIR_F32, .pair_kernel = kernels[kernel].kind};
        assert_int_equal(cx_backend_open(&options, &config, &backend, &error), CX_ERROR_UNSUPPORTED);
        assert_non_null(strstr(error.message, "f16"));
    }
}

/* The table of kernels, and that the backend's description names the one that was chosen. */
static void each_device_gets_its_kernel(void **state) {
    static const struct {
        const char *architecture, *kernel;
        size_t heads;
    } cases[] = {
        {"80", "kernel mma", 12}, {"86", "kernel mma", 31},  {"89", "kernel mma", 16}, {"90", "kernel wgmma", 12},
        {"90", "chunks", 32},     {"100", "kernel mma", 16}, {"100", "chunks", 32},
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases && is_emulated(); k++) {
        const struct cx_model_config config = {.layers = 1, .heads = cases[k].heads, .head_size = 2, .hidden_size = 64, .intermediate_size = 64};
        struct cx_backend *backend;
        char text[512];
        choose_device(cases[k].architecture);
        expect_ok(open_backend(&config, CX_PAIR_KERNEL_AUTO, &backend));
        backend->operations->describe(backend, text, sizeof text);
        if (!strstr(text, cases[k].kernel))
            fail_msg("architecture %s, %zu heads: expected %s, found: %s", cases[k].architecture, cases[k].heads, cases[k].kernel, text);
        cx_backend_close(backend);
    }
}

/* What tokens give becomes NaN, or in part infinite, that of odd ones. */
static void spoil_tokens(struct op_data *data, size_t first, size_t end) {
    const size_t f = data->config.intermediate_size, d = data->config.hidden_size, heads = data->config.heads;
    const struct {
        float *values;
        size_t stride;
    } rows[] = {{data->head_ff_sources, heads * f}, {data->residual_ff_sources, f}, {data->head_sources, heads * d}, {data->residual, d}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        for (size_t e = first * rows[k].stride; e < end * rows[k].stride; e++)
            rows[k].values[e] = e / rows[k].stride % 2 == 0 ? NAN : e % 3 == 0 ? -INFINITY : rows[k].values[e];
    }
}

/* A tile's empty rows may come upon another sequence's numbers, and packed tiles multiply them with 0: nothing must be kept of them, NaN or not. */
static void sequences_do_not_touch(void **state) {
    static const struct op_case shape = {"two sequences", OP_RANDOM, 4, 16, 64, CX_GELU, {5, 7}};
    (void)state;
    for (size_t kernel = 0; kernel < kernel_count; kernel++) {
        const size_t first = shape.lengths[0], pairs = first * first;
        struct op_data data;
        struct pair_result clean, spoiled;
        if (!is_here[kernel])
            continue;
        op_data_create(&shape, &data);
        const size_t f = data.config.intermediate_size, d = data.config.hidden_size;
        expect_ok(run(&data, kernel, 1, &clean));
        for (size_t e = first * f; e < data.ratio_count; e++)
            data.ratio[e] = NAN;
        spoil_tokens(&data, first, data.batch.tokens);
        expect_ok(run(&data, kernel, 1, &spoiled));
        for (size_t k = 0; k < PAIR_OUTPUTS; k++) {
            if (memcmp(clean.values[k], spoiled.values[k], (k < PAIR_MAPS ? pairs : first * d) * sizeof *clean.values[k]) != 0)
                fail_msg("%s, output %zu: the next sequence's numbers changed it", kernels[kernel].name, k);
        }
        pair_result_free(&clean);
        pair_result_free(&spoiled);
        op_data_free(&data);
    }
}

/* A source that is not finite makes its own pairs NaN, in whatever tile it lies, and leaves the others alone. */
static void sources_do_not_touch(void **state) {
    static const struct op_case shape = {"one sequence", OP_RANDOM, 4, 16, 64, CX_GELU, {13}};
    const size_t n = shape.lengths[0], spoiled_source = 6;
    (void)state;
    for (size_t kernel = 0; kernel < kernel_count; kernel++) {
        struct op_data data;
        struct pair_result clean, spoiled;
        if (!is_here[kernel])
            continue;
        op_data_create(&shape, &data);
        expect_ok(run(&data, kernel, 1, &clean));
        spoil_tokens(&data, spoiled_source, spoiled_source + 1);
        expect_ok(run(&data, kernel, 1, &spoiled));
        for (size_t k = 0; k < PAIR_MAPS * n * n; k++) {
            const double before = clean.values[k / (n * n)][k % (n * n)], after = spoiled.values[k / (n * n)][k % (n * n)];
            const bool is_spoiled = k % n == spoiled_source;
            if (is_spoiled ? isfinite(after) : memcmp(&before, &after, sizeof before) != 0)
                fail_msg("%s, map %zu, target %zu, source %zu: %g became %g", kernels[kernel].name, k / (n * n), k / n % n, k % n, before, after);
        }
        pair_result_free(&clean);
        pair_result_free(&spoiled);
        op_data_free(&data);
    }
}

/* Blocks of a cluster do what one of them did alone, in another order: of as many shares as there are multiprocessors, an odd number among them. */
static void clusters_change_no_bytes(void **state) {
    static const struct op_case shapes[] = {
        {"packed", OP_RANDOM, 4, 16, 128, CX_GELU, {5, 16, 12, 17, 31, 40}},
        {"two slices", OP_RANDOM, 5, 64, 64, CX_GELU, {34, 3}},
        {"16 heads, two tiles, causal", OP_RANDOM | OP_CAUSAL, 16, 8, 64, CX_GELU, {70, 13, 20}},
    };
    static const char *const multiprocessors[] = {"3", "5"};
    const size_t counts = is_emulated() ? sizeof multiprocessors / sizeof *multiprocessors : 1;
    const size_t alone = kernel_of(CX_PAIR_KERNEL_WGMMA), together = kernel_of(CX_PAIR_KERNEL_WGMMA_CLUSTER);
    const char *before = getenv("EMULATION_MULTIPROCESSORS");
    char kept[16];
    (void)state;
    if (!is_here[together])
        skip();
    snprintf(kept, sizeof kept, "%s", before ? before : "");
    for (size_t k = 0; k < counts * (sizeof shapes / sizeof *shapes); k++) {
        const struct op_case *shape = &shapes[k / counts];
        struct op_data data;
        struct pair_result results[2];
        if (is_emulated())
            assert_int_equal(setenv("EMULATION_MULTIPROCESSORS", multiprocessors[k % counts], 1), 0);
        op_data_create(shape, &data);
        expect_ok(run(&data, alone, 1, &results[0]));
        expect_ok(run(&data, together, 1, &results[1]));
        for (size_t output = 0; output < PAIR_OUTPUTS; output++) {
            if (memcmp(results[0].values[output], results[1].values[output], results[0].counts[output] * sizeof *results[0].values[output]) != 0)
                fail_msg("%s, output %zu: other bytes in clusters, on %s multiprocessors", shape->name, output, multiprocessors[k % counts]);
        }
        pair_result_free(&results[0]);
        pair_result_free(&results[1]);
        op_data_free(&data);
    }
    assert_int_equal(before ? setenv("EMULATION_MULTIPROCESSORS", kept, 1) : unsetenv("EMULATION_MULTIPROCESSORS"), 0);
}

static bool is_known(const char *name) {
    bool known = false;
    for (size_t kernel = 0; kernel < kernel_count; kernel++)
        known = known || strcmp(name, cx_pair_kernel_name(kernels[kernel].kind)) == 0;
    return known;
}

int main(int argc, char **argv) {
    const struct CMUnitTest small[] = {
        cmocka_unit_test(maps_keep_their_bounds),         cmocka_unit_test(large_and_small_numbers_fit),    cmocka_unit_test(calls_give_the_same_bytes),
        cmocka_unit_test(too_small_numbers_are_reported), cmocka_unit_test(parts_without_a_cause_are_zero), cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(each_device_gets_its_kernel),    cmocka_unit_test(sequences_do_not_touch),         cmocka_unit_test(sources_do_not_touch),
        cmocka_unit_test(clusters_change_no_bytes),
    };
    const struct CMUnitTest large[] = {cmocka_unit_test(maps_keep_their_bounds)};
    const struct cx_model_config config = {.layers = 1, .heads = 1, .head_size = 64, .hidden_size = 64, .intermediate_size = 64};
    const char *name = NULL;
    struct cx_backend *backend;
    bool any = false;
    for (int k = 1; k < argc; k++) {
        if (strcmp(argv[k], "small") == 0)
            with_large = false;
        else if (strcmp(argv[k], "large") == 0)
            with_small = false;
        else
            name = argv[k];
    }
    if (name && !is_known(name)) {
        print_error("usage: test_cuda_fused [small|large] [wgmma|wgmma-cluster|mma]\n");
        return 2;
    }
    for (size_t kernel = 0; kernel < kernel_count; kernel++) {
        bool wanted = !name || strcmp(name, cx_pair_kernel_name(kernels[kernel].kind)) == 0;
        for (size_t k = 0; k < kernel && !is_emulated(); k++)
            wanted = wanted && kernels[k].kind != kernels[kernel].kind;
        choose_device(kernels[kernel].architecture);
        is_here[kernel] = wanted && open_backend(&config, kernels[kernel].kind, &backend) == CX_OK;
        if (is_here[kernel])
            cx_backend_close(backend);
        else if (wanted)
            print_message("without %s: %s\n", kernels[kernel].name, error.message);
        any = any || is_here[kernel];
    }
    if (!any)
        return 77;
    return with_small ? cmocka_run_group_tests(small, NULL, NULL) : cmocka_run_group_tests(large, NULL, NULL);
}
