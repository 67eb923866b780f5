/* What a later component makes of an earlier one's change: correlations of the two changes, and the share of the earlier one that the later one undoes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "accumulator.h"
#include "contexture/memory.h"
#include "rows.h"

/* Every two components, and FF against what comes behind it together; sorted as the tables' rows are. */
static const enum component pairs[][2] = {
    {COMPONENT_RES1, COMPONENT_LN1}, {COMPONENT_RES1, COMPONENT_FF},     {COMPONENT_RES1, COMPONENT_RES2}, {COMPONENT_RES1, COMPONENT_LN2},
    {COMPONENT_LN1, COMPONENT_FF},   {COMPONENT_LN1, COMPONENT_RES2},    {COMPONENT_LN1, COMPONENT_LN2},   {COMPONENT_FF, COMPONENT_RES2},
    {COMPONENT_FF, COMPONENT_LN2},   {COMPONENT_FF, COMPONENT_RES2_LN2}, {COMPONENT_RES2, COMPONENT_LN2},
};
enum { pair_count = sizeof pairs / sizeof pairs[0] };
enum { change_count = COMPONENT_RES2_LN2 + 1 };
_Static_assert((int)change_count <= (int)most_ranked, "the workspace has ranks for these changes");

/* Over sequences. */
struct correlations {
    double count, pearson, pearson_squares, spearman, spearman_squares, share, share_squares;
};

/* Over pairs of places, x the earlier change and y the later one; and over sequences, with A a sequence's Σ x y and B its Σ x². */
struct products {
    double x, y, xx, yy, xy, aa, ab, bb;
};

struct cancellation_state {
    struct cx_stats_options options;
    struct correlations (*correlations)[pair_count][VARIANTS]; /* [layer_count] */
    struct products (*products)[pair_count][CATEGORIES];       /* [layer_count] */
    double counts[CATEGORIES], sequences[CATEGORIES];
};

static void destroy(void *state) {
    struct cancellation_state *self = state;
    free(self->correlations);
    free(self->products);
    free(self);
}

static enum cx_status create(const struct cx_stats_options *options, void **state, struct cx_error *error) {
    struct cancellation_state *self = NULL;
    *state = NULL;
    enum cx_status status = cx_allocate(1, sizeof *self, "statistics", &self, error);
    if (status != CX_OK)
        return status;
    self->options = *options;
    status = cx_allocate(options->layer_count, sizeof *self->correlations, "statistics", &self->correlations, error);
    if (status == CX_OK)
        status = cx_allocate(options->layer_count, sizeof *self->products, "statistics", &self->products, error);
    if (status == CX_OK)
        *state = self;
    else
        destroy(self);
    return status;
}

static enum cx_status prepare(void *state, struct view *view, struct cx_error *error) {
    struct cancellation_state *self = state;
    (void)error;
    for (size_t category = 0; category < CATEGORIES; category++) {
        self->counts[category] += (double)view->category_pairs[category];
        self->sequences[category] += view->category_pairs[category] > 0;
    }
    return CX_OK;
}

/* Of one sequence and layer: what each bucket of pairs sums up to. */
struct bucket_sums {
    double sum[change_count][most_buckets], square[change_count][most_buckets], product[pair_count][most_buckets];
};

static void sum_buckets(const struct view *view, struct workspace *workspace, struct bucket_sums *sums) {
    const size_t bytes = view->bucket_count * sizeof(double);
    for (size_t k = 0; k < change_count; k++) {
        const double *change = workspace->changes[k];
        double *sum = sums->sum[k], *square = sums->square[k];
        memset(sum, 0, bytes);
        memset(square, 0, bytes);
        for (size_t pair = 0; pair < view->pairs; pair++) {
            sum[view->bucket[pair]] += change[pair];
            square[view->bucket[pair]] += change[pair] * change[pair];
        }
    }
    for (size_t k = 0; k < pair_count; k++) {
        const double *earlier = workspace->changes[pairs[k][0]], *later = workspace->changes[pairs[k][1]];
        double *product = sums->product[k];
        memset(product, 0, bytes);
        for (size_t pair = 0; pair < view->pairs; pair++)
            product[view->bucket[pair]] += earlier[pair] * later[pair];
    }
}

/* Adds up the buckets that have one of the bits of `with` and none of `without`. */
static struct products sum_over(const struct view *view, const struct bucket_sums *sums, size_t pair, uint32_t with, uint32_t without) {
    const enum component earlier = pairs[pair][0], later = pairs[pair][1];
    struct products of = {0};
    for (size_t bucket = 0; bucket < view->bucket_count; bucket++) {
        if (!(view->bucket_categories[bucket] & with) || (view->bucket_categories[bucket] & without))
            continue;
        of.x += sums->sum[earlier][bucket];
        of.y += sums->sum[later][bucket];
        of.xx += sums->square[earlier][bucket];
        of.yy += sums->square[later][bucket];
        of.xy += sums->product[pair][bucket];
    }
    return of;
}

