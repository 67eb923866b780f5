#include "ff_pair_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch_words.h"

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count > 0 ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "no memory for %zu elements of a test case\n", count);
        abort();
    }
    return memory;
}

static void require(enum cx_status status, const struct cx_error *error) {
    if (status != CX_OK) {
        fprintf(stderr, "%s: %s\n", cx_status_name(status), error->message);
        abort();
    }
}

static float draw(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

/* Roughly Gaussian: outliers matter less here than that no two numbers are alike. */
static float draw_normal(uint32_t *state) {
    return draw(state) + draw(state) + draw(state);
}

static void fill(float *values, size_t count, float centre, float spread, uint32_t *state) {
    for (size_t i = 0; i < count; i++)
        values[i] = centre + spread * draw_normal(state);
}

/* Rows of positive numbers whose sum is 1, some of them far smaller than others. */
static void fill_attention(float *attention, size_t rows, size_t n, uint32_t *state) {
    for (size_t row = 0; row < rows; row++, attention += n) {
        float sum = 0;
        for (size_t j = 0; j < n; j++)
            sum += attention[j] = expf(3.0f * draw(state));
        for (size_t j = 0; j < n; j++)
            attention[j] /= sum;
    }
}

static void make_batch(struct ff_pair_case *created, const struct ff_pair_shape *shape) {
    struct cx_batch *batch = &created->batch;
    for (size_t s = 0; s < FF_PAIR_MAX_SEQUENCES && shape->lengths[s] > 0; s++) {
        size_t n = shape->lengths[s];
        batch->sequences++;
        batch->tokens += n;
        batch->pairs += n * n;
        batch->longest = n > batch->longest ? n : batch->longest;
        created->token_offset[s + 1] = batch->tokens;
        created->pair_offset[s + 1] = batch->pairs;
    }
    batch->token_offset = created->token_offset;
    batch->pair_offset = created->pair_offset;
}

void ff_pair_case_create(struct ff_pair_case *created, const struct ff_pair_shape *shape, uint32_t seed) {
    const size_t d = shape->width, f = shape->depth, heads = shape->heads;
    uint32_t state = seed;
    *created = (struct ff_pair_case){0};
    created->config = (struct cx_model_config){
        .layers = 1,
        .heads = heads,
        .head_size = d / heads,
        .hidden_size = d,
        .intermediate_size = f,
        .vocabulary_size = 1,
        .max_positions = 1024,
        .token_types = 1,
        .norm_epsilon = 1e-12,
        .activation = CX_GELU,
    };
    make_batch(created, shape);
    const size_t tokens = created->batch.tokens;
    const size_t counts[FF_PAIR_INPUTS] = {
        heads * created->batch.pairs, tokens, tokens * f, tokens * heads * f, tokens * f, tokens * heads * d, tokens * d, d, tokens};
    const float centre[FF_PAIR_INPUTS] = {0, 1, 0.4f, 0, 0, 0.1f, 0.1f, 1, 0.7f};
    const float spread[FF_PAIR_INPUTS] = {0, 0.2f, 0.3f, 1, 2, 1, 2, 0.2f, 0.1f};
    for (int k = 0; k < FF_PAIR_INPUTS; k++) {
        created->counts[k] = counts[k];
        created->inputs[k] = allocate(counts[k], sizeof(float));
        fill(created->inputs[k], counts[k], centre[k], spread[k], &state);
    }
    for (size_t s = 0; s < created->batch.sequences; s++)
        fill_attention(created->inputs[ATTENTION] + heads * created->pair_offset[s], heads * shape->lengths[s], shape->lengths[s], &state);
    created->weight = allocate(d * f, sizeof(float));
    fill(created->weight, d * f, 0.02f, 0.3f, &state);
}

void ff_pair_case_make_causal(struct ff_pair_case *changed, float unused) {
    changed->config.causal = true;
    for (size_t s = 0; s < changed->batch.sequences; s++) {
        const size_t n = changed->token_offset[s + 1] - changed->token_offset[s];
        float *row = changed->inputs[ATTENTION] + changed->config.heads * changed->pair_offset[s];
        for (size_t k = 0; k < changed->config.heads * n; k++, row += n) {
            for (size_t j = k % n + 1; j < n; j++)
                row[j] = unused;
        }
    }
}

/* What lengths are drawn with. */
struct lottery {
    size_t longest;
    uint32_t seed;
};

/* Words of every third sequence are tokens. */
static size_t drawn_length(void *context, size_t sequence) {
    struct lottery *lottery = context;
    return sequence % 3 == 2 ? 1 : 1 + (size_t)((draw(&lottery->seed) + 1.0f) / 2.0f * (float)lottery->longest) % lottery->longest;
}

void ff_pair_case_group(struct ff_pair_case *of, size_t longest, uint32_t seed) {
    struct lottery lottery = {longest, seed};
    of->first_token = allocate(of->batch.tokens + 1, sizeof *of->first_token);
    of->words = batch_words_make(&of->batch, drawn_length, &lottery, of->first_token, of->word_offset, of->map_offset);
    of->batch.words = &of->words;
}

void ff_pair_case_destroy(struct ff_pair_case *destroyed) {
    free(destroyed->first_token);
    for (int k = 0; k < FF_PAIR_INPUTS; k++)
        free(destroyed->inputs[k]);
    free(destroyed->weight);
}

void ff_pair_result_create(struct ff_pair_result *result, const struct ff_pair_case *of) {
    for (int k = 0; k < 3; k++)
        result->maps[k] = allocate(of->batch.pairs, sizeof(float));
    result->own = allocate(of->batch.tokens * of->config.hidden_size, sizeof(float));
    result->sum = allocate(of->batch.tokens * of->config.hidden_size, sizeof(float));
}

void ff_pair_result_destroy(struct ff_pair_result *result) {
    for (int k = 0; k < 3; k++)
        free(result->maps[k]);
    free(result->own);
    free(result->sum);
}

/* Of a map, or of own or sum. */
static size_t output_count(const struct ff_pair_case *run, int output) {
    return output < 3 ? cx_batch_map_elements(&run->batch) : run->batch.tokens * run->config.hidden_size;
}

static void require_checks(const struct ff_pair_case *run, const struct pair_kernel *kernel, struct cx_backend *backend, const struct cx_tensor *check) {
    float *checks = allocate(run->batch.tokens, sizeof(float));
    struct cx_error error = {0};
    require(backend->operations->read(backend, check, 0, run->batch.tokens, checks, &error), &error);
    for (size_t token = 0; token < run->batch.tokens; token++) {
        if (!(checks[token] <= 1.0f)) {
            fprintf(stderr, "%s: target %zu misses its checksum by %g times what is allowed\n", kernel->name, token, (double)checks[token]);
            abort();
        }
    }
    free(checks);
}

void ff_pair_case_run(const struct ff_pair_case *run, const struct pair_kernel *kernel, int threads, unsigned wanted, struct ff_pair_result *result) {
    struct cx_backend_options options = {.kind = CX_BACKEND_CPU, .threads = threads};
    struct cx_backend *backend;
    struct cx_tensor *inputs[FF_PAIR_INPUTS], *outputs[5] = {NULL};
    float *const to[5] = {result->maps[0], result->maps[1], result->maps[2], result->own, result->sum};
    struct cx_tensor *check;
    struct cx_pair_matrix *matrix;
    struct cx_error error = {0};
    require(cx_backend_open(&options, &run->config, &backend, &error), &error);
    const struct cx_backend_operations *operations = backend->operations;
    for (int k = 0; k < FF_PAIR_INPUTS; k++) {
        require(operations->tensor_create(backend, CX_ELEMENT_FLOAT, run->counts[k], &inputs[k], &error), &error);
        require(operations->write(backend, inputs[k], run->counts[k], run->inputs[k], &error), &error);
    }
    for (int k = 0; k < 5; k++) {
        size_t count = output_count(run, k);
        if (!(wanted >> k & 1))
            continue;
        require(operations->tensor_create(backend, CX_ELEMENT_FLOAT, count, &outputs[k], &error), &error);
        memset(to[k], 0xff, count * sizeof(float));
        require(operations->write(backend, outputs[k], count, to[k], &error), &error);
    }
    require(operations->tensor_create(backend, CX_ELEMENT_FLOAT, run->batch.tokens, &check, &error), &error);
    struct cx_weight weight = {"W2", run->weight, CX_FLOAT32, run->config.hidden_size, run->config.intermediate_size, 0, 0};
    require(pair_matrix_pack(&weight, kernel, threads, &matrix, &error), &error);
    require(operations->batch_begin(backend, &run->batch, &error), &error);
    struct cx_ff_pairs pairs = {inputs[0], inputs[1], inputs[2],  inputs[3],  inputs[4],  inputs[5],  inputs[6],  matrix,
                                inputs[7], inputs[8], outputs[0], outputs[1], outputs[2], outputs[3], outputs[4], check};
    require(operations->ff_pair_norms(backend, &pairs, &error), &error);
    for (int k = 0; k < 5; k++) {
        if (outputs[k])
            require(operations->read(backend, outputs[k], 0, output_count(run, k), to[k], &error), &error);
        operations->tensor_destroy(backend, outputs[k]);
    }
    require_checks(run, kernel, backend, check);
    operations->tensor_destroy(backend, check);
    for (int k = 0; k < FF_PAIR_INPUTS; k++)
        operations->tensor_destroy(backend, inputs[k]);
    operations->pair_matrix_destroy(backend, matrix);
    cx_backend_close(backend);
}

/* Adds t_ij [d] or t_ij W1 [f] of one pair of tokens, from their definitions, to the part. */
static void reference_part(const struct ff_pair_case *of, size_t sequence, size_t i, size_t j, size_t width, const float *heads_source, const float *residual,
                           double *part) {
    const size_t heads = of->config.heads, start = of->token_offset[sequence], n = of->token_offset[sequence + 1] - start;
    const float *attention = of->inputs[ATTENTION] + heads * of->pair_offset[sequence] + i * n + j;
    for (size_t k = 0; k < width; k++) {
        double sum = i == j ? (double)residual[(start + j) * width + k] : 0;
        for (size_t h = 0; h < heads; h++)
            sum += (double)attention[h * n * n] * (double)heads_source[((start + j) * heads + h) * width + k];
        part[k] += sum * (double)of->inputs[INVERSE_DEVIATION1][start + i];
    }
}

static double norm(const double *vector, size_t width) {
    double sum = 0;
    for (size_t k = 0; k < width; k++)
        sum += vector[k] * vector[k];
    return sqrt(sum);
}

/* Of one pair of tokens: o_ij to out [d] and t_ij to part [d], added. z: room for f. */
static void reference_vectors(const struct ff_pair_case *of, size_t sequence, size_t i, size_t j, double *z, double *out, double *part) {
    const size_t d = of->config.hidden_size, f = of->config.intermediate_size, target = of->token_offset[sequence] + i;
    memset(z, 0, f * sizeof *z);
    reference_part(of, sequence, i, j, f, of->inputs[HEAD_FF], of->inputs[RESIDUAL_FF], z);
    reference_part(of, sequence, i, j, d, of->inputs[HEAD_NORM], of->inputs[RESIDUAL_NORM], part);
    for (size_t c = 0; c < d; c++) {
        double sum = 0;
        for (size_t k = 0; k < f; k++)
            sum += z[k] * (double)of->inputs[RATIO][target * f + k] * (double)of->weight[c * f + k];
        out[c] += sum;
    }
}

/* The norms of a source's part, from its vectors. */
static void reference_norms(const struct ff_pair_case *of, struct ff_pair_reference *reference, size_t target, size_t element, const double *out,
                            double *part) {
    const size_t d = of->config.hidden_size;
    double mean = 0;
    reference->maps[0][element] = norm(out, d);
    for (size_t c = 0; c < d; c++)
        mean += (part[c] += out[c]) / (double)d;
    reference->maps[1][element] = norm(part, d);
    for (size_t c = 0; c < d; c++)
        part[c] = (part[c] - mean) * (double)of->inputs[NORM2_SCALE][c];
    reference->maps[2][element] = norm(part, d) * (double)of->inputs[INVERSE_DEVIATION2][target];
}

/* All sources of one target, token after token; a source ends with its last one. */
static void reference_target(const struct ff_pair_case *of, struct ff_pair_reference *reference, size_t sequence, size_t i, double *z, double *out,
                             double *part) {
    const size_t d = of->config.hidden_size, start = of->token_offset[sequence], n = of->token_offset[sequence + 1] - start;
    const size_t sources = cx_batch_sources(&of->batch, sequence), map = cx_batch_map_offset(&of->batch, sequence) + i * sources;
    double *own = reference->own + (start + i) * d, *sum = reference->sum + (start + i) * d;
    for (size_t j = 0, source = 0; j < n; source++) {
        const size_t end = of->batch.words ? of->first_token[of->word_offset[sequence] + source + 1] - start : j + 1;
        memset(out, 0, d * sizeof *out);
        memset(part, 0, d * sizeof *part);
        for (; j < end; j++) {
            if (of->config.causal && j > i)
                continue;
            for (size_t c = 0; i == j && c < d; c++)
                own[c] = -out[c];
            reference_vectors(of, sequence, i, j, z, out, part);
            for (size_t c = 0; i == j && c < d; c++)
                own[c] += out[c];
        }
        for (size_t c = 0; c < d; c++)
            sum[c] += out[c];
        reference_norms(of, reference, start + i, map + source, out, part);
    }
}

void ff_pair_reference_create(struct ff_pair_reference *reference, const struct ff_pair_case *of) {
    const size_t d = of->config.hidden_size;
    double *z = allocate(of->config.intermediate_size, sizeof *z), *out = allocate(d, sizeof *out), *part = allocate(d, sizeof *part);
    for (int k = 0; k < 3; k++)
        reference->maps[k] = allocate(of->batch.pairs, sizeof(double));
    reference->own = allocate(of->batch.tokens * d, sizeof(double));
    reference->sum = allocate(of->batch.tokens * d, sizeof(double));
    for (size_t s = 0; s < of->batch.sequences; s++) {
        size_t n = of->token_offset[s + 1] - of->token_offset[s];
        for (size_t i = 0; i < n; i++)
            reference_target(of, reference, s, i, z, out, part);
    }
    free(z);
    free(out);
    free(part);
}

void ff_pair_reference_destroy(struct ff_pair_reference *reference) {
    for (int k = 0; k < 3; k++)
        free(reference->maps[k]);
    free(reference->own);
    free(reference->sum);
}
