/*
 * Making run.h5. Two passes over the parts for each of its two copies (run_file.h says why there are two): the first rebases the offsets, which are stored, and
 * notes how many rows every dataset has in every part; the second makes a virtual dataset of each. Statistics are added up in the first pass of the first
 * copy, and written into both. Parts are named relative to run.h5, so the folder can be moved.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contexture/file.h"
#include "contexture/memory.h"
#include "hdf5_handle.h"
#include "join.h"
#include "lock.h"
#include "output_folder.h"
#include "part.h"

/* H5Aiterate callback: copies an attribute as it is. */
static herr_t copy_attribute(hid_t from, const char *name, const H5A_info_t *about, void *context) {
    hid_t to = *(hid_t *)context, source = H5Aopen(from, name, H5P_DEFAULT), copy = -1, type = -1, space = -1;
    void *value = calloc(1, about->data_size > 0 ? (size_t)about->data_size : 1);
    herr_t result = -1;
    if (source < 0 || !value)
        goto cleanup;
    type = H5Aget_type(source);
    space = H5Aget_space(source);
    copy = type >= 0 && space >= 0 ? H5Acreate2(to, name, type, space, H5P_DEFAULT, H5P_DEFAULT) : -1;
    if (copy >= 0 && H5Aread(source, type, value) >= 0 && H5Awrite(copy, type, value) >= 0)
        result = 0;
cleanup:
    cx_hdf5_release(copy);
    cx_hdf5_release(space);
    cx_hdf5_release(type);
    cx_hdf5_release(source);
    free(value);
    return result;
}

/* What the first part decides for all: shapes, root attributes, the datasets that are stored, and the names of the corpus' files. */
static enum cx_status begin(struct cx_join *join, hid_t part, const char *path, struct cx_error *error) {
    enum cx_status status = cx_part_read_shapes(part, path, &join->shapes, error);
    hsize_t position = 0;
    if (status == CX_OK && H5Aiterate2(part, H5_INDEX_NAME, H5_ITER_INC, &position, copy_attribute, &join->file) < 0)
        status = cx_hdf5_fail(error, CX_ERROR_DAMAGED, "copy the attributes of", path);
    for (size_t i = 0; status == CX_OK && i < cx_store_row_count; i++) {
        const struct cx_store_row *row = &cx_store_rows[i];
        int64_t zero = 0;
        if (row->shape != CX_SHAPE_OFFSET || !cx_store_row_wanted(row, &join->shapes))
            continue;
        status = cx_flat_create(join->queue, join->file, row, &join->shapes, 0, &join->flats[i], error);
        if (status == CX_OK)
            status = cx_flat_append(join->queue, &join->flats[i], &zero, 1, error);
    }
    const struct cx_store_row *const about[] = {&cx_run_shard_row, &cx_run_crc_row, &cx_run_sequence_row};
    for (size_t i = 0; status == CX_OK && i < 3; i++)
        status = cx_flat_create(join->queue, join->file, about[i], &join->shapes, 0, &join->about[i], error);
    if (status == CX_OK)
        status = cx_flat_append(join->queue, &join->about[2], &join->sequence_offset, 1, error);
    return status;
}

/* Appends a part's offsets, all but the first 0, moved behind those of the parts before it. */
static enum cx_status add_offsets(struct cx_join *join, size_t row, hid_t dataset, uint64_t rows, const char *path, struct cx_error *error) {
    enum { piece = 8192 };
    int64_t offsets[piece];
    enum cx_status status = CX_OK;
    int64_t last = 0;
    for (uint64_t first = 1; status == CX_OK && first < rows; first += piece) {
        uint64_t count = rows - first < piece ? rows - first : piece;
        if (!cx_hdf5_read_rows(dataset, first, count, offsets))
            return cx_hdf5_fail(error, CX_ERROR_DAMAGED, "read an offset dataset of", path);
        for (uint64_t k = 0; k < count; k++) {
            last = offsets[k];
            if (__builtin_add_overflow(offsets[k], join->base[row], &offsets[k]))
                return cx_fail(error, CX_ERROR_DAMAGED, "%s: dataset %s: the offset %lld cannot be", path, cx_store_rows[row].name, (long long)last);
        }
        status = cx_flat_append(join->queue, &join->flats[row], offsets, (size_t)count, error);
    }
    join->base[row] += last;
    return status;
}

