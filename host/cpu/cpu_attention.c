/* Attention weights and their use, tile by tile of target tokens: α = softmax(q k^T / sqrt(e)), context = α v. */
#include "cpu_backend.h"

#include <math.h>
#include <omp.h>
#include <string.h>

static void attend_tile(const struct cpu_backend *cpu, const struct cpu_tile *tile, size_t head, const float *query, const float *key, const float *value,
                        float *attention, float *context) {
    const struct cx_model_config *config = &cpu->base.config;
    size_t width = config->hidden_size, size = config->head_size, n = tile->length, sources = cpu_tile_sources(cpu, tile);
    size_t first_token = cpu->batch->token_offset[tile->sequence], column = head * size;
    size_t target = (first_token + tile->first) * width + column, source = first_token * width + column;
    float *weights = attention + config->heads * cpu->batch->pair_offset[tile->sequence] + (head * n + tile->first) * n;
    float *packed = cpu_scratch(cpu, omp_get_thread_num());
    const float scale = (float)(1.0 / sqrt((double)size));
    for (size_t strip = 0; strip < sources; strip += CPU_STRIP) {
        size_t columns = sources - strip < CPU_STRIP ? sources - strip : CPU_STRIP;
        cpu->kernels->pack_rows(columns, size, key + source + strip * width, width, packed);
        cpu->kernels->product(tile->rows, columns, size, NULL, 0, query + target, width, packed, weights + strip, n);
    }
    for (size_t row = 0; row < tile->rows; row++) {
        size_t attended = config->causal ? tile->first + row + 1 : n;
        cpu->kernels->softmax(attended, scale, weights + row * n);
        if (attended < n)
            memset(weights + row * n + attended, 0, (n - attended) * sizeof *weights);
    }
    for (size_t strip = 0; strip < size; strip += CPU_STRIP) {
        size_t columns = size - strip < CPU_STRIP ? size - strip : CPU_STRIP;
        cpu->kernels->pack_columns(columns, sources, value + source + strip, width, packed);
        cpu->kernels->product(tile->rows, columns, sources, NULL, 0, weights, n, packed, context + target + strip, width);
    }
}

enum cx_status cpu_attend(struct cx_backend *backend, const struct cx_tensor *query, const struct cx_tensor *key, const struct cx_tensor *value,
                          struct cx_tensor *attention, struct cx_tensor *context, struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t heads = cpu->base.config.heads;
    enum cx_status status = cpu_check_batch(cpu, "attend", error);
    if (status != CX_OK)
        return status;
    size_t count = cpu->batch->tokens * cpu->base.config.hidden_size;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(query, count),   CPU_FLOATS(key, count), CPU_FLOATS(value, count), CPU_FLOATS(attention, heads * cpu->batch->pairs),
        CPU_FLOATS(context, count),
    };
    status = CPU_CHECK_ALL("attend", arguments, error);
    if (status == CX_OK)
        status = cpu_scratch_reserve(cpu, (cpu->base.config.head_size + cpu->batch->longest) * CPU_STRIP * sizeof(float), error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(dynamic) num_threads(cpu->threads)
    for (size_t item = 0; item < cpu->tile_count * heads; item++)
        attend_tile(cpu, &cpu->tiles[item / heads], item % heads, query->values, key->values, value->values, attention->values, context->values);
    return CX_OK;
}

enum cx_status cpu_attention_mean(struct cx_backend *backend, const struct cx_tensor *attention, struct cx_tensor *map, struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t heads = cpu->base.config.heads;
    enum cx_status status = cpu_check_batch(cpu, "attention_mean", error);
    if (status != CX_OK)
        return status;
    const struct cx_batch *batch = cpu->batch;
    const struct cpu_argument arguments[] = {CPU_FLOATS(attention, heads * batch->pairs), CPU_FLOATS(map, batch->pairs)};
    status = CPU_CHECK_ALL("attention_mean", arguments, error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(dynamic) num_threads(cpu->threads)
    for (size_t item = 0; item < cpu->tile_count; item++) {
        const struct cpu_tile *tile = &cpu->tiles[item];
        size_t count = (size_t)tile->rows * tile->length, head_stride = (size_t)tile->length * tile->length, at = (size_t)tile->first * tile->length;
        const float *weights = attention->values + heads * batch->pair_offset[tile->sequence] + at;
        float *mean = map->values + batch->pair_offset[tile->sequence] + at;
        memcpy(mean, weights, count * sizeof *mean);
        for (size_t head = 1; head < heads; head++) {
#pragma omp simd
            for (size_t k = 0; k < count; k++)
                mean[k] += weights[head * head_stride + k];
        }
        for (size_t k = 0; k < count; k++)
            mean[k] /= (float)heads;
    }
    return CX_OK;
}
