/*
 * The time of every operation, its GFLOP/s, and its share of what cblas_sgemm gives on the same number of threads in the same minute.
 *
 * Operation and reference product take turns, so that a noisy machine slows both; the share is the median of the turns' ratios. The reference is the very
 * product for `linear`, else [1024, f] x [f, d], which is large enough to be as fast as BLAS gets.
 *
 * Every line ends with a roofline: FLOP a byte of inputs and outputs, which of the product's rate and the rate of large copies, measured before each case,
 * bounds the operation, and how much of that bound it reaches.
 *
 * With --backend cuda a time is that of many calls and one wait for the device at their end, and the reference is cuBLASLt's own rate on a product of 8192³
 * (--reference), with float16 operands for ff_pair_norms in --pair-precision f16, else with float32.
 *
 * With --causal the model is causal, and only pairs that have to be computed count as operations: the same share means that the others cost nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cblas.h>

#include "bench_settings.h"
#include "cuda_open.h"
#include "op_cases.h"
#include "roofline.h"

enum { reference_rows = 1024 };

struct measurement {
    double seconds, reference_seconds, share;
};

static const struct {
    const char *name;
    size_t heads, head_size, intermediate_size;
} shapes[] = {{"minilm", 12, 32, 1536}, {"bert-base", 12, 64, 3072}, {"bert-large", 16, 64, 4096}};

static const size_t lengths[] = {32, 64, 128, 256, 512, short_sentences, 1024};

/* The last of both lists are for a GPU: on a processor they take minutes, and are run only if asked for. */
static bool is_too_long(const struct settings *settings, size_t shape, size_t n) {
    return settings->backend == CX_BACKEND_CPU && ((!settings->shape && strcmp(shapes[shape].name, "bert-large") == 0) || (settings->n < 0 && n == 1024));
}

/* With one thread its processor time is taken, so that programs beside this one do not count. */
static double now(int threads) {
    struct timespec time;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int compare_doubles(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return values[count / 2];
}

static void blas_threads(int threads) {
#ifdef CX_HAVE_OPENBLAS_SET_NUM_THREADS
    openblas_set_num_threads(threads);
#else
    (void)threads;
#endif
}

struct reference {
    size_t rows, in, out;
    float *x, *weight, *y;
};

static float *filled(size_t count, float value) {
    float *array = aligned_alloc(64, (count * sizeof *array + 63) / 64 * 64);
    if (!array) {
        fprintf(stderr, "bench_ops: not enough memory\n");
        exit(1);
    }
    for (size_t k = 0; k < count; k++)
        array[k] = value + (float)(k % 7);
    return array;
}

static struct reference reference_create(const struct op_data *data, const struct op *op) {
    size_t d = data->config.hidden_size, f = data->config.intermediate_size;
    struct reference reference = {.rows = reference_rows, .in = f, .out = d};
    if (strcmp(op->operation, "linear") == 0) {
        reference.rows = data->batch.tokens;
        reference.in = strstr(op->name, "f d") ? f : d;
        reference.out = strstr(op->name, "d f") ? f : d;
    }
    reference.x = filled(reference.rows * reference.in, -3.0f);
    reference.weight = filled(reference.out * reference.in, -2.0f);
    reference.y = filled(reference.rows * reference.out, 0.0f);
    return reference;
}

static void reference_free(struct reference *reference) {
    free(reference->x);
    free(reference->weight);
    free(reference->y);
}

static double reference_seconds(const struct reference *reference, int threads) {
    double start = 0.0;
    blas_threads(threads);
    /* The first call wakes BLAS's threads, while OpenMP's fall asleep. */
    for (int call = 0; call < 2; call++) {
        start = now(threads);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)reference->rows, (int)reference->out, (int)reference->in, 1.0f, reference->x,
                    (int)reference->in, reference->weight, (int)reference->in, 0.0f, reference->y, (int)reference->out);
    }
    double seconds = now(threads) - start;
    blas_threads(1);
    return seconds;
}

static void check(enum cx_status status, const struct cx_error *error) {
    if (status == CX_OK)
        return;
    fprintf(stderr, "bench_ops: %s\n", error->message);
    exit(1);
}

/* Until the operations so far are done: reading waits for them. */
static void wait_for(struct op_data *data) {
    struct cx_error error = {0};
    double value;
    for (size_t k = 0; k < OP_MAX_OUTPUTS; k++) {
        if (data->out[k]) {
            check(data->backend->operations->read(data->backend, data->out[k], 0, 1, &value, &error), &error);
            return;
        }
    }
}

