/* Sets of tables: memory, and the checks of what was read from a file. */
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "contexture/stats.h"
#include "rows.h"

size_t cx_stats_type_size(enum cx_stats_type type) {
    return type == CX_STATS_INT32 || type == CX_STATS_LABEL ? 4 : 8;
}

size_t column_index(const struct cx_stats_table *table, const char *name) {
    size_t column = 0;
    while (strcmp(table->kind->columns[column].name, name) != 0)
        column++;
    return column;
}

void *column_values(const struct cx_stats_table *table, const char *name) {
    return table->columns[column_index(table, name)].values;
}

static enum cx_status copy_options(const struct cx_stats_options *options, struct cx_stats_set *set, struct cx_error *error) {
    size_t *layers = NULL;
    set->options = *options;
    set->options.layers = NULL;
    set->options.masked = NULL;
    set->options.pair_filter = NULL;
    enum cx_status status = cx_allocate(options->layer_count, sizeof *layers, "statistics", &layers, error);
    if (status != CX_OK)
        return status;
    memcpy(layers, options->layers, options->layer_count * sizeof *layers);
    set->options.layers = layers;
    return CX_OK;
}

/* Without replicates there is no table of them. */
static bool has_width(const struct cx_stats_table_kind *kind, const struct cx_stats_options *options) {
    size_t column = 0;
    while (column < kind->column_count && cx_stats_column_width(kind, column, options) > 0)
        column++;
    return column == kind->column_count;
}

enum cx_status cx_stats_set_create(const struct cx_stats_options *options, unsigned places, struct cx_stats_set *set, struct cx_error *error) {
    memset(set, 0, sizeof *set);
    enum cx_status status = copy_options(options, set, error);
    if (status == CX_OK)
        status = cx_allocate(1, sizeof *set->labels, "statistics", &set->labels, error);
    if (status == CX_OK)
        status = cx_copy_text("", 0, &set->labels[0], error);
    set->label_count = status == CX_OK;
    if (status == CX_OK)
        status = cx_allocate(cx_stats_table_count, sizeof *set->tables, "statistics", &set->tables, error);
    for (size_t k = 0; k < cx_stats_table_count && status == CX_OK; k++) {
        const struct cx_stats_table_kind *kind = &cx_stats_table_kinds[k];
        struct cx_stats_table *table = &set->tables[k];
        table->kind = kind;
        table->present = (kind->places & places) && (options->analyses & CX_ANALYSIS_BIT(kind->analysis)) && has_width(kind, options);
        status = cx_allocate(kind->column_count, sizeof *table->columns, "statistics", &table->columns, error);
        for (size_t column = 0; column < kind->column_count && status == CX_OK; column++)
            table->columns[column].width = cx_stats_column_width(kind, column, options);
    }
    if (status != CX_OK)
        cx_stats_set_free(set);
    return status;
}

static void table_free(struct cx_stats_table *table) {
    for (size_t column = 0; table->columns && column < table->kind->column_count; column++)
        free(table->columns[column].values);
    free(table->columns);
}

void labels_free(char **labels, size_t count) {
    for (size_t k = 0; k < count; k++)
        free(labels[k]);
    free(labels);
}

void cx_stats_set_free(struct cx_stats_set *set) {
    for (size_t k = 0; set->tables && k < cx_stats_table_count; k++)
        table_free(&set->tables[k]);
    free(set->tables);
    labels_free(set->labels, set->label_count);
    free((size_t *)set->options.layers);
    memset(set, 0, sizeof *set);
}

enum cx_status cx_stats_table_resize(struct cx_stats_table *table, size_t rows, struct cx_error *error) {
    enum cx_status status = CX_OK;
    if (rows > table->capacity) {
        size_t capacity = table->capacity;
        for (size_t k = 0; k < table->kind->column_count && status == CX_OK; k++) {
            struct cx_stats_column *column = &table->columns[k];
            size_t bytes;
            if (!cx_multiply(column->width, cx_stats_type_size(table->kind->columns[k].type), &bytes))
                return cx_fail_memory(error, "statistics", SIZE_MAX);
            capacity = table->capacity;
            if (bytes > 0) /* a column of no replicates has no memory */
                status = cx_reserve(&column->values, &capacity, rows, bytes, "statistics", error);
        }
        table->capacity = status == CX_OK ? capacity : table->capacity;
    }
    if (status == CX_OK)
        table->rows = rows;
    return status;
}

static bool is_key(const struct cx_stats_table_kind *kind, size_t column) {
    return column < kind->column_count && kind->columns[column].role == CX_STATS_KEY;
}

int rows_compare(const struct cx_stats_table *a, size_t row_a, const struct cx_stats_table *b, size_t row_b) {
    for (size_t column = 0; is_key(a->kind, column); column++) {
        const int32_t left = ((const int32_t *)a->columns[column].values)[row_a], right = ((const int32_t *)b->columns[column].values)[row_b];
        if (left != right)
            return left < right ? -1 : 1;
    }
    return 0;
}

/* Labels, or the values of a code; 0: plain numbers. */
static size_t code_count(const struct cx_stats_column_kind *column, size_t label_count) {
    size_t count = 0;
    while (column->names && column->names[count])
        count++;
    return column->type == CX_STATS_LABEL ? label_count : count;
}

static enum cx_status check_table(const struct cx_stats_table *table, size_t label_count, const char *where, struct cx_error *error) {
    const struct cx_stats_table_kind *kind = table->kind;
    for (size_t row = 1; row < table->rows; row++)
        if (rows_compare(table, row - 1, table, row) >= 0)
            return cx_fail(error, CX_ERROR_DAMAGED, "%s: the table /stats/%s: the keys of row %zu do not come behind those of the row before", where,
                           kind->name, row);
    for (size_t column = 0; column < kind->column_count; column++) {
        const int32_t *values = table->columns[column].values;
        const size_t codes = code_count(&kind->columns[column], label_count);
        for (size_t row = 0; codes > 0 && row < table->rows; row++)
            if (values[row] < 0 || (size_t)values[row] >= codes)
                return cx_fail(error, CX_ERROR_DAMAGED, "%s: the table /stats/%s: row %zu has the %s %d; there are %zu", where, kind->name, row,
                               kind->columns[column].name, (int)values[row], codes);
    }
    return CX_OK;
}

enum cx_status cx_stats_set_check(const struct cx_stats_set *set, const char *where, struct cx_error *error) {
    for (size_t k = 1; k < set->label_count; k++)
        if (strcmp(set->labels[k - 1], set->labels[k]) >= 0)
            return cx_fail(error, CX_ERROR_DAMAGED, "%s: /stats/labels: label %zu does not come behind the one before", where, k);
    if (set->label_count == 0 || set->labels[0][0] != '\0')
        return cx_fail(error, CX_ERROR_DAMAGED, "%s: /stats/labels: the first label is not the empty one", where);
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < cx_stats_table_count && status == CX_OK; k++)
        if (set->tables[k].present)
            status = check_table(&set->tables[k], set->label_count, where, error);
    return status;
}
