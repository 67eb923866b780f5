#include <string.h>

#include "contexture/memory.h"
#include "pair_kernel.h"

/* Rows of a tile: fewer where the model is so wide that the product would be large; a multiple of every kernel's block. */
static size_t row_capacity(const struct cx_pair_matrix *matrix) {
    const size_t unit = 16;
    size_t fitting = PAIR_PRODUCT / sizeof(float) / (matrix->padded_width + PAIR_SKEW) / unit * unit;
    return fitting > PAIR_ROWS ? PAIR_ROWS : fitting < unit ? unit : fitting;
}

/* Takes `count` elements of `size` bytes, rounded up to 64 bytes, from *next, which may be NULL if only the bytes are asked for. */
static bool take(size_t count, size_t size, unsigned char **next, size_t *bytes, void *pointer) {
    size_t piece;
    if (!cx_multiply(count, size, &piece) || !cx_add(piece, 63, &piece))
        return false;
    piece -= piece % 64;
    if (*next) {
        memcpy(pointer, next, sizeof *next);
        *next += piece;
    }
    return cx_add(*bytes, piece, bytes);
}

/* Lays the tile's arrays out one after the other. */
static bool lay_out(struct pair_tile *tile, const struct cx_pair_matrix *matrix, size_t heads, size_t longest_source, unsigned char *memory, size_t *bytes) {
    const size_t capacity = row_capacity(matrix), block = matrix->padded_depth < PAIR_DEPTH ? matrix->padded_depth : PAIR_DEPTH;
    size_t stride, coefficients;
    *bytes = 0;
    tile->row_capacity = capacity;
    tile->product_stride = matrix->padded_width + PAIR_SKEW;
    tile->operand_stride = block + PAIR_SKEW * sizeof(float) / matrix->kernel->operand_bytes;
    if (!cx_add(heads, 1, &stride) || !cx_multiply(stride, longest_source, &stride) || !cx_multiply(stride, capacity, &coefficients))
        return false;
    tile->coefficient_stride = stride;
    return take(capacity * tile->product_stride, sizeof(float), &memory, bytes, &tile->product) &&
           take(capacity * tile->operand_stride, matrix->kernel->operand_bytes, &memory, bytes, &tile->operand) &&
           take(coefficients, sizeof(float), &memory, bytes, &tile->coefficients) && take(capacity, sizeof(float), &memory, bytes, &tile->part_means) &&
           take(capacity * PAIR_MAX_LANES, sizeof(float), &memory, bytes, &tile->mean_lanes) &&
           take(capacity * 2 * PAIR_MAX_LANES, sizeof(float), &memory, bytes, &tile->check_lanes) &&
           take(stride, sizeof(float), &memory, bytes, &tile->source_means) &&
           take((stride + 15) * 2, PAIR_MAX_LANES * sizeof(float), &memory, bytes, &tile->edge) &&
           take(capacity, sizeof *tile->segments, &memory, bytes, &tile->segments);
}

bool pair_tile_bytes(const struct cx_pair_matrix *matrix, size_t heads, size_t longest_source, size_t *bytes) {
    struct pair_tile tile = {0};
    return lay_out(&tile, matrix, heads, longest_source, NULL, bytes);
}

void pair_tile_place(struct pair_tile *tile, const struct pair_problem *problem, void *memory) {
    size_t bytes;
    *tile = (struct pair_tile){.problem = problem};
    (void)lay_out(tile, problem->output, problem->heads, problem->longest_source, memory, &bytes);
}

void pair_tile_append(struct pair_tile *tile, const struct pair_segment *segment) {
    struct pair_segment *appended = &tile->segments[tile->segment_count++];
    *appended = *segment;
    appended->first_row = tile->rows;
    tile->rows += segment->targets * segment->sources;
}

/* α^h_ij / σ1_i of the segment's rows, and the residual's coefficients. */
static void fill_coefficients(struct pair_tile *tile, const struct pair_segment *segment) {
    const struct pair_problem *problem = tile->problem;
    const size_t n = segment->sequence_length, heads = problem->heads, stride = tile->coefficient_stride;
    for (size_t t = 0; t < segment->targets; t++) {
        const size_t target = segment->target + t;
        const float factor = problem->inverse_deviation1[target];
        const float *weights = problem->attention + heads * segment->pair_offset + (target - segment->sequence_start) * n;
        for (size_t s = 0; s < segment->sources; s++) {
            const struct pair_source source = pair_source_of(problem, segment, segment->source + s);
            float *row = tile->coefficients + (segment->first_row + s * segment->targets + t) * stride;
            for (size_t token = source.first; token < source.first + source.count; token++)
                for (size_t h = 0; h < heads; h++)
                    *row++ = weights[h * n * n + token - segment->sequence_start] * factor;
            for (size_t token = source.first; token < source.first + source.count; token++)
                *row++ = token == target ? factor : 0.0f;
        }
    }
}

void pair_tile_run(struct pair_tile *tile) {
    const struct cx_pair_matrix *matrix = tile->problem->output;
    const struct pair_kernel *kernel = matrix->kernel;
    if (tile->rows == 0)
        return;
    for (size_t s = 0; s < tile->segment_count; s++)
        fill_coefficients(tile, &tile->segments[s]);
    for (size_t first = 0; first < matrix->padded_depth; first += PAIR_DEPTH) {
        size_t left = matrix->padded_depth - first, depth = left < PAIR_DEPTH ? left : PAIR_DEPTH;
        kernel->build(tile, first, depth);
        if (tile->problem->check)
            kernel->check(tile, first, depth);
        kernel->multiply(tile, depth, (const unsigned char *)matrix->packed + first * matrix->padded_width * kernel->operand_bytes, first == 0);
    }
    kernel->finish(tile);
    tile->rows = tile->segment_count = 0;
}