static enum cx_status copy_sources(struct cx_join *join, size_t row, hid_t dataset, uint64_t rows, const char *path, struct cx_error *error) {
    void *names = NULL;
    enum cx_status status = cx_flat_create(join->queue, join->file, &cx_store_rows[row], &join->shapes, join->text_width[row], &join->flats[row], error);
    if (status == CX_OK)
        status = cx_allocate((size_t)rows, join->text_width[row], "the names of the corpus' files", &names, error);
    if (status == CX_OK && rows > 0 && !cx_hdf5_read_rows(dataset, 0, rows, names))
        status = cx_hdf5_fail(error, CX_ERROR_DAMAGED, "read /sources of", path);
    if (status == CX_OK)
        status = cx_flat_append(join->queue, &join->flats[row], names, (size_t)rows, error);
    free(names);
    return status;
}

static enum cx_status add_dataset(struct cx_join *join, size_t part, size_t row, hid_t file, const char *path, struct cx_error *error) {
    uint64_t *rows = &join->rows[part * cx_store_row_count + row], width = 0;
    hid_t dataset = H5Dopen2(file, cx_store_rows[row].name, H5P_DEFAULT), type = dataset >= 0 ? H5Dget_type(dataset) : -1;
    enum cx_status status = CX_OK;
    if (type < 0 || !cx_hdf5_extent(dataset, rows, &width))
        status = cx_hdf5_fail(error, CX_ERROR_DAMAGED, "read a dataset of", path);
    if (status == CX_OK && H5Tget_size(type) > join->text_width[row])
        join->text_width[row] = H5Tget_size(type);
    if (status == CX_OK && cx_store_rows[row].shape == CX_SHAPE_OFFSET)
        status = add_offsets(join, row, dataset, *rows, path, error);
    else if (status == CX_OK && cx_store_rows[row].shape == CX_SHAPE_SOURCE && part == 0)
        status = copy_sources(join, row, dataset, *rows, path, error);
    cx_hdf5_release(type);
    cx_hdf5_release(dataset);
    return status;
}

/* Adds a part's statistics to those of the parts before it, in the order of the shards. */
static enum cx_status add_statistics(struct cx_join *join, size_t part, hid_t file, const char *path, struct cx_error *error) {
    struct cx_stats_set set = {0}, *sums = &join->statistics->sums;
    if (join->statistics->is_complete)
        return CX_OK;
    enum cx_status status = cx_statistics_read(file, path, &set, error);
    if (status == CX_OK && part == 0) {
        *sums = set;
        return CX_OK;
    }
    if (status == CX_OK && (set.tables != NULL) != (sums->tables != NULL))
        status = cx_fail(error, CX_ERROR_DAMAGED, "%s: of this part and the first one only one has statistics", path);
    if (status == CX_OK && set.tables)
        status = cx_stats_merge(sums, &set, error);
    cx_stats_set_free(&set);
    return status;
}

static enum cx_status complete_statistics(struct cx_join *join, struct cx_error *error) {
    struct cx_joined_statistics *statistics = join->statistics;
    enum cx_status status = CX_OK;
    if (statistics->sums.tables)
        status = cx_stats_derive(&statistics->sums, &statistics->merged, error);
    if (status == CX_OK && statistics->merged.options.analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_PAIRS))
        status = cx_join_rank_pairs(join, error);
    cx_stats_set_free(&statistics->sums);
    statistics->is_complete = status == CX_OK;
    return status;
}

static enum cx_status write_statistics(struct cx_join *join, struct cx_error *error) {
    const struct cx_stats_set *merged = &join->statistics->merged;
    enum cx_status status = join->statistics->is_complete ? CX_OK : complete_statistics(join, error);
    if (status == CX_OK && merged->tables)
        status = cx_table_datasets_write(join->queue, join->file, join->path, merged, true, &join->tables, error);
    return status;
}

