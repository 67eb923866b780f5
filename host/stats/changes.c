/* A thread's working memory: what is compared, and its ranks. */
#include <math.h>
#include <stdlib.h>

#include "accumulator.h"
#include "contexture/memory.h"

#define COMPONENT_STAGES(enumerator, name, before, after) {before, after},
static const unsigned component_stages[COMPONENTS][2] = {COMPONENT_LIST(COMPONENT_STAGES)};

enum cx_status workspace_reserve(struct workspace *workspace, size_t n, struct cx_error *error) {
    const size_t pairs = n * n;
    enum cx_status status = CX_OK;
    if (n > workspace->capacity) {
        workspace_free(workspace);
        for (size_t k = 0; k < most_ranked && status == CX_OK; k++)
            status = cx_allocate(pairs, sizeof(double), "statistics", &workspace->changes[k], error);
        for (size_t k = 0; k < (size_t)VARIANTS * most_ranked && status == CX_OK; k++)
            status = cx_allocate(pairs, sizeof(int32_t), "statistics", &workspace->ranks[k / most_ranked][k % most_ranked], error);
        for (size_t stage = 0; stage < CX_STAGES && status == CX_OK; stage++)
            status = cx_allocate(n, sizeof(double), "statistics", &workspace->inverse_sums[stage], error);
        workspace->capacity = n;
    }
    if (status == CX_OK)
        status = rank_space_reserve(&workspace->order, pairs, error);
    if (status != CX_OK)
        workspace_free(workspace);
    return status;
}

void workspace_free(struct workspace *workspace) {
    for (size_t k = 0; k < most_ranked; k++)
        free(workspace->changes[k]);
    for (size_t k = 0; k < (size_t)VARIANTS * most_ranked; k++)
        free(workspace->ranks[k / most_ranked][k % most_ranked]);
    for (size_t stage = 0; stage < CX_STAGES; stage++)
        free(workspace->inverse_sums[stage]);
    rank_space_free(&workspace->order);
    *workspace = (struct workspace){0};
}

const float *view_map(const struct view *view, unsigned stage, size_t layer) {
    return view->result->maps[stage] + layer * view->pairs;
}

void changes_prepare(struct workspace *workspace, const struct view *view, size_t layer, bool raw) {
    const size_t n = view->n;
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        const float *map = view_map(view, stage, layer);
        for (size_t i = 0; i < n; i++) {
            double sum = 0;
            for (size_t j = 0; j < n; j++)
                sum += (double)map[i * n + j];
            workspace->inverse_sums[stage][i] = raw ? 1 : sum > 0 ? 1 / sum : 0;
        }
    }
}

void changes_of(const struct workspace *workspace, const struct view *view, size_t layer, enum component component, double *change) {
    const unsigned before_stage = component_stages[component][0], after_stage = component_stages[component][1];
    const float *before = view_map(view, before_stage, layer), *after = view_map(view, after_stage, layer);
    const size_t n = view->n;
    for (size_t i = 0; i < n; i++) {
        const double before_scale = workspace->inverse_sums[before_stage][i], after_scale = workspace->inverse_sums[after_stage][i];
        for (size_t k = i * n; k < (i + 1) * n; k++)
            change[k] = (double)after[k] * after_scale - (double)before[k] * before_scale;
    }
}

void moments_add(struct moments *moments, double value) {
    if (isnan(value))
        return;
    moments->count += 1;
    moments->sum += value;
    moments->squares += value * value;
}

void workspace_rank(struct workspace *workspace, const struct view *view, size_t k) {
    for (size_t variant = 0; variant < VARIANTS; variant++) {
        int32_t *ranks = workspace->ranks[variant][k];
        rank_assign(&workspace->order, view->pairs, view->taken[variant], ranks);
        workspace->rank_squares[variant][k] = sum_of_rank_products(ranks, ranks, view->pairs);
    }
}

double workspace_spearman(const struct workspace *workspace, const struct view *view, size_t variant, size_t a, size_t b) {
    int32_t *const *ranks = workspace->ranks[variant];
    const double *squares = workspace->rank_squares[variant];
    if (squares[a] <= 0 || squares[b] <= 0)
        return NAN;
    return sum_of_rank_products(ranks[a], ranks[b], view->pairs) / sqrt(squares[a] * squares[b]);
}
