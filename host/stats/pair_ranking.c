/* Sums of all pairs of all parts, a range of keys at a time, and the largest means of those that are complete. */
#include <stdlib.h>

#include "contexture/memory.h"
#include "rows.h"
#include "top_pairs.h"

struct cx_pair_ranking {
    uint64_t min_count;
    uint64_t low, high; /* UINT64_MAX, which is no key: no bound */
    size_t most;        /* pairs in memory */
    struct slots pairs; /* sums of a layer: of the components' changes, then of their squares */
    struct top_pairs top;
};

enum cx_status cx_pair_ranking_create(const struct cx_stats_options *options, size_t bytes, struct cx_pair_ranking **ranking, struct cx_error *error) {
    struct cx_pair_ranking *made = NULL;
    *ranking = NULL;
    enum cx_status status = cx_allocate(1, sizeof *made, "the largest pairs", &made, error);
    if (status != CX_OK)
        return status;
    slots_begin(&made->pairs, options->layer_count, (size_t)2 * SINGLE_COMPONENTS);
    made->min_count = options->min_count;
    made->high = UINT64_MAX;
    made->most = (bytes > 0 ? bytes : CX_PAIR_BYTES) / (made->pairs.layers * made->pairs.width * sizeof(double));
    made->most = made->most > 2 ? made->most : 2;
    status = top_pairs_begin(&made->top, options->layer_count, (size_t)options->top_pairs, error);
    if (status == CX_OK)
        *ranking = made;
    else
        cx_pair_ranking_destroy(made);
    return status;
}

void cx_pair_ranking_destroy(struct cx_pair_ranking *ranking) {
    if (!ranking)
        return;
    slots_free(&ranking->pairs);
    top_pairs_free(&ranking->top);
    free(ranking);
}

uint64_t cx_pair_key(int32_t target, int32_t source) {
    return (uint64_t)(uint32_t)target << 32 | (uint32_t)source;
}

void cx_pair_ranking_wants(const struct cx_pair_ranking *ranking, uint64_t *low, uint64_t *high) {
    *low = ranking->low;
    *high = ranking->high;
}

/* Gives up the larger half of the keys. What stays is complete so far, for all keys that are smaller than one of it were taken. */
static enum cx_status lower_the_end(struct cx_pair_ranking *ranking, struct cx_error *error) {
    size_t *order = NULL;
    enum cx_status status = slots_order(&ranking->pairs, &order, error);
    if (status == CX_OK) {
        ranking->high = ranking->pairs.keys[order[ranking->pairs.count / 2]];
        slots_keep_below(&ranking->pairs, ranking->high);
    }
    free(order);
    return status;
}

enum cx_status cx_pair_ranking_add(struct cx_pair_ranking *ranking, const struct cx_stats_table *pairs, struct cx_error *error) {
    const int32_t *target = column_values(pairs, "target"), *source = column_values(pairs, "source");
    const int64_t *counts = column_values(pairs, "count");
    const double *columns[] = {column_values(pairs, "sum"), column_values(pairs, "sum_squares")};
    const size_t layers = ranking->pairs.layers;
    enum cx_status status = CX_OK;
    for (size_t row = 0; row < pairs->rows && status == CX_OK; row++) {
        const uint64_t key = cx_pair_key(target[row], source[row]);
        size_t slot;
        if (key < ranking->low || key >= ranking->high)
            continue;
        status = slots_find(&ranking->pairs, key, &slot, error);
        if (status != CX_OK)
            break;
        ranking->pairs.counts[slot] = (int64_t)((uint64_t)ranking->pairs.counts[slot] + (uint64_t)counts[row]);
        for (size_t k = 0; k < layers * SINGLE_COMPONENTS; k++) {
            double *sums = ranking->pairs.sums + slots_place(&ranking->pairs, slot, k / SINGLE_COMPONENTS) + k % SINGLE_COMPONENTS;
            sums[0] += columns[0][row * layers * SINGLE_COMPONENTS + k];
            sums[SINGLE_COMPONENTS] += columns[1][row * layers * SINGLE_COMPONENTS + k];
        }
        if (ranking->pairs.count > ranking->most)
            status = lower_the_end(ranking, error);
    }
    return status;
}

enum cx_status cx_pair_ranking_next(struct cx_pair_ranking *ranking, bool *more, struct cx_error *error) {
    const struct slots *pairs = &ranking->pairs;
    enum cx_status status = CX_OK;
    for (size_t slot = 0; slot < pairs->count && status == CX_OK; slot++)
        if ((uint64_t)pairs->counts[slot] >= ranking->min_count)
            status = top_pairs_add(&ranking->top, pairs->keys[slot], pairs->counts[slot], pairs->sums + slots_place(pairs, slot, 0), error);
    slots_clear(&ranking->pairs);
    *more = ranking->high != UINT64_MAX;
    ranking->low = ranking->high;
    ranking->high = UINT64_MAX;
    return status;
}

enum cx_status cx_pair_ranking_end(struct cx_pair_ranking *ranking, struct cx_stats_set *merged, struct cx_error *error) {
    return top_pairs_to_table(&ranking->top, merged->options.layers, &merged->tables[TABLE_TOP], error);
}