static enum cx_status add_part(struct cx_join *join, size_t part, struct cx_error *error) {
    const struct cx_part_summary *summary = &join->manifest->parts[part];
    const int64_t about[] = {(int64_t)summary->shard, (int64_t)summary->file_crc32, join->sequence_offset + (int64_t)summary->sequences};
    struct cx_store_shapes shapes;
    char *path = NULL;
    hid_t file = -1;
    enum cx_status status = cx_part_path(join->directory, summary->shard, &path, error);
    if (status == CX_OK)
        status = cx_hdf5_open(path, &file, error);
    if (status == CX_OK && part == 0)
        status = begin(join, file, path, error);
    if (status == CX_OK)
        status = cx_part_read_shapes(file, path, &shapes, error);
    if (status == CX_OK && !cx_store_same_shapes(&shapes, &join->shapes))
        status = cx_fail(error, CX_ERROR_DAMAGED, "%s: its root attributes say that it holds other datasets than the first part", path);
    for (size_t row = 0; status == CX_OK && row < cx_store_row_count; row++)
        if (cx_store_row_wanted(&cx_store_rows[row], &join->shapes))
            status = add_dataset(join, part, row, file, path, error);
    if (status == CX_OK)
        status = add_statistics(join, part, file, path, error);
    for (size_t i = 0; status == CX_OK && i < 3; i++)
        status = cx_flat_append(join->queue, &join->about[i], &about[i], 1, error);
    join->sequence_offset = about[2];
    if (file >= 0)
        H5Fclose(file);
    free(path);
    return status;
}

static enum cx_status add_parts(struct cx_join *join, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t part = 0; status == CX_OK && part < join->manifest->count; part++)
        status = add_part(join, part, error);
    for (size_t i = 0; status == CX_OK && i < cx_store_row_count; i++) {
        const struct cx_store_row *row = &cx_store_rows[i];
        if (cx_store_row_wanted(row, &join->shapes) && row->shape != CX_SHAPE_OFFSET && row->shape != CX_SHAPE_SOURCE)
            status = cx_join_add_virtual(join, i, error);
    }
    return status == CX_OK ? write_statistics(join, error) : status;
}

static void release_datasets(struct cx_join *join) {
    for (size_t i = 0; join->flats && i < cx_store_row_count; i++)
        cx_flat_release(&join->flats[i]);
    for (size_t i = 0; i < 3; i++)
        cx_flat_release(&join->about[i]);
    cx_table_datasets_release(&join->tables);
}

/* After a failure HDF5 is asked nothing more of the file, which stays open inside it: see cx_hdf5_create(). */
static void forget_datasets(struct cx_join *join) {
    for (size_t i = 0; join->flats && i < cx_store_row_count; i++)
        join->flats[i].dataset = -1;
    for (size_t i = 0; i < 3; i++)
        join->about[i].dataset = -1;
    for (size_t i = 0; i < join->tables.count; i++)
        join->tables.items[i].flat.dataset = -1;
}

static enum cx_status end_file(struct cx_join *join, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t i = 0; status == CX_OK && i < cx_store_row_count; i++)
        if (join->flats[i].created)
            status = cx_flat_end(join->queue, &join->flats[i], error);
    for (size_t i = 0; status == CX_OK && i < 3; i++)
        status = cx_flat_end(join->queue, &join->about[i], error);
    for (size_t i = 0; status == CX_OK && i < join->tables.count; i++)
        status = cx_flat_end(join->queue, &join->tables.items[i].flat, error);
    if (status == CX_OK)
        status = cx_chunk_queue_flush(join->queue, error);
    if (status == CX_OK && H5Fflush(join->file, H5F_SCOPE_GLOBAL) < 0)
        status = cx_hdf5_fail(error, CX_ERROR_IO, "write", join->path);
    if (status != CX_OK)
        return status;
    release_datasets(join);
    return cx_hdf5_close(join->file, join->path, error);
}

static enum cx_status prepare(struct cx_join *join, struct cx_error *error) {
    enum { threads = 1, compression_level = 1 };
    size_t places = 0;
    enum cx_status status = CX_OK;
    if (!cx_multiply(join->manifest->count, cx_store_row_count, &places))
        status = cx_fail_memory(error, "joining the parts", SIZE_MAX);
    if (status == CX_OK)
        status = cx_allocate(places, sizeof *join->rows, "joining the parts", &join->rows, error);
    if (status == CX_OK)
        status = cx_allocate(cx_store_row_count, sizeof *join->flats, "joining the parts", &join->flats, error);
    if (status == CX_OK)
        status = cx_allocate(cx_store_row_count, sizeof *join->text_width, "joining the parts", &join->text_width, error);
    if (status == CX_OK)
        status = cx_allocate(cx_store_row_count, sizeof *join->base, "joining the parts", &join->base, error);
    return status == CX_OK ? cx_chunk_queue_create(join->path, threads, compression_level, &join->queue, error) : status;
}

