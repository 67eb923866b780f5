#include "statistics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "hdf5_handle.h"

#define GROUP  "/stats"
#define LABELS GROUP "/labels"

static enum cx_store_type store_type(enum cx_stats_type type) {
    switch (type) {
    case CX_STATS_INT32:
    case CX_STATS_LABEL:
        return CX_STORE_INT32;
    case CX_STATS_INT64:
        return CX_STORE_INT64;
    case CX_STATS_FLOAT64:
        break;
    }
    return CX_STORE_FLOAT64;
}

/* What is derived stands in run.h5 alone. */
static bool is_stored(const struct cx_stats_table *table, size_t column, bool merged) {
    return table->present && (merged || table->kind->columns[column].role != CX_STATS_DERIVED);
}

static void write_name(const struct cx_stats_table_kind *kind, size_t column, char name[CX_TABLE_NAME_BYTES]) {
    (void)snprintf(name, CX_TABLE_NAME_BYTES, GROUP "/%s/%s", kind->name, kind->columns[column].name);
}

/* --- writing --- */

/* The group's attributes: the options that the values depend on. */
static bool write_options(hid_t file, const struct cx_stats_options *options) {
    const char *names[CX_ANALYSES];
    size_t count = 0;
    for (unsigned analysis = 0; analysis < CX_ANALYSES; analysis++)
        if (options->analyses & CX_ANALYSIS_BIT(analysis))
            names[count++] = cx_analysis_name(analysis);
    hid_t group = cx_hdf5_create_groups(file, LABELS) ? H5Gopen2(file, GROUP, H5P_DEFAULT) : -1;
    bool done =
        group >= 0 && cx_hdf5_write_texts(group, "analyses", names, count) && cx_hdf5_write_layers(group, "layers", options->layers, options->layer_count) &&
        cx_hdf5_write_integer(group, "bootstrap", (int64_t)options->bootstrap) && cx_hdf5_write_integer(group, "min_count", (int64_t)options->min_count) &&
        cx_hdf5_write_integer(group, "top_pairs", (int64_t)options->top_pairs) && cx_hdf5_write_integer(group, "raw_maps", options->raw_maps);
    if (done && options->analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_NORMS))
        done = cx_hdf5_write_text(group, "mask_dims", cx_mask_choice_name(options->mask_choice)) &&
               cx_hdf5_write_integer(group, "masked_count", (int64_t)options->masked_count);
    cx_hdf5_release(group);
    return done;
}

static enum cx_status write_labels(struct cx_chunk_queue *queue, hid_t file, const struct cx_stats_set *set, struct cx_table_dataset *dataset,
                                   struct cx_error *error) {
    size_t width = 1;
    char *padded = NULL;
    for (size_t k = 0; k < set->label_count; k++)
        width = strlen(set->labels[k]) > width ? strlen(set->labels[k]) : width;
    dataset->row = (struct cx_store_row){LABELS, CX_STORE_TEXT, CX_SHAPE_TABLE, CX_FIELD_STATISTIC,
                                         1,      NULL,          "[labels]",     "labels of the annotations, each once, in byte order; the first is empty"};
    enum cx_status status = cx_flat_create_small(queue, file, &dataset->row, NULL, width, set->label_count, &dataset->flat, error);
    if (status == CX_OK)
        status = cx_allocate(set->label_count, width, "labels", &padded, error);
    for (size_t k = 0; k < set->label_count && status == CX_OK; k++)
        memcpy(padded + k * width, set->labels[k], strlen(set->labels[k]));
    if (status == CX_OK)
        status = cx_flat_append(queue, &dataset->flat, padded, set->label_count, error);
    free(padded);
    return status;
}

static enum cx_status write_column(struct cx_chunk_queue *queue, hid_t file, const char *path, const struct cx_stats_table *table, size_t column,
                                   struct cx_table_dataset *dataset, struct cx_error *error) {
    const struct cx_stats_column_kind *kind = &table->kind->columns[column];
    const size_t width = table->columns[column].width;
    size_t name_count = 0;
    write_name(table->kind, column, dataset->name);
    if (width == 1)
        (void)snprintf(dataset->layout, sizeof dataset->layout, "[rows]");
    else
        (void)snprintf(dataset->layout, sizeof dataset->layout, "[rows, %zu]", width);
    dataset->row =
        (struct cx_store_row){dataset->name, store_type(kind->type), CX_SHAPE_TABLE, CX_FIELD_STATISTIC, (unsigned)width, NULL, dataset->layout, kind->meaning};
    enum cx_status status = cx_flat_create_small(queue, file, &dataset->row, NULL, 0, table->rows, &dataset->flat, error);
    while (kind->names && kind->names[name_count])
        name_count++;
    cx_hdf5_lock();
    if (status == CX_OK && name_count > 0 && !cx_hdf5_write_texts(dataset->flat.dataset, "names", kind->names, name_count))
        status = cx_hdf5_fail(error, CX_ERROR_IO, "write the attributes of", path);
    cx_hdf5_unlock();
    if (status == CX_OK && table->rows > 0)
        status = cx_flat_append(queue, &dataset->flat, table->columns[column].values, table->rows, error);
    return status;
}

