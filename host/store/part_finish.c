/* Publishing a part: closed, synced, read back, renamed, and the folder synced. Only then does its name exist. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contexture/clock.h"
#include "contexture/file.h"
#include "contexture/memory.h"
#include "hdf5_handle.h"
#include "output_folder.h"
#include "part.h"

static enum cx_status append_text(struct cx_part *part, struct cx_flat *flat, char *padded, size_t width, const char *text, struct cx_error *error) {
    size_t length = strlen(text);
    memcpy(padded, text, length);
    memset(padded + length, 0, width - length);
    return cx_flat_append(part->queue, flat, padded, 1, error);
}

static const char *label_text(const struct cx_part *part, const struct cx_store_row *row, size_t token) {
    return cx_label_table_text(part->label_table, part->labels[row->index].ids[token]);
}

/* The length of the longest label; a label occurs many times, so each is asked for once. */
static enum cx_status longest_label(const struct cx_part *part, const struct cx_store_row *row, size_t *longest, struct cx_error *error) {
    bool *seen = NULL;
    *longest = 0;
    enum cx_status status = cx_allocate((size_t)CX_MOST_LABELS + 1, sizeof *seen, "the labels of a part", &seen, error);
    for (uint64_t token = 0; status == CX_OK && token < part->tokens; token++) {
        bool *known = &seen[part->labels[row->index].ids[token]];
        size_t length = *known ? 0 : strlen(label_text(part, row, (size_t)token));
        *longest = length > *longest ? length : *longest;
        *known = true;
    }
    free(seen);
    return status;
}

static enum cx_status text_width(const struct cx_part *part, const struct cx_store_row *row, size_t *width, struct cx_error *error) {
    enum cx_status status = CX_OK;
    *width = part->longest_id;
    if (row->field == CX_FIELD_LABEL)
        status = longest_label(part, row, width, error);
    for (size_t k = 0; row->field == CX_FIELD_SOURCE_NAME && k < part->source_count; k++)
        if (k == 0 || strlen(part->sources[k]) > *width)
            *width = strlen(part->sources[k]);
    *width = *width > 0 ? *width : 1;
    return status;
}

/* All texts of a row. `padded` has room for one. */
static enum cx_status append_texts(struct cx_part *part, struct cx_flat *flat, char *padded, size_t width, struct cx_error *error) {
    enum cx_status status = CX_OK;
    switch (flat->row->field) {
    case CX_FIELD_SOURCE_NAME:
        for (size_t k = 0; status == CX_OK && k < part->source_count; k++)
            status = append_text(part, flat, padded, width, part->sources[k], error);
        break;
    case CX_FIELD_LABEL:
        for (uint64_t token = 0; status == CX_OK && token < part->tokens; token++)
            status = append_text(part, flat, padded, width, label_text(part, flat->row, (size_t)token), error);
        break;
    default:
        for (size_t at = 0; status == CX_OK && at < part->ids_used; at += strlen(part->ids + at) + 1)
            status = append_text(part, flat, padded, width, part->ids + at, error);
    }
    return status;
}

/* Ids, labels and sources: the width of a dataset is that of its longest text. */
static enum cx_status write_texts(struct cx_part *part, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t i = 0; status == CX_OK && i < cx_store_row_count; i++) {
        const struct cx_store_row *row = &cx_store_rows[i];
        struct cx_flat *flat = &part->flats[i];
        size_t width = 0;
        char *padded = NULL;
        if (row->type != CX_STORE_TEXT || !cx_store_row_wanted(row, &part->shapes))
            continue;
        status = text_width(part, row, &width, error);
        if (status == CX_OK)
            status = cx_allocate(width, 1, "a text", &padded, error);
        if (status == CX_OK)
            status = cx_flat_create(part->queue, part->file, row, &part->shapes, width, flat, error);
        if (status == CX_OK)
            status = append_texts(part, flat, padded, width, error);
        free(padded);
    }
    return status;
}

