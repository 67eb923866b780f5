#include "chunk_writer.h"

#include <libdeflate.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "chunk_filter.h"
#include "contexture/clock.h"
#include "contexture/memory.h"
#include "hdf5_handle.h"

/* Chunks that are compressed together. The number decides when HDF5 places them in the file, so it must not depend on the number of threads. */
enum { slot_count = 32 };

/* A full chunk on its way: taken from its dataset, then compressed by some thread, then written. */
struct chunk_slot {
    struct cx_flat *flat;
    uint64_t first_row, end_row;
    unsigned char *plain; /* [chunk_rows * row_bytes] */
    size_t plain_bytes;
    unsigned char *stored;
    size_t stored_capacity, stored_bytes;
    uint32_t skipped_filters; /* HDF5's filter mask */
    bool failed;
};

struct cx_chunk_queue {
    const char *path;
    int threads, compression_level;
    struct chunk_slot slots[slot_count];
    size_t used;
    struct cx_store_seconds spent;
    struct chunk_worker {
        struct libdeflate_compressor *compressor;
        unsigned char *shuffled;
        size_t capacity;
    } * workers; /* [threads] */
};

enum cx_status cx_chunk_queue_create(const char *path, int threads, int compression_level, struct cx_chunk_queue **queue_pointer, struct cx_error *error) {
    struct cx_chunk_queue *queue = NULL;
    *queue_pointer = NULL;
    enum cx_status status = cx_allocate(1, sizeof *queue, "the queue of chunks", &queue, error);
    if (status != CX_OK)
        return status;
    queue->path = path;
    queue->threads = threads > 0 ? threads : 1;
    queue->compression_level = compression_level < 0 ? 0 : compression_level > 9 ? 9 : compression_level;
    status = cx_allocate((size_t)queue->threads, sizeof *queue->workers, "the compressing threads", &queue->workers, error);
    for (int i = 0; status == CX_OK && i < queue->threads; i++) {
        queue->workers[i].compressor = libdeflate_alloc_compressor(queue->compression_level);
        if (!queue->workers[i].compressor)
            status = cx_fail_memory(error, "a compressor", sizeof(void *));
    }
    if (status != CX_OK) {
        cx_chunk_queue_destroy(queue);
        return status;
    }
    *queue_pointer = queue;
    return CX_OK;
}

void cx_chunk_queue_destroy(struct cx_chunk_queue *queue) {
    if (!queue)
        return;
    for (int i = 0; queue->workers && i < queue->threads; i++) {
        libdeflate_free_compressor(queue->workers[i].compressor);
        free(queue->workers[i].shuffled);
    }
    for (size_t i = 0; i < slot_count; i++) {
        free(queue->slots[i].plain);
        free(queue->slots[i].stored);
    }
    free(queue->workers);
    free(queue);
}

/* Chunked in whole rows, no fill values written, and the three filters in the order in which compress_slot() applies them. */
static bool set_layout(hid_t properties, const struct cx_flat *flat, int compression_level) {
    hsize_t chunk[2] = {flat->chunk_rows, flat->width};
    if (H5Pset_chunk(properties, flat->rank, chunk) < 0 || H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER) < 0)
        return false;
    if (flat->element_size > 1 && H5Pset_shuffle(properties) < 0)
        return false;
    if (compression_level > 0 && H5Pset_deflate(properties, (unsigned)compression_level) < 0)
        return false;
    return H5Pset_fletcher32(properties) >= 0;
}

enum cx_status cx_flat_create(struct cx_chunk_queue *queue, hid_t file, const struct cx_store_row *row, const struct cx_store_shapes *shapes, size_t text_width,
                              struct cx_flat *flat, struct cx_error *error) {
    return cx_flat_create_small(queue, file, row, shapes, text_width, SIZE_MAX, flat, error);
}

