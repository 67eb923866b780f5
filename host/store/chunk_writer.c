#include "chunk_writer.h"

#include <stdlib.h>
#include <string.h>

#include "chunk_codec.h"
#include "chunk_filter.h"
#include "contexture/clock.h"
#include "contexture/memory.h"
#include "hdf5_handle.h"
#include "work_ring.h"

/*
 * Chunks are written in batches. HDF5 places a chunk in the file when it is written, and a dataset when it is created, so which chunks are written
 * before a dataset is created must depend neither on the number of threads nor on their timing: all those of full batches are.
 */
enum { batch = 32, slots_per_thread = 4 };

/* A full chunk on its way: taken from its dataset, then encoded by some thread, then written. */
struct chunk_slot {
    struct cx_flat *flat;
    uint64_t first_row, end_row;
    unsigned char *plain;
    size_t plain_capacity, plain_bytes;
    unsigned char *stored;
    size_t stored_capacity, stored_bytes;
    uint32_t skipped_filters;
    uint64_t hash;
};

struct cx_chunk_queue {
    const char *path;
    int threads, compression_level;
    struct chunk_slot *slots;
    size_t slot_count;
    struct cx_ring *ring;
    uint64_t pushed, written; /* chunks */
    uint64_t bytes;
    struct cx_chunk_record *records;
    size_t record_count, record_capacity;
    struct cx_store_seconds spent;
    struct cx_codec *codecs; /* [threads] */
};

static void encode_slot(void *context, size_t number, int thread) {
    struct cx_chunk_queue *queue = context;
    struct chunk_slot *slot = &queue->slots[number];
    slot->hash = cx_chunk_hash(slot->plain, slot->plain_bytes);
    slot->stored_bytes =
        cx_chunk_encode(&queue->codecs[thread], slot->plain, slot->plain_bytes, slot->flat->element_size, slot->stored, &slot->skipped_filters);
}

enum cx_status cx_chunk_queue_create(const char *path, int threads, int compression_level, struct cx_chunk_queue **queue_pointer, struct cx_error *error) {
    struct cx_chunk_queue *queue = NULL;
    *queue_pointer = NULL;
    enum cx_status status = cx_allocate(1, sizeof *queue, "the queue of chunks", &queue, error);
    if (status != CX_OK)
        return status;
    queue->path = path;
    queue->threads = threads > 0 ? threads : 1;
    queue->compression_level = compression_level < 0 ? 0 : compression_level > 9 ? 9 : compression_level;
    /* Room for a batch that is not yet full, and for work for all threads besides. */
    queue->slot_count = batch + (size_t)queue->threads * slots_per_thread;
    const struct cx_ring_options options = {.threads = queue->threads, .slots = queue->slot_count, .work = encode_slot, .context = queue};
    status = cx_allocate(queue->slot_count, sizeof *queue->slots, "the queue of chunks", &queue->slots, error);
    if (status == CX_OK)
        status = cx_allocate((size_t)queue->threads, sizeof *queue->codecs, "the compressing threads", &queue->codecs, error);
    for (int i = 0; status == CX_OK && i < queue->threads; i++)
        status = cx_codec_open(&queue->codecs[i], queue->compression_level, CX_CHUNK_BYTES, error);
    if (status == CX_OK)
        status = cx_ring_create(&options, &queue->ring, error);
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
    cx_ring_destroy(queue->ring);
    for (int i = 0; queue->codecs && i < queue->threads; i++)
        cx_codec_close(&queue->codecs[i]);
    for (size_t i = 0; queue->slots && i < queue->slot_count; i++) {
        free(queue->slots[i].plain);
        free(queue->slots[i].stored);
    }
    free(queue->codecs);
    free(queue->slots);
    free(queue->records);
    free(queue);
}

const struct cx_chunk_record *cx_chunk_queue_records(const struct cx_chunk_queue *queue, size_t *count) {
    *count = queue->record_count;
    return queue->records;
}

int cx_chunk_queue_threads(const struct cx_chunk_queue *queue) {
    return queue->threads;
}

int cx_chunk_queue_level(const struct cx_chunk_queue *queue) {
    return queue->compression_level;
}

uint64_t cx_chunk_queue_bytes(const struct cx_chunk_queue *queue) {
    return queue->bytes;
}

void cx_chunk_queue_spent(const struct cx_chunk_queue *queue, struct cx_store_seconds *spent) {
    spent->compress += queue->spent.compress;
    spent->write += queue->spent.write;
}

static enum cx_status keep_record(struct cx_chunk_queue *queue, const struct chunk_slot *slot, struct cx_error *error) {
    enum cx_status status =
        cx_reserve(&queue->records, &queue->record_capacity, queue->record_count + 1, sizeof *queue->records, "what a part's chunks hold", error);
    if (status == CX_OK)
        queue->records[queue->record_count++] = (struct cx_chunk_record){.flat = slot->flat,
                                                                         .first_row = slot->first_row,
                                                                         .hash = slot->hash,
                                                                         .stored_bytes = (uint32_t)slot->stored_bytes,
                                                                         .skipped_filters = slot->skipped_filters};
    return status;
}

