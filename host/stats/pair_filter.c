/*
 * How often pairs of tokens stand in a corpus, at most: a table of counters of fixed size, in which a pair has two places. Its count is the smaller of the two,
 * and only what is that small grows, so that pairs that share a place count too high, and none too low.
 */
#include <stdlib.h>

#include "contexture/memory.h"
#include "contexture/stats.h"
#include "mix.h"

enum { place_bits = 24, most = UINT16_MAX };

struct cx_pair_filter {
    uint16_t *counters; /* [2^place_bits] */
};

enum cx_status cx_pair_filter_create(struct cx_pair_filter **filter, struct cx_error *error) {
    struct cx_pair_filter *made = NULL;
    *filter = NULL;
    enum cx_status status = cx_allocate(1, sizeof *made, "counting pairs", &made, error);
    if (status == CX_OK)
        status = cx_allocate((size_t)1 << place_bits, sizeof *made->counters, "counting pairs", &made->counters, error);
    if (status == CX_OK)
        *filter = made;
    else
        free(made);
    return status;
}

void cx_pair_filter_destroy(struct cx_pair_filter *filter) {
    if (filter)
        free(filter->counters);
    free(filter);
}

static void places_of(int32_t target, int32_t source, size_t places[2]) {
    const uint64_t mixed = mix(cx_pair_key(target, source) + 0x9e3779b97f4a7c15u), mask = ((uint64_t)1 << place_bits) - 1;
    places[0] = (size_t)(mixed & mask);
    places[1] = (size_t)(mixed >> 32 & mask);
}

void cx_pair_filter_add(struct cx_pair_filter *filter, const struct cx_sequence *sequence) {
    const int32_t *ids = sequence->input_ids;
    size_t places[2];
    for (size_t i = 0; i < sequence->tokens; i++)
        for (size_t j = 0; j < sequence->tokens && !sequence->special[i]; j++) {
            if (i == j || sequence->special[j])
                continue;
            places_of(ids[i], ids[j], places);
            uint16_t *first = &filter->counters[places[0]], *second = &filter->counters[places[1]];
            const uint16_t before = *first < *second ? *first : *second;
            if (before == most)
                continue;
            *first += *first == before;
            *second += second != first && *second == before;
        }
}

static uint64_t pairs_with(const struct cx_pair_filter *filter, uint64_t min_count) {
    uint64_t places = 0;
    for (size_t place = 0; place < (size_t)1 << place_bits; place++)
        places += filter->counters[place] >= min_count;
    return places / 2;
}

/* A pair has two places, so that half of the places that reach a count are as many as there are such pairs, where few share a place. */
uint64_t cx_pair_filter_min_count(const struct cx_pair_filter *filter, uint64_t pairs) {
    uint64_t low = 5, high = most;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (pairs_with(filter, middle) <= pairs)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

bool cx_pair_filter_passes(const struct cx_pair_filter *filter, int32_t target, int32_t source, uint64_t min_count) {
    size_t places[2];
    places_of(target, source, places);
    const uint16_t first = filter->counters[places[0]], second = filter->counters[places[1]], least = first < second ? first : second;
    return least >= min_count || least == most;
}
