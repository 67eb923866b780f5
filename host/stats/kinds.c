/* What the tables hold: the schema of /stats. */
#include "kinds.h"

#include <string.h>

#include "contexture/stats.h"

#define STAGE_NAME(enumerator, name, meaning) name,
static const char *const stage_names[] = {CX_STAGE_LIST(STAGE_NAME) NULL};
#define COMPONENT_NAME(enumerator, name, before, after) name,
static const char *const component_names[] = {COMPONENT_LIST(COMPONENT_NAME) NULL};
#define CODE_NAME(enumerator, name, meaning) name,
static const char *const variant_names[] = {VARIANT_LIST(CODE_NAME) NULL};
static const char *const norm_names[] = {NORM_LIST(CODE_NAME) NULL};
static const char *const dimensions_names[] = {DIMENSIONS_LIST(CODE_NAME) NULL};
static const char *const class_names[] = {CLASS_LIST(CODE_NAME) NULL};
static const char *const category_names[] = {CATEGORY_LIST(CODE_NAME) NULL};
static const char *const side_names[] = {"before", "after", NULL};
static const char *const sign_names[] = {"positive", "negative", NULL};

#define KEY(name, names, meaning)                                                                                                                              \
    { name, CX_STATS_INT32, CX_STATS_KEY, names, meaning }
#define LABEL_KEY(name, meaning)                                                                                                                               \
    { name, CX_STATS_LABEL, CX_STATS_KEY, NULL, meaning }
#define COUNT(name, meaning)                                                                                                                                   \
    { name, CX_STATS_INT64, CX_STATS_SUM, NULL, meaning }
#define SUM(name, meaning)                                                                                                                                     \
    { name, CX_STATS_FLOAT64, CX_STATS_SUM, NULL, meaning }
#define DERIVED(name, meaning)                                                                                                                                 \
    { name, CX_STATS_FLOAT64, CX_STATS_DERIVED, NULL, meaning }
#define DERIVED_COUNT(name, meaning)                                                                                                                           \
    { name, CX_STATS_INT64, CX_STATS_DERIVED, NULL, meaning }
#define DERIVED_ID(name, meaning)                                                                                                                              \
    { name, CX_STATS_INT32, CX_STATS_DERIVED, NULL, meaning }

#define LAYER KEY("layer", NULL, "number of the layer in the model, from 0")

static const struct cx_stats_column_kind change_columns[] = {
    LAYER,
    KEY("before", stage_names, "stage whose map comes before"),
    KEY("after", stage_names, "stage whose map comes after"),
    KEY("variant", variant_names, "which elements of the maps are compared"),
    COUNT("count", "sequences whose maps can be compared: two elements at least, that differ"),
    SUM("sum", "of 1 - Spearman's correlation of the two maps' elements, ties with average ranks, over sequences"),
    SUM("sum_squares", "of the same, squared"),
    DERIVED("mean", "sum / count"),
    DERIVED("std", "standard deviation over sequences, with count - 1"),
};

static const struct cx_stats_column_kind class_columns[] = {
    LAYER,
    KEY("stage", stage_names, "stage"),
    KEY("class", class_names, "class of the token; a token is in several"),
    LABEL_KEY("label", "of the classes pos and entity: which; else the empty label 0"),
    COUNT("count", "tokens"),
    SUM("sum", "of their mixing ratios"),
    SUM("sum_squares", "of the same, squared"),
    DERIVED("mean", "sum / count"),
    DERIVED("std", "standard deviation over tokens, with count - 1"),
};

static const struct cx_stats_column_kind token_columns[] = {
    KEY("token", NULL, "id in the vocabulary; special and masked tokens are left out"),
    COUNT("count", "how often the token stands in the corpus"),
    SUM("sum", "[stored layers * stages], stage by stage inside a layer: of the token's mixing ratios"),
};

static const struct cx_stats_column_kind frequency_columns[] = {
    LAYER,
    KEY("stage", stage_names, "stage"),
    KEY("bin", NULL, "tokens that stand in the corpus 2^bin to 2^(bin+1) - 1 times; special and masked tokens are left out"),
    DERIVED_COUNT("types", "token ids in the bin"),
    DERIVED_COUNT("count", "how often they stand in the corpus together"),
    DERIVED("mean", "mixing ratio, mean over all places"),
    DERIVED("type_mean", "mean over token ids of their means"),
    DERIVED("type_std", "standard deviation of their means, with types - 1"),
};

