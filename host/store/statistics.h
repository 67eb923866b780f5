/* Tables of statistics (contexture/stats.h) in parts and in run.h5: /stats/<analysis>/<table>/<column>. */
#ifndef CONTEXTURE_STATISTICS_H
#define CONTEXTURE_STATISTICS_H

#include "chunk_writer.h"
#include "contexture/stats.h"

enum { CX_TABLE_NAME_BYTES = 128 };

/* One column of a table that is there, and where it goes. */
struct cx_table_dataset {
    char name[CX_TABLE_NAME_BYTES], layout[CX_TABLE_NAME_BYTES];
    struct cx_store_row row;
    struct cx_flat flat;
};

/* Datasets of one file. Start zeroed; must not move while they are written. */
struct cx_table_datasets {
    struct cx_table_dataset *items;
    size_t count;
};

/* Creates the datasets of a set in `file`, and appends everything. The caller ends the queue, then the datasets. */
CX_MUST_USE enum cx_status cx_table_datasets_write(struct cx_chunk_queue *queue, hid_t file, const char *path, const struct cx_stats_set *set, bool merged,
                                                   struct cx_table_datasets *datasets, struct cx_error *error);

/* Appends rows to a table that is written in pieces, whose datasets are made for the first ones. */
CX_MUST_USE enum cx_status cx_table_rows_write(struct cx_chunk_queue *queue, hid_t file, const char *path, const struct cx_stats_table *rows,
                                               struct cx_table_datasets *datasets, struct cx_error *error);
void cx_table_datasets_release(struct cx_table_datasets *datasets);

/* Reads the tables of a part, and checks them; those kept in runs are left empty, for table_rows.h. A part without any leaves the set as it is: zeroed. */
CX_MUST_USE enum cx_status cx_statistics_read(hid_t file, const char *path, struct cx_stats_set *set, struct cx_error *error);

/* Opens the dataset of a column; CX_ERROR_DAMAGED if there is none, or not of the column's type and width. */
CX_MUST_USE enum cx_status cx_table_column_open(hid_t file, const char *path, const struct cx_stats_table *table, size_t column, hid_t *dataset, uint64_t *rows,
                                                struct cx_error *error);
CX_MUST_USE enum cx_status cx_table_fail_rows(const char *path, const struct cx_stats_table *table, size_t column, uint64_t rows, uint64_t expected,
                                              struct cx_error *error);
/* Into the first `count` rows of the table, which it must have. */
CX_MUST_USE enum cx_status cx_table_column_read(hid_t dataset, const char *path, struct cx_stats_table *table, size_t column, uint64_t first, uint64_t count,
                                                struct cx_error *error);

#endif
