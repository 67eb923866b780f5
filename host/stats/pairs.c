/* Pair amplification: the change that each component makes of the maps, by the tokens of target and source. */
#include <stdlib.h>

#include "accumulator.h"
#include "contexture/memory.h"
#include "rows.h"

/* A slot's sums for a layer: of the five components' changes, then of their squares. */
enum { sums_width = 2 * SINGLE_COMPONENTS };

/* Rows that the sink is given at once. */
enum { piece_rows = 2048 };

struct pair_state {
    struct cx_stats_options options;
    struct slots pairs; /* key: target, source */
    bool spilled;       /* the sink has rows of this shard */
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
            status = slots_find(&self->pairs, cx_pair_key(ids[i], ids[j]), &slot, error);
            if (status != CX_OK)
                break;
            view->pair_slot[pair] = (int32_t)slot;
            self->pairs.counts[slot]++;
        }
    return status;
}

static bool full(const void *state) {
    const struct pair_state *self = state;
    const size_t bytes = self->options.pair_bytes > 0 ? self->options.pair_bytes : CX_PAIR_BYTES;
    return self->options.pair_sink.write && self->pairs.count >= bytes / (self->pairs.layers * sums_width * sizeof(double));
}

/* Gives the pairs so far to the sink, as a run of rising keys, and begins anew. */
static enum cx_status spill(void *state, struct cx_error *error) {
    struct pair_state *self = state;
    const struct cx_pair_sink *sink = &self->options.pair_sink;
    struct cx_stats_options options = self->options;
    struct cx_stats_set piece = {0};
    size_t *order = NULL;
    options.analyses = CX_ANALYSIS_BIT(CX_ANALYSIS_PAIRS);
    enum cx_status status = cx_stats_set_create(&options, CX_STATS_IN_PART, &piece, error);
    if (status == CX_OK)
        status = slots_order(&self->pairs, &order, error);
    for (size_t first = 0, count; first < self->pairs.count && status == CX_OK; first += count) {
        count = self->pairs.count - first < piece_rows ? self->pairs.count - first : piece_rows;
        status = slots_to_rows(&self->pairs, order + first, count, &piece.tables[TABLE_PAIR], error);
        if (status == CX_OK)
            status = sink->write(sink->context, &piece.tables[TABLE_PAIR], error);
    }
    slots_clear(&self->pairs);
    self->spilled = true;
    free(order);
    cx_stats_set_free(&piece);
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
    struct pair_state *self = state;
    (void)label, (void)context;
    if (self->spilled) {
        set->tables[TABLE_PAIR].present = false; /* it is where the sink put it */
        return spill(self, error);
    }
    return slots_to_table(&self->pairs, &set->tables[TABLE_PAIR], error);
}

static void clear(void *state) {
    struct pair_state *self = state;
    slots_clear(&self->pairs);
    self->spilled = false;
}

static void destroy(void *state) {
    struct pair_state *self = state;
    slots_free(&self->pairs);
    free(self);
}

const struct accumulator_kind pair_accumulator = {.analysis = CX_ANALYSIS_PAIRS,
                                                  .create = create,
                                                  .prepare = prepare,
                                                  .add = add,
                                                  .full = full,
                                                  .spill = spill,
                                                  .take = take,
                                                  .clear = clear,
                                                  .destroy = destroy};