static const struct cx_stats_column_kind correlation_columns[] = {
    LAYER,
    KEY("stage", stage_names, "stage"),
    DERIVED_COUNT("types", "token ids; special and masked tokens are left out"),
    DERIVED("spearman", "Spearman's correlation, over token ids, of the token's frequency in the corpus (or its logarithm) and its mean mixing ratio"),
};

static const struct cx_stats_column_kind pair_columns[] = {
    KEY("target", NULL, "id of the target token in the vocabulary; special tokens, and pairs of a place with itself, are left out"),
    KEY("source", NULL, "id of the source token"),
    COUNT("count", "pairs of places with these tokens"),
    SUM("sum", "[stored layers * 5 components], component by component inside a layer: of the change of the map"),
    SUM("sum_squares", "of the same, squared"),
};

static const struct cx_stats_column_kind top_columns[] = {
    LAYER,
    KEY("component", component_names, "component that changes the map"),
    KEY("sign", sign_names, "the largest means, or the smallest"),
    KEY("rank", NULL, "place in this order, from 0"),
    DERIVED_ID("target", "id of the target token in the vocabulary"),
    DERIVED_ID("source", "id of the source token"),
    DERIVED_COUNT("count", "pairs of places with these tokens in the corpus"),
    DERIVED("mean", "mean change of the map"),
    DERIVED("std", "standard deviation over pairs, with count - 1"),
};

#define CHANGE_SUMS                                                                                                                                            \
    COUNT("count", "pairs of places"), COUNT("sequences", "sequences that have such pairs"), SUM("sum", "of the change of the map over pairs"),                \
        SUM("sum_squares", "of the same, squared"), SUM("sequence_sum_squares", "over sequences: the square of a sequence's sum"),                             \
        SUM("sequence_sum_count", "over sequences: a sequence's sum times its count"),                                                                         \
        COUNT("sequence_count_squares", "over sequences: the square of a sequence's count"), DERIVED("mean", "sum / count"),                                   \
        DERIVED("std", "standard deviation over pairs, with count - 1"),                                                                                       \
        DERIVED("low", "95 % interval of the mean with sequences drawn anew, linearized: mean - 1.96 standard errors"),                                        \
        DERIVED("high", "mean + 1.96 standard errors")

static const struct cx_stats_column_kind category_columns[] = {
    LAYER,
    KEY("component", component_names, "component that changes the map"),
    KEY("category", category_names, "of the pair; a pair is in several"),
    CHANGE_SUMS,
    DERIVED("bootstrap_low", "2.5 % quantile of the mean over the bootstrap's replicates; NaN without them"),
    DERIVED("bootstrap_high", "97.5 % quantile"),
};

static const struct cx_stats_column_kind pos_columns[] = {
    LAYER,
    KEY("component", component_names, "component that changes the map"),
    LABEL_KEY("target_pos", "part of speech of the target token"),
    LABEL_KEY("source_pos", "part of speech of the source token"),
    CHANGE_SUMS,
};

static const struct cx_stats_column_kind bootstrap_columns[] = {
    LAYER,
    KEY("component", component_names, "component that changes the map"),
    KEY("category", category_names, "of the pair"),
    SUM("sum", "[replicates]: of the change of the map, each sequence as often as the replicate draws it"),
};

static const struct cx_stats_column_kind bootstrap_count_columns[] = {
    KEY("category", category_names, "of the pair"),
    COUNT("count", "[replicates]: pairs, each sequence as often as the replicate draws it"),
};

#define COMPONENT_PAIR                                                                                                                                         \
    LAYER, KEY("earlier", component_names, "component whose change comes first"), KEY("later", component_names, "component whose change comes later")