static void add_products(struct products *total, const struct products *of) {
    total->x += of->x;
    total->y += of->y;
    total->xx += of->xx;
    total->yy += of->yy;
    total->xy += of->xy;
    total->aa += of->xy * of->xy;
    total->ab += of->xy * of->xx;
    total->bb += of->xx * of->xx;
}

static void add_correlations(struct correlations *total, const struct products *of, double count, double spearman) {
    const double variance_x = of->xx - of->x * (of->x / count), variance_y = of->yy - of->y * (of->y / count);
    if (!(variance_x > 0) || !(variance_y > 0))
        return;
    const double pearson = (of->xy - of->x * (of->y / count)) / sqrt(variance_x * variance_y), share = of->xy / of->xx;
    total->count += 1;
    total->pearson += pearson;
    total->pearson_squares += pearson * pearson;
    total->spearman += spearman;
    total->spearman_squares += spearman * spearman;
    total->share += share;
    total->share_squares += share * share;
}

static void add(void *state, size_t layer, const struct view *view, struct workspace *workspace) {
    static const uint32_t with[VARIANTS] = {
        [VARIANT_ALL] = IN(CATEGORY_ALL), [VARIANT_NO_SPECIAL] = NEITHER_IS_SPECIAL, [VARIANT_NO_DIAGONAL] = IN(CATEGORY_ALL)};
    static const uint32_t without[VARIANTS] = {[VARIANT_NO_DIAGONAL] = IN(CATEGORY_SELF)};
    struct cancellation_state *self = state;
    struct bucket_sums sums;
    changes_prepare(workspace, view, layer, self->options.raw_maps);
    for (enum component k = 0; k <= COMPONENT_RES2_LN2; k++) {
        changes_of(workspace, view, layer, k, workspace->changes[k]);
        rank_sort_doubles(&workspace->order, workspace->changes[k], view->pairs);
        workspace_rank(workspace, view, k);
    }
    sum_buckets(view, workspace, &sums);
    for (size_t pair = 0; pair < pair_count; pair++) {
        for (size_t variant = 0; variant < VARIANTS; variant++) {
            const double spearman = workspace_spearman(workspace, view, variant, pairs[pair][0], pairs[pair][1]);
            if (isnan(spearman))
                continue;
            const struct products of = sum_over(view, &sums, pair, with[variant], without[variant]);
            add_correlations(&self->correlations[layer][pair][variant], &of, (double)view->taken_count[variant], spearman);
        }
        for (size_t category = 0; category < CATEGORIES; category++) {
            const struct products of = sum_over(view, &sums, pair, IN(category), 0);
            add_products(&self->products[layer][pair][category], &of);
        }
    }
}

static enum cx_status take(void *state, struct cx_stats_set *set, int32_t (*label)(const void *context, uint32_t id), const void *context,
                           struct cx_error *error) {
    const struct cancellation_state *self = state;
    enum cx_status status = CX_OK;
    (void)label, (void)context;
    for (size_t k = 0; k < self->options.layer_count * pair_count && status == CX_OK; k++) {
        const size_t pair = k % pair_count, layer = k / pair_count;
        const double number = (double)self->options.layers[layer];
        for (size_t variant = 0; variant < VARIANTS && status == CX_OK; variant++) {
            const struct correlations *of = &self->correlations[layer][pair][variant];
            const double row[] = {number,       pairs[pair][0],       pairs[pair][1], (double)variant,  of->count, of->pearson, of->pearson_squares,
                                  of->spearman, of->spearman_squares, of->share,      of->share_squares};
            status = row_add(&set->tables[TABLE_CANCELLATION], row, sizeof row / sizeof row[0], error);
        }
        for (size_t category = 0; category < CATEGORIES && status == CX_OK; category++) {
            const struct products *of = &self->products[layer][pair][category];
            const double row[] = {number,
                                  pairs[pair][0],
                                  pairs[pair][1],
                                  (double)category,
                                  self->counts[category],
                                  self->sequences[category],
                                  of->x,
                                  of->y,
                                  of->xx,
                                  of->yy,
                                  of->xy,
                                  of->aa,
                                  of->ab,
                                  of->bb};
            status = row_add(&set->tables[TABLE_CANCELLED_CATEGORY], row, sizeof row / sizeof row[0], error);
        }
    }
    return status;
}

static void clear(void *state) {
    struct cancellation_state *self = state;
    memset(self->correlations, 0, self->options.layer_count * sizeof *self->correlations);
    memset(self->products, 0, self->options.layer_count * sizeof *self->products);
    memset(self->counts, 0, sizeof self->counts);
    memset(self->sequences, 0, sizeof self->sequences);
}

const struct accumulator_kind cancellation_accumulator = {
    .analysis = CX_ANALYSIS_CANCELLATION, .create = create, .prepare = prepare, .add = add, .take = take, .clear = clear, .destroy = destroy};
