/* x [T, d] = the sum of a token's three embeddings. Rows are converted one at a time: the tables stay in their file. */
#include "cpu_backend.h"

#include <omp.h>

enum { least_rows = 16 };

static enum cx_status check_ids(const char *what, const int32_t *ids, size_t tokens, const struct cx_weight *table, size_t width, struct cx_error *error) {
    if (table->columns != width)
        return cx_fail(error, CX_ERROR_INTERNAL, "embed: %s table: expected %zu columns, found %zu", what, width, table->columns);
    for (size_t token = 0; token < tokens; token++) {
        if (ids[token] < 0 || (size_t)ids[token] >= table->rows)
            return cx_fail(error, CX_ERROR_INTERNAL, "embed: %s %d of token %zu is outside 0 .. %zu", what, (int)ids[token], token, table->rows - 1);
    }
    return CX_OK;
}

/* The tables are read where they are. */
enum cx_status cpu_embed_open(struct cx_backend *backend, const struct cx_weight *word, const struct cx_weight *position, const struct cx_weight *token_type,
                              struct cx_error *error) {
    (void)backend, (void)word, (void)position, (void)token_type, (void)error;
    return CX_OK;
}

enum cx_status cpu_embed(struct cx_backend *backend, const struct cx_weight *word, const struct cx_weight *position, const struct cx_weight *token_type,
                         struct cx_tensor *x, struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    const struct cx_batch *batch = cpu->batch;
    size_t width = cpu->base.config.hidden_size;
    enum cx_status status = cpu_check_batch(cpu, "embed", error);
    if (status != CX_OK)
        return status;
    if ((status = cpu_check(x, CX_ELEMENT_FLOAT, batch->tokens * width, "embed", "x", error)) != CX_OK ||
        (status = check_ids("input_id", batch->input_ids, batch->tokens, word, width, error)) != CX_OK ||
        (status = check_ids("position_id", batch->position_ids, batch->tokens, position, width, error)) != CX_OK ||
        (status = check_ids("token_type_id", batch->token_type_ids, batch->tokens, token_type, width, error)) != CX_OK ||
        (status = cpu_scratch_reserve(cpu, 2 * width * sizeof(float), error)) != CX_OK)
        return status;
    enum cx_status worst = CX_OK;
#pragma omp parallel for schedule(static) num_threads(cpu->threads) if (batch->tokens > least_rows)
    for (size_t token = 0; token < batch->tokens; token++) {
        float *sum = x->values + token * width, *places = cpu_scratch(cpu, omp_get_thread_num()), *types = places + width;
        struct cx_error failure = {0};
        if (cx_weight_row(word, (size_t)batch->input_ids[token], sum, &failure) != CX_OK ||
            cx_weight_row(position, (size_t)batch->position_ids[token], places, &failure) != CX_OK ||
            cx_weight_row(token_type, (size_t)batch->token_type_ids[token], types, &failure) != CX_OK) {
#pragma omp critical
            {
                worst = failure.status;
                if (error)
                    *error = failure;
            }
            continue;
        }
        /* transformers' order: words and types first, then positions. */
        for (size_t k = 0; k < width; k++)
            sum[k] = (sum[k] + types[k]) + places[k];
    }
    return worst;
}
