/*
 * Statistics over a corpus, after Kobayashi et al., ICLR 2024: what each component of a layer does to the maps. README, section "Statistics", has the tables.
 *
 * Everything is a table: rows with keys, sorted by them, and sums. So tables of two shards are merged by adding rows of the same keys, in the shards' order,
 * and it never shows who computed a shard, or when. The numbers that a reader wants (means, intervals, correlations, the largest pairs) are derived from the
 * merged sums by cx_stats_derive().
 *
 * All sums are float64, taken in document order, layer by layer, whatever the number of threads.
 */
#ifndef CONTEXTURE_STATS_H
#define CONTEXTURE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/decompose.h"
#include "contexture/error.h"
#include "contexture/label_table.h"
#include "contexture/sequence.h"

/* --- analyses --- */

/* enumerator, name: that of the option --analyses and of the group in /stats */
#define CX_ANALYSIS_LIST(X)                                                                                                                                    \
    X(CX_ANALYSIS_CHANGE, "contextualization_change")                                                                                                          \
    X(CX_ANALYSIS_MIXING, "mixing_ratio")                                                                                                                      \
    X(CX_ANALYSIS_PAIRS, "pair_amplification")                                                                                                                 \
    X(CX_ANALYSIS_CATEGORIES, "categories")                                                                                                                    \
    X(CX_ANALYSIS_CANCELLATION, "cancellation")                                                                                                                \
    X(CX_ANALYSIS_NORMS, "norm_dimensions")

#define CX_ANALYSIS_ENUMERATOR(enumerator, name) enumerator,
enum cx_analysis { CX_ANALYSIS_LIST(CX_ANALYSIS_ENUMERATOR) CX_ANALYSES };
#undef CX_ANALYSIS_ENUMERATOR

/* A set of analyses: bit 1u << analysis. */
#define CX_ANALYSIS_BIT(analysis) (1u << (analysis))
#define CX_ALL_ANALYSES           (CX_ANALYSIS_BIT(CX_ANALYSES) - 1u)

const char *cx_analysis_name(unsigned analysis);

/* The analysis of that name, or CX_ANALYSES if there is none. */
unsigned cx_analysis_by_name(const char *name, size_t length);

/* How the dimensions that norm_dimensions masks were chosen, for each layer norm. */
enum cx_mask_choice {
    CX_MASK_NONE,
    CX_MASK_GAMMA,      /* the largest |γ| */
    CX_MASK_ACTIVATION, /* the largest mean |input| */
    CX_MASK_DIMENSIONS, /* named by the user, the same for all */
    CX_MASK_CHOICES
};

/* "none", "gamma", "activation", "dims": as the option --mask-dims and the output call them. */
const char *cx_mask_choice_name(enum cx_mask_choice choice);

/* The maps that a set of analyses looks at, a set of stages. */
unsigned cx_analyses_maps(unsigned analyses);

/* --- tables --- */

enum cx_stats_type {
    CX_STATS_INT32,
    CX_STATS_LABEL, /* int32: index into the set's labels */
    CX_STATS_INT64,
    CX_STATS_FLOAT64,
};

enum cx_stats_role {
    CX_STATS_KEY,     /* int32 or label; rows are sorted by their keys, the first column first */
    CX_STATS_SUM,     /* added up where rows of the same keys are merged */
    CX_STATS_DERIVED, /* made of sums by cx_stats_derive(); only in a merged set */
};

struct cx_stats_column_kind {
    const char *name;
    enum cx_stats_type type;
    enum cx_stats_role role;
    const char *const *names; /* of the values 0, 1, …, where they are codes; ends in NULL. NULL: plain numbers */
    const char *meaning;
};

/* Where a table is kept: in parts, in the merged set, or both. */
enum { CX_STATS_IN_PART = 1, CX_STATS_IN_MERGED = 2 };

struct cx_stats_table_kind {
    const char *name; /* "mixing_ratio/class"; its columns are the datasets /stats/mixing_ratio/class/<column> */
    enum cx_analysis analysis;
    unsigned places;
    const struct cx_stats_column_kind *columns;
    size_t column_count;
};

extern const struct cx_stats_table_kind cx_stats_table_kinds[];
extern const size_t cx_stats_table_count;

/* A table with its memory. A column of a table that is not there has no memory. */
struct cx_stats_column {
    size_t width; /* elements a row */
    void *values; /* [rows * width] */
};
struct cx_stats_table {
    const struct cx_stats_table_kind *kind;
    bool present;
    size_t rows, capacity;
    struct cx_stats_column *columns; /* [kind->column_count] */
};

struct cx_pair_filter;