enum cx_status cx_table_datasets_write(struct cx_chunk_queue *queue, hid_t file, const char *path, const struct cx_stats_set *set, bool merged,
                                       struct cx_table_datasets *datasets, struct cx_error *error) {
    size_t count = 1;
    for (size_t k = 0; k < cx_stats_table_count; k++)
        for (size_t column = 0; column < set->tables[k].kind->column_count; column++)
            count += is_stored(&set->tables[k], column, merged);
    cx_hdf5_lock();
    enum cx_status status = write_options(file, &set->options) ? CX_OK : cx_hdf5_fail(error, CX_ERROR_IO, "write the attributes of", path);
    cx_hdf5_unlock();
    if (status == CX_OK)
        status = cx_allocate(count, sizeof *datasets->items, "the tables of statistics", &datasets->items, error);
    if (status != CX_OK)
        return status;
    datasets->count = count;
    struct cx_table_dataset *dataset = datasets->items;
    status = write_labels(queue, file, set, dataset++, error);
    for (size_t k = 0; k < cx_stats_table_count; k++)
        for (size_t column = 0; column < set->tables[k].kind->column_count && status == CX_OK; column++)
            if (is_stored(&set->tables[k], column, merged))
                status = write_column(queue, file, path, &set->tables[k], column, dataset++, error);
    return status;
}

void cx_table_datasets_release(struct cx_table_datasets *datasets) {
    for (size_t k = 0; k < datasets->count; k++)
        cx_flat_release(&datasets->items[k].flat);
    free(datasets->items);
    *datasets = (struct cx_table_datasets){0};
}

/* --- reading --- */

static bool read_count(hid_t object, const char *name, uint64_t *value) {
    int64_t number = 0;
    bool done = cx_hdf5_read_integer(object, name, 0, INT64_MAX, &number);
    *value = done ? (uint64_t)number : 0;
    return done;
}

static bool read_mask(hid_t group, struct cx_stats_options *options) {
    enum { width = 16 };
    char name[width + 1] = "";
    size_t names = 0;
    uint64_t count = 0;
    if (!cx_hdf5_read_texts(group, "mask_dims", name, 1, width, &names) || !read_count(group, "masked_count", &count))
        return false;
    while (options->mask_choice < CX_MASK_CHOICES && strcmp(name, cx_mask_choice_name(options->mask_choice)) != 0)
        options->mask_choice++;
    options->masked_count = (size_t)count;
    return options->mask_choice < CX_MASK_CHOICES;
}

static bool read_options(hid_t group, struct cx_stats_options *options, size_t layers[CX_MOST_LAYERS]) {
    enum { width = 64 };
    char names[CX_ANALYSES][width];
    int64_t numbers[CX_MOST_LAYERS];
    uint64_t raw = 0;
    size_t count = 0;
    if (!cx_hdf5_read_texts(group, "analyses", &names[0][0], CX_ANALYSES, width, &count) || count == 0)
        return false;
    for (size_t k = 0; k < count; k++) {
        const unsigned analysis = cx_analysis_by_name(names[k], strnlen(names[k], width));
        if (analysis == CX_ANALYSES)
            return false;
        options->analyses |= CX_ANALYSIS_BIT(analysis);
    }
    if (!cx_hdf5_read_integers(group, "layers", numbers, CX_MOST_LAYERS, &options->layer_count) || !read_count(group, "bootstrap", &options->bootstrap) ||
        !read_count(group, "min_count", &options->min_count) || !read_count(group, "top_pairs", &options->top_pairs) || !read_count(group, "raw_maps", &raw))
        return false;
    if (options->analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_NORMS) && !read_mask(group, options))
        return false;
    for (size_t k = 0; k < options->layer_count; k++)
        layers[k] = (size_t)numbers[k];
    options->layers = layers;
    options->raw_maps = raw != 0;
    return options->layer_count > 0 && options->bootstrap <= UINT32_MAX;
}

