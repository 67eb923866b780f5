#include "cuda_word_cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "batch_words.h"
#include "cuda_cases.h"

static const char *const names[WORD_OUTPUTS] = {"attn_weight", "attn", "attn_res", "attn_res_ln", "ff", "ff_res", "ff_res_ln", "own", "sum"};
static struct cx_error error;

static void expect_ok(enum cx_status status) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), error.message);
}

/* Lengths of a case that come in turn. */
struct turns {
    const size_t *lengths; /* WORD_LENGTHS, or ended by 0 */
    size_t next;
};

static size_t next_length(void *context, size_t sequence) {
    struct turns *turns = context;
    if (sequence == 1 || sequence == 2)
        return sequence == 1 ? SIZE_MAX : 1;
    if (turns->next == WORD_LENGTHS || turns->lengths[turns->next] == 0)
        turns->next = 0;
    return turns->lengths[turns->next++];
}

void word_data_create(const struct word_case *of, struct word_data *created) {
    op_data_create(&of->shape, &created->data);
    const struct cx_batch *batch = &created->data.batch;
    const size_t ends = batch->sequences + 1;
    struct turns turns = {of->words, 0};
    created->offsets = calloc(batch->tokens + 1 + 2 * ends, sizeof *created->offsets);
    assert_non_null(created->offsets);
    size_t *first_token = created->offsets, *offset = first_token + batch->tokens + 1, *map_offset = offset + ends;
    created->words = batch_words_make(batch, next_length, &turns, first_token, offset, map_offset);
}

void word_data_free(struct word_data *freed) {
    free(freed->offsets);
    op_data_free(&freed->data);
}

/* The operation's output `from`, as result `to`. */
static void keep(struct word_data *of, const struct op *op, size_t from, struct word_result *result, size_t to) {
    struct op_data *data = &of->data;
    const size_t count = result->counts[to] = op_output_count(data, op, from);
    result->values[to] = calloc(count, sizeof(float));
    assert_non_null(result->values[to]);
    expect_ok(data->backend->operations->read(data->backend, data->out[from], 0, count, result->values[to], &error));
}

static void compute_attention_map(struct word_data *of, const char *name, struct word_result *result, size_t to) {
    struct op_data *data = &of->data;
    const struct op *op = op_named(name);
    expect_ok(op_outputs_create(data, op, &error));
    expect_ok(op->run(data, &error));
    if (data->batch.words && strcmp(op->operation, "attention_norms") == 0)
        expect_ok(data->backend->operations->attention_word_norms(data->backend, data->on.attention, data->on.head_sources,
                                                                  op->variant & 1 ? data->on.residual : NULL,
                                                                  op->variant & 2 ? data->on.inverse_deviation : NULL, data->out[0], &error));
    keep(of, op, 0, result, to);
    op_outputs_destroy(data);
}

static void compute_pairs(struct word_data *of, struct word_result *result) {
    const struct op *op = op_named("ff_pair_norms");
    struct pair_result checked;
    expect_ok(op_outputs_create(&of->data, op, &error));
    expect_ok(op->run(&of->data, &error));
    expect_ok(pair_result_read(&of->data, &checked, &error));
    pair_result_free(&checked);
    for (size_t k = 0; k < PAIR_OUTPUTS; k++)
        keep(of, op, k, result, WORD_ATTENTION_MAPS + k);
    op_outputs_destroy(&of->data);
}

void word_result_compute_on(struct word_data *of, struct cx_backend *backend, bool by_words, struct word_result *result) {
    static const char *const operations[WORD_ATTENTION_MAPS] = {"attention_mean", "attention_norms attn", "attention_norms res", "attention_norms res_ln"};
    of->data.batch.words = by_words ? &of->words : NULL;
    expect_ok(op_data_upload(&of->data, backend, &error));
    for (size_t k = 0; k < WORD_ATTENTION_MAPS; k++)
        compute_attention_map(of, operations[k], result, k);
    compute_pairs(of, result);
    op_data_release(&of->data);
}

void word_result_compute(struct word_data *of, const struct cx_backend_options *options, bool by_words, struct word_result *result) {
    struct cx_backend *backend = NULL;
    expect_ok(cx_backend_open(options, &of->data.config, &backend, &error));
    word_result_compute_on(of, backend, by_words, result);
    cx_backend_close(backend);
}

void word_result_free(struct word_result *freed) {
    for (size_t k = 0; k < WORD_OUTPUTS; k++)
        free(freed->values[k]);
}

double word_error(const float *found, const float *expected, size_t count) {
    double largest = 0.0, difference = 0.0;
    for (size_t k = 0; k < count; k++) {
        const double one = fabs((double)found[k] - (double)expected[k]);
        difference = one > difference || isnan(one) ? one : difference;
        largest = fmax(largest, fabs((double)expected[k]));
    }
    return difference / fmax(largest, 0x1p-126);
}

void expect_words_as_on_cpu(const struct word_case *of, enum cx_pair_precision precision, enum cx_pair_kernel kernel) {
    const struct cx_backend_options reference = {.kind = CX_BACKEND_CPU, .threads = 1};
    const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA, .pair_precision = precision, .pair_kernel = kernel, .pair_chunk = of->pair_chunk};
    struct word_data data;
    struct word_result expected, found;
    word_data_create(of, &data);
    word_result_compute(&data, &reference, true, &expected);
    word_result_compute(&data, &options, true, &found);
    for (size_t k = 0; k < WORD_OUTPUTS; k++) {
        const double apart = word_error(found.values[k], expected.values[k], expected.counts[k]);
        const double allowed = precision == CX_PAIR_F16 && k >= WORD_ATTENTION_MAPS ? 1e-3 : 1e-5;
        if (getenv("CONTEXTURE_TEST_VERBOSE"))
            print_message("%-24s %-12s %.2e of the largest number\n", of->shape.name, names[k], apart);
        if (!(apart <= allowed))
            fail_msg("%s, %s: %g of the largest number from the CPU backend, allowed %g", of->shape.name, names[k], apart, allowed);
    }
    word_result_free(&expected);
    word_result_free(&found);
    word_data_free(&data);
}
