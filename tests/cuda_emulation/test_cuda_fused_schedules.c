/*
 * The kernels that keep the feed-forward product on chip under any schedule and every sanitizer: few tiles of many shapes, causal and not, against the CPU
 * backend. What they are held to beyond that, with more tiles: tests/test_cuda_fused.c.
 *
 *     test_cuda_fused_schedules KERNEL [short|wide|long]     of wgmma, wgmma-cluster, mma
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda_cases.h"
#include "emulation.h"

/* Every branch of the kernels: one slice of d and several, of both widths; heads of one step of an instruction's depth (one of them for the residual alone) and
   of two. Each case has a ring that comes round or a tile that is packed, ragged, or on the diagonal. */
static const struct op_case short_shapes[] = {
    {"64", OP_RANDOM, 1, 64, 64, CX_GELU, {1, 33}},
    {"64, causal", OP_RANDOM | OP_CAUSAL, 4, 16, 64, CX_GELU, {3, 17, 1}},
    {"128", OP_RANDOM, 4, 32, 128, CX_GELU, {9, 2}},
    {"128, causal", OP_RANDOM | OP_CAUSAL, 16, 8, 64, CX_GELU, {17, 5}},
    {"384, narrow slices", OP_RANDOM, 12, 32, 192, CX_GELU, {3}},
    {"512, wide slices, causal", OP_RANDOM | OP_CAUSAL, 16, 32, 128, CX_GELU, {2, 1}},
};
/* The widths of real models: no other branches, but the ring comes round often. */
static const struct op_case wide_shapes[] = {
    {"384, 1536", OP_RANDOM, 12, 32, 1536, CX_GELU, {3}},
    {"384, 1536, causal", OP_RANDOM | OP_CAUSAL, 16, 24, 1536, CX_GELU, {2, 1}},
    {"768, 3072, causal", OP_RANDOM | OP_CAUSAL, 12, 64, 3072, CX_GELU, {2}},
};
/* As many targets as fill several tiles. */
static const struct op_case long_shapes[] = {
    {"64, tiles", OP_RANDOM, 4, 16, 64, CX_GELU, {66}},
    {"64, long, causal", OP_RANDOM | OP_CAUSAL, 1, 64, 64, CX_GELU, {200}},
};
static const struct {
    const char *name;
    const struct op_case *shapes;
    size_t count;
} lists[] = {
    {"short", short_shapes, sizeof short_shapes / sizeof *short_shapes},
    {"wide", wide_shapes, sizeof wide_shapes / sizeof *wide_shapes},
    {"long", long_shapes, sizeof long_shapes / sizeof *long_shapes},
};
enum { list_count = sizeof lists / sizeof *lists };

static struct {
    enum cx_pair_kernel kind;
    const char *architecture;
} const kernels[] = {{CX_PAIR_KERNEL_WGMMA, "90"}, {CX_PAIR_KERNEL_WGMMA_CLUSTER, "90"}, {CX_PAIR_KERNEL_MMA, "100"}};
enum { kernel_count = sizeof kernels / sizeof *kernels };

static size_t kernel, list;
static struct cx_error error;

static void expect_ok(enum cx_status status) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), error.message);
}

static void run(struct op_data *data, const struct cx_backend_options *options, struct pair_result *result) {
    const struct op *op = op_named("ff_pair_norms");
    struct cx_backend *backend;
    expect_ok(cx_backend_open(options, &data->config, &backend, &error));
    expect_ok(op_data_upload(data, backend, &error));
    expect_ok(op_outputs_create(data, op, &error));
    expect_ok(op->run(data, &error));
    expect_ok(pair_result_read(data, result, &error));
    op_data_release(data);
    cx_backend_close(backend);
}

/* Above the diagonal of a causal model, where nothing is to be read. */
static void spoil_above_diagonal(struct op_data *data) {
    float *row = data->attention;
    for (size_t s = 0; s < data->batch.sequences && data->config.causal; s++) {
        const size_t n = data->batch.token_offset[s + 1] - data->batch.token_offset[s];
        for (size_t k = 0; k < data->config.heads * n; k++, row += n) {
            for (size_t j = k % n + 1; j < n; j++)
                row[j] = NAN;
        }
    }
}

static void expect_zeros_above_diagonal(const struct op_data *data, const double *map) {
    for (size_t s = 0; s < data->batch.sequences && data->config.causal; s++) {
        const size_t n = data->batch.token_offset[s + 1] - data->batch.token_offset[s];
        for (size_t k = 0; k < n * n; k++, map++)
            assert_true(k % n <= k / n || (*map == 0.0 && !signbit(*map)));
    }
}

static void check_case(const struct op_case *shape) {
    const struct cx_backend_options on_cpu = {.kind = CX_BACKEND_CPU, .threads = 1};
    const struct cx_backend_options on_device = {.kind = CX_BACKEND_CUDA, .pair_precision = CX_PAIR_F16, .pair_kernel = kernels[kernel].kind};
    struct op_data data;
    struct pair_result expected, found;
    op_data_create(shape, &data);
    spoil_above_diagonal(&data);
    run(&data, &on_cpu, &expected);
    run(&data, &on_device, &found);
    for (size_t k = 0; k < PAIR_OUTPUTS; k++) {
        const double most = k < PAIR_MAPS ? 1e-3 : 1e-2; /* as in test_cuda_fused.c */
        double largest, mean;
        (k < PAIR_MAPS ? norm_errors : vector_errors)(found.counts[k], found.values[k], expected.values[k], &largest, &mean);
        if (!(largest <= most))
            fail_msg("%s, output %zu: %g times what is allowed", shape->name, k, largest / most);
        if (k < PAIR_MAPS)
            expect_zeros_above_diagonal(&data, found.values[k]);
    }
    pair_result_free(&expected);
    pair_result_free(&found);
    op_data_free(&data);
}

/* The same as on the CPU, by accesses of shared memory that no two of a turn's eight rows hold up. */
static void test_maps(void **state) {
    struct emulation_statistics before, after;
    (void)state;
    assert_int_equal(setenv("EMULATION_ARCHITECTURE", kernels[kernel].architecture, 1), 0);
    emulation_get_statistics(&before);
    for (size_t s = 0; s < lists[list].count; s++)
        check_case(&lists[list].shapes[s]);
    emulation_get_statistics(&after);
    if (kernels[kernel].kind == CX_PAIR_KERNEL_MMA)
        assert_true(after.matrix_loads > before.matrix_loads);
    else
        assert_true(after.product_loads > before.product_loads);
    assert_int_equal(after.matrix_load_conflicts - before.matrix_load_conflicts, 0);
    assert_int_equal(after.product_load_conflicts - before.product_load_conflicts, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_maps)};
    kernel = kernel_count;
    for (size_t k = 0; k < kernel_count && argc > 1; k++) {
        if (strcmp(argv[1], cx_pair_kernel_name(kernels[k].kind)) == 0)
            kernel = k;
    }
    while (argc > 2 && list < list_count && strcmp(argv[2], lists[list].name) != 0)
        list++;
    if (kernel == kernel_count || list == list_count) {
        print_error("usage: test_cuda_fused_schedules wgmma|wgmma-cluster|mma [short|wide|long]\n");
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