static const struct cx_stats_column_kind cancellation_columns[] = {
    COMPONENT_PAIR,
    KEY("variant", variant_names, "which elements of the maps are compared"),
    COUNT("count", "sequences in which both changes vary"),
    SUM("pearson", "over sequences: Pearson's correlation of the two changes' elements"),
    SUM("pearson_squares", "of the same, squared"),
    SUM("spearman", "over sequences: Spearman's correlation, ties with average ranks"),
    SUM("spearman_squares", "of the same, squared"),
    SUM("share", "over sequences: sum of the products of both changes / sum of the earlier change's squares; negative: undone"),
    SUM("share_squares", "of the same, squared"),
    DERIVED("pearson_mean", "pearson / count"),
    DERIVED("pearson_std", "standard deviation over sequences, with count - 1"),
    DERIVED("spearman_mean", "spearman / count"),
    DERIVED("spearman_std", "likewise"),
    DERIVED("share_mean", "share / count"),
    DERIVED("share_std", "likewise"),
};

static const struct cx_stats_column_kind cancelled_category_columns[] = {
    COMPONENT_PAIR,
    KEY("category", category_names, "of the pair of tokens; a pair is in several"),
    COUNT("count", "pairs of places"),
    COUNT("sequences", "sequences that have such pairs"),
    SUM("sum_earlier", "of the earlier change over pairs"),
    SUM("sum_later", "of the later change"),
    SUM("sum_earlier_squares", "of the earlier change, squared"),
    SUM("sum_later_squares", "of the later change, squared"),
    SUM("sum_products", "of the product of both"),
    SUM("sequence_products_squares", "over sequences: the square of a sequence's sum of products"),
    SUM("sequence_products_earlier", "over sequences: that sum times the sequence's sum of the earlier change's squares"),
    SUM("sequence_earlier_squares", "over sequences: the square of the latter"),
    DERIVED("share", "sum_products / sum_earlier_squares: the earlier change's part that the later one adds (positive) or undoes (negative)"),
    DERIVED("low", "95 % interval of the share with sequences drawn anew, linearized"),
    DERIVED("high", "its other end"),
    DERIVED("pearson", "Pearson's correlation over all pairs of the corpus"),
};

#define LAYER_NORM LAYER, KEY("norm", norm_names, "layer norm of the layer")

static const struct cx_stats_column_kind norm_change_columns[] = {
    LAYER_NORM,
    KEY("dimensions", dimensions_names, "which dimensions the maps' norms are over; difference: kept less all"),
    KEY("variant", variant_names, "which elements of the maps are compared"),
    COUNT("count", "sequences whose maps can be compared: two elements at least, that differ"),
    SUM("sum", "of 1 - Spearman's correlation of the maps before and after the layer norm, ties with average ranks, over sequences"),
    SUM("sum_squares", "of the same, squared"),
    DERIVED("mean", "sum / count"),
    DERIVED("std", "standard deviation over sequences, with count - 1"),
};

static const struct cx_stats_column_kind norm_share_columns[] = {
    LAYER_NORM,
    KEY("side", side_names, "map before or after the layer norm"),
    KEY("variant", variant_names, "which elements of the map are taken"),
    COUNT("count", "sequences with a norm above 0"),
    SUM("sum", "over sequences: the masked dimensions' share of the sum of the squared norms"),
    SUM("sum_squares", "of the same, squared"),
    DERIVED("mean", "sum / count"),
    DERIVED("std", "standard deviation over sequences, with count - 1"),
};

static const struct cx_stats_column_kind norm_dimension_columns[] = {
    LAYER_NORM,
    KEY("dimension", NULL, "masked: left out of the norms that are over the kept dimensions"),
};

#define TABLE(name, analysis, places, columns)                                                                                                                 \
    { name, analysis, places, columns, sizeof columns / sizeof columns[0] }
enum { BOTH = CX_STATS_IN_PART | CX_STATS_IN_MERGED };

