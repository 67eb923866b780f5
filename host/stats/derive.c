/* From the sums of all parts to what run.h5 holds: means, deviations, intervals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "derive.h"
#include "rows.h"

/* Two-sided 95 % of the normal distribution. */
static const double normal_quantile = 1.959963984540054;

static enum cx_status copy_labels(const struct cx_stats_set *from, struct cx_stats_set *to, struct cx_error *error) {
    char **labels = NULL;
    enum cx_status status = cx_allocate(from->label_count, sizeof *labels, "labels", &labels, error);
    if (status != CX_OK)
        return status;
    labels_free(to->labels, to->label_count);
    to->labels = labels;
    to->label_count = 0;
    for (size_t k = 0; k < from->label_count && status == CX_OK; k++) {
        status = cx_copy_text(from->labels[k], strlen(from->labels[k]), &labels[k], error);
        to->label_count += status == CX_OK;
    }
    return status;
}

/* Keys and sums as they are; what is derived is NaN until it is filled. */
static enum cx_status copy_table(const struct cx_stats_table *from, struct cx_stats_table *to, struct cx_error *error) {
    enum cx_status status = cx_stats_table_resize(to, from->rows, error);
    for (size_t k = 0; k < to->kind->column_count && status == CX_OK; k++) {
        const size_t count = to->rows * to->columns[k].width;
        if (to->kind->columns[k].role != CX_STATS_DERIVED) {
            if (count > 0)
                memcpy(to->columns[k].values, from->columns[k].values, count * cx_stats_type_size(to->kind->columns[k].type));
            continue;
        }
        for (size_t row = 0; row < count; row++)
            ((double *)to->columns[k].values)[row] = NAN;
    }
    return status;
}

static double ratio(double sum, double count) {
    return count > 0 ? sum / count : NAN;
}

/* mean and std from count, and a sum and its squares. */
static void derive_mean(struct cx_stats_table *table, const char *sum_name, const char *squares_name, const char *mean_name, const char *std_name) {
    const int64_t *count = column_values(table, "count");
    const double *sum = column_values(table, sum_name), *squares = column_values(table, squares_name);
    double *mean = column_values(table, mean_name), *std = column_values(table, std_name);
    for (size_t row = 0; row < table->rows; row++) {
        mean[row] = ratio(sum[row], (double)count[row]);
        std[row] = sample_deviation((double)count[row], sum[row], squares[row]);
    }
}

/*
 * The interval of R = Σ a / Σ b, with a and b the sums of a sequence, if k sequences are drawn anew: the variance of R is, to first order,
 * k/(k-1) Σ (a - R b)² / (Σ b)².
 */
static void ratio_interval(double k, double sum_a, double sum_b, double sum_aa, double sum_ab, double sum_bb, double *low, double *high) {
    const double value = ratio(sum_a, sum_b), residuals = sum_aa - 2 * value * sum_ab + value * value * sum_bb;
    if (!(k > 1) || !(sum_b > 0))
        return;
    const double error = sqrt(k / (k - 1) * (residuals > 0 ? residuals : 0)) / sum_b;
    *low = value - normal_quantile * error;
    *high = value + normal_quantile * error;
}

static void derive_change_sums(struct cx_stats_table *table) {
    const int64_t *count = column_values(table, "count"), *sequences = column_values(table, "sequences");
    const int64_t *count_squares = column_values(table, "sequence_count_squares");
    const double *sum = column_values(table, "sum"), *sum_squares = column_values(table, "sequence_sum_squares");
    const double *sum_count = column_values(table, "sequence_sum_count");
    double *low = column_values(table, "low"), *high = column_values(table, "high");
    derive_mean(table, "sum", "sum_squares", "mean", "std");
    for (size_t row = 0; row < table->rows; row++)
        ratio_interval((double)sequences[row], sum[row], (double)count[row], sum_squares[row], sum_count[row], (double)count_squares[row], &low[row],
                       &high[row]);
}

static void derive_cancelled_categories(struct cx_stats_table *table) {
    const int64_t *count = column_values(table, "count"), *sequences = column_values(table, "sequences");
    const double *x = column_values(table, "sum_earlier"), *y = column_values(table, "sum_later"), *xy = column_values(table, "sum_products");
    const double *xx = column_values(table, "sum_earlier_squares"), *yy = column_values(table, "sum_later_squares");
    const double *aa = column_values(table, "sequence_products_squares"), *ab = column_values(table, "sequence_products_earlier");
    const double *bb = column_values(table, "sequence_earlier_squares");
    double *share = column_values(table, "share"), *low = column_values(table, "low"), *high = column_values(table, "high");
    double *pearson = column_values(table, "pearson");
    for (size_t row = 0; row < table->rows; row++) {
        const double pairs = (double)count[row], variance_x = xx[row] - ratio(x[row] * x[row], pairs), variance_y = yy[row] - ratio(y[row] * y[row], pairs);
        share[row] = ratio(xy[row], xx[row]);
        ratio_interval((double)sequences[row], xy[row], xx[row], aa[row], ab[row], bb[row], &low[row], &high[row]);
        if (variance_x > 0 && variance_y > 0)
            pearson[row] = (xy[row] - x[row] * y[row] / pairs) / sqrt(variance_x * variance_y);
    }
}

