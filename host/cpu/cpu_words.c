/*
 * The attention block's maps where a source is a word of several tokens: the parts of its tokens are added up as vectors.
 *
 *     map_iJ = ‖Σ_{j∈J} (Σ_h α^h_ij F_jh + [i = j] residual_j)‖ * inverse_deviation_i
 *
 * A word's F are neighbouring rows, so its vectors for some targets are one product [targets, tokens * H] [tokens * H, d], of which a strip of d at a time
 * exists.
 */
#include "cpu_words.h"

#include <math.h>
#include <omp.h>
#include <string.h>

void cpu_sum_words(const struct cx_batch *batch, const struct cpu_tile *tile, const float *values, float *map) {
    const size_t *first_token = batch->words->first_token, first_word = batch->words->offset[tile->sequence];
    const size_t start = batch->token_offset[tile->sequence], words = cx_batch_sources(batch, tile->sequence);
    for (size_t row = 0; row < tile->rows; row++) {
        const float *from = values + row * tile->length;
        float *to = map + cx_batch_map_offset(batch, tile->sequence) + (tile->first + row) * words;
        for (size_t word = 0; word < words; word++) {
            size_t token = first_token[first_word + word] - start, end = first_token[first_word + word + 1] - start;
            to[word] = from[token];
            while (++token < end)
                to[word] += from[token];
        }
    }
}

struct word_job {
    const struct cpu_backend *cpu;
    const float *attention, *sources;
    const float *residual, *inverse_deviation; /* or NULL */
    float *map;
};

/* One thread's working memory, for words of `longest` tokens. */
struct word_space {
    double *squares;     /* [CPU_TILE_ROWS] of each target's vector */
    float *coefficients; /* [CPU_TILE_ROWS, longest * H] α */
    float *packed;       /* [longest * H, CPU_STRIP] of F */
    float *vectors;      /* [CPU_TILE_ROWS, CPU_STRIP] */
};

static size_t space_bytes(size_t heads, size_t longest) {
    return CPU_TILE_ROWS * sizeof(double) + ((CPU_TILE_ROWS + CPU_STRIP) * longest * heads + (size_t)CPU_TILE_ROWS * CPU_STRIP) * sizeof(float);
}

static struct word_space place_space(void *memory, size_t heads, size_t longest) {
    struct word_space space = {.squares = memory};
    space.packed = (float *)(space.squares + CPU_TILE_ROWS);
    space.coefficients = space.packed + longest * heads * CPU_STRIP;
    space.vectors = space.coefficients + CPU_TILE_ROWS * longest * heads;
    return space;
}

/* α of a tile's targets and a word's tokens, token by token. */
static void gather_coefficients(const struct word_job *job, const struct cpu_tile *tile, size_t token, size_t end, float *coefficients) {
    const size_t heads = job->cpu->base.config.heads, n = tile->length;
    const float *weights = job->attention + heads * job->cpu->batch->pair_offset[tile->sequence] + (size_t)tile->first * n;
    for (size_t row = 0; row < tile->rows; row++)
        for (size_t source = token; source < end; source++)
            for (size_t head = 0; head < heads; head++)
                *coefficients++ = weights[(head * n + row) * n + source];
}

/* Columns `column` .. column + columns of the word's vectors, to the squares. `first` .. end - 1: its tokens, over the batch, as `target`, the tile's first. */
static void add_strip(const struct word_job *job, const struct word_space *space, size_t target, size_t rows, size_t first, size_t end, size_t column,
                      size_t columns) {
    const size_t heads = job->cpu->base.config.heads, width = job->cpu->base.config.hidden_size, inner = (end - first) * heads;
    job->cpu->kernels->pack_columns(columns, inner, job->sources + first * heads * width + column, width, space->packed);
    job->cpu->kernels->product(rows, columns, inner, NULL, 0, space->coefficients, inner, space->packed, space->vectors, CPU_STRIP);
    for (size_t row = 0; row < rows; row++) {
        float *vector = space->vectors + row * CPU_STRIP;
        const size_t token = target + row;
        for (size_t k = 0; job->residual && token >= first && token < end && k < columns; k++)
            vector[k] += job->residual[token * width + column + k];
        for (size_t k = 0; k < columns; k++)
            space->squares[row] += (double)vector[k] * (double)vector[k];
    }
}

/* One item: the targets of a tile, all words of several tokens of its sequence. */
static void norms_of_targets(const struct word_job *job, const struct cpu_tile *tile) {
    const struct cx_batch *batch = job->cpu->batch;
    const size_t *first_token = batch->words->first_token, start = batch->token_offset[tile->sequence], target = start + tile->first;
    const size_t first_word = batch->words->offset[tile->sequence], words = cx_batch_sources(batch, tile->sequence);
    const size_t heads = job->cpu->base.config.heads, width = job->cpu->base.config.hidden_size;
    const struct word_space space = place_space(cpu_scratch(job->cpu, omp_get_thread_num()), heads, batch->words->longest);
    float *map = job->map + cx_batch_map_offset(batch, tile->sequence) + tile->first * words;
    for (size_t word = 0; word < words; word++) {
        const size_t first = first_token[first_word + word], end = first_token[first_word + word + 1];
        if (end - first == 1)
            continue;
        memset(space.squares, 0, CPU_TILE_ROWS * sizeof *space.squares);
        gather_coefficients(job, tile, first - start, end - start, space.coefficients);
        for (size_t column = 0; column < width; column += CPU_STRIP)
            add_strip(job, &space, target, tile->rows, first, end, column, width - column < CPU_STRIP ? width - column : CPU_STRIP);
        for (size_t row = 0; row < tile->rows; row++)
            map[row * words + word] = (float)(sqrt(space.squares[row]) * (job->inverse_deviation ? (double)job->inverse_deviation[target + row] : 1.0));
    }
}

enum cx_status cpu_attention_word_norms(struct cx_backend *backend, const struct cx_tensor *attention, const struct cx_tensor *sources,
                                        const struct cx_tensor *residual, const struct cx_tensor *inverse_deviation, struct cx_tensor *map,
                                        struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    const size_t heads = cpu->base.config.heads, width = cpu->base.config.hidden_size;
    enum cx_status status = cpu_check_batch(cpu, "attention_word_norms", error);
    if (status != CX_OK)
        return status;
    const struct cx_batch *batch = cpu->batch;
    if (!batch->words)
        return cx_fail(error, CX_ERROR_INTERNAL, "attention_word_norms: the batch has no words");
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(attention, heads * batch->pairs),    CPU_FLOATS(sources, batch->tokens * heads * width), CPU_OPTIONAL(residual, batch->tokens * width),
        CPU_OPTIONAL(inverse_deviation, batch->tokens), CPU_FLOATS(map, cx_batch_map_elements(batch)),
    };
    status = CPU_CHECK_ALL("attention_word_norms", arguments, error);
    if (status == CX_OK)
        status = cpu_scratch_reserve(cpu, space_bytes(heads, batch->words->longest), error);
    if (status != CX_OK)
        return status;
    const struct word_job job = {
        .cpu = cpu,
        .attention = attention->values,
        .sources = sources->values,
        .residual = residual ? residual->values : NULL,
        .inverse_deviation = inverse_deviation ? inverse_deviation->values : NULL,
        .map = map->values,
    };
#pragma omp parallel for schedule(dynamic) num_threads(cpu->threads)
    for (size_t item = 0; item < cpu->tile_count; item++)
        norms_of_targets(&job, &cpu->tiles[item]);
    return CX_OK;
}
