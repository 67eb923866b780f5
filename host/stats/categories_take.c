/* The tables of changes by category. */
#include <string.h>

#include "categories.h"
#include "rows.h"

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

/* Adds a row with a column of replicates, zeros so far, to which *values points then; sums and counts have elements of 8 bytes. */
static enum cx_status add_drawn(struct cx_stats_table *table, const double *keys, size_t key_count, const char *column, void *values_pointer,
                                struct cx_error *error) {
    const size_t width = table->columns[column_index(table, column)].width, row = table->rows;
    enum cx_status status = row_add(table, keys, key_count, error);
    if (status != CX_OK)
        return status;
    double *values = (double *)column_values(table, column) + row * width;
    memset(values, 0, width * sizeof *values);
    memcpy(values_pointer, &values, sizeof values);
    return CX_OK;
}

/* The replicates of a cell and component, added to `drawn`. */
static void add_layer(const struct category_state *self, size_t layer, size_t component, size_t cell, double *drawn) {
    const size_t replicates = (size_t)self->options.bootstrap;
    const double *from = self->replicates + ((layer * COMPONENTS + component) * CELLS + cell) * replicates;
    for (size_t k = 0; k < replicates; k++)
        drawn[k] += from[k];
}

static enum cx_status take_replicates(const struct category_state *self, struct cx_stats_set *set, struct cx_error *error) {
    const size_t replicates = (size_t)self->options.bootstrap;
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < self->options.layer_count * COMPONENTS * CATEGORIES && status == CX_OK; k++) {
        const size_t category = k % CATEGORIES, component = k / CATEGORIES % COMPONENTS, layer = k / CATEGORIES / COMPONENTS;
        const double keys[] = {(double)self->options.layers[layer], (double)component, (double)category};
        double *drawn = NULL;
        status = add_drawn(&set->tables[TABLE_BOOTSTRAP], keys, 3, "sum", &drawn, error);
        if (status == CX_OK)
            add_layer(self, layer, component, category, drawn);
    }
    for (size_t category = 0; category < CATEGORIES && status == CX_OK; category++) {
        const double key = (double)category;
        int64_t *drawn = NULL;
        status = add_drawn(&set->tables[TABLE_BOOTSTRAP_COUNT], &key, 1, "count", &drawn, error);
        if (status == CX_OK)
            memcpy(drawn, self->replicate_counts + category * replicates, replicates * sizeof *drawn);
    }
    return status;
}

/* Those of categories and distances that have replicates and pairs. Layers are added up in their order. */
static enum cx_status take_distance_replicates(const struct category_state *self, struct cx_stats_set *set, struct cx_error *error) {
    const size_t replicates = (size_t)self->options.bootstrap;
    enum cx_status status = CX_OK;
    for (size_t place = 0; place < CATEGORIES * DISTANCES && status == CX_OK; place++) {
        const size_t category = place / DISTANCES, distance = place % DISTANCES;
        const double keys[] = {(double)category, (double)distance};
        const int cell = category_cell(category, distance);
        int64_t *drawn_count = NULL;
        if (cell == no_cell || self->counts[category][distance].count == 0)
            continue;
        status = add_drawn(&set->tables[TABLE_DISTANCE_BOOTSTRAP_COUNT], keys, 2, "count", &drawn_count, error);
        if (status == CX_OK)
            memcpy(drawn_count, self->replicate_counts + (size_t)cell * replicates, replicates * sizeof *drawn_count);
        for (size_t component = 0; component < COMPONENTS && status == CX_OK; component++) {
            const double sum_keys[] = {(double)component, keys[0], keys[1]};
            double *drawn = NULL;
            status = add_drawn(&set->tables[TABLE_DISTANCE_BOOTSTRAP], sum_keys, 3, "sum", &drawn, error);
            for (size_t layer = 0; layer < self->options.layer_count && status == CX_OK; layer++)
                add_layer(self, layer, component, (size_t)cell, drawn);
        }
    }
    return status == CX_OK ? rows_sort(&set->tables[TABLE_DISTANCE_BOOTSTRAP], error) : status;
}

static enum cx_status take_pos(const struct category_state *self, struct cx_stats_set *set, int32_t (*label)(const void *context, uint32_t id),
                               const void *context, struct cx_error *error) {
    struct cx_stats_table *table = &set->tables[TABLE_POS];
    enum cx_status status = CX_OK;
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

enum cx_status categories_take(void *state, struct cx_stats_set *set, int32_t (*label)(const void *context, uint32_t id), const void *context,
                               struct cx_error *error) {
    const struct category_state *self = state;
    enum cx_status status = take_categories(self, set, error);
    if (status == CX_OK && self->options.bootstrap > 0)
        status = take_replicates(self, set, error);
    if (status == CX_OK && self->options.bootstrap > 0)
        status = take_distance_replicates(self, set, error);
    return status == CX_OK ? take_pos(self, set, label, context, error) : status;
}
