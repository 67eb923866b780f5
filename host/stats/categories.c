/* The change that each component makes of the maps, by category of the pair of places, by category and distance, and by its parts of speech. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "accumulator.h"
#include "contexture/memory.h"
#include "rows.h"

/* Of one layer, component and category: over pairs, and over sequences with S a sequence's sum and n its pairs. */
struct change_sums {
    double sum, squares, sum_squares /* Σ S² */, sum_count /* Σ S n */;
};

/* The same for every layer and component. */
struct pair_counts {
    double count, sequences, count_squares /* Σ n² */;
};

/* A category's pairs at one distance, or at any. */
enum { ANY_DISTANCE = DISTANCES, GROUPS };

/*
 * What the bootstrap draws: every category at any distance, and at each distance those that findings are about and those that they are compared with. The
 * latter are kept for the sum over layers alone, since they would be most of a part otherwise.
 */
static const enum category controlled[] = {CATEGORY_SAME_WORD, CATEGORY_OTHER_WORD, CATEGORY_SAME_ENTITY};
enum { controlled_count = sizeof controlled / sizeof controlled[0], CELLS = CATEGORIES + controlled_count * DISTANCES, no_cell = -1 };

struct category_state {
    struct cx_stats_options options;
    struct change_sums (*sums)[COMPONENTS][CATEGORIES][GROUPS]; /* [layer_count] */
    struct pair_counts counts[CATEGORIES][GROUPS];
    double *replicates;        /* [layer_count][COMPONENTS][CELLS][bootstrap] */
    int64_t *replicate_counts; /* [CELLS][bootstrap] */
    struct slots pos;          /* key: target's label, source's label; sums: change_sums of the components, then sequences and Σ n² */
};

enum { sums_per_component = 4, pos_width = COMPONENTS * sums_per_component + 2 };

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

static int cell_of(size_t category, size_t group) {
    if (group == ANY_DISTANCE)
        return (int)category;
    for (size_t k = 0; k < controlled_count; k++)
        if (controlled[k] == category)
            return (int)(CATEGORIES + k * DISTANCES + group);
    return no_cell;
}

static uint64_t pairs_of(const struct view *view, size_t category, size_t group) {
    return group == ANY_DISTANCE ? view->category_pairs[category] : view->distance_pairs[category][group];
}

static void count_categories(struct category_state *self, const struct view *view) {
    const size_t replicates = (size_t)self->options.bootstrap;
    for (size_t place = 0; place < CATEGORIES * GROUPS; place++) {
        const size_t category = place / GROUPS, group = place % GROUPS;
        const uint64_t pairs = pairs_of(view, category, group);
        const int cell = cell_of(category, group);
        if (pairs == 0)
            continue;
        struct pair_counts *counts = &self->counts[category][group];
        counts->count += (double)pairs;
        counts->sequences += 1;
        counts->count_squares += (double)pairs * (double)pairs;
        for (size_t k = 0; k < replicates && cell != no_cell; k++)
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
        const int cell = cell_of(category, group);
        if (pairs == 0)
            continue;
        struct change_sums *total = &self->sums[layer][component][category][group];
        total->sum += sum;
        total->squares += squares[category][group];
        total->sum_squares += sum * sum;
        total->sum_count += sum * pairs;
        double *drawn = self->replicates + ((layer * COMPONENTS + component) * CELLS + (size_t)(cell != no_cell ? cell : 0)) * replicates;
        for (size_t k = 0; k < replicates && cell != no_cell; k++)
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

/* A row of the table of categories, or of that of categories and distances, which has one key more. */
static enum cx_status add_row(const struct category_state *self, struct cx_stats_table *table, size_t layer, size_t component, size_t category, size_t group,
                              struct cx_error *error) {
    const struct change_sums *sums = &self->sums[layer][component][category][group];
    const struct pair_counts *counts = &self->counts[category][group];
    double row[11] = {(double)self->options.layers[layer], (double)component, (double)category, (double)group};
    const double values[] = {counts->count, counts->sequences, sums->sum, sums->squares, sums->sum_squares, sums->sum_count, counts->count_squares};
    const size_t keys = group == ANY_DISTANCE ? 3 : 4;
    memcpy(row + keys, values, sizeof values);
    return row_add(table, row, keys + sizeof values / sizeof values[0], error);
}

/* Categories have a row each, with pairs or without, and at a distance those that have pairs. */
static enum cx_status take_categories(const struct category_state *self, struct cx_stats_set *set, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < self->options.layer_count * COMPONENTS * CATEGORIES && status == CX_OK; k++) {
        const size_t category = k % CATEGORIES, component = k / CATEGORIES % COMPONENTS, layer = k / CATEGORIES / COMPONENTS;
        status = add_row(self, &set->tables[TABLE_CATEGORY], layer, component, category, ANY_DISTANCE, error);
        for (size_t distance = 0; distance < DISTANCES && status == CX_OK; distance++)
            if (self->counts[category][distance].count > 0)
                status = add_row(self, &set->tables[TABLE_DISTANCE], layer, component, category, distance, error);
    }
    return status;
}

static enum cx_status take_replicates(const struct category_state *self, struct cx_stats_set *set, struct cx_error *error) {
    const size_t replicates = (size_t)self->options.bootstrap;
    struct cx_stats_table *drawn = &set->tables[TABLE_BOOTSTRAP], *drawn_count = &set->tables[TABLE_BOOTSTRAP_COUNT];
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < self->options.layer_count * COMPONENTS * CATEGORIES && status == CX_OK; k++) {
        const size_t category = k % CATEGORIES, component = k / CATEGORIES;
        const double row[] = {(double)self->options.layers[component / COMPONENTS], (double)(component % COMPONENTS), (double)category};
        status = row_add(drawn, row, 3, error);
        if (status == CX_OK)
            memcpy((double *)column_values(drawn, "sum") + k * replicates, self->replicates + (component * CELLS + category) * replicates,
                   replicates * sizeof(double));
    }
    for (size_t category = 0; category < CATEGORIES && status == CX_OK; category++) {
        const double row[] = {(double)category};
        status = row_add(drawn_count, row, 1, error);
        if (status == CX_OK)
            memcpy((int64_t *)column_values(drawn_count, "count") + category * replicates, self->replicate_counts + category * replicates,
                   replicates * sizeof(int64_t));
    }
    return status;
}

