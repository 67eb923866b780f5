/* Beginning and giving up a part; part_append.c fills it, part_finish.c publishes it. */
#include "part.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contexture/memory.h"
#include "hdf5_handle.h"
#include "output_folder.h"

static enum cx_status check_options(const struct cx_store_options *options, struct cx_error *error) {
    bool usable = options->layers > 0 && options->heads > 0 && options->hidden_size > 0 && options->stored_layer_count > 0 && options->stored_layers &&
                  (options->vector_layer_count == 0 || options->vector_layers);
    for (size_t i = 0; usable && i < options->stored_layer_count; i++)
        usable = options->stored_layers[i] < options->layers && (i == 0 || options->stored_layers[i] > options->stored_layers[i - 1]);
    for (size_t i = 0; usable && i < options->vector_layer_count; i++)
        usable = options->vector_layers[i] < options->layers && (i == 0 || options->vector_layers[i] > options->vector_layers[i - 1]);
    usable = usable && (!options->annotations || options->labels);
    if (usable)
        return CX_OK;
    return cx_fail(error, CX_ERROR_INTERNAL, "%s: the store was given layers, heads or sizes that cannot be", options->directory);
}

static enum cx_status copy_sources(struct cx_part *part, const struct cx_store_options *options, struct cx_error *error) {
    enum cx_status status = cx_allocate(options->source_count, sizeof *part->sources, "the names of the corpus' files", &part->sources, error);
    if (status == CX_OK)
        part->source_count = options->source_count;
    for (size_t i = 0; status == CX_OK && i < options->source_count; i++)
        status = cx_copy_text(options->sources[i], strlen(options->sources[i]), &part->sources[i], error);
    return status;
}

static enum cx_status open_file(struct cx_part *part, const struct cx_store_options *options, struct cx_error *error) {
    part->begun = true;
    cx_hdf5_lock();
    enum cx_status status = cx_hdf5_create(part->temporary, false, &part->file, error);
    if (status == CX_OK)
        status = cx_part_write_attributes(part->file, part->temporary, options, error);
    cx_hdf5_unlock();
    /* Open from here to the end, so that no error of a write in between can be lost with the system's memory of the file. */
    if (status == CX_OK && (part->descriptor = open(part->temporary, O_RDWR | O_CLOEXEC)) < 0)
        status = cx_fail_errno(error, "open", part->temporary);
    int64_t zero = 0;
    for (size_t i = 0; status == CX_OK && i < cx_store_row_count; i++) {
        const struct cx_store_row *row = &cx_store_rows[i];
        /* The width of a text is known at the end: part_finish.c creates those datasets. */
        if (!cx_store_row_wanted(row, &part->shapes) || row->type == CX_STORE_TEXT)
            continue;
        status = cx_flat_create(part->queue, part->file, row, &part->shapes, 0, &part->flats[i], error);
        if (row->type == CX_STORE_MAP)
            part->flats[i].kept_mantissa_bits = options->kept_mantissa_bits;
        if (status == CX_OK && row->shape == CX_SHAPE_OFFSET)
            status = cx_flat_append(part->queue, &part->flats[i], &zero, 1, error);
    }
    return status;
}

enum cx_status cx_part_create(const struct cx_store_options *options, uint64_t shard, struct cx_part **part_pointer, struct cx_error *error) {
    struct cx_part *part = NULL;
    *part_pointer = NULL;
    enum cx_status status = check_options(options, error);
    if (status == CX_OK)
        status = cx_allocate(1, sizeof *part, "a part", &part, error);
    if (status != CX_OK)
        return status;
    part->file = part->descriptor = -1;
    part->label_table = options->labels;
    cx_store_shapes_of(options, &part->shapes);
    if ((status = cx_part_path(options->directory, shard, &part->path, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_temporary_path(part->path, options->worker, &part->temporary, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_allocate(cx_store_row_count, sizeof *part->flats, "a part", &part->flats, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_allocate(cx_store_row_count, sizeof *part->next_offset, "a part", &part->next_offset, error)) != CX_OK)
        goto cleanup;
    if ((status = copy_sources(part, options, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_chunk_queue_create(part->temporary, options->threads, options->compression_level, &part->queue, error)) != CX_OK)
        goto cleanup;
    if ((status = cx_output_create(options->directory, error)) != CX_OK)
        goto cleanup;
    status = open_file(part, options, error);
cleanup:
    if (status != CX_OK)
        cx_part_abandon(part);
    else
        *part_pointer = part;
    return status;
}

size_t cx_part_flat_count(const struct cx_part *part) {
    return cx_store_row_count + part->tables.count + part->pair_runs.count;
}

struct cx_flat *cx_part_flat(const struct cx_part *part, size_t index) {
    const size_t table = index - cx_store_row_count; /* of no account where it wraps around */
    if (index < cx_store_row_count)
        return &part->flats[index];
    return table < part->tables.count ? &part->tables.items[table].flat : &part->pair_runs.items[table - part->tables.count].flat;
}

size_t cx_part_flat_index(const struct cx_part *part, const struct cx_flat *flat) {
    size_t index = 0;
    while (cx_part_flat(part, index) != flat)
        index++;
    return index;
}

void cx_part_free(struct cx_part *part) {
    cx_chunk_queue_destroy(part->queue);
    for (size_t i = 0; part->flats && i < cx_store_row_count; i++)
        cx_flat_release(&part->flats[i]);
    for (size_t i = 0; i < part->source_count; i++)
        free(part->sources[i]);
    if (part->descriptor >= 0)
        close(part->descriptor);
    cx_table_datasets_release(&part->tables);
    cx_table_datasets_release(&part->pair_runs);
    free(part->sources);
    free(part->flats);
    free(part->next_offset);
    free(part->ids);
    for (int which = 0; which < CX_LABELS; which++)
        free(part->labels[which].ids);
    free(part->path);
    free(part->temporary);
    free(part);
}

void cx_part_abandon(struct cx_part *part) {
    if (!part)
        return;
    cx_chunk_queue_destroy(part->queue); /* its threads look at the datasets */
    part->queue = NULL;
    cx_hdf5_lock();
    cx_hdf5_silence(); /* holds for one thread, and this may be another one than that which wrote */
    for (size_t i = 0; part->flats && i < cx_store_row_count; i++)
        cx_flat_release(&part->flats[i]);
    cx_table_datasets_release(&part->tables);
    cx_table_datasets_release(&part->pair_runs);
    struct cx_error ignored = {0};
    /* Removed before HDF5 closes it, and whatever HDF5 says: nobody will read it. Cut to nothing, in case HDF5 cannot close it and keeps it open. */
    if (part->begun && (truncate(part->temporary, 0) != 0 || unlink(part->temporary) != 0))
        ignored.status = CX_ERROR_IO;
    if (part->file >= 0) {
        if (cx_hdf5_close(part->file, part->temporary, &ignored) != CX_OK)
            ignored.status = CX_ERROR_IO;
        part->file = -1;
    }
    cx_hdf5_unlock();
    cx_part_free(part);
}
