/*
 * A part that was written, closed and synced, read back: the bytes on the disk must decode to what was given.
 *
 * 1. The file's pages are dropped from the system's cache, where that is possible, so that what is read next comes from the disk.
 * 2. HDF5 opens the file and says what it has: root attributes, and of every dataset type, extent, chunks and filters.
 * 3. Threads read the file as a whole, block after block, for its CRC-32: that of the manifest.
 * 4. Some blocks behind them HDF5 finds every chunk by the file's own index and reads it as it is stored. Threads decode it and compare its hash with that
 *    of the chunk that was given.
 *
 * All chunks are decoded as any reader would; of what was written only a hash a chunk is kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "chunk_codec.h"
#include "contexture/memory.h"
#include "hdf5_handle.h"
#include "output_folder.h"
#include "part.h"
#include "work_ring.h"

enum { slots_per_thread = 4, block_bytes = 1 << 18, blocks_ahead = 32 };

/* A chunk as it lies in the file, then what its decoding gave; or a block of the file. */
struct read_slot {
    const struct cx_chunk_record *record; /* NULL: a block */
    unsigned char *stored;
    bool same;
    uint64_t offset; /* of the block */
    size_t bytes;
    int error_number; /* 0: it was read */
    uint32_t crc32;
};

struct read_back {
    const struct cx_part *part;
    hid_t file;
    hid_t *datasets; /* [cx_part_flat_count()]; negative: not open */
    size_t largest;  /* bytes of a chunk in memory */
    int threads;
    bool deflate;
    struct decoder {
        struct cx_codec codec;
        unsigned char *plain; /* [largest] */
        unsigned char *block; /* [block_bytes] */
    } * decoders;             /* [threads] */
    struct read_slot *slots;
    size_t slot_count;
    struct cx_ring *ring;
    uint64_t file_bytes, file_read; /* size; where the next block begins */
    uint32_t crc32;                 /* of all blocks that were ended */
};

static size_t chunk_bytes(const struct cx_flat *flat) {
    return flat->chunk_rows * flat->row_bytes;
}

static void decode_chunk(const struct read_back *back, struct read_slot *slot, struct decoder *decoder) {
    const struct cx_chunk_record *record = slot->record;
    const struct cx_chunk_form form = {chunk_bytes(record->flat), record->flat->element_size, back->deflate};
    slot->same = cx_chunk_decode(&decoder->codec, &form, slot->stored, record->stored_bytes, record->skipped_filters, decoder->plain) &&
                 cx_chunk_hash(decoder->plain, form.bytes) == record->hash;
}

static void read_block(const struct read_back *back, struct read_slot *slot, unsigned char *block) {
    slot->error_number = 0;
    for (size_t done = 0; done < slot->bytes && slot->error_number == 0;) {
        const ssize_t count = pread(back->part->descriptor, block + done, slot->bytes - done, (off_t)(slot->offset + done));
        if (count > 0)
            done += (size_t)count;
        else if (count == 0 || errno != EINTR)
            slot->error_number = count == 0 ? EIO : errno;
    }
    slot->crc32 = libdeflate_crc32(0, block, slot->bytes);
}

static void work_on_slot(void *context, size_t number, int thread) {
    const struct read_back *back = context;
    struct read_slot *slot = &back->slots[number];
    if (slot->record)
        decode_chunk(back, slot, &back->decoders[thread]);
    else
        read_block(back, slot, back->decoders[thread].block);
}

/* Filters decide what other readers make of the chunks. */
static bool has_filters(hid_t properties, const struct cx_flat *flat, bool deflate) {
    H5Z_filter_t expected[3];
    int count = 0;
    if (flat->element_size > 1)
        expected[count++] = H5Z_FILTER_SHUFFLE;
    if (deflate)
        expected[count++] = H5Z_FILTER_DEFLATE;
    expected[count++] = H5Z_FILTER_FLETCHER32;
    bool same = H5Pget_nfilters(properties) == count;
    for (int i = 0; same && i < count; i++) {
        unsigned flags, configuration, value = 0;
        size_t values = 1;
        same = H5Pget_filter2(properties, (unsigned)i, &flags, &values, &value, 0, NULL, &configuration) == expected[i] &&
               (expected[i] != H5Z_FILTER_SHUFFLE || value == flat->element_size);
    }
    return same;
}

static bool has_layout(hid_t dataset, const struct cx_flat *flat, const struct cx_store_shapes *shapes, bool deflate) {
    hsize_t chunk[2] = {0, 1};
    hid_t properties = H5Dget_create_plist(dataset), type = H5Dget_type(dataset), expected = cx_hdf5_type(flat->row, shapes, flat->element_size);
    const bool same = properties >= 0 && type >= 0 && expected >= 0 && H5Tequal(type, expected) > 0 && H5Pget_chunk(properties, 2, chunk) == flat->rank &&
                      chunk[0] == flat->chunk_rows && (flat->rank == 1 || chunk[1] == flat->width) && has_filters(properties, flat, deflate) &&
                      H5Aexists(dataset, "meaning") > 0 && H5Aexists(dataset, "layout") > 0;
    cx_hdf5_release(expected);
    cx_hdf5_release(type);
    cx_hdf5_release(properties);
    return same;
}

