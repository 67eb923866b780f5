/* What a source token gives to every head, as vectors [T, H, d] and [T, H, f], and the scalar products of those vectors. */
#include "cpu_backend.h"

#include <omp.h>

enum { row_block = 128, few_tokens = 8, least_tokens = 4 };

/* A head's share of a dense layer: its columns of the values times its rows of the weight. */
struct head_product {
    size_t tokens, heads, head_size, out;
    const float *value;    /* [T, H, e] */
    const float *weight;   /* first number of head 0's part */
    size_t head_stride;    /* from one head's part to the next's */
    size_t weight_stride;  /* from row to row within a part */
    bool weight_is_out_in; /* a part is [out, e], else [e, out] */
    float *sources;        /* [T, H, out] */
};

/*
 * An item: one head, a part of the tokens. All of the head's strips are packed first and then pass under few tokens at a time, so that
 * a token's vector is written from beginning to end: the sources are large, and writing them is half of the work.
 */
static void multiply_item(const struct cpu_backend *cpu, const struct head_product *product, size_t head, size_t first) {
    size_t heads = product->heads, size = product->head_size, out = product->out;
    size_t end = product->tokens - first < row_block ? product->tokens : first + row_block;
    const float *weight = product->weight + head * product->head_stride;
    float *packed = cpu_scratch(cpu, omp_get_thread_num());
    for (size_t column = 0; column < out; column += CPU_STRIP) {
        size_t columns = out - column < CPU_STRIP ? out - column : CPU_STRIP;
        if (product->weight_is_out_in)
            cpu->kernels->pack_rows(columns, size, weight + column * product->weight_stride, product->weight_stride, packed + column * size);
        else
            cpu->kernels->pack_columns(columns, size, weight + column, product->weight_stride, packed + column * size);
    }
    for (size_t token = first; token < end; token += few_tokens) {
        size_t rows = end - token < few_tokens ? end - token : few_tokens;
        for (size_t column = 0; column < out; column += CPU_STRIP)
            cpu->kernels->product(rows, out - column < CPU_STRIP ? out - column : CPU_STRIP, size, NULL, 0, product->value + (token * heads + head) * size,
                                  heads * size, packed + column * size, product->sources + (token * heads + head) * out + column, heads * out);
    }
}

static enum cx_status multiply_heads(struct cpu_backend *cpu, const struct head_product *product, struct cx_error *error) {
    size_t items = product->heads * ((product->tokens + row_block - 1) / row_block);
    enum cx_status status = cpu_scratch_reserve(cpu, product->head_size * (product->out + CPU_STRIP) * sizeof(float), error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(dynamic) num_threads(cpu->threads)
    for (size_t item = 0; item < items; item++)
        multiply_item(cpu, product, item % product->heads, item / product->heads * row_block);
    return CX_OK;
}

enum cx_status cpu_head_sources(struct cx_backend *backend, const struct cx_tensor *value, const struct cx_matrix *attention_output, struct cx_tensor *sources,
                                struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    const struct cx_model_config *config = &cpu->base.config;
    size_t width = config->hidden_size;
    enum cx_status status = cpu_check_batch(cpu, "head_sources", error);
    if (status != CX_OK)
        return status;
    size_t tokens = cpu->batch->tokens;
    const struct cpu_argument arguments[] = {CPU_FLOATS(value, tokens * width), CPU_FLOATS(sources, tokens * config->heads * width)};
    status = CPU_CHECK_ALL("head_sources", arguments, error);
    if (status != CX_OK)
        return status;
    if (attention_output->in != width || attention_output->out != width)
        return cx_fail(error, CX_ERROR_INTERNAL, "head_sources: expected a matrix [%zu, %zu], found [%zu, %zu]", width, width, attention_output->out,
                       attention_output->in);
    struct head_product product = {
        .tokens = tokens,
        .heads = config->heads,
        .head_size = config->head_size,
        .out = width,
        .value = value->values,
        .weight = attention_output->weight,
        .head_stride = config->head_size,
        .weight_stride = width,
        .weight_is_out_in = true,
        .sources = sources->values,
    };
    return multiply_heads(cpu, &product, error);
}

enum cx_status cpu_ff_sources(struct cx_backend *backend, const struct cx_tensor *value, const struct cx_tensor *value_to_ff, struct cx_tensor *sources,
                              struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    const struct cx_model_config *config = &cpu->base.config;
    size_t width = config->hidden_size, neurons = config->intermediate_size;
    enum cx_status status = cpu_check_batch(cpu, "ff_sources", error);
    if (status != CX_OK)
        return status;
    size_t tokens = cpu->batch->tokens;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(value, tokens * width),
        CPU_FLOATS(value_to_ff, width * neurons),
        CPU_FLOATS(sources, tokens * config->heads * neurons),
    };
    status = CPU_CHECK_ALL("ff_sources", arguments, error);
    if (status != CX_OK)
        return status;
    struct head_product product = {
        .tokens = tokens,
        .heads = config->heads,
        .head_size = config->head_size,
        .out = neurons,
        .value = value->values,
        .weight = value_to_ff->values,
        .head_stride = config->head_size * neurons,
        .weight_stride = neurons,
        .weight_is_out_in = false,
        .sources = sources->values,
    };
    return multiply_heads(cpu, &product, error);
}

enum cx_status cpu_gram(struct cx_backend *backend, const struct cx_tensor *sources, const struct cx_tensor *residual, struct cx_tensor *gram,
                        struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t heads = cpu->base.config.heads, width = cpu->base.config.hidden_size, entries = (heads + 1) * (heads + 1);
    enum cx_status status = cpu_check_batch(cpu, "gram", error);
    if (status != CX_OK)
        return status;
    size_t tokens = cpu->batch->tokens;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(sources, tokens * heads * width),
        CPU_FLOATS(residual, tokens * width),
        CPU_DOUBLES(gram, tokens * entries),
    };
    status = CPU_CHECK_ALL("gram", arguments, error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(static) num_threads(cpu->threads) if (tokens > least_tokens)
    for (size_t token = 0; token < tokens; token++)
        cpu->kernels->gram(heads, width, sources->values + token * heads * width, residual->values + token * width, gram->doubles + token * entries);
    return CX_OK;
}