const struct cx_stats_table_kind cx_stats_table_kinds[] = {
    [TABLE_CHANGE] = TABLE("contextualization_change/sequence", CX_ANALYSIS_CHANGE, BOTH, change_columns),
    [TABLE_CLASS] = TABLE("mixing_ratio/class", CX_ANALYSIS_MIXING, BOTH, class_columns),
    [TABLE_TOKEN] = TABLE("mixing_ratio/token", CX_ANALYSIS_MIXING, CX_STATS_IN_PART, token_columns),
    [TABLE_FREQUENCY] = TABLE("mixing_ratio/frequency", CX_ANALYSIS_MIXING, CX_STATS_IN_MERGED, frequency_columns),
    [TABLE_CORRELATION] = TABLE("mixing_ratio/correlation", CX_ANALYSIS_MIXING, CX_STATS_IN_MERGED, correlation_columns),
    [TABLE_PAIR] = TABLE("pair_amplification/pair", CX_ANALYSIS_PAIRS, CX_STATS_IN_PART, pair_columns),
    [TABLE_TOP] = TABLE("pair_amplification/top", CX_ANALYSIS_PAIRS, CX_STATS_IN_MERGED, top_columns),
    [TABLE_CATEGORY] = TABLE("categories/category", CX_ANALYSIS_CATEGORIES, BOTH, category_columns),
    [TABLE_POS] = TABLE("categories/pos", CX_ANALYSIS_CATEGORIES, BOTH, pos_columns),
    [TABLE_BOOTSTRAP] = TABLE("categories/bootstrap", CX_ANALYSIS_CATEGORIES, CX_STATS_IN_PART, bootstrap_columns),
    [TABLE_BOOTSTRAP_COUNT] = TABLE("categories/bootstrap_count", CX_ANALYSIS_CATEGORIES, CX_STATS_IN_PART, bootstrap_count_columns),
    [TABLE_CANCELLATION] = TABLE("cancellation/sequence", CX_ANALYSIS_CANCELLATION, BOTH, cancellation_columns),
    [TABLE_CANCELLED_CATEGORY] = TABLE("cancellation/category", CX_ANALYSIS_CANCELLATION, BOTH, cancelled_category_columns),
    [TABLE_NORM_CHANGE] = TABLE("norm_dimensions/change", CX_ANALYSIS_NORMS, BOTH, norm_change_columns),
    [TABLE_NORM_SHARE] = TABLE("norm_dimensions/share", CX_ANALYSIS_NORMS, BOTH, norm_share_columns),
    [TABLE_NORM_DIMENSION] = TABLE("norm_dimensions/dimension", CX_ANALYSIS_NORMS, BOTH, norm_dimension_columns),
};
const size_t cx_stats_table_count = sizeof cx_stats_table_kinds / sizeof cx_stats_table_kinds[0];

size_t cx_stats_column_width(const struct cx_stats_table_kind *kind, size_t column, const struct cx_stats_options *options) {
    const char *name = kind->columns[column].name;
    if (kind == &cx_stats_table_kinds[TABLE_TOKEN] && strcmp(name, "sum") == 0)
        return options->layer_count * CX_STAGES;
    if (kind == &cx_stats_table_kinds[TABLE_PAIR] && strncmp(name, "sum", 3) == 0)
        return options->layer_count * SINGLE_COMPONENTS;
    if ((kind == &cx_stats_table_kinds[TABLE_BOOTSTRAP] && strcmp(name, "sum") == 0) ||
        (kind == &cx_stats_table_kinds[TABLE_BOOTSTRAP_COUNT] && strcmp(name, "count") == 0))
        return (size_t)options->bootstrap;
    return 1;
}

static const char *const analysis_names[] = {
#define ANALYSIS_NAME(enumerator, name) name,
    CX_ANALYSIS_LIST(ANALYSIS_NAME)};

const char *cx_analysis_name(unsigned analysis) {
    return analysis < CX_ANALYSES ? analysis_names[analysis] : NULL;
}

unsigned cx_analysis_by_name(const char *name, size_t length) {
    unsigned analysis = 0;
    while (analysis < CX_ANALYSES && (strlen(analysis_names[analysis]) != length || memcmp(analysis_names[analysis], name, length) != 0))
        analysis++;
    return analysis;
}

const char *cx_mask_choice_name(enum cx_mask_choice choice) {
    static const char *const names[CX_MASK_CHOICES] = {"none", "gamma", "activation", "dims"};
    return choice < CX_MASK_CHOICES ? names[choice] : NULL;
}

unsigned cx_analyses_maps(unsigned analyses) {
    return analyses != 0 ? CX_STAGE_BIT(CX_STAGES) - 1u : 0;
}