/* Calls the operation often enough that the clock's steps do not matter, and neither does waiting once. */
static double operation_seconds(struct op_data *data, const struct op *op, int calls, int threads) {
    struct cx_error error = {0};
    check(op->run(data, &error), &error);
    wait_for(data);
    double start = now(threads);
    for (int call = 0; call < calls; call++)
        check(op->run(data, &error), &error);
    wait_for(data);
    return (now(threads) - start) / calls;
}

/* The same against the device's rate; a GPU's clock wanders less than a shared processor's, so one rate in front of an operation is enough. */
static struct measurement measure_on_device(struct op_data *data, const struct op *op, const struct settings *settings) {
    struct cx_error error = {0};
    double seconds[most_repeats], rate, work = op->work ? op->work(data) : 0.0;
    bool is_half = settings->precision == CX_PAIR_F16 && strcmp(op->operation, "ff_pair_norms") == 0;
    check(cuda_backend_product_rate(data->backend, is_half, settings->reference, 9, &rate, &error), &error);
    double once = operation_seconds(data, op, 1, 0);
    int calls = once > 0.02 ? 1 : (int)(0.02 / once) + 1;
    for (int turn = 0; turn < settings->repeats; turn++)
        seconds[turn] = operation_seconds(data, op, calls, 0);
    double middle = median(seconds, settings->repeats);
    return (struct measurement){.seconds = middle, .reference_seconds = 1.0 / rate, .share = work / middle / rate};
}

static struct measurement measure(struct op_data *data, const struct op *op, const struct settings *settings) {
    if (strcmp(data->backend->operations->name, "cuda") == 0)
        return measure_on_device(data, op, settings);
    double seconds[most_repeats], references[most_repeats], shares[most_repeats], work = op->work ? op->work(data) : 0.0;
    struct reference reference = reference_create(data, op);
    double reference_work = 2.0 * (double)reference.rows * (double)reference.in * (double)reference.out;
    double once = operation_seconds(data, op, 1, settings->threads);
    int calls = once > 0.002 ? 1 : (int)(0.002 / once) + 1, repeats = once > 1.0 ? 3 : settings->repeats;
    for (int turn = 0; turn < repeats; turn++) {
        references[turn] = reference_seconds(&reference, settings->threads);
        seconds[turn] = operation_seconds(data, op, calls, settings->threads);
        shares[turn] = work / seconds[turn] / (reference_work / references[turn]);
    }
    struct measurement result = {
        .seconds = median(seconds, repeats),
        .reference_seconds = median(references, repeats),
        .share = median(shares, repeats),
    };
    result.reference_seconds /= reference_work;
    reference_free(&reference);
    return result;
}

/* Bytes/s, those read and those written, from memory and to memory. */
static double measure_copies(struct op_data *data, const struct settings *settings) {
    struct cx_error error = {0};
    double rate = 0.0;
    if (strcmp(data->backend->operations->name, "cuda") == 0)
        check(cuda_backend_copy_rate(data->backend, settings->reference * settings->reference * sizeof(float), 9, &rate, &error), &error);
    else
        rate = roofline_processor_copy_rate(settings->threads);
    if (rate > 0.0)
        return rate;
    fprintf(stderr, "bench_ops: not enough memory to measure copies\n");
    exit(1);
}

static void print_row(FILE *json, bool *first, const struct op_data *data, const struct op *op, const struct measurement *result, double copy_rate) {
    const double flop = op->work ? op->work(data) : 0.0, bytes = op_bytes(data, op), product_rate = 1.0 / result->reference_seconds;
    const struct roofline roofline = roofline_of(flop, bytes, result->seconds, product_rate, copy_rate);
    const char *bound = roofline.is_memory_bound ? "memory" : "compute";
    printf("%-10s %-5s %-26s %10.3f ms %9.1f GFLOP/s %6.1f %% of %8.1f %8.2f FLOP/B %8.1f GB/s  %-7s %6.1f %%\n", data->shape->name,
           data->batch.sequences > 1 ? "short" : "one", op->name, 1e3 * result->seconds, 1e-9 * flop / result->seconds, 100.0 * result->share,
           1e-9 * product_rate, roofline.intensity, 1e-9 * roofline.bytes_per_second, bound, 100.0 * roofline.share);
    if (json)
        fprintf(json,
                "%s\n    {\"shape\": \"%s\", \"causal\": %s, \"sequences\": %zu, \"tokens\": %zu, \"op\": \"%s\", \"seconds\": %.9g, \"gflops\": %.6g, "
                "\"reference_gflops\": %.6g, \"share\": %.4g, \"flop\": %.9g, \"bytes\": %.9g, \"flop_per_byte\": %.6g, \"gbytes_per_second\": %.6g, "
                "\"copy_gbytes_per_second\": %.6g, \"bound\": \"%s\", \"share_of_bound\": %.4g}",
                *first ? "" : ",", data->shape->name, data->config.causal ? "true" : "false", data->batch.sequences, data->batch.tokens, op->name,
                result->seconds, 1e-9 * flop / result->seconds, 1e-9 * product_rate, result->share, flop, bytes, roofline.intensity,
                1e-9 * roofline.bytes_per_second, 1e-9 * copy_rate, bound, roofline.share);
    *first = false;
    fflush(stdout);
}