/* The extent never goes beyond the rows there are: shrinking it later would make HDF5 rewrite the last chunk. */
static enum cx_status write_slot(struct cx_chunk_queue *queue, const struct chunk_slot *slot, struct cx_error *error) {
    const struct cx_flat *flat = slot->flat;
    hsize_t extent[2] = {slot->end_row, flat->width}, offset[2] = {slot->first_row, 0};
    enum cx_status status = CX_OK;
    if (slot->stored_bytes == 0)
        return cx_fail_memory(error, "a compressed chunk", slot->plain_bytes);
    cx_hdf5_lock();
    if (H5Dset_extent(flat->dataset, extent) < 0 ||
        H5Dwrite_chunk(flat->dataset, H5P_DEFAULT, slot->skipped_filters, offset, slot->stored_bytes, slot->stored) < 0)
        status = cx_hdf5_fail(error, CX_ERROR_IO, "write", queue->path);
    cx_hdf5_unlock();
    queue->bytes += slot->stored_bytes;
    return status;
}

/* The oldest chunk, when it is encoded. */
static enum cx_status write_oldest(struct cx_chunk_queue *queue, struct cx_error *error) {
    const double begin = cx_monotonic_seconds();
    const struct chunk_slot *slot = &queue->slots[cx_ring_wait(queue->ring)];
    const double encoded = cx_monotonic_seconds();
    enum cx_status status = write_slot(queue, slot, error);
    if (status == CX_OK)
        status = keep_record(queue, slot, error);
    cx_ring_release(queue->ring);
    queue->written++;
    queue->spent.compress += encoded - begin;
    queue->spent.write += cx_monotonic_seconds() - encoded;
    return status;
}

static uint64_t full_batches(const struct cx_chunk_queue *queue) {
    return queue->pushed - queue->pushed % batch;
}

static enum cx_status write_until(struct cx_chunk_queue *queue, uint64_t chunks, struct cx_error *error) {
    enum cx_status status = CX_OK;
    while (status == CX_OK && queue->written < chunks)
        status = write_oldest(queue, error);
    return status;
}

enum cx_status cx_chunk_queue_flush(struct cx_chunk_queue *queue, struct cx_error *error) {
    return write_until(queue, queue->pushed, error);
}

static size_t chunk_bytes(const struct cx_flat *flat) {
    return flat->chunk_rows * flat->row_bytes;
}

/* Hands the dataset's chunk over to the queue, and gives the dataset the memory of one that was written. */
static enum cx_status push_chunk(struct cx_chunk_queue *queue, struct cx_flat *flat, struct cx_error *error) {
    enum cx_status status = cx_ring_is_full(queue->ring) ? write_oldest(queue, error) : CX_OK;
    struct chunk_slot *slot = &queue->slots[cx_ring_next(queue->ring)];
    const size_t bytes = chunk_bytes(flat);
    if (status == CX_OK)
        status = cx_reserve(&slot->plain, &slot->plain_capacity, bytes, 1, "a chunk", error);
    if (status == CX_OK)
        status = cx_reserve(&slot->stored, &slot->stored_capacity, cx_chunk_room(bytes), 1, "a compressed chunk", error);
    if (status != CX_OK)
        return status;
    unsigned char *free_memory = slot->plain;
    const size_t free_capacity = slot->plain_capacity;
    slot->flat = flat;
    slot->end_row = flat->rows;
    slot->first_row = flat->rows - flat->filled;
    slot->plain = flat->chunk;
    slot->plain_capacity = flat->chunk_capacity;
    slot->plain_bytes = bytes;
    flat->chunk = free_memory;
    flat->chunk_capacity = free_capacity;
    flat->filled = 0;
    cx_ring_begin(queue->ring);
    queue->pushed++;
    while (status == CX_OK && queue->written < full_batches(queue) && cx_ring_has_ended(queue->ring))
        status = write_oldest(queue, error);
    return status;
}

/* Chunked in whole rows, no fill values written, and the three filters in the order in which cx_chunk_encode() applies them. */
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

    enum cx_status status = write_until(queue, full_batches(queue), error);
    if (status != CX_OK)
        return status;
    cx_hdf5_lock();
    hsize_t none[2] = {0, flat->width}, unlimited[2] = {H5S_UNLIMITED, flat->width};
    hid_t type = cx_hdf5_type(row, shapes, text_width), space = H5Screate_simple(flat->rank, none, unlimited), properties = cx_hdf5_dataset_properties();
    bool done = type >= 0 && space >= 0 && properties >= 0 && set_layout(properties, flat, queue->compression_level) && cx_hdf5_create_groups(file, row->name);
    if (done)
        flat->dataset = H5Dcreate2(file, row->name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    done = done && flat->dataset >= 0 && cx_hdf5_write_text(flat->dataset, "meaning", row->meaning) &&
           cx_hdf5_write_text(flat->dataset, "layout", cx_store_row_layout(row, shapes));
    if (!done)
        status = cx_hdf5_fail(error, CX_ERROR_IO, "create a dataset in", queue->path);
    cx_hdf5_release(properties);
    cx_hdf5_release(space);
    cx_hdf5_release(type);
    cx_hdf5_unlock();
    if (status == CX_OK)
        status = cx_reserve(&flat->chunk, &flat->chunk_capacity, chunk_bytes(flat), 1, "a chunk", error);
    return status;
}

void cx_flat_release(struct cx_flat *flat) {
    if (flat->created)
        cx_hdf5_release(flat->dataset);
    free(flat->chunk);
    *flat = (struct cx_flat){0};
}

/* Counts `rows` that were just put behind the chunk's rows. */
static enum cx_status count_rows(struct cx_chunk_queue *queue, struct cx_flat *flat, size_t rows, struct cx_error *error) {
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
    const size_t used = flat->filled * flat->row_bytes;
    memset(flat->chunk + used, 0, chunk_bytes(flat) - used);
    return push_chunk(queue, flat, error);
}