static enum cx_status open_dataset(struct read_back *back, size_t index, struct cx_error *error) {
    const struct cx_part *part = back->part;
    const struct cx_flat *flat = cx_part_flat(part, index);
    const char *path = part->temporary, *name = flat->row->name;
    uint64_t rows = 0, width = 0;
    hid_t dataset = back->datasets[index] = H5Dopen2(back->file, name, H5P_DEFAULT);
    if (dataset < 0 || !cx_hdf5_extent(dataset, &rows, &width))
        return cx_hdf5_fail(error, CX_ERROR_DAMAGED, "read back", path);
    if (rows != flat->rows || width != flat->width)
        return cx_fail(error, CX_ERROR_DAMAGED, "%s: dataset %s was written with %llu rows and reads back with %llu; is the disk full or failing?", path, name,
                       (unsigned long long)flat->rows, (unsigned long long)rows);
    if (!has_layout(dataset, flat, &part->shapes, back->deflate))
        return cx_fail(error, CX_ERROR_DAMAGED, "%s: dataset %s reads back with another type, other chunks or filters; is the disk full or failing?", path,
                       name);
    return CX_OK;
}

/* HDF5's view of the file but for its data. */
static enum cx_status open_file(struct read_back *back, struct cx_error *error) {
    const struct cx_part *part = back->part;
    struct cx_store_shapes shapes;
    cx_hdf5_lock();
    enum cx_status status = cx_hdf5_open(part->temporary, &back->file, error);
    if (status == CX_OK)
        status = cx_part_read_shapes(back->file, part->temporary, &shapes, error);
    if (status == CX_OK && !cx_store_same_shapes(&shapes, &part->shapes))
        status = cx_fail(error, CX_ERROR_DAMAGED, "%s: the attributes read back with other values; is the disk full or failing?", part->temporary);
    for (size_t i = 0; status == CX_OK && i < cx_part_flat_count(part); i++)
        if (cx_part_flat(part, i)->created)
            status = open_dataset(back, i, error);
    cx_hdf5_unlock();
    return status;
}

static enum cx_status close_file(struct read_back *back, enum cx_status status, struct cx_error *error) {
    cx_hdf5_lock();
    for (size_t i = 0; back->datasets && i < cx_part_flat_count(back->part); i++)
        cx_hdf5_release(back->datasets[i]);
    if (back->file >= 0 && H5Fclose(back->file) < 0 && status == CX_OK)
        status = cx_hdf5_fail(error, CX_ERROR_IO, "close", back->part->temporary);
    cx_hdf5_unlock();
    return status;
}

static enum cx_status prepare(struct read_back *back, struct cx_error *error) {
    const struct cx_part *part = back->part;
    enum cx_status status = cx_allocate(cx_part_flat_count(part), sizeof *back->datasets, "reading a part back", &back->datasets, error);
    for (size_t i = 0; status == CX_OK && i < cx_part_flat_count(part); i++) {
        const struct cx_flat *flat = cx_part_flat(part, i);
        back->datasets[i] = -1;
        if (flat->created && chunk_bytes(flat) > back->largest)
            back->largest = chunk_bytes(flat);
    }
    back->threads = cx_chunk_queue_threads(part->queue);
    back->deflate = cx_chunk_queue_level(part->queue) > 0;
    back->slot_count = (size_t)back->threads * slots_per_thread;
    if (status == CX_OK)
        status = cx_allocate((size_t)back->threads, sizeof *back->decoders, "reading a part back", &back->decoders, error);
    for (int i = 0; status == CX_OK && i < back->threads; i++) {
        status = cx_codec_open(&back->decoders[i].codec, -1, back->largest, error);
        if (status == CX_OK)
            status = cx_allocate(back->largest, 1, "reading a part back", &back->decoders[i].plain, error);
        if (status == CX_OK)
            status = cx_allocate(block_bytes, 1, "reading a part back", &back->decoders[i].block, error);
    }
    if (status == CX_OK)
        status = cx_allocate(back->slot_count, sizeof *back->slots, "reading a part back", &back->slots, error);
    for (size_t i = 0; status == CX_OK && i < back->slot_count; i++)
        status = cx_allocate(cx_chunk_room(back->largest), 1, "reading a part back", &back->slots[i].stored, error);
    const struct cx_ring_options options = {.threads = back->threads, .slots = back->slot_count, .work = work_on_slot, .context = back};
    return status == CX_OK ? cx_ring_create(&options, &back->ring, error) : status;
}

static void release(struct read_back *back) {
    cx_ring_destroy(back->ring);
    for (size_t i = 0; back->slots && i < back->slot_count; i++)
        free(back->slots[i].stored);
    for (int i = 0; back->decoders && i < back->threads; i++) {
        cx_codec_close(&back->decoders[i].codec);
        free(back->decoders[i].plain);
        free(back->decoders[i].block);
    }
    free(back->slots);
    free(back->decoders);
    free(back->datasets);
}

