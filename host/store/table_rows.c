#include "table_rows.h"

#include <inttypes.h>
#include <stdlib.h>

#include "contexture/memory.h"
#include "hdf5_handle.h"

enum { piece_bytes = 4 << 20, key_columns = 2 };

static struct cx_stats_table *table_in_runs(const struct cx_stats_set *set) {
    size_t k = 0;
    while (k < cx_stats_table_count && !(set->tables[k].kind->places & CX_STATS_IN_RUNS))
        k++;
    return k < cx_stats_table_count && set->tables[k].present ? &set->tables[k] : NULL;
}

enum cx_status cx_table_rows_open(hid_t file, const char *path, const struct cx_stats_options *options, struct cx_table_rows *rows, struct cx_error *error) {
    struct cx_stats_options pairs = *options;
    size_t opened = 0;
    pairs.analyses = CX_ANALYSIS_BIT(CX_ANALYSIS_PAIRS);
    rows->path = path;
    enum cx_status status = cx_stats_set_create(&pairs, CX_STATS_IN_PART, &rows->set, error);
    if (status != CX_OK)
        return status;
    rows->table = table_in_runs(&rows->set);
    const size_t columns = rows->table->kind->column_count;
    status = cx_allocate(columns, sizeof *rows->datasets, "reading a table", &rows->datasets, error);
    for (size_t column = 0; column < columns && status == CX_OK; column++)
        rows->datasets[column] = -1;
    for (; opened < columns && status == CX_OK; opened++) {
        uint64_t count = 0;
        status = cx_table_column_open(file, path, rows->table, opened, &rows->datasets[opened], &count, error);
        if (status == CX_OK && opened > 0 && count != rows->rows)
            status = cx_table_fail_rows(path, rows->table, opened, count, rows->rows, error);
        rows->rows = opened == 0 ? count : rows->rows;
    }
    return status;
}

void cx_table_rows_close(struct cx_table_rows *rows) {
    for (size_t column = 0; rows->datasets && column < rows->table->kind->column_count; column++)
        cx_hdf5_release(rows->datasets[column]);
    free(rows->datasets);
    cx_stats_set_free(&rows->set);
    *rows = (struct cx_table_rows){0};
}

static enum cx_status check_keys(const struct cx_table_rows *rows, uint64_t first, struct cx_error *error) {
    for (size_t column = 0; column < key_columns; column++) {
        const int32_t *ids = rows->table->columns[column].values;
        for (size_t row = 0; row < rows->table->rows; row++)
            if (ids[row] < 0)
                return cx_fail(error, CX_ERROR_DAMAGED, "%s: the table /stats/%s: row %" PRIu64 " has the %s %d; ids of tokens are not negative", rows->path,
                               rows->table->kind->name, first + row, rows->table->kind->columns[column].name, (int)ids[row]);
    }
    return CX_OK;
}

/* The room for a row is that of all columns, however many are read. */
static enum cx_status read_columns(struct cx_table_rows *rows, uint64_t first, uint64_t end, size_t columns, struct cx_error *error) {
    size_t row_bytes = 0;
    for (size_t column = 0; column < rows->table->kind->column_count; column++)
        row_bytes += rows->table->columns[column].width * cx_stats_type_size(rows->table->kind->columns[column].type);
    const uint64_t room = row_bytes < piece_bytes ? piece_bytes / row_bytes : 1, count = end - first < room ? end - first : room;
    enum cx_status status = cx_stats_table_resize(rows->table, (size_t)count, error);
    for (size_t column = 0; column < columns && status == CX_OK; column++)
        status = cx_table_column_read(rows->datasets[column], rows->path, rows->table, column, first, count, error);
    return status == CX_OK ? check_keys(rows, first, error) : status;
}

enum cx_status cx_table_rows_read(struct cx_table_rows *rows, uint64_t first, uint64_t end, struct cx_error *error) {
    return read_columns(rows, first, end, rows->table->kind->column_count, error);
}

enum cx_status cx_table_keys_read(struct cx_table_rows *rows, uint64_t first, uint64_t end, struct cx_error *error) {
    return read_columns(rows, first, end, key_columns, error);
}

uint64_t cx_table_rows_key(const struct cx_table_rows *rows, size_t row) {
    return cx_pair_key(((const int32_t *)rows->table->columns[0].values)[row], ((const int32_t *)rows->table->columns[1].values)[row]);
}