static enum cx_status fail_reading(const char *path, const char *name, struct cx_error *error) {
    struct cx_error reason = {0};
    (void)cx_hdf5_fail(&reason, CX_ERROR_DAMAGED, "read", path);
    return cx_fail(error, CX_ERROR_DAMAGED, "%s: dataset %s is missing, or is not as contexture writes it: %s", path, name, reason.message);
}

static enum cx_status read_labels(hid_t file, const char *path, struct cx_stats_set *set, struct cx_error *error) {
    hid_t dataset = H5Dopen2(file, LABELS, H5P_DEFAULT), type = dataset >= 0 ? H5Dget_type(dataset) : -1;
    const size_t width = type >= 0 && H5Tget_class(type) == H5T_STRING ? H5Tget_size(type) : 0;
    uint64_t rows = 0, columns = 0;
    char *padded = NULL, **labels = NULL;
    enum cx_status status = CX_OK;
    if (width == 0 || !cx_hdf5_extent(dataset, &rows, &columns) || columns != 1 || rows == 0 || rows > UINT32_MAX)
        status = fail_reading(path, LABELS, error);
    if (status == CX_OK)
        status = cx_allocate((size_t)rows, width, "labels", &padded, error);
    if (status == CX_OK)
        status = cx_allocate((size_t)rows, sizeof *labels, "labels", &labels, error);
    if (status == CX_OK && !cx_hdf5_read_rows(dataset, 0, rows, padded))
        status = fail_reading(path, LABELS, error);
    if (status == CX_OK) {
        free(set->labels[0]);
        free(set->labels);
        set->labels = labels;
        set->label_count = 0;
        labels = NULL;
    }
    for (size_t k = 0; k < rows && status == CX_OK; k++) {
        status = cx_copy_text(padded + k * width, strnlen(padded + k * width, width), &set->labels[k], error);
        set->label_count += status == CX_OK;
    }
    free(labels);
    free(padded);
    cx_hdf5_release(type);
    cx_hdf5_release(dataset);
    return status;
}

static enum cx_status read_column(hid_t file, const char *path, struct cx_stats_table *table, size_t column, struct cx_error *error) {
    char name[CX_TABLE_NAME_BYTES];
    uint64_t rows = 0, width = 0;
    write_name(table->kind, column, name);
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), type = dataset >= 0 ? H5Dget_type(dataset) : -1;
    const enum cx_stats_type wanted = table->kind->columns[column].type;
    enum cx_status status = CX_OK;
    if (type < 0 || H5Tget_size(type) != cx_stats_type_size(wanted) || H5Tget_class(type) != (wanted == CX_STATS_FLOAT64 ? H5T_FLOAT : H5T_INTEGER) ||
        !cx_hdf5_extent(dataset, &rows, &width) || width != table->columns[column].width || rows > SIZE_MAX)
        status = fail_reading(path, name, error);
    if (status == CX_OK && column == 0)
        status = cx_stats_table_resize(table, (size_t)rows, error);
    if (status == CX_OK && rows != table->rows)
        status =
            cx_fail(error, CX_ERROR_DAMAGED, "%s: dataset %s has %" PRIu64 " rows; expected %zu, as its table's first column", path, name, rows, table->rows);
    if (status == CX_OK && rows > 0 && !cx_hdf5_read_rows(dataset, 0, rows, table->columns[column].values))
        status = fail_reading(path, name, error);
    cx_hdf5_release(type);
    cx_hdf5_release(dataset);
    return status;
}

enum cx_status cx_statistics_read(hid_t file, const char *path, struct cx_stats_set *set, struct cx_error *error) {
    struct cx_stats_options options = {0};
    size_t layers[CX_MOST_LAYERS];
    htri_t there = H5Lexists(file, GROUP, H5P_DEFAULT);
    if (there == 0)
        return CX_OK;
    hid_t group = there > 0 ? H5Gopen2(file, GROUP, H5P_DEFAULT) : -1;
    const bool known = group >= 0 && read_options(group, &options, layers);
    cx_hdf5_release(group);
    if (!known)
        return cx_fail(error, CX_ERROR_DAMAGED, "%s: an attribute of " GROUP " is missing or has a value that contexture does not write", path);
    enum cx_status status = cx_stats_set_create(&options, CX_STATS_IN_PART, set, error);
    if (status == CX_OK)
        status = read_labels(file, path, set, error);
    for (size_t k = 0; k < cx_stats_table_count && status == CX_OK; k++)
        for (size_t column = 0; column < set->tables[k].kind->column_count && status == CX_OK; column++)
            if (is_stored(&set->tables[k], column, false))
                status = read_column(file, path, &set->tables[k], column, error);
    if (status == CX_OK)
        status = cx_stats_set_check(set, path, error);
    if (status != CX_OK)
        cx_stats_set_free(set);
    return status;
}
