#include "ranks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "contexture/rank_key.h"

enum { digit_bits = 11, digits = 3, digit_values = 1 << digit_bits, lanes = 8 };

enum cx_status rank_space_reserve(struct rank_space *space, size_t count, struct cx_error *error) {
    if (count <= space->capacity)
        return CX_OK;
    rank_space_free(space);
    if (count > INT32_MAX / 2)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "the statistics rank a map's elements: %zu are too many, give shorter sequences (--max-tokens)", count);
    enum cx_status status = cx_allocate(count, sizeof *space->keys, "ranks", &space->keys, error);
    if (status == CX_OK)
        status = cx_allocate(count, sizeof *space->spare, "ranks", &space->spare, error);
    if (status == CX_OK)
        space->capacity = count;
    else
        rank_space_free(space);
    return status;
}

void rank_space_free(struct rank_space *space) {
    free(space->keys);
    free(space->spare);
    *space = (struct rank_space){0};
}

/* Radix sort by the upper 32 bits: linear, and stable. */
static void sort_keys(struct rank_space *space, size_t count) {
    uint32_t places[digits][digit_values] = {{0}};
    uint64_t *from = space->keys, *to = space->spare;
    for (size_t k = 0; k < count; k++)
        for (unsigned digit = 0; digit < digits; digit++)
            places[digit][from[k] >> (32 + digit * digit_bits) & (digit_values - 1)]++;
    for (unsigned digit = 0; digit < digits; digit++) {
        const unsigned shift = 32 + digit * digit_bits;
        uint32_t *place = places[digit], sum = 0;
        for (size_t value = 0; value < digit_values; value++) {
            const uint32_t number = place[value];
            place[value] = sum;
            sum += number;
        }
        for (size_t k = 0; k < count; k++)
            to[place[from[k] >> shift & (digit_values - 1)]++] = from[k];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    space->keys = from;
    space->spare = to;
}

void rank_sort_floats(struct rank_space *space, const float *values, size_t count) {
    for (size_t k = 0; k < count; k++)
        space->keys[k] = (uint64_t)cx_rank_key(values[k]) << 32 | k;
    sort_keys(space, count);
}

/*
 * By the upper half of the double's bits first, turned into a key as cx_rank_key() does, which tells all values apart but those that agree to 1 in a million;
 * these few are sorted by insertion. Then the halves give way to the number of the value, so that equal keys mean equal values.
 */
void rank_sort_doubles(struct rank_space *space, const double *values, size_t count) {
    for (size_t k = 0; k < count; k++) {
        const double value = values[k] + 0.0;
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        bits = bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
        space->keys[k] = (bits & ~(uint64_t)UINT32_MAX) | k;
    }
    sort_keys(space, count);
    uint64_t *keys = space->keys;
    for (size_t k = 1; k < count; k++) {
        const uint64_t key = keys[k];
        const double value = values[(uint32_t)key];
        size_t place = k;
        for (; place > 0 && keys[place - 1] >> 32 == key >> 32 && values[(uint32_t)keys[place - 1]] > value; place--)
            keys[place] = keys[place - 1];
        keys[place] = key;
    }
    double last = 0;
    uint64_t number = 0;
    for (size_t k = 0; k < count; k++) {
        const double value = values[(uint32_t)keys[k]];
        number += k > 0 && value != last;
        last = value;
        keys[k] = number << 32 | (uint32_t)keys[k];
    }
}

void rank_assign(const struct rank_space *space, size_t count, const uint8_t *taken, int32_t *ranks) {
    const uint64_t *keys = space->keys;
    size_t total = count, before = 0;
    if (taken) {
        total = 0;
        for (size_t k = 0; k < count; k++)
            total += taken[k] != 0;
    }
    for (size_t begin = 0, end; begin < count; begin = end) {
        size_t tied = 0;
        for (end = begin; end < count && keys[end] >> 32 == keys[begin] >> 32; end++)
            tied += !taken || taken[(uint32_t)keys[end]];
        /* The places before … before + tied - 1 have twice the mean 2 before + tied - 1; all places have total - 1. */
        const int32_t rank = (int32_t)(2 * (int64_t)before + (int64_t)tied - (int64_t)total);
        for (size_t k = begin; k < end; k++) {
            const uint32_t place = (uint32_t)keys[k];
            ranks[place] = !taken || taken[place] ? rank : 0;
        }
        before += tied;
    }
}

double sum_of_rank_products(const int32_t *a, const int32_t *b, size_t count) {
    double sums[lanes] = {0}, sum = 0;
    size_t k = 0;
    for (; k + lanes <= count; k += lanes)
        for (size_t lane = 0; lane < lanes; lane++)
            sums[lane] += (double)a[k + lane] * (double)b[k + lane];
    for (size_t lane = 0; k < count; k++, lane++)
        sums[lane] += (double)a[k] * (double)b[k];
    for (size_t lane = 0; lane < lanes; lane++)
        sum += sums[lane];
    return sum;
}

enum cx_status spearman_correlation(const double *x, const double *y, size_t count, double *correlation, struct cx_error *error) {
    struct rank_space space = {0};
    int32_t *first = NULL, *second = NULL;
    *correlation = NAN;
    enum cx_status status = rank_space_reserve(&space, count, error);
    if (status == CX_OK)
        status = cx_allocate(count, sizeof *first, "ranks", &first, error);
    if (status == CX_OK)
        status = cx_allocate(count, sizeof *second, "ranks", &second, error);
    if (status == CX_OK) {
        rank_sort_doubles(&space, x, count);
        rank_assign(&space, count, NULL, first);
        rank_sort_doubles(&space, y, count);
        rank_assign(&space, count, NULL, second);
        const double squares = sum_of_rank_products(first, first, count), others = sum_of_rank_products(second, second, count);
        if (squares > 0 && others > 0)
            *correlation = sum_of_rank_products(first, second, count) / sqrt(squares * others);
    }
    free(second);
    free(first);
    rank_space_free(&space);
    return status;
}