/* The replicates of a category at a distance, one component: layers are added up in their order. */
static enum cx_status take_drawn_sum(const struct category_state *self, struct cx_stats_table *drawn, size_t component, size_t category, size_t distance,
                                     struct cx_error *error) {
    const size_t replicates = (size_t)self->options.bootstrap, cell = (size_t)cell_of(category, distance), place = drawn->rows * replicates;
    const double row[] = {(double)component, (double)category, (double)distance};
    enum cx_status status = row_add(drawn, row, 3, error);
    if (status != CX_OK)
        return status;
    double *sums = (double *)column_values(drawn, "sum") + place;
    memset(sums, 0, replicates * sizeof *sums);
    for (size_t layer = 0; layer < self->options.layer_count; layer++)
        for (size_t k = 0; k < replicates; k++)
            sums[k] += self->replicates[((layer * COMPONENTS + component) * CELLS + cell) * replicates + k];
    return CX_OK;
}

static enum cx_status take_distance_replicates(const struct category_state *self, struct cx_stats_set *set, struct cx_error *error) {
    const size_t replicates = (size_t)self->options.bootstrap;
    struct cx_stats_table *counts = &set->tables[TABLE_DISTANCE_BOOTSTRAP_COUNT];
    enum cx_status status = CX_OK;
    for (size_t place = 0; place < (COMPONENTS + 1) * CATEGORIES * DISTANCES && status == CX_OK; place++) {
        const size_t distance = place % DISTANCES, category = place / DISTANCES % CATEGORIES, component = place / DISTANCES / CATEGORIES;
        const int cell = cell_of(category, distance);
        if (cell == no_cell || self->counts[category][distance].count == 0)
            continue;
        if (component < COMPONENTS) {
            status = take_drawn_sum(self, &set->tables[TABLE_DISTANCE_BOOTSTRAP], component, category, distance, error);
            continue;
        }
        const size_t at = counts->rows * replicates;
        const double row[] = {(double)category, (double)distance};
        status = row_add(counts, row, 2, error);
        if (status == CX_OK)
            memcpy((int64_t *)column_values(counts, "count") + at, self->replicate_counts + (size_t)cell * replicates, replicates * sizeof(int64_t));
    }
    return status;
}

static enum cx_status take(void *state, struct cx_stats_set *set, int32_t (*label)(const void *context, uint32_t id), const void *context,
                           struct cx_error *error) {
    const struct category_state *self = state;
    struct cx_stats_table *table = &set->tables[TABLE_POS];
    enum cx_status status = take_categories(self, set, error);
    if (status == CX_OK && self->options.bootstrap > 0)
        status = take_replicates(self, set, error);
    if (status == CX_OK && self->options.bootstrap > 0)
        status = take_distance_replicates(self, set, error);
    for (size_t k = 0; k < self->options.layer_count * COMPONENTS * self->pos.count && status == CX_OK; k++) {
        const size_t slot = k % self->pos.count, component = k / self->pos.count % COMPONENTS, layer = k / self->pos.count / COMPONENTS;
        const double *sums = self->pos.sums + slots_place(&self->pos, slot, layer), *of = sums + component * sums_per_component;
        const double row[] = {(double)self->options.layers[layer],
                              (double)component,
                              label(context, (uint32_t)(self->pos.keys[slot] >> 32)),
                              label(context, (uint32_t)self->pos.keys[slot]),
                              (double)self->pos.counts[slot],
                              sums[pos_width - 2],
                              of[0],
                              of[1],
                              of[2],
                              of[3],
                              sums[pos_width - 1]};
        status = row_add(table, row, sizeof row / sizeof row[0], error);
    }
    return status == CX_OK ? rows_sort(table, error) : status;
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

const struct accumulator_kind category_accumulator = {
    .analysis = CX_ANALYSIS_CATEGORIES, .create = create, .prepare = prepare, .add = add, .labels = labels, .take = take, .clear = clear, .destroy = destroy};