enum cx_status cx_flat_create_small(struct cx_chunk_queue *queue, hid_t file, const struct cx_store_row *row, const struct cx_store_shapes *shapes,
                                    size_t text_width, size_t rows, struct cx_flat *flat, struct cx_error *error) {
    size_t element_size = row->type == CX_STORE_TEXT ? (text_width > 0 ? text_width : 1) : cx_store_element_size(row, shapes);
    bool two = row->shape == CX_SHAPE_SEQUENCE_LAYER || row->shape == CX_SHAPE_TOKEN_LAYER;
    *flat = (struct cx_flat){.dataset = -1, .row = row, .element_size = element_size, .rank = two ? 2 : 1, .kept_mantissa_bits = 23, .created = true};
    flat->half = row->type == CX_STORE_MAP && shapes->map_type == CX_MAP_FLOAT16;
    flat->width = cx_store_row_width(row, shapes);
    if (row->shape == CX_SHAPE_TABLE && flat->width > 1)
        flat->rank = 2;
    if (!cx_multiply(flat->width, element_size, &flat->row_bytes) || flat->row_bytes == 0)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: dataset %s has rows of %zu elements", queue->path, row->name, flat->width);
    flat->chunk_rows = flat->row_bytes >= CX_CHUNK_BYTES ? 1 : CX_CHUNK_BYTES / flat->row_bytes;
    if (rows < flat->chunk_rows)
        flat->chunk_rows = rows > 0 ? rows : 1;

    hsize_t none[2] = {0, flat->width}, unlimited[2] = {H5S_UNLIMITED, flat->width};
    hid_t type = cx_hdf5_type(row, shapes, text_width), space = H5Screate_simple(flat->rank, none, unlimited), properties = cx_hdf5_dataset_properties();
    bool done = type >= 0 && space >= 0 && properties >= 0 && set_layout(properties, flat, queue->compression_level) && cx_hdf5_create_groups(file, row->name);
    if (done)
        flat->dataset = H5Dcreate2(file, row->name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    done = done && flat->dataset >= 0 && cx_hdf5_write_text(flat->dataset, "meaning", row->meaning) && cx_hdf5_write_text(flat->dataset, "layout", row->layout);
    enum cx_status status = done ? CX_OK : cx_hdf5_fail(error, CX_ERROR_IO, "create a dataset in", queue->path);
    cx_hdf5_release(properties);
    cx_hdf5_release(space);
    cx_hdf5_release(type);
    if (status == CX_OK)
        status = cx_allocate(flat->chunk_rows, flat->row_bytes, "a chunk", &flat->chunk, error);
    return status;
}

void cx_flat_release(struct cx_flat *flat) {
    if (flat->created)
        cx_hdf5_release(flat->dataset);
    free(flat->chunk);
    *flat = (struct cx_flat){0};
}

/* shuffle, deflate, fletcher32; deflate is left out, and marked so, where it would not make the chunk smaller. */
static void compress_slot(struct chunk_slot *slot, struct chunk_worker *worker, int compression_level) {
    const unsigned char *plain = slot->plain;
    bool shuffle = slot->flat->element_size > 1;
    if (shuffle) {
        cx_filter_shuffle(plain, slot->flat->element_size, slot->plain_bytes, worker->shuffled);
        plain = worker->shuffled;
    }
    size_t compressed = 0;
    if (compression_level > 0)
        compressed = libdeflate_zlib_compress(worker->compressor, plain, slot->plain_bytes, slot->stored, slot->plain_bytes);
    slot->skipped_filters = compression_level > 0 && compressed == 0 ? 1u << (shuffle ? 1 : 0) : 0;
    slot->stored_bytes = compressed > 0 ? compressed : slot->plain_bytes;
    if (compressed == 0)
        memcpy(slot->stored, plain, slot->plain_bytes);
    uint32_t checksum = cx_filter_fletcher32(slot->stored, slot->stored_bytes);
    for (int byte = 0; byte < CX_FLETCHER32_BYTES; byte++)
        slot->stored[slot->stored_bytes++] = (unsigned char)(checksum >> (8 * byte));
}

/* The extent never goes beyond the rows there are: shrinking it later would make HDF5 rewrite the last chunk. */
static bool write_slot(const struct chunk_slot *slot) {
    struct cx_flat *flat = slot->flat;
    hsize_t extent[2] = {slot->end_row, flat->width}, offset[2] = {slot->first_row, 0};
    if (H5Dset_extent(flat->dataset, extent) < 0)
        return false;
    flat->rows_in_file = slot->end_row;
    return H5Dwrite_chunk(flat->dataset, H5P_DEFAULT, slot->skipped_filters, offset, slot->stored_bytes, slot->stored) >= 0;
}

/* Memory that the threads will need, got beforehand, so that nothing can fail in the parallel part. */
static enum cx_status prepare_memory(struct cx_chunk_queue *queue, struct cx_error *error) {
    size_t largest = 0;
    for (size_t i = 0; i < queue->used; i++) {
        struct chunk_slot *slot = &queue->slots[i];
        enum cx_status status = cx_reserve(&slot->stored, &slot->stored_capacity, slot->plain_bytes + CX_FLETCHER32_BYTES, 1, "a compressed chunk", error);
        if (status != CX_OK)
            return status;
        if (slot->plain_bytes > largest)
            largest = slot->plain_bytes;
    }
    for (int i = 0; i < queue->threads; i++) {
        enum cx_status status = cx_reserve(&queue->workers[i].shuffled, &queue->workers[i].capacity, largest, 1, "a shuffled chunk", error);
        if (status != CX_OK)
            return status;
    }
    return CX_OK;
}

enum cx_status cx_chunk_queue_flush(struct cx_chunk_queue *queue, struct cx_error *error) {
    enum cx_status status = prepare_memory(queue, error);
    if (status != CX_OK)
        return status;
    int used = (int)queue->used, threads = queue->threads;
    const double begin = cx_monotonic_seconds();
#pragma omp parallel num_threads(threads) if (used > 1 && threads > 1)
    {
        struct chunk_worker *worker = &queue->workers[omp_get_thread_num()];
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < used; i++)
            compress_slot(&queue->slots[i], worker, queue->compression_level);
    }
    const double compressed = cx_monotonic_seconds();
    for (size_t i = 0; i < queue->used && status == CX_OK; i++)
        if (!write_slot(&queue->slots[i]))
            status = cx_hdf5_fail(error, CX_ERROR_IO, "write", queue->path);
    for (size_t i = 0; i < queue->used; i++) {
        free(queue->slots[i].plain);
        queue->slots[i].plain = NULL;
    }
    queue->used = 0;
    queue->spent.compress += compressed - begin;
    queue->spent.write += cx_monotonic_seconds() - compressed;
    return status;
}

