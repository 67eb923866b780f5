/*
 * The largest pairs of all parts. The parts' tables of pairs may be larger than memory together, and each alone, so they are read range by range of keys: in
 * every part a range is a few rows one behind the other in each of its runs. One part is open at a time, however many there are.
 */
#include <stdlib.h>

#include "contexture/memory.h"
#include "hdf5_handle.h"
#include "join.h"
#include "output_folder.h"
#include "table_rows.h"

/* Rows of rising keys in a part, in the order of parts. */
struct run {
    size_t part;
    uint64_t next, end; /* the first row that no range has taken */
};
struct runs {
    struct run *items;
    size_t count, capacity;
};

static enum cx_status begin_run(struct runs *runs, size_t part, uint64_t row, struct cx_error *error) {
    enum cx_status status = cx_reserve(&runs->items, &runs->capacity, runs->count + 1, sizeof *runs->items, "the runs of pairs", error);
    if (status == CX_OK)
        runs->items[runs->count++] = (struct run){part, row, row};
    return status;
}

/* A run ends where the keys do not rise. */
static enum cx_status find_runs(struct runs *runs, size_t part, struct cx_table_rows *rows, struct cx_error *error) {
    enum cx_status status = CX_OK;
    uint64_t last = 0;
    for (uint64_t first = 0; first < rows->rows && status == CX_OK; first += rows->table->rows) {
        status = cx_table_keys_read(rows, first, rows->rows, error);
        for (size_t row = 0; row < rows->table->rows && status == CX_OK; row++) {
            const uint64_t key = cx_table_rows_key(rows, row);
            if (first + row == 0 || key <= last)
                status = begin_run(runs, part, first + row, error);
            if (status == CX_OK)
                runs->items[runs->count - 1].end++;
            last = key;
        }
    }
    return status;
}

/* The first row of a run whose key is not below `low`. */
static enum cx_status seek(const struct run *run, struct cx_table_rows *rows, uint64_t low, uint64_t *found, struct cx_error *error) {
    enum cx_status status = CX_OK;
    uint64_t end = run->end;
    *found = run->next;
    while (*found < end && status == CX_OK) {
        const uint64_t middle = *found + (end - *found) / 2;
        status = cx_table_keys_read(rows, middle, middle + 1, error);
        if (status == CX_OK && cx_table_rows_key(rows, 0) < low)
            *found = middle + 1;
        else
            end = middle;
    }
    return status;
}

/* All rows of a run whose keys are in the range; its end may fall meanwhile. */
static enum cx_status add_run(struct run *run, struct cx_table_rows *rows, struct cx_pair_ranking *ranking, struct cx_error *error) {
    uint64_t low, high;
    cx_pair_ranking_wants(ranking, &low, &high);
    enum cx_status status = seek(run, rows, low, &run->next, error);
    for (uint64_t row = run->next; row < run->end && status == CX_OK; row += rows->table->rows) {
        status = cx_table_rows_read(rows, row, run->end, error);
        cx_pair_ranking_wants(ranking, &low, &high);
        if (status != CX_OK || cx_table_rows_key(rows, 0) >= high)
            break;
        status = cx_pair_ranking_add(ranking, rows->table, error);
    }
    return status;
}

/* The runs of a part, which begin at *at; leaves it behind them. In the first range they are found first. */
static enum cx_status add_part(const struct cx_join *join, size_t part, struct runs *runs, size_t *at, bool first, struct cx_pair_ranking *ranking,
                               struct cx_error *error) {
    struct cx_table_rows rows = {0};
    char *path = NULL;
    hid_t file = -1;
    enum cx_status status = cx_part_path(join->directory, join->manifest->parts[part].shard, &path, error);
    if (status == CX_OK)
        status = cx_hdf5_open(path, &file, error);
    if (status == CX_OK)
        status = cx_table_rows_open(file, path, &join->statistics->sums.options, &rows, error);
    if (status == CX_OK && first)
        status = find_runs(runs, part, &rows, error);
    for (; *at < runs->count && runs->items[*at].part == part && status == CX_OK; ++*at)
        status = add_run(&runs->items[*at], &rows, ranking, error);
    cx_table_rows_close(&rows);
    if (file >= 0)
        H5Fclose(file);
    free(path);
    return status;
}

enum cx_status cx_join_rank_pairs(const struct cx_join *join, struct cx_error *error) {
    struct cx_pair_ranking *ranking = NULL;
    struct runs runs = {0};
    enum cx_status status = cx_pair_ranking_create(&join->statistics->sums.options, 0, &ranking, error);
    bool more = true;
    for (bool first = true; more && status == CX_OK; first = false) {
        size_t at = 0;
        for (size_t part = 0; part < join->manifest->count && status == CX_OK; part++)
            status = add_part(join, part, &runs, &at, first, ranking, error);
        if (status == CX_OK)
            status = cx_pair_ranking_next(ranking, &more, error);
    }
    if (status == CX_OK)
        status = cx_pair_ranking_end(ranking, &join->statistics->merged, error);
    cx_pair_ranking_destroy(ranking);
    free(runs.items);
    return status;
}
