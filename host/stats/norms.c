/* Layer norms and outlier dimensions: how far a layer norm changes the maps, with norms over all dimensions and without the masked ones, and how much those
 * hold. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "accumulator.h"
#include "contexture/memory.h"
#include "rows.h"

_Static_assert((int)NORMS == (int)CX_NORMS, "the codes in the tables are the numbers of the layer norms");
enum { map_kinds = DIMENSIONS_KEPT + 1, compared_maps = map_kinds * CX_NORM_SIDES };
_Static_assert((int)compared_maps <= (int)most_ranked, "the workspace has ranks for these maps");

struct layer_cells {
    struct moments change[NORMS][DIMENSIONS][VARIANTS];
    struct moments share[NORMS][CX_NORM_SIDES][VARIANTS];
};

struct norm_state {
    struct cx_stats_options options;
    size_t *masked;            /* [layer_count, NORMS, masked_count] */
    struct layer_cells *cells; /* [layer_count] */
};

static void destroy(void *state) {
    struct norm_state *self = state;
    free(self->cells);
    free(self->masked);
    free(self);
}

static enum cx_status create(const struct cx_stats_options *options, void **state, struct cx_error *error) {
    const size_t count = options->layer_count * NORMS * options->masked_count;
    struct norm_state *made = NULL;
    enum cx_status status = cx_allocate(1, sizeof *made, "statistics", &made, error);
    *state = NULL;
    if (status != CX_OK)
        return status;
    made->options = *options;
    status = cx_allocate(options->layer_count, sizeof *made->cells, "statistics", &made->cells, error);
    if (status == CX_OK)
        status = cx_allocate(count, sizeof *made->masked, "statistics", &made->masked, error);
    if (status != CX_OK) {
        destroy(made);
        return status;
    }
    memcpy(made->masked, options->masked, count * sizeof *made->masked);
    *state = made;
    return CX_OK;
}

/* The share of the sum of squared norms that the kept dimensions leave out; NaN where there is nothing to share. */
static double masked_share(const float *whole, const float *kept, const uint8_t *taken, size_t pairs) {
    double all = 0, rest = 0;
    for (size_t pair = 0; pair < pairs; pair++) {
        if (taken && !taken[pair])
            continue;
        all += (double)whole[pair] * (double)whole[pair];
        rest += (double)kept[pair] * (double)kept[pair];
    }
    return all > 0 ? 1 - rest / all : NAN;
}

static void add_norm(struct layer_cells *cells, enum norm norm, size_t layer, const struct view *view, struct workspace *workspace) {
    const float *maps[map_kinds][CX_NORM_SIDES];
    for (unsigned side = 0; side < CX_NORM_SIDES; side++) {
        maps[DIMENSIONS_ALL][side] = view_map(view, cx_norm_stages[norm][side], layer);
        maps[DIMENSIONS_KEPT][side] = view->result->maps_without[norm][side] + layer * view->pairs;
        for (unsigned dimensions = 0; dimensions < map_kinds; dimensions++) {
            rank_sort_floats(&workspace->order, maps[dimensions][side], view->pairs);
            workspace_rank(workspace, view, dimensions * CX_NORM_SIDES + side);
        }
        for (size_t variant = 0; variant < VARIANTS; variant++)
            moments_add(&cells->share[norm][side][variant],
                        masked_share(maps[DIMENSIONS_ALL][side], maps[DIMENSIONS_KEPT][side], view->taken[variant], view->pairs));
    }
    for (size_t variant = 0; variant < VARIANTS; variant++) {
        const double all = 1 - workspace_spearman(workspace, view, variant, 0, 1), kept = 1 - workspace_spearman(workspace, view, variant, 2, 3);
        moments_add(&cells->change[norm][DIMENSIONS_ALL][variant], all);
        moments_add(&cells->change[norm][DIMENSIONS_KEPT][variant], kept);
        moments_add(&cells->change[norm][DIMENSIONS_DIFFERENCE][variant], kept - all);
    }
}

static void add(void *state, size_t layer, const struct view *view, struct workspace *workspace) {
    struct norm_state *self = state;
    for (unsigned norm = 0; norm < NORMS; norm++)
        add_norm(&self->cells[layer], norm, layer, view, workspace);
}

/* Rows of (layer, norm, kind, variant) with their sums. */
static enum cx_status take_moments(struct cx_stats_table *table, double layer, enum norm norm, size_t kinds, const struct moments (*cells)[VARIANTS],
                                   struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < kinds * VARIANTS && status == CX_OK; k++) {
        const struct moments *cell = &cells[k / VARIANTS][k % VARIANTS];
        const double row[] = {layer, norm, (double)(k / VARIANTS), (double)(k % VARIANTS), cell->count, cell->sum, cell->squares};
        status = row_add(table, row, sizeof row / sizeof row[0], error);
    }
    return status;
}

static enum cx_status take(void *state, struct cx_stats_set *set, int32_t (*label)(const void *context, uint32_t id), const void *context,
                           struct cx_error *error) {
    const struct norm_state *self = state;
    const size_t masked_count = self->options.masked_count;
    enum cx_status status = CX_OK;
    (void)label, (void)context;
    for (size_t k = 0; k < self->options.layer_count * NORMS && status == CX_OK; k++) {
        const struct layer_cells *cells = &self->cells[k / NORMS];
        const double layer = (double)self->options.layers[k / NORMS];
        const enum norm norm = k % NORMS;
        status = take_moments(&set->tables[TABLE_NORM_CHANGE], layer, norm, DIMENSIONS, cells->change[norm], error);
        if (status == CX_OK)
            status = take_moments(&set->tables[TABLE_NORM_SHARE], layer, norm, CX_NORM_SIDES, cells->share[norm], error);
        for (size_t m = 0; m < masked_count && status == CX_OK; m++) {
            const double row[] = {layer, norm, (double)self->masked[k * masked_count + m]};
            status = row_add(&set->tables[TABLE_NORM_DIMENSION], row, sizeof row / sizeof row[0], error);
        }
    }
    return status;
}

static void clear(void *state) {
    struct norm_state *self = state;
    memset(self->cells, 0, self->options.layer_count * sizeof *self->cells);
}

const struct accumulator_kind norm_accumulator = {
    .analysis = CX_ANALYSIS_NORMS, .create = create, .add = add, .take = take, .clear = clear, .destroy = destroy};
