#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/clock.h"
#include "contexture/memory.h"
#include "reader.h"

/* The matrix product that measures the machine, [rows, inputs] by [inputs, outputs], as often as fits into this time. */
enum { calibration_rows = 512, calibration_inputs = 768, calibration_outputs = 3072 };
static const double calibration_seconds = 0.3;

/* The part of a plain product's rate that a run reaches over all. */
static const double expected_share = 0.8;

struct calibration {
    struct cx_backend *backend;
    float *numbers;
    struct cx_matrix *matrix;
    struct cx_tensor *input, *output;
};

static enum cx_status multiply_once(struct calibration *calibration, struct cx_error *error) {
    const struct cx_backend_operations *operations = calibration->backend->operations;
    float first;
    enum cx_status status = operations->linear(calibration->backend, CX_LINEAR_PARTS, calibration_rows, calibration->input, calibration->matrix, NULL, NULL,
                                               calibration->output, error);
    return status == CX_OK ? operations->read(calibration->backend, calibration->output, 0, 1, &first, error) : status;
}

static enum cx_status measure_rate(struct cx_backend *backend, double *gflops, struct cx_error *error) {
    const struct cx_backend_operations *operations = backend->operations;
    const size_t d = calibration_inputs, f = calibration_outputs, longest = f * d;
    struct calibration calibration = {.backend = backend};
    enum cx_status status = cx_allocate(longest, sizeof(float), "the calibration", &calibration.numbers, error);
    if (status != CX_OK)
        return status;
    for (size_t k = 0; k < longest; k++)
        calibration.numbers[k] = 0.01f * (float)(k % 97);
    const struct cx_weight weight = {.name = "calibration", .data = calibration.numbers, .dtype = CX_FLOAT32, .rows = f, .columns = d};
    status = operations->matrix_create(backend, &weight, &calibration.matrix, error);
    if (status == CX_OK)
        status = operations->tensor_create(backend, CX_ELEMENT_FLOAT, calibration_rows * d, &calibration.input, error);
    if (status == CX_OK)
        status = operations->tensor_create(backend, CX_ELEMENT_FLOAT, calibration_rows * f, &calibration.output, error);
    if (status == CX_OK)
        status = operations->write(backend, calibration.input, calibration_rows * d, calibration.numbers, error);
    if (status == CX_OK)
        status = multiply_once(&calibration, error);
    double best = INFINITY;
    for (double begin = cx_monotonic_seconds(), now = begin; status == CX_OK && now - begin < calibration_seconds;) {
        status = multiply_once(&calibration, error);
        double end = cx_monotonic_seconds();
        best = end - now < best ? end - now : best;
        now = end;
    }
    *gflops = 2e-9 * calibration_rows * (double)d * (double)f / best;
    operations->tensor_destroy(backend, calibration.output);
    operations->tensor_destroy(backend, calibration.input);
    operations->matrix_destroy(backend, calibration.matrix);
    free(calibration.numbers);
    return status;
}

/* The tokens of one shard's sequences: the store counts bytes by parts. */
struct lengths {
    uint64_t *items;
    size_t count, capacity;
};

static enum cx_status count_sequence(const struct setup *setup, const struct cx_sequence *sequence, struct lengths *lengths, struct cx_plan *plan,
                                     struct cx_error *error) {
    const uint64_t n = sequence->tokens;
    size_t floats;
    enum cx_status status = cx_reserve(&lengths->items, &lengths->capacity, lengths->count + 1, sizeof *lengths->items, "the plan", error);
    if (status == CX_OK)
        status = cx_result_floats(&setup->layout, sequence->tokens, &floats, error);
    if (status != CX_OK)
        return status;
    lengths->items[lengths->count++] = n;
    plan->sequences++;
    plan->tokens += n;
    plan->pairs += n * n;
    plan->longest = n > plan->longest ? n : plan->longest;
    plan->largest_sequence = floats * sizeof(float) > plan->largest_sequence ? floats * sizeof(float) : plan->largest_sequence;
    plan->operations += cx_layer_operations(&setup->config, sequence->tokens) * (double)setup->layer_count;
    if (setup->mask.choice != CX_MASK_NONE) /* the pair product again, for LN2's map before and after */
        plan->operations += CX_NORM_SIDES * cx_pair_product_operations(&setup->config, sequence->tokens) * (double)setup->layer_count;
    return CX_OK;
}

/* The last shard has what is left over, so it does not count among the smallest. */
static void note_work(struct cx_plan *plan, uint64_t work, uint64_t *previous) {
    if (plan->shards > 1 && (plan->least_work == 0 || *previous < plan->least_work))
        plan->least_work = *previous;
    plan->most_work = work > plan->most_work ? work : plan->most_work;
    *previous = work;
}

static enum cx_status count_corpus(const struct setup *setup, const struct cx_run_observer *observer, struct cx_plan *plan, struct cx_error *error) {
    const struct cx_store_options options = setup_store_options(setup);
    struct reader reader = {.setup = setup, .observer = observer};
    struct window window = {0};
    struct lengths lengths = {0};
    uint64_t previous_work = 0;
    enum cx_status status;
    while ((status = reader_next(&reader, &window, error)) == CX_OK) {
        for (size_t k = 0; k < window.sequences.count && status == CX_OK; k++)
            status = count_sequence(setup, &window.sequences.items[k], &lengths, plan, error);
        if (status != CX_OK)
            break;
        if (window.last) {
            plan->documents += window.documents;
            plan->skipped += window.skipped;
            plan->bytes += cx_store_bytes(&options, lengths.items, lengths.count);
            plan->shards++;
            note_work(plan, window.work, &previous_work);
            lengths.count = 0;
        }
    }
    free(lengths.items);
    window_free(&window);
    reader_free(&reader);
    return status == CX_END ? CX_OK : status;
}

enum cx_status cx_plan(const struct cx_run_settings *settings, double gflops, const struct cx_run_observer *observer, struct cx_plan *plan,
                       struct cx_error *error) {
    struct setup setup;
    struct cx_backend *backend = NULL;
    memset(plan, 0, sizeof *plan);
    enum cx_status status = setup_open(&setup, settings, observer, error);
    if (status != CX_OK)
        return status;
    status = count_corpus(&setup, observer, plan, error);
    if (status == CX_OK)
        status = setup_open_backend(&setup, 0, &backend, error);
    if (status == CX_OK)
        backend->operations->describe(backend, plan->backend, sizeof plan->backend);
    plan->gflops = gflops;
    plan->gflops_measured = gflops <= 0;
    if (status == CX_OK && plan->gflops_measured)
        status = measure_rate(backend, &plan->gflops, error);
    if (status == CX_OK)
        plan->seconds = plan->operations / (1e9 * plan->gflops * expected_share);
    cx_backend_close(backend);
    setup_close(&setup);
    return status;
}
