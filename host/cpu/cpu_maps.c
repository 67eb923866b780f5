/* The attention block's maps from the Gram matrices of its sources (identity 1), and the sums of its parts. */
#include "cpu_backend.h"
#include "cpu_words.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { column_block = 4 * CPU_STRIP };

/* The upper triangles of `sources` neighbouring Gram matrices side by side, entries off the diagonal doubled; see cpu_kernels.h. */
static void interleave_gram(size_t heads, size_t sources, const double *gram, double *gram_lanes) {
    size_t rows = heads + 1;
    for (size_t h = 0; h < heads; h++) {
        for (size_t k = h; k < heads; k++) {
            for (size_t lane = 0; lane < CPU_SOURCE_LANES; lane++) {
                double entry = lane < sources ? gram[(lane * rows + h) * rows + k] : 0.0;
                *gram_lanes++ = h == k ? entry : 2.0 * entry;
            }
        }
    }
}

/* c^T G c with c = [α^1 … α^H, 1], for a source's part of its own output. `attention` points to α^1_jj. */
static double own_form(size_t heads, const float *attention, size_t head_stride, const double *gram) {
    size_t rows = heads + 1;
    double form = gram[heads * rows + heads];
    for (size_t h = 0; h < heads; h++) {
        double sum = 2.0 * gram[h * rows + heads];
        for (size_t k = 0; k < heads; k++)
            sum += gram[h * rows + k] * (double)attention[k * head_stride];
        form += sum * (double)attention[h * head_stride];
    }
    return form < 0.0 ? 0.0 : form;
}

struct norms_job {
    const struct cpu_backend *cpu;
    const float *attention;
    const double *gram;
    bool with_residual;
    const float *inverse_deviation; /* or NULL */
    float *map;
};

/* Neighbouring sources that are tokens by themselves: tokens first .. end - 1 of a sequence, the first one's parts in column `column` of its map. All targets
   of the sequence; in a causal model those from the first of a group of sources on. */
static void norms_of_run(const struct norms_job *job, const struct cpu_tile *tile, size_t first, size_t end, size_t column) {
    const struct cx_batch *batch = job->cpu->batch;
    const bool causal = job->cpu->base.config.causal;
    size_t heads = job->cpu->base.config.heads, rows = heads + 1, n = tile->length, first_token = batch->token_offset[tile->sequence];
    size_t columns = cx_batch_sources(batch, tile->sequence);
    const float *attention = job->attention + heads * batch->pair_offset[tile->sequence];
    const float *factor = job->inverse_deviation ? job->inverse_deviation + first_token : NULL;
    float *map = job->map + cx_batch_map_offset(batch, tile->sequence) + column;
    double *workspace = cpu_scratch(job->cpu, omp_get_thread_num()), *gram_lanes = workspace + CPU_QUADRATIC_WORKSPACE(heads);
    for (size_t source = first; source < end; source += CPU_SOURCE_LANES) {
        size_t sources = end - source < CPU_SOURCE_LANES ? end - source : CPU_SOURCE_LANES;
        size_t target = causal ? source : 0;
        const double *gram = job->gram + (first_token + source) * rows * rows;
        interleave_gram(heads, sources, gram, gram_lanes);
        job->cpu->kernels->quadratic_forms(heads, n - target, sources, attention + target * n + source, n * n, n, gram_lanes, factor ? factor + target : NULL,
                                           workspace, map + target * columns + (source - first), columns);
        for (size_t before = 0; before < target; before++)
            memset(map + before * columns + (source - first), 0, sources * sizeof *map);
        for (size_t token = source; job->with_residual && token < source + sources; token++) {
            double norm = sqrt(own_form(heads, attention + token * n + token, n * n, gram + (token - source) * rows * rows));
            map[token * columns + (token - first)] = (float)(norm * (factor ? (double)factor[token] : 1.0));
        }
    }
}

/* One item: the sources that begin in one tile. */
static void norms_of_sources(const struct norms_job *job, const struct cpu_tile *tile) {
    const struct cx_batch_words *words = job->cpu->batch->words;
    const size_t end = (size_t)tile->first + tile->rows, first_token = job->cpu->batch->token_offset[tile->sequence];
    if (!words) {
        norms_of_run(job, tile, tile->first, end, tile->first);
        return;
    }
    size_t word = cx_first_at_least(words->first_token, words->count, first_token + tile->first);
    while (words->first_token[word] < first_token + end) {
        const size_t begin = word, first = words->first_token[word] - first_token;
        while (words->first_token[word] < first_token + end && words->first_token[word + 1] - words->first_token[word] == 1)
            word++;
        if (word > begin)
            norms_of_run(job, tile, first, first + (word - begin), begin - words->offset[tile->sequence]);
        else
            word++;
    }
}

enum cx_status cpu_attention_norms(struct cx_backend *backend, const struct cx_tensor *attention, const struct cx_tensor *gram, bool with_residual,
                                   const struct cx_tensor *inverse_deviation, struct cx_tensor *map, struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t heads = cpu->base.config.heads, triangle = heads * (heads + 1) / 2;
    enum cx_status status = cpu_check_batch(cpu, "attention_norms", error);
    if (status != CX_OK)
        return status;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(attention, heads * cpu->batch->pairs),
        CPU_DOUBLES(gram, cpu->batch->tokens * (heads + 1) * (heads + 1)),
        CPU_OPTIONAL(inverse_deviation, cpu->batch->tokens),
        CPU_FLOATS(map, cx_batch_map_elements(cpu->batch)),
    };
    status = CPU_CHECK_ALL("attention_norms", arguments, error);
    if (status == CX_OK)
        status = cpu_scratch_reserve(cpu, (CPU_QUADRATIC_WORKSPACE(heads) + triangle * CPU_SOURCE_LANES) * sizeof(double), error);
    if (status != CX_OK)
        return status;
    struct norms_job job = {
        .cpu = cpu,
        .attention = attention->values,
        .gram = gram->doubles,
        .with_residual = with_residual,
        .inverse_deviation = inverse_deviation ? inverse_deviation->values : NULL,
        .map = map->values,
    };