static void release(struct cx_join *join) {
    cx_chunk_queue_destroy(join->queue);
    release_datasets(join);
    free(join->flats);
    free(join->rows);
    free(join->text_width);
    free(join->base);
}

/* Makes one of the two copies; not synced. */
static enum cx_status make_copy(const char *directory, const struct cx_manifest_content *manifest, struct cx_joined_statistics *statistics,
                                struct cx_run_copy *copy, struct cx_error *error) {
    struct cx_join join = {.directory = directory, .path = copy->path, .manifest = manifest, .file = -1, .statistics = statistics};
    enum cx_status status = prepare(&join, error);
    if (status == CX_OK)
        status = cx_hdf5_create(copy->path, true, &join.file, error);
    if (status == CX_OK && (copy->descriptor = open(copy->path, O_RDWR | O_CLOEXEC)) < 0)
        status = cx_fail_errno(error, "open", copy->path);
    if (status == CX_OK)
        status = add_parts(&join, error);
    if (status == CX_OK)
        status = end_file(&join, error);
    if (status != CX_OK)
        forget_datasets(&join);
    release(&join);
    return status;
}

/* Two names beside `path`, of this process alone. */
static enum cx_status name_copies(const char *path, const char *worker, struct cx_run_copy copies[2], struct cx_error *error) {
    char *twin = NULL;
    enum cx_status status = cx_temporary_path(path, worker, &copies[0].path, error);
    if (status == CX_OK)
        status = cx_temporary_path(path, "twin", &twin, error);
    if (status == CX_OK)
        status = cx_temporary_path(twin, worker, &copies[1].path, error);
    free(twin);
    return status;
}

enum cx_status cx_store_join(const char *directory, const char *worker, struct cx_error *error) {
    struct cx_manifest_content manifest = {0};
    struct cx_joined_statistics statistics = {0};
    struct cx_run_copy copies[2] = {{.descriptor = -1}, {.descriptor = -1}};
    char *path = NULL;
    enum cx_status status = cx_path_join(directory, CX_RUN_NAME, &path, error);
    if (status == CX_OK)
        status = cx_manifest_folder_read(directory, NULL, NULL, &manifest, error);
    if (status == CX_OK && manifest.count == 0)
        status = cx_fail(error, CX_ERROR_INPUT, "%s/%s: there is no finished shard to join into %s", directory, CX_MANIFEST_NAME, CX_RUN_NAME);
    if (status == CX_OK)
        status = name_copies(path, worker, copies, error);
    for (int k = 0; status == CX_OK && k < 2; k++)
        status = make_copy(directory, &manifest, &statistics, &copies[k], error);
    if (status == CX_OK)
        status = cx_run_publish(copies, path, error);
    for (int k = 0; k < 2; k++) {
        if (copies[k].path)
            unlink(copies[k].path); /* once it is published, the first is not there */
        if (copies[k].descriptor >= 0)
            close(copies[k].descriptor);
        free(copies[k].path);
    }
    cx_stats_set_free(&statistics.sums);
    cx_stats_set_free(&statistics.merged);
    cx_manifest_content_free(&manifest);
    free(path);
    return status;
}

enum cx_status cx_store_merge(const char *directory, uint64_t *shards, struct cx_error *error) {
    struct cx_manifest_content manifest = {0};
    struct cx_lock *lock = NULL;
    *shards = 0;
    enum cx_status status = cx_manifest_folder_read(directory, NULL, NULL, &manifest, error);
    if (status == CX_OK)
        status = cx_lock_take(directory, &lock, error);
    if (status == CX_OK)
        status = cx_store_join(directory, NULL, error);
    if (status == CX_OK)
        *shards = manifest.count;
    cx_lock_release(lock);
    cx_manifest_content_free(&manifest);
    return status;
}