void cx_chunk_queue_spent(const struct cx_chunk_queue *queue, struct cx_store_seconds *spent) {
    spent->compress += queue->spent.compress;
    spent->write += queue->spent.write;
}

/* Hands the dataset's chunk over to the queue, and gives the dataset an empty one. */
static enum cx_status push_chunk(struct cx_chunk_queue *queue, struct cx_flat *flat, struct cx_error *error) {
    unsigned char *next = NULL;
    enum cx_status status = cx_allocate(flat->chunk_rows, flat->row_bytes, "a chunk", &next, error);
    if (status != CX_OK)
        return status;
    struct chunk_slot *slot = &queue->slots[queue->used++];
    slot->flat = flat;
    slot->end_row = flat->rows;
    slot->first_row = flat->rows - flat->filled;
    slot->plain = flat->chunk;
    slot->plain_bytes = flat->chunk_rows * flat->row_bytes;
    flat->chunk = next;
    flat->filled = 0;
    return queue->used == slot_count ? cx_chunk_queue_flush(queue, error) : CX_OK;
}

/* Counts `rows` that were just put behind the chunk's rows. */
static enum cx_status count_rows(struct cx_chunk_queue *queue, struct cx_flat *flat, size_t rows, struct cx_error *error) {
    flat->crc32 = libdeflate_crc32(flat->crc32, flat->chunk + flat->filled * flat->row_bytes, rows * flat->row_bytes);
    flat->filled += rows;
    flat->rows += rows;
    return flat->filled == flat->chunk_rows ? push_chunk(queue, flat, error) : CX_OK;
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

enum cx_status cx_flat_append(struct cx_chunk_queue *queue, struct cx_flat *flat, const void *rows, size_t count, struct cx_error *error) {
    const unsigned char *next = rows;
    enum cx_status status = CX_OK;
    while (count > 0 && status == CX_OK) {
        size_t taken = smaller(count, flat->chunk_rows - flat->filled);
        memcpy(flat->chunk + flat->filled * flat->row_bytes, next, taken * flat->row_bytes);
        status = count_rows(queue, flat, taken, error);
        next += taken * flat->row_bytes;
        count -= taken;
    }
    return status;
}

/* Puts floats into a chunk as the dataset stores them; returns how many could be stored. */
static size_t encode_floats(const struct cx_flat *flat, const float *values, size_t count, void *place) {
    if (!flat->half) {
        cx_round_mantissa(values, count, flat->kept_mantissa_bits, place);
        return count;
    }
    /* A half has 10 mantissa bits; rounding to more than that beforehand would round twice. */
    if (flat->kept_mantissa_bits >= 10)
        return cx_float_to_half(values, count, place);
    float rounded[256];
    for (size_t done = 0, piece; done < count; done += piece) {
        piece = smaller(count - done, sizeof rounded / sizeof rounded[0]);
        cx_round_mantissa(values + done, piece, flat->kept_mantissa_bits, rounded);
        size_t fitting = cx_float_to_half(rounded, piece, (uint16_t *)place + done);
        if (fitting < piece)
            return done + fitting;
    }
    return count;
}

enum cx_status cx_flat_append_floats(struct cx_chunk_queue *queue, struct cx_flat *flat, const float *values, size_t count, struct cx_error *error) {
    size_t rows = count / flat->width;
    enum cx_status status = CX_OK;
    while (rows > 0 && status == CX_OK) {
        size_t taken = smaller(rows, flat->chunk_rows - flat->filled), elements = taken * flat->width;
        size_t fitting = encode_floats(flat, values, elements, flat->chunk + flat->filled * flat->row_bytes);
        if (fitting < elements)
            return cx_fail(error, CX_ERROR_INPUT, "%s: dataset %s: the value %g is too large for float16 (at most 65504); store the maps as float32",
                           queue->path, flat->row->name, (double)values[fitting]);
        status = count_rows(queue, flat, taken, error);
        values += elements;
        rows -= taken;
    }
    return status;
}

enum cx_status cx_flat_end(struct cx_chunk_queue *queue, struct cx_flat *flat, struct cx_error *error) {
    if (flat->filled == 0)
        return CX_OK;
    return push_chunk(queue, flat, error);
}
