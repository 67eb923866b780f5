/* Pair amplification: the change that each component makes of the maps, by the tokens of target and source. */
#include <stdlib.h>

#include "accumulator.h"
#include "contexture/memory.h"
#include "rows.h"

/* A slot's sums for a layer: of the five components' changes, then of their squares. */
enum { sums_width = 2 * SINGLE_COMPONENTS };

/* Bytes of a shard's table. What the filter lets through is little; where it is not, the option is to raise the bound, not to fill the memory. */
static const size_t largest_table = (size_t)1 << 29;

struct pair_state {
    struct cx_stats_options options;
    struct slots pairs; /* key: target, source */
};

static enum cx_status create(const struct cx_stats_options *options, void **state, struct cx_error *error) {
    struct pair_state *made = NULL;
    enum cx_status status = cx_allocate(1, sizeof *made, "statistics", &made, error);
    *state = made;
    if (status != CX_OK)
        return status;
    made->options = *options;
    slots_begin(&made->pairs, options->layer_count, sums_width);
    return CX_OK;
}

static enum cx_status prepare(void *state, struct view *view, struct cx_error *error) {
    struct pair_state *self = state;
    const struct cx_pair_filter *filter = self->options.pair_filter;
    const int32_t *ids = view->sequence->input_ids;
    const uint8_t *special = view->sequence->special;
    enum cx_status status = CX_OK;
    for (size_t i = 0, pair = 0; i < view->n; i++)
        for (size_t j = 0; j < view->n && status == CX_OK; j++, pair++) {
            size_t slot;
            view->pair_slot[pair] = no_slot;
            if (i == j || special[i] || special[j] || (filter && !cx_pair_filter_passes(filter, ids[i], ids[j], self->options.min_count)))
                continue;
            status = slots_find(&self->pairs, (uint64_t)(uint32_t)ids[i] << 32 | (uint32_t)ids[j], &slot, error);
            if (status != CX_OK)
                break;
            view->pair_slot[pair] = (int32_t)slot;
            self->pairs.counts[slot]++;
        }
    if (status == CX_OK && self->pairs.count * self->pairs.layers * sums_width > largest_table / sizeof(double))
        return cx_fail(error, CX_ERROR_UNSUPPORTED,
                       "pair_amplification: more than %zu pairs of tokens of one shard may stand in the corpus %llu times; give a larger --min-count, or a "
                       "smaller --shard-size in another folder",
                       self->pairs.count - 1, (unsigned long long)self->options.min_count);
    return status;
}

static void add(void *state, size_t layer, const struct view *view, struct workspace *workspace) {
    struct pair_state *self = state;
    double *change = workspace->changes[0];
    changes_prepare(workspace, view, layer, self->options.raw_maps);
    for (enum component component = 0; component < SINGLE_COMPONENTS; component++) {
        changes_of(workspace, view, layer, component, change);
        for (size_t pair = 0; pair < view->pairs; pair++) {
            if (view->pair_slot[pair] == no_slot)
                continue;
            double *sums = self->pairs.sums + slots_place(&self->pairs, (size_t)view->pair_slot[pair], layer);
            sums[component] += change[pair];
            sums[SINGLE_COMPONENTS + component] += change[pair] * change[pair];
        }
    }
}

static enum cx_status take(void *state, struct cx_stats_set *set, int32_t (*label)(const void *context, uint32_t id), const void *context,
                           struct cx_error *error) {
    const struct pair_state *self = state;
    (void)label, (void)context;
    return slots_to_table(&self->pairs, &set->tables[TABLE_PAIR], error);
}

static void clear(void *state) {
    struct pair_state *self = state;
    slots_clear(&self->pairs);
}

static void destroy(void *state) {
    struct pair_state *self = state;
    slots_free(&self->pairs);
    free(self);
}

const struct accumulator_kind pair_accumulator = {
    .analysis = CX_ANALYSIS_PAIRS, .create = create, .prepare = prepare, .add = add, .take = take, .clear = clear, .destroy = destroy};
