/* Contextualization change: 1 - Spearman's correlation of two maps of a layer. */
#include <stdlib.h>
#include <string.h>

#include "accumulator.h"
#include "contexture/memory.h"
#include "rows.h"

/* The five components, then the feed-forward block and the whole layer behind attention; sorted as the table's rows are. */
static const unsigned steps[][2] = {
    {CX_STAGE_ATTN, CX_STAGE_ATTN_RES},    {CX_STAGE_ATTN, CX_STAGE_FF_RES_LN},        {CX_STAGE_ATTN_RES, CX_STAGE_ATTN_RES_LN},
    {CX_STAGE_ATTN_RES_LN, CX_STAGE_FF},   {CX_STAGE_ATTN_RES_LN, CX_STAGE_FF_RES_LN}, {CX_STAGE_FF, CX_STAGE_FF_RES},
    {CX_STAGE_FF_RES, CX_STAGE_FF_RES_LN},
};
enum { step_count = sizeof steps / sizeof steps[0] };
_Static_assert((int)CX_STAGES <= (int)most_ranked, "the workspace has ranks for these maps");

struct change_state {
    struct cx_stats_options options;
    struct moments (*cells)[step_count][VARIANTS]; /* [layer_count] */
};

static enum cx_status create(const struct cx_stats_options *options, void **state, struct cx_error *error) {
    struct change_state *made = NULL;
    enum cx_status status = cx_allocate(1, sizeof *made, "statistics", &made, error);
    if (status != CX_OK)
        return status;
    made->options = *options;
    status = cx_allocate(options->layer_count, sizeof *made->cells, "statistics", &made->cells, error);
    if (status != CX_OK)
        free(made);
    *state = status == CX_OK ? made : NULL;
    return status;
}

/* A map is sorted once; its ranks in every variant come from that order. */
static void add(void *state, size_t layer, const struct view *view, struct workspace *workspace) {
    struct change_state *self = state;
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        rank_sort_floats(&workspace->order, view_map(view, stage, layer), view->pairs);
        workspace_rank(workspace, view, stage);
    }
    for (size_t step = 0; step < step_count; step++)
        for (size_t variant = 0; variant < VARIANTS; variant++)
            moments_add(&self->cells[layer][step][variant], 1 - workspace_spearman(workspace, view, variant, steps[step][0], steps[step][1]));
}

static enum cx_status take(void *state, struct cx_stats_set *set, int32_t (*label)(const void *context, uint32_t id), const void *context,
                           struct cx_error *error) {
    const struct change_state *self = state;
    enum cx_status status = CX_OK;
    (void)label, (void)context;
    for (size_t k = 0; k < self->options.layer_count * step_count * VARIANTS && status == CX_OK; k++) {
        const size_t variant = k % VARIANTS, step = k / VARIANTS % step_count, layer = k / VARIANTS / step_count;
        const struct moments *cell = &self->cells[layer][step][variant];
        const double row[] = {(double)self->options.layers[layer], steps[step][0], steps[step][1], (double)variant, cell->count, cell->sum, cell->squares};
        status = row_add(&set->tables[TABLE_CHANGE], row, sizeof row / sizeof row[0], error);
    }
    return status;
}

static void clear(void *state) {
    struct change_state *self = state;
    memset(self->cells, 0, self->options.layer_count * sizeof *self->cells);
}

static void destroy(void *state) {
    struct change_state *self = state;
    free(self->cells);
    free(self);
}

const struct accumulator_kind change_accumulator = {
    .analysis = CX_ANALYSIS_CHANGE, .create = create, .add = add, .take = take, .clear = clear, .destroy = destroy};
