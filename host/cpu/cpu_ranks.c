/*
 * Statistics of maps: shares of a row, ranks, and how much the ranks of one map differ from those of another (contexture/rank_sums.h).
 *
 * A sequence is one item of work: its n² keys (contexture/rank_key.h) are sorted by three passes over 11 bits each.
 */
#include "cpu_backend.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "contexture/rank_key.h"
#include "contexture/rank_sums.h"

enum { digit_bits = 11, digits = 1 << digit_bits, key_bits = 32 };

struct keyed {
    uint32_t key, place;
};

enum cx_status cpu_row_shares(struct cx_backend *backend, const struct cx_tensor *map, struct cx_tensor *shares, struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    enum cx_status status = cpu_check_batch(cpu, "row_shares", error);
    if (status != CX_OK)
        return status;
    const struct cpu_argument arguments[] = {CPU_FLOATS(map, cpu->batch->pairs), CPU_FLOATS(shares, cpu->batch->pairs)};
    status = CPU_CHECK_ALL("row_shares", arguments, error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(dynamic) num_threads(cpu->threads)
    for (size_t item = 0; item < cpu->tile_count; item++) {
        const struct cpu_tile *tile = &cpu->tiles[item];
        const size_t n = tile->length, first = cpu->batch->pair_offset[tile->sequence] + (size_t)tile->first * n;
        for (size_t row = 0; row < tile->rows; row++) {
            const float *from = map->values + first + row * n;
            float *to = shares->values + first + row * n;
            double sum = 0;
#pragma omp simd reduction(+ : sum)
            for (size_t source = 0; source < n; source++)
                sum += (double)from[source];
            for (size_t source = 0; source < n; source++)
                to[source] = sum == 0.0 ? 0.0f : (float)((double)from[source] / sum);
        }
    }
    return CX_OK;
}

/* Stable, by one digit. */
static void sort_digit(size_t count, const struct keyed *from, unsigned shift, struct keyed *to, uint32_t starts[digits]) {
    uint32_t next = 0;
    memset(starts, 0, digits * sizeof *starts);
    for (size_t k = 0; k < count; k++)
        starts[from[k].key >> shift & (digits - 1)]++;
    for (size_t digit = 0; digit < digits; digit++) {
        const uint32_t size = starts[digit];
        starts[digit] = next;
        next += size;
    }
    for (size_t k = 0; k < count; k++)
        to[starts[from[k].key >> shift & (digits - 1)]++] = from[k];
}

/* The keys of a sequence's selected pairs; returns how many. The others get rank 0 at once. */
static size_t list_pairs(size_t n, const float *map, const float *keep, bool diagonal, struct keyed *list, double *ranks) {
    size_t count = 0;
    for (size_t target = 0; target < n; target++) {
        for (size_t source = 0; source < n; source++) {
            const size_t place = target * n + source;
            ranks[place] = 0.0;
            if ((keep && (keep[target] == 0.0f || keep[source] == 0.0f)) || (!diagonal && target == source))
                continue;
            list[count++] = (struct keyed){cx_rank_key(map[place]), (uint32_t)place};
        }
    }
    return count;
}

static void rank_sequence(size_t n, const float *map, const float *keep, bool diagonal, unsigned char *memory, double *ranks) {
    uint32_t *starts = (uint32_t *)(void *)memory;
    struct keyed *list = (struct keyed *)(void *)(starts + digits), *other = list + n * n;
    const size_t count = list_pairs(n, map, keep, diagonal, list, ranks);
    for (unsigned shift = 0; shift < key_bits; shift += digit_bits) {
        sort_digit(count, list, shift, other, starts);
        struct keyed *sorted = other;
        other = list;
        list = sorted;
    }
    for (size_t first = 0, end; first < count; first = end) {
        for (end = first + 1; end < count && list[end].key == list[first].key;)
            end++;
        const double rank = list[first].key == CX_RANK_KEY_NAN ? (double)NAN : 0.5 * (double)(first + 1 + end);
        for (size_t k = first; k < end; k++)
            ranks[list[k].place] = rank;
    }
}

static enum cx_status check_length(const struct cx_batch *batch, const char *operation, struct cx_error *error) {
    if (batch->longest <= CX_RANKED_TOKENS_MOST)
        return CX_OK;
    return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: ranks are counted exactly for sequences of up to %d tokens; this one has %zu", operation,
                   CX_RANKED_TOKENS_MOST, batch->longest);
}

enum cx_status cpu_map_ranks(struct cx_backend *backend, const struct cx_tensor *map, const struct cx_tensor *keep, bool diagonal, struct cx_tensor *ranks,
                             struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    enum cx_status status = cpu_check_batch(cpu, "map_ranks", error);
    if (status != CX_OK)
        return status;
    const struct cx_batch *batch = cpu->batch;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(map, batch->pairs),
        CPU_OPTIONAL(keep, batch->tokens),
        CPU_DOUBLES(ranks, batch->pairs),
    };
    status = CPU_CHECK_ALL("map_ranks", arguments, error);
    if (status == CX_OK)
        status = check_length(batch, "map_ranks", error);
    if (status == CX_OK)
        status = cpu_scratch_reserve(cpu, digits * sizeof(uint32_t) + 2 * batch->longest * batch->longest * sizeof(struct keyed), error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(dynamic) num_threads(cpu->threads)
    for (size_t s = 0; s < batch->sequences; s++) {
        const size_t first = batch->token_offset[s], at = batch->pair_offset[s];
        rank_sequence(batch->token_offset[s + 1] - first, map->values + at, keep ? keep->values + first : NULL, diagonal,
                      cpu_scratch(cpu, omp_get_thread_num()), ranks->doubles + at);
    }
    return CX_OK;
}

enum cx_status cpu_rank_change(struct cx_backend *backend, const struct cx_tensor *ranks_before, const struct cx_tensor *ranks_after, struct cx_tensor *change,
                               struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    enum cx_status status = cpu_check_batch(cpu, "rank_change", error);
    if (status != CX_OK)
        return status;
    const struct cx_batch *batch = cpu->batch;
    const struct cpu_argument arguments[] = {
        CPU_DOUBLES(ranks_before, batch->pairs),
        CPU_DOUBLES(ranks_after, batch->pairs),
        CPU_DOUBLES(change, batch->sequences),
    };
    status = CPU_CHECK_ALL("rank_change", arguments, error);
    if (status == CX_OK)
        status = check_length(batch, "rank_change", error);
    if (status == CX_OK)
        status = cpu_scratch_reserve(cpu, batch->longest * sizeof(struct cx_rank_sums), error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(dynamic) num_threads(cpu->threads)
    for (size_t s = 0; s < batch->sequences; s++) {
        const size_t n = batch->token_offset[s + 1] - batch->token_offset[s];
        const double *before = ranks_before->doubles + batch->pair_offset[s], *after = ranks_after->doubles + batch->pair_offset[s];
        struct cx_rank_sums *rows = cpu_scratch(cpu, omp_get_thread_num());
        for (size_t target = 0; target < n; target++) {
            rows[target] = (struct cx_rank_sums){0};
            for (size_t k = target * n; k < (target + 1) * n; k++)
                cx_rank_add(&rows[target], before[k], after[k]);
        }
        change->doubles[s] = cx_rank_change(rows, (unsigned)n);
    }
    return CX_OK;
}