static enum cx_status write_rest(struct cx_part *part, struct cx_error *error) {
    enum cx_status status = write_texts(part, error);
    for (size_t i = 0; status == CX_OK && i < cx_part_flat_count(part); i++)
        if (cx_part_flat(part, i)->created)
            status = cx_flat_end(part->queue, cx_part_flat(part, i), error);
    if (status == CX_OK)
        status = cx_chunk_queue_flush(part->queue, error);
    cx_hdf5_lock();
    for (size_t i = 0; status == CX_OK && i < cx_part_flat_count(part); i++) {
        struct cx_flat *flat = cx_part_flat(part, i);
        if (!flat->created)
            continue;
        if (H5Dclose(flat->dataset) < 0)
            status = cx_hdf5_fail(error, CX_ERROR_IO, "write a dataset of", part->temporary);
        flat->dataset = -1;
    }
    cx_hdf5_unlock();
    return status;
}

static enum cx_status close_file(struct cx_part *part, struct cx_error *error) {
    cx_hdf5_lock();
    enum cx_status status = cx_hdf5_close(part->file, part->temporary, error);
    cx_hdf5_unlock();
    part->file = -1;
    return status;
}

static enum cx_status publish(const struct cx_part *part, struct cx_error *error) {
    if (rename(part->temporary, part->path) != 0) {
        enum cx_status status = cx_fail_errno(error, "rename to its final name the file", part->temporary);
        return status;
    }
    return cx_folder_sync(part->path, error);
}

enum cx_status cx_part_finish(struct cx_part *part, struct cx_part_summary *summary, struct cx_error *error) {
    if (part->failed) {
        enum cx_status status = cx_fail(error, CX_ERROR_INTERNAL, "%s: a part that failed was finished", part->path);
        cx_part_abandon(part);
        return status;
    }
    cx_hdf5_lock();
    cx_hdf5_silence(); /* holds for one thread, and this may be another one than that which appended */
    cx_hdf5_unlock();
    enum cx_status status = write_rest(part, error);
    if (status != CX_OK) {
        cx_part_abandon(part);
        return status;
    }
    const double begin = cx_monotonic_seconds();
    status = close_file(part, error);
    const double closed = cx_monotonic_seconds();
    if (status == CX_OK && fsync(part->descriptor) != 0)
        status = cx_fail_errno(error, "write", part->temporary);
    const double synced = cx_monotonic_seconds();
    if (status == CX_OK)
        status = cx_part_read_back(part, &summary->file_crc32, &summary->bytes, error);
    if (status == CX_OK)
        status = publish(part, error);
    summary->spent = (struct cx_store_seconds){.write = closed - begin, .sync = synced - closed, .check = cx_monotonic_seconds() - synced};
    cx_chunk_queue_spent(part->queue, &summary->spent);
    summary->sequences = part->sequences;
    summary->tokens = part->tokens;
    summary->pairs = part->pairs;
    summary->completeness_error = part->completeness_error;
    /* After the rename there is no such file any more. */
    if (status != CX_OK && unlink(part->temporary) != 0)
        summary->bytes = 0;
    cx_part_free(part);
    return status;
}

uint64_t cx_store_bytes(const struct cx_store_options *options, const struct cx_store_size *sequences, size_t count) {
    struct cx_store_shapes shapes;
    cx_store_shapes_of(options, &shapes);
    uint64_t bytes = 0;
    for (size_t s = 0; s < count; s++) {
        for (size_t i = 0; i < cx_store_row_count; i++) {
            const struct cx_store_row *row = &cx_store_rows[i];
            size_t elements = cx_store_row_width(row, &shapes);
            if (!cx_store_row_wanted(row, &shapes))
                continue;
            if (row->shape == CX_SHAPE_BLOCK && !cx_store_block_size(row->field, &shapes, sequences[s], &elements))
                return UINT64_MAX;
            if (row->shape == CX_SHAPE_TOKEN || row->shape == CX_SHAPE_TOKEN_LAYER)
                elements *= sequences[s].tokens;
            if (row->shape == CX_SHAPE_WORD)
                elements *= sequences[s].words;
            bytes += (uint64_t)elements * cx_store_element_size(row, &shapes);
        }
    }
    return bytes;
}