static struct op_case case_of(size_t shape, size_t n, const struct settings *settings) {
    static const size_t short_lengths[] = {9, 12, 14, 16, 18, 19, 21, 22, 23, 24, 25, 26, 27, 28, 30, 32, 35, 38, 43, 50}; /* 512 tokens, mean 25.6 */
    struct op_case result = {
        .name = shapes[shape].name,
        .fill = settings->causal ? OP_RANDOM | OP_CAUSAL : OP_RANDOM,
        .heads = shapes[shape].heads,
        .head_size = shapes[shape].head_size,
        .intermediate_size = shapes[shape].intermediate_size,
        .activation = CX_GELU,
    };
    if (n == short_sentences)
        memcpy(result.lengths, short_lengths, sizeof short_lengths);
    else
        for (size_t k = 0; k < OP_MAX_SEQUENCES && (k == 0 || (k + 1) * n <= settings->batch); k++)
            result.lengths[k] = n;
    return result;
}

static void bench_case(const struct op_case *shape, const struct settings *settings, FILE *json, bool *first) {
    struct op_data data;
    struct cx_error error = {0};
    struct cx_backend *backend;
    struct cx_backend_options options = {.kind = settings->backend,
                                         .threads = settings->threads,
                                         .forward_precision = settings->forward_precision,
                                         .pair_precision = settings->precision,
                                         .pair_chunk = settings->pair_chunk,
                                         .pair_kernel = settings->pair_kernel};
    char description[256];
    op_data_create(shape, &data);
    check(cx_backend_open(&options, &data.config, &backend, &error), &error);
    check(op_data_upload(&data, backend, &error), &error);
    backend->operations->describe(backend, description, sizeof description);
    const double copy_rate = measure_copies(&data, settings);
    printf("\n%s; copies %.1f GB/s\nn = %zu in %zu sequence%s%s\n", description, 1e-9 * copy_rate, data.batch.tokens, data.batch.sequences,
           data.batch.sequences > 1 ? "s" : "", settings->causal ? ", causal" : "");
    for (size_t o = 0; o < op_bench_count; o++) {
        if (!is_listed(settings->ops, op_table[o].operation))
            continue;
        check(op_outputs_create(&data, &op_table[o], &error), &error);
        struct measurement result = measure(&data, &op_table[o], settings);
        print_row(json, first, &data, &op_table[o], &result, copy_rate);
        op_outputs_destroy(&data);
    }
    op_data_release(&data);
    cx_backend_close(backend);
    op_data_free(&data);
}

int main(int argc, char **argv) {
    struct settings settings;
    char report[256];
    FILE *json = NULL;
    bool first = true;
    if (!settings_parse(argc, argv, &settings))
        return 2;
    if (settings.json && !(json = fopen(settings.json, "w"))) {
        perror(settings.json);
        return 1;
    }
    cx_backend_report(report, sizeof report);
    printf("%s; %d threads, median of %d turns\n", report, settings.threads, settings.repeats);
    if (json)
        fprintf(json,
                "{\"device\": \"%s\", \"threads\": %d, \"repeats\": %d, \"backend\": \"%s\", \"forward_precision\": \"%s\", \"pair_precision\": \"%s\", "
                "\"results\": [",
                report, settings.threads, settings.repeats, settings.backend == CX_BACKEND_CUDA ? "cuda" : "cpu",
                cx_forward_precision_name(settings.forward_precision), cx_pair_precision_name(settings.precision));
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        if (!is_listed(settings.shape, shapes[s].name))
            continue;
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths && (settings.n < 0 || k == 0); k++) {
            if (is_too_long(&settings, s, lengths[k]))
                continue;
            struct op_case shape = case_of(s, settings.n >= 0 ? (size_t)settings.n : lengths[k], &settings);
            bench_case(&shape, &settings, json, &first);
        }
    }
    if (json && (fprintf(json, "\n]}\n") < 0 || fclose(json) != 0)) {
        perror(settings.json);
        return 1;
    }
    return 0;
}