/* What decides the values of the statistics, beside maps and sequences. */
struct cx_stats_options {
    unsigned analyses;
    size_t layer_count;                       /* L: the results' */
    const size_t *layers;                     /* [L] their numbers in the model, rising */
    uint64_t bootstrap;                       /* replicates */
    uint64_t min_count;                       /* of a pair of token types in the corpus */
    uint64_t top_pairs;                       /* pairs told for each layer, component and sign */
    bool raw_maps;                            /* maps are compared as they are; else each row is divided by its sum first */
    enum cx_mask_choice mask_choice;          /* of norm_dimensions */
    size_t masked_count;                      /* dimensions masked of each layer norm */
    const size_t *masked;                     /* borrowed: [L, CX_NORMS, masked_count] rising; for cx_stats_create() alone, the tables hold them */
    const struct cx_pair_filter *pair_filter; /* borrowed; NULL: all pairs are kept. Of no account in merging: it only leaves out what would not be told. */
};

/* The tables of a shard, or of several merged ones; start zeroed, end with cx_stats_set_free(). */
struct cx_stats_set {
    struct cx_stats_options options; /* `layers` is owned by the set */
    char **labels;                   /* [label_count] each once, in byte order; the first is "" */
    size_t label_count;
    struct cx_stats_table *tables; /* [cx_stats_table_count] in the order of cx_stats_table_kinds */
};

/* An empty set with its options, label "" and tables of no rows: those of `places` that belong to the analyses. */
CX_MUST_USE enum cx_status cx_stats_set_create(const struct cx_stats_options *options, unsigned places, struct cx_stats_set *set, struct cx_error *error);
void cx_stats_set_free(struct cx_stats_set *set);

/* Elements a row that a column has in a set of these options. */
size_t cx_stats_column_width(const struct cx_stats_table_kind *kind, size_t column, const struct cx_stats_options *options);

/* Bytes of one element. */
size_t cx_stats_type_size(enum cx_stats_type type);

/* Room for `rows` rows; they are there then, and not yet filled. */
CX_MUST_USE enum cx_status cx_stats_table_resize(struct cx_stats_table *table, size_t rows, struct cx_error *error);

/* CX_ERROR_DAMAGED if keys do not rise, or a code or label is none; `where` begins the sentence. For sets read from files. */
CX_MUST_USE enum cx_status cx_stats_set_check(const struct cx_stats_set *set, const char *where, struct cx_error *error);

/* Adds the tables of `from`, of which nothing is left but to free it, to those of `into`, which come before it. Both hold tables of parts with the same
 * options: CX_ERROR_DAMAGED if not. */
CX_MUST_USE enum cx_status cx_stats_merge(struct cx_stats_set *into, struct cx_stats_set *from, struct cx_error *error);

/* Makes what run.h5 holds of a merged set of parts. */
CX_MUST_USE enum cx_status cx_stats_derive(const struct cx_stats_set *parts, struct cx_stats_set *merged, struct cx_error *error);

/* --- accumulating a shard --- */

/*
 * Which pairs of token types may stand in the corpus min_count times: all that do, and few others, in 32 MiB, if it was given all sequences of the corpus. In a
 * corpus most pairs stand once or twice, and to keep sums for them takes as much as the maps themselves.
 */
CX_MUST_USE enum cx_status cx_pair_filter_create(struct cx_pair_filter **filter, struct cx_error *error);
void cx_pair_filter_destroy(struct cx_pair_filter *filter); /* NULL is allowed */
/* The pairs of a sequence's tokens, but for those that are special and for a place with itself. */
void cx_pair_filter_add(struct cx_pair_filter *filter, const struct cx_sequence *sequence);

/* The smallest min_count, 5 at least, that about `pairs` pairs of token types reach. */
uint64_t cx_pair_filter_min_count(const struct cx_pair_filter *filter, uint64_t pairs);

bool cx_pair_filter_passes(const struct cx_pair_filter *filter, int32_t target, int32_t source, uint64_t min_count);

struct cx_stats;

/* The labels' table is borrowed; it may be NULL, if no sequence has labels. `threads` work at the same time. */
CX_MUST_USE enum cx_status cx_stats_create(const struct cx_stats_options *options, struct cx_label_table *labels, int threads, struct cx_stats **stats,
                                           struct cx_error *error);
void cx_stats_destroy(struct cx_stats *stats); /* NULL is allowed */

/* Adds sequences, which come behind those added before, with their results: the maps of cx_analyses_maps(), their mixing ratios, and, for norm_dimensions, the
 * maps without dimensions must be there. */
CX_MUST_USE enum cx_status cx_stats_add(struct cx_stats *stats, const struct cx_sequence *sequences, const struct cx_sequence_result *results, size_t count,
                                        struct cx_error *error);

/* Gives the tables of all that was added, and begins anew. `set` must be freed. */
CX_MUST_USE enum cx_status cx_stats_take(struct cx_stats *stats, struct cx_stats_set *set, struct cx_error *error);

#endif
