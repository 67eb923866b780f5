/* The change that each component makes of the maps, by category of the pair of places, by category and distance, and by its parts of speech. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "accumulator.h"
#include "categories.h"
#include "contexture/memory.h"

static const enum category controlled[controlled_count] = {CATEGORY_SAME_WORD, CATEGORY_OTHER_WORD, CATEGORY_SAME_ENTITY};

int category_cell(size_t category, size_t group) {
    if (group == ANY_DISTANCE)
        return (int)category;
    for (size_t k = 0; k < controlled_count; k++)
        if (controlled[k] == category)
            return (int)(CATEGORIES + k * DISTANCES + group);
    return no_cell;
}

static void destroy(void *state) {
    struct category_state *self = state;
    free(self->sums);
    free(self->replicates);
    free(self->replicate_counts);
    slots_free(&self->pos);
    free(self);
}

static enum cx_status create(const struct cx_stats_options *options, void **state, struct cx_error *error) {
    struct category_state *self = NULL;
    size_t replicates = 0;
    *state = NULL;
    enum cx_status status = cx_allocate(1, sizeof *self, "statistics", &self, error);
    if (status != CX_OK)
        return status;
    self->options = *options;
    slots_begin(&self->pos, options->layer_count, pos_width);
    if (!cx_multiply(options->layer_count * COMPONENTS * CELLS, (size_t)options->bootstrap, &replicates))
        status = cx_fail_memory(error, "the bootstrap's replicates", SIZE_MAX);
    if (status == CX_OK)
        status = cx_allocate(options->layer_count, sizeof *self->sums, "statistics", &self->sums, error);
    if (status == CX_OK)
        status = cx_allocate(replicates, sizeof *self->replicates, "the bootstrap's replicates", &self->replicates, error);
    if (status == CX_OK)
        status = cx_allocate(CELLS * (size_t)options->bootstrap, sizeof *self->replicate_counts, "the bootstrap's replicates", &self->replicate_counts, error);
    if (status == CX_OK)
        *state = self;
    else
        destroy(self);
    return status;
}

static uint64_t pairs_of(const struct view *view, size_t category, size_t group) {
    return group == ANY_DISTANCE ? view->category_pairs[category] : view->distance_pairs[category][group];
}

static void count_categories(struct category_state *self, const struct view *view) {
    const size_t replicates = (size_t)self->options.bootstrap;
    for (size_t place = 0; place < CATEGORIES * GROUPS; place++) {
        const size_t category = place / GROUPS, group = place % GROUPS;
        const uint64_t pairs = pairs_of(view, category, group);
        const int cell = category_cell(category, group);
        if (pairs == 0)
            continue;
        struct pair_counts *counts = &self->counts[category][group];
        counts->count += (double)pairs;
        counts->sequences += 1;
        counts->count_squares += (double)pairs * (double)pairs;
        if (cell == no_cell)
            continue;
        for (size_t k = 0; k < replicates; k++)
            self->replicate_counts[(size_t)cell * replicates + k] += (int64_t)view->draws[k] * (int64_t)pairs;
    }
}

static bool has_pos_pair(const struct view *view, size_t pair) {
    return view->bucket_categories[view->bucket[pair]] & (IN(CATEGORY_SAME_POS) | IN(CATEGORY_DIFFERENT_POS));
}

static size_t pos_pair(const struct view *view, size_t target, size_t source) {
    return (size_t)view->pos_kind[target] * view->pos_kinds + view->pos_kind[source];
}

/* A slot for every two parts of speech that some pair has; its number of pairs stands in pos_pairs. */
static enum cx_status prepare(void *state, struct view *view, struct cx_error *error) {
    struct category_state *self = state;
    const size_t kinds = view->pos_kinds;
    enum cx_status status = CX_OK;
    count_categories(self, view);
    for (size_t k = 0; k < kinds * kinds; k++)
        view->pos_pairs[k] = 0;
    for (size_t i = 0, pair = 0; i < view->n && kinds > 0; i++)
        for (size_t j = 0; j < view->n; j++, pair++)
            if (has_pos_pair(view, pair))
                view->pos_pairs[pos_pair(view, i, j)]++;
    for (size_t k = 0; k < kinds * kinds && status == CX_OK; k++) {
        size_t slot;
        view->pos_slot[k] = no_slot;
        if (view->pos_pairs[k] == 0)
            continue;
        status = slots_find(&self->pos, (uint64_t)view->pos_labels[k / kinds] << 32 | view->pos_labels[k % kinds], &slot, error);
        if (status != CX_OK)
            break;
        view->pos_slot[k] = (int32_t)slot;
        self->pos.counts[slot] += view->pos_pairs[k];
    }
    return status;
}

