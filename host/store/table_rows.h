/* Reading a part's table in pieces, since it may be larger than memory. */
#ifndef CONTEXTURE_TABLE_ROWS_H
#define CONTEXTURE_TABLE_ROWS_H

#include "statistics.h"

struct cx_table_rows {
    const char *path; /* borrowed */
    struct cx_stats_set set;
    struct cx_stats_table *table; /* of that set: the rows that were read last */
    hid_t *datasets;              /* [columns] negative: not open */
    uint64_t rows;                /* in the file */
};

/* The table of pairs. Start zeroed, end with cx_table_rows_close(). */
CX_MUST_USE enum cx_status cx_table_rows_open(hid_t file, const char *path, const struct cx_stats_options *options, struct cx_table_rows *rows,
                                              struct cx_error *error);
void cx_table_rows_close(struct cx_table_rows *rows);

/* Rows from `first` on, as many as make 4 MiB, or their keys alone. */
CX_MUST_USE enum cx_status cx_table_rows_read(struct cx_table_rows *rows, uint64_t first, uint64_t end, struct cx_error *error);
CX_MUST_USE enum cx_status cx_table_keys_read(struct cx_table_rows *rows, uint64_t first, uint64_t end, struct cx_error *error);

/* The key of a row of rows->table; ids that were read are not negative. */
uint64_t cx_table_rows_key(const struct cx_table_rows *rows, size_t row);

#endif