#pragma omp parallel for schedule(dynamic) num_threads(cpu->threads)
    for (size_t item = 0; item < cpu->tile_count; item++)
        norms_of_sources(&job, &cpu->tiles[item]);
    return CX_OK;
}

enum cx_status cpu_head_norms(struct cx_backend *backend, const struct cx_tensor *attention, const struct cx_tensor *gram, struct cx_tensor *map,
                              struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t heads = cpu->base.config.heads, rows = heads + 1;
    enum cx_status status = cpu_check_batch(cpu, "head_norms", error);
    if (status != CX_OK)
        return status;
    const struct cx_batch *batch = cpu->batch;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(attention, heads * batch->pairs),
        CPU_DOUBLES(gram, batch->tokens * rows * rows),
        CPU_FLOATS(map, heads * batch->pairs),
    };
    status = CPU_CHECK_ALL("head_norms", arguments, error);
    if (status == CX_OK)
        status = cpu_scratch_reserve(cpu, batch->longest * sizeof(float), error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(dynamic) num_threads(cpu->threads)
    for (size_t item = 0; item < cpu->tile_count * heads; item++) {
        const struct cpu_tile *tile = &cpu->tiles[item / heads];
        size_t head = item % heads, n = tile->length, at = heads * batch->pair_offset[tile->sequence] + (head * n + tile->first) * n;
        const double *entry = gram->doubles + (batch->token_offset[tile->sequence] * rows + head) * rows + head;
        float *norms = cpu_scratch(cpu, omp_get_thread_num());
        for (size_t source = 0; source < n; source++)
            norms[source] = (float)sqrt(entry[source * rows * rows]);
        for (size_t row = 0; row < tile->rows; row++) {
            const float *weights = attention->values + at + row * n;
            float *target = map->values + at + row * n;
#pragma omp simd
            for (size_t source = 0; source < n; source++)
                target[source] = weights[source] * norms[source];
        }
    }
    return CX_OK;
}

/* Columns `column` .. column + columns of own and sum, for the targets of one tile: a few strips, so that more of a source is read at once. */
static void parts_of_tile(const struct cpu_backend *cpu, const struct cpu_tile *tile, size_t column, size_t columns, const float *attention,
                          const float *sources, float *own, float *sum) {
    size_t heads = cpu->base.config.heads, width = cpu->base.config.hidden_size, n = tile->length, inner = cpu_tile_sources(cpu, tile);
    size_t first_token = cpu->batch->token_offset[tile->sequence], target = first_token + tile->first;
    const float *weights = attention + heads * cpu->batch->pair_offset[tile->sequence] + (size_t)tile->first * n;
    float *packed = cpu_scratch(cpu, omp_get_thread_num());
    for (size_t head = 0; head < heads; head++) {
        const float *source = sources + (first_token * heads + head) * width + column;
        for (size_t strip = 0; strip < columns; strip += CPU_STRIP) {
            size_t strip_columns = columns - strip < CPU_STRIP ? columns - strip : CPU_STRIP;
            float *sums = sum + target * width + column + strip;
            cpu->kernels->pack_columns(strip_columns, inner, source + strip, heads * width, packed);
            cpu->kernels->product(tile->rows, strip_columns, inner, head > 0 ? sums : NULL, width, weights + head * n * n, n, packed, sums, width);
        }
    }
    for (size_t row = 0; row < tile->rows; row++) {
        const float *source = sources + (target + row) * heads * width + column;
        float *out = own + (target + row) * width + column;
        memset(out, 0, columns * sizeof *out);
        for (size_t head = 0; head < heads; head++) {
            float weight = weights[head * n * n + row * n + tile->first + row];
#pragma omp simd
            for (size_t k = 0; k < columns; k++)
                out[k] += weight * source[head * width + k];
        }
    }
}

enum cx_status cpu_attention_parts(struct cx_backend *backend, const struct cx_tensor *attention, const struct cx_tensor *sources, struct cx_tensor *own,
                                   struct cx_tensor *sum, struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t heads = cpu->base.config.heads, width = cpu->base.config.hidden_size;
    enum cx_status status = cpu_check_batch(cpu, "attention_parts", error);
    if (status != CX_OK)
        return status;
    size_t tokens = cpu->batch->tokens;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(attention, heads * cpu->batch->pairs),
        CPU_FLOATS(sources, tokens * heads * width),
        CPU_FLOATS(own, tokens * width),
        CPU_FLOATS(sum, tokens * width),
    };
    status = CPU_CHECK_ALL("attention_parts", arguments, error);
    if (status == CX_OK)
        status = cpu_scratch_reserve(cpu, cpu->batch->longest * CPU_STRIP * sizeof(float), error);
    if (status != CX_OK)
        return status;
    size_t blocks = (width + column_block - 1) / column_block;
#pragma omp parallel for schedule(dynamic) num_threads(cpu->threads)
    for (size_t item = 0; item < cpu->tile_count * blocks; item++) {
        size_t column = item % blocks * column_block, columns = width - column < column_block ? width - column : column_block;
        parts_of_tile(cpu, &cpu->tiles[item / blocks], column, columns, attention->values, sources->values, own->values, sum->values);
    }
    return CX_OK;
}
