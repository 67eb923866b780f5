/* Rows and columns of tables, for the files that fill and merge them. */
#ifndef STATS_ROWS_H
#define STATS_ROWS_H

#include "contexture/stats.h"
#include "kinds.h"
#include "slots.h"

/* The column of that name, which must be there. */
size_t column_index(const struct cx_stats_table *table, const char *name);
void *column_values(const struct cx_stats_table *table, const char *name);

/* The order of two rows' keys, of tables of one kind: negative, 0, positive. */
int rows_compare(const struct cx_stats_table *a, size_t row_a, const struct cx_stats_table *b, size_t row_b);

void labels_free(char **labels, size_t count);

/* The set's number of a label, which must be there. */
int32_t label_number(const struct cx_stats_set *set, const char *text);

/*
 * Adds a row whose first `count` columns, all of width 1, have these values; doubles hold all whole numbers that can be. The other columns of width 1 that hold
 * doubles become NaN, and what remains is not filled.
 */
CX_MUST_USE enum cx_status row_add(struct cx_stats_table *table, const double *values, size_t count, struct cx_error *error);

/* Sorts the rows by their keys. */
CX_MUST_USE enum cx_status rows_sort(struct cx_stats_table *table, struct cx_error *error);

/*
 * Fills a table by rising keys: its key columns are the key's two halves, or the lower one alone, then a count, then one column for each of the equal parts of
 * a slot's sums, [layers * width / parts].
 */
CX_MUST_USE enum cx_status slots_to_table(const struct slots *slots, struct cx_stats_table *table, struct cx_error *error);

/* The same of the slots order[0 .. count) alone. */
CX_MUST_USE enum cx_status slots_to_rows(const struct slots *slots, const size_t *order, size_t count, struct cx_stats_table *table, struct cx_error *error);

/* sqrt((sum_squares - sum²/count) / (count - 1)), NaN for less than two, and never below 0. */
double sample_deviation(double count, double sum, double sum_squares);

#endif