/* Sums of the change and of its squares by category and group: of few buckets, each in a few categories. */
static void sum_categories(const struct view *view, const double *change, double sums[CATEGORIES][GROUPS], double squares[CATEGORIES][GROUPS]) {
    double sum[most_buckets], square[most_buckets];
    memset(sum, 0, view->bucket_count * sizeof *sum);
    memset(square, 0, view->bucket_count * sizeof *square);
    memset(sums, 0, CATEGORIES * sizeof *sums);
    memset(squares, 0, CATEGORIES * sizeof *squares);
    for (size_t pair = 0; pair < view->pairs; pair++) {
        sum[view->bucket[pair]] += change[pair];
        square[view->bucket[pair]] += change[pair] * change[pair];
    }
    for (size_t bucket = 0; bucket < view->bucket_count; bucket++)
        for (size_t category = 0; category < CATEGORIES; category++)
            if (view->bucket_categories[bucket] & IN(category)) {
                sums[category][view->bucket_distance[bucket]] += sum[bucket];
                squares[category][view->bucket_distance[bucket]] += square[bucket];
                sums[category][ANY_DISTANCE] += sum[bucket];
                squares[category][ANY_DISTANCE] += square[bucket];
            }
}

static void add_categories(struct category_state *self, size_t layer, enum component component, const struct view *view, const double *change) {
    double sums[CATEGORIES][GROUPS], squares[CATEGORIES][GROUPS];
    const size_t replicates = (size_t)self->options.bootstrap;
    sum_categories(view, change, sums, squares);
    for (size_t place = 0; place < CATEGORIES * GROUPS; place++) {
        const size_t category = place / GROUPS, group = place % GROUPS;
        const double pairs = (double)pairs_of(view, category, group), sum = sums[category][group];
        const int cell = category_cell(category, group);
        if (pairs == 0)
            continue;
        struct change_sums *total = &self->sums[layer][component][category][group];
        total->sum += sum;
        total->squares += squares[category][group];
        total->sum_squares += sum * sum;
        total->sum_count += sum * pairs;
        if (cell == no_cell)
            continue;
        double *drawn = self->replicates + ((layer * COMPONENTS + component) * CELLS + (size_t)cell) * replicates;
        for (size_t k = 0; k < replicates; k++)
            drawn[k] += (double)view->draws[k] * sum;
    }
}

/* `sums` and `squares` have room for the parts of speech times themselves. */
static void add_pos(struct category_state *self, size_t layer, enum component component, const struct view *view, const double *change, double *sums,
                    double *squares) {
    const size_t count = view->pos_kinds * view->pos_kinds;
    memset(sums, 0, count * sizeof *sums);
    memset(squares, 0, count * sizeof *squares);
    for (size_t i = 0, pair = 0; i < view->n; i++)
        for (size_t j = 0; j < view->n; j++, pair++) {
            if (!has_pos_pair(view, pair))
                continue;
            const size_t k = pos_pair(view, i, j);
            sums[k] += change[pair];
            squares[k] += change[pair] * change[pair];
        }
    for (size_t k = 0; k < count; k++) {
        if (view->pos_slot[k] == no_slot)
            continue;
        double *slot = self->pos.sums + slots_place(&self->pos, (size_t)view->pos_slot[k], layer), *total = slot + component * sums_per_component;
        const double pairs = (double)view->pos_pairs[k];
        total[0] += sums[k];
        total[1] += squares[k];
        total[2] += sums[k] * sums[k];
        total[3] += sums[k] * pairs;
        if (component == 0) {
            slot[pos_width - 2] += 1;
            slot[pos_width - 1] += pairs * pairs;
        }
    }
}

static void add(void *state, size_t layer, const struct view *view, struct workspace *workspace) {
    struct category_state *self = state;
    double *change = workspace->changes[0];
    changes_prepare(workspace, view, layer, self->options.raw_maps);
    for (enum component component = 0; component < COMPONENTS; component++) {
        changes_of(workspace, view, layer, component, change);
        add_categories(self, layer, component, view, change);
        if (view->pos_kinds > 0)
            add_pos(self, layer, component, view, change, workspace->changes[1], workspace->changes[2]);
    }
}

static enum cx_status labels(void *state, enum cx_status (*name)(void *context, uint32_t label), void *context) {
    const struct category_state *self = state;
    enum cx_status status = CX_OK;
    for (size_t slot = 0; slot < self->pos.count && status == CX_OK; slot++) {
        status = name(context, (uint32_t)(self->pos.keys[slot] >> 32));
        if (status == CX_OK)
            status = name(context, (uint32_t)self->pos.keys[slot]);
    }
    return status;
}

static void clear(void *state) {
    struct category_state *self = state;
    const size_t replicates = (size_t)self->options.bootstrap;
    memset(self->sums, 0, self->options.layer_count * sizeof *self->sums);
    memset(self->counts, 0, sizeof self->counts);
    memset(self->replicates, 0, self->options.layer_count * COMPONENTS * CELLS * replicates * sizeof *self->replicates);
    memset(self->replicate_counts, 0, CELLS * replicates * sizeof *self->replicate_counts);
    slots_clear(&self->pos);
}

const struct accumulator_kind category_accumulator = {.analysis = CX_ANALYSIS_CATEGORIES,
                                                      .create = create,
                                                      .prepare = prepare,
                                                      .add = add,
                                                      .labels = labels,
                                                      .take = categories_take,
                                                      .clear = clear,
                                                      .destroy = destroy};
