/*
 * x [T, d] = word[input_id] + token_type[token_type_id] + position[position_id], in this order (that of transformers).
 *
 * The tables are uploaded once, in their own element type, by embed_open() or when a batch first needs them; the ids were checked by batch_begin.
 */
#include "cuda_backend.cuh"

struct embedding {
    const void *rows;
    const int32_t *ids;
    enum cx_dtype dtype;
};

/* Element `at` of a table; bfloat16 is the upper half of a float32. */
static __device__ __forceinline__ float element_of(const struct embedding &table, size_t at) {
    if (table.dtype == CX_FLOAT32)
        return static_cast<const float *>(table.rows)[at];
    if (table.dtype == CX_FLOAT16)
        return __half2float(static_cast<const __half *>(table.rows)[at]);
    return __uint_as_float(static_cast<unsigned>(static_cast<const unsigned short *>(table.rows)[at]) << 16);
}

static __global__ void embed_kernel(struct embedding words, struct embedding types, struct embedding positions, size_t count, unsigned width, float *x) {
    const size_t k = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= count)
        return;
    const size_t token = k / width, column = k % width;
    const float word = element_of(words, static_cast<size_t>(words.ids[token]) * width + column);
    const float type = element_of(types, static_cast<size_t>(types.ids[token]) * width + column);
    const float position = element_of(positions, static_cast<size_t>(positions.ids[token]) * width + column);
    x[k] = (word + type) + position;
}

static enum cx_status table_of(struct cuda_backend *cuda, const char *what, const struct cx_weight *weight, size_t rows, const int32_t *ids,
                               struct embedding *table, struct cx_error *error) {
    size_t count;
    if (weight->columns != cuda->base.config.hidden_size || weight->rows < rows)
        return cx_fail(error, CX_ERROR_INTERNAL, "embed: %s table: expected [%zu, %zu], found [%zu, %zu]", what, rows, cuda->base.config.hidden_size,
                       weight->rows, weight->columns);
    *table = {NULL, ids, weight->dtype};
    for (size_t k = 0; k < CUDA_TABLES; k++) {
        struct cuda_table *slot = &cuda->tables[k];
        if (slot->source == weight->data) {
            table->rows = slot->memory;
            return CX_OK;
        }
        if (slot->source)
            continue;
        if (!cx_multiply(weight->rows, weight->columns, &count))
            return cx_fail_memory(error, "an embedding table", SIZE_MAX);
        enum cx_status status = cuda_allocate(cuda, count, cx_dtype_size(weight->dtype), "an embedding table", &slot->memory, error);
        if (status == CX_OK)
            status = cuda_upload_shared(cuda, "embed", slot->memory, weight->data, count * cx_dtype_size(weight->dtype), error);
        if (status != CX_OK)
            return status;
        slot->source = weight->data;
        table->rows = slot->memory;
        return CX_OK;
    }
    return cx_fail(error, CX_ERROR_INTERNAL, "embed: more than %d embedding tables", CUDA_TABLES);
}

struct tables {
    struct embedding words, types, positions;
};

static enum cx_status find_tables(struct cuda_backend *cuda, const struct cx_weight *word, const struct cx_weight *position, const struct cx_weight *token_type,
                                  struct tables *tables, struct cx_error *error) {
    const struct cx_model_config *config = &cuda->base.config;
    enum cx_status status = table_of(cuda, "word", word, config->vocabulary_size, cuda->input_ids, &tables->words, error);
    if (status == CX_OK)
        status = table_of(cuda, "token type", token_type, config->token_types, cuda->token_type_ids, &tables->types, error);
    return status == CX_OK ? table_of(cuda, "position", position, config->max_positions, cuda->position_ids, &tables->positions, error) : status;
}

enum cx_status cuda_embed_open(struct cx_backend *backend, const struct cx_weight *word, const struct cx_weight *position, const struct cx_weight *token_type,
                               struct cx_error *error) {
    struct tables tables;
    enum cx_status status = cuda_enter(cuda_backend_of(backend), "embed_open", false, error);
    return status == CX_OK ? find_tables(cuda_backend_of(backend), word, position, token_type, &tables, error) : status;
}

enum cx_status cuda_embed(struct cx_backend *backend, const struct cx_weight *word, const struct cx_weight *position, const struct cx_weight *token_type,
                          struct cx_tensor *x, struct cx_error *error) {
    enum { threads = 256 };
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t width = cuda->base.config.hidden_size;
    struct tables tables;
    enum cx_status status = cuda_enter(cuda, "embed", true, error);
    if (status != CX_OK)
        return status;
    const size_t count = cuda->batch->tokens * width;
    const struct cuda_argument arguments[] = {CUDA_FLOATS(x, count)};
    if ((status = CUDA_CHECK_ALL("embed", arguments, error)) != CX_OK || (status = find_tables(cuda, word, position, token_type, &tables, error)) != CX_OK ||
        count == 0)
        return status;
    return CUDA_LAUNCH(cuda, "embed", error, embed_kernel, cuda_blocks(count, threads), threads, 0, tables.words, tables.types, tables.positions, count,
                       static_cast<unsigned>(width), x->values);
}

void cuda_tables_drop(struct cuda_backend *cuda) {
    for (int k = 0; k < CUDA_TABLES; k++) {
        cuda_forget(cudaFree(cuda->tables[k].memory));
        cuda->tables[k] = {};
    }
}