static int by_value(const void *a, const void *b) {
    const double first = *(const double *)a, second = *(const double *)b;
    return first < second ? -1 : first > second;
}

/* The quantile of sorted values, between two of them by interpolation, as numpy.quantile(). */
static double quantile(const double *sorted, size_t count, double share) {
    const double place = share * (double)(count - 1);
    const size_t below = (size_t)place, above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (sorted[above] - sorted[below]) * (place - (double)below);
}

/* Rows of the two tables of categories are the same, so that no key needs to be looked up. A replicate that draws no such pair has no mean, and is left out. */
static enum cx_status derive_bootstrap(const struct cx_stats_set *parts, struct cx_stats_set *merged, struct cx_error *error) {
    struct cx_stats_table *table = &merged->tables[TABLE_CATEGORY];
    const struct cx_stats_table *drawn = &parts->tables[TABLE_BOOTSTRAP], *drawn_count = &parts->tables[TABLE_BOOTSTRAP_COUNT];
    const size_t replicates = (size_t)merged->options.bootstrap;
    double *means = NULL, *low = column_values(table, "bootstrap_low"), *high = column_values(table, "bootstrap_high");
    if (replicates == 0)
        return CX_OK;
    if (drawn->rows != table->rows || drawn_count->rows != CATEGORIES)
        return cx_fail(error, CX_ERROR_DAMAGED, "the statistics have %zu rows of categories, and the bootstrap %zu", table->rows, drawn->rows);
    const int32_t *category = column_values(table, "category");
    enum cx_status status = cx_allocate(replicates, sizeof *means, "the bootstrap's replicates", &means, error);
    for (size_t row = 0; row < table->rows && status == CX_OK; row++) {
        const double *sums = (const double *)column_values(drawn, "sum") + row * replicates;
        const int64_t *counts = (const int64_t *)column_values(drawn_count, "count") + (size_t)category[row] * replicates;
        size_t count = 0;
        for (size_t k = 0; k < replicates; k++)
            if (counts[k] > 0)
                means[count++] = sums[k] / (double)counts[k];
        if (count == 0)
            continue;
        qsort(means, count, sizeof *means, by_value);
        low[row] = quantile(means, count, 0.025);
        high[row] = quantile(means, count, 0.975);
    }
    free(means);
    return status;
}

static enum cx_status derive_categories(const struct cx_stats_set *parts, struct cx_stats_set *merged, struct cx_error *error) {
    derive_change_sums(&merged->tables[TABLE_CATEGORY]);
    derive_change_sums(&merged->tables[TABLE_POS]);
    return derive_bootstrap(parts, merged, error);
}

static void derive_cancellation(struct cx_stats_set *merged) {
    struct cx_stats_table *table = &merged->tables[TABLE_CANCELLATION];
    derive_mean(table, "pearson", "pearson_squares", "pearson_mean", "pearson_std");
    derive_mean(table, "spearman", "spearman_squares", "spearman_mean", "spearman_std");
    derive_mean(table, "share", "share_squares", "share_mean", "share_std");
    derive_cancelled_categories(&merged->tables[TABLE_CANCELLED_CATEGORY]);
}

enum cx_status cx_stats_derive(const struct cx_stats_set *parts, struct cx_stats_set *merged, struct cx_error *error) {
    const unsigned analyses = parts->options.analyses;
    enum cx_status status = cx_stats_set_create(&parts->options, CX_STATS_IN_MERGED, merged, error);
    if (status == CX_OK)
        status = copy_labels(parts, merged, error);
    for (size_t k = 0; k < cx_stats_table_count && status == CX_OK; k++)
        if (parts->tables[k].present && merged->tables[k].present)
            status = copy_table(&parts->tables[k], &merged->tables[k], error);
    if (status == CX_OK && analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_CHANGE))
        derive_mean(&merged->tables[TABLE_CHANGE], "sum", "sum_squares", "mean", "std");
    if (status == CX_OK && analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_MIXING)) {
        derive_mean(&merged->tables[TABLE_CLASS], "sum", "sum_squares", "mean", "std");
        status = derive_frequency(&parts->tables[TABLE_TOKEN], merged, error);
    }
    if (status == CX_OK && analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_PAIRS))
        status = derive_top_pairs(&parts->tables[TABLE_PAIR], merged, error);
    if (status == CX_OK && analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_CATEGORIES))
        status = derive_categories(parts, merged, error);
    if (status == CX_OK && analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_CANCELLATION))
        derive_cancellation(merged);
    if (status == CX_OK && analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_NORMS)) {
        derive_mean(&merged->tables[TABLE_NORM_CHANGE], "sum", "sum_squares", "mean", "std");
        derive_mean(&merged->tables[TABLE_NORM_SHARE], "sum", "sum_squares", "mean", "std");
    }
    if (status != CX_OK)
        cx_stats_set_free(merged);
    return status;
}