static enum cx_status fail_chunk(const struct read_back *back, const struct cx_chunk_record *record, struct cx_error *error) {
    return cx_fail(error, CX_ERROR_DAMAGED,
                   "%s: dataset %s reads back with other contents than were written, in the chunk at row %llu; is the disk full or failing?",
                   back->part->temporary, record->flat->row->name, (unsigned long long)record->first_row);
}

/* The sizes are compared first: the memory is that of the chunk as it was written. */
static enum cx_status read_chunk(struct read_back *back, const struct cx_chunk_record *record, struct cx_error *error) {
    struct read_slot *slot = &back->slots[cx_ring_next(back->ring)];
    hsize_t offset[2] = {record->first_row, 0}, bytes = 0;
    uint32_t skipped_filters = 0;
    enum cx_status status = CX_OK;
    cx_hdf5_lock();
    hid_t dataset = back->datasets[cx_part_flat_index(back->part, record->flat)];
    if (H5Dget_chunk_storage_size(dataset, offset, &bytes) < 0)
        status = cx_hdf5_fail(error, CX_ERROR_DAMAGED, "read back", back->part->temporary);
    else if (bytes != record->stored_bytes)
        status = fail_chunk(back, record, error);
    else if (H5Dread_chunk(dataset, H5P_DEFAULT, offset, &skipped_filters, slot->stored) < 0)
        status = cx_hdf5_fail(error, CX_ERROR_DAMAGED, "read back", back->part->temporary);
    else if (skipped_filters != record->skipped_filters)
        status = fail_chunk(back, record, error);
    cx_hdf5_unlock();
    if (status != CX_OK)
        return status;
    slot->record = record;
    cx_ring_begin(back->ring);
    return CX_OK;
}

static enum cx_status end_oldest(struct read_back *back, struct cx_error *error) {
    const struct read_slot *slot = &back->slots[cx_ring_wait(back->ring)];
    enum cx_status status = CX_OK;
    if (slot->record) {
        status = slot->same ? CX_OK : fail_chunk(back, slot->record, error);
    } else if (slot->error_number != 0) {
        errno = slot->error_number;
        status = cx_fail_errno(error, "read back", back->part->temporary);
    } else {
        back->crc32 = (uint32_t)crc32_combine(back->crc32, slot->crc32, (z_off_t)slot->bytes);
    }
    cx_ring_release(back->ring);
    return status;
}

static enum cx_status make_room(struct read_back *back, struct cx_error *error) {
    return cx_ring_is_full(back->ring) ? end_oldest(back, error) : CX_OK;
}

/* Begins to read the blocks up to that place. */
static enum cx_status read_blocks(struct read_back *back, uint64_t end, struct cx_error *error) {
    enum cx_status status = CX_OK;
    while (status == CX_OK && back->file_read < back->file_bytes && back->file_read < end) {
        status = make_room(back, error);
        if (status != CX_OK)
            break;
        struct read_slot *slot = &back->slots[cx_ring_next(back->ring)];
        const uint64_t left = back->file_bytes - back->file_read;
        slot->record = NULL;
        slot->offset = back->file_read;
        slot->bytes = left < block_bytes ? (size_t)left : block_bytes;
        back->file_read += slot->bytes;
        cx_ring_begin(back->ring);
    }
    return status;
}

/*
 * Chunks in the order of writing, which is nearly that of the file. Blocks are begun some way ahead, so that HDF5, which only one thread can use at a time,
 * finds in memory what it reads.
 */
static enum cx_status compare_chunks(struct read_back *back, struct cx_error *error) {
    size_t count = 0;
    uint64_t place = 0;
    const struct cx_chunk_record *records = cx_chunk_queue_records(back->part->queue, &count);
    enum cx_status status = CX_OK;
    for (size_t i = 0; status == CX_OK && i < count; i++) {
        status = read_blocks(back, place + (uint64_t)blocks_ahead * block_bytes, error);
        if (status == CX_OK)
            status = make_room(back, error);
        if (status == CX_OK)
            status = read_chunk(back, &records[i], error);
        place += records[i].stored_bytes;
    }
    if (status == CX_OK)
        status = read_blocks(back, back->file_bytes, error);
    while (status == CX_OK && !cx_ring_is_empty(back->ring))
        status = end_oldest(back, error);
    return status;
}

enum cx_status cx_part_read_back(const struct cx_part *part, uint32_t *crc32, uint64_t *bytes, struct cx_error *error) {
    struct read_back back = {.part = part, .file = -1};
    struct stat about;
    /* A wish: file systems in memory have nowhere else to read from. */
    (void)posix_fadvise(part->descriptor, 0, 0, POSIX_FADV_DONTNEED);
    enum cx_status status = fstat(part->descriptor, &about) == 0 ? CX_OK : cx_fail_errno(error, "examine", part->temporary);
    if (status == CX_OK) {
        back.file_bytes = (uint64_t)about.st_size;
        status = prepare(&back, error);
    }
    if (status == CX_OK)
        status = open_file(&back, error);
    if (status == CX_OK)
        status = compare_chunks(&back, error);
    status = close_file(&back, status, error);
    release(&back);
    *crc32 = back.crc32;
    *bytes = back.file_bytes;
    return status;
}
