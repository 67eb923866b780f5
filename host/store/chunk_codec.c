#include "chunk_codec.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "chunk_filter.h"
#include "contexture/memory.h"

enum cx_status cx_codec_open(struct cx_codec *codec, int level, size_t largest, struct cx_error *error) {
    *codec = (struct cx_codec){.scratch_bytes = largest};
    enum cx_status status = cx_allocate(largest, 1, "a shuffled chunk", &codec->scratch, error);
    if (status != CX_OK)
        return status;
    if (level > 0)
        codec->compressor = libdeflate_alloc_compressor(level);
    if (level < 0)
        codec->decompressor = libdeflate_alloc_decompressor();
    if ((level > 0 && !codec->compressor) || (level < 0 && !codec->decompressor))
        return cx_fail_memory(error, "a compressor", sizeof(void *));
    return CX_OK;
}

void cx_codec_close(struct cx_codec *codec) {
    libdeflate_free_compressor(codec->compressor);
    libdeflate_free_decompressor(codec->decompressor);
    free(codec->scratch);
    *codec = (struct cx_codec){0};
}

uint64_t cx_chunk_hash(const unsigned char *plain, size_t bytes) {
    return XXH3_64bits(plain, bytes);
}

size_t cx_chunk_room(size_t bytes) {
    return bytes + CX_FLETCHER32_BYTES;
}

/* HDF5 counts filters from 0; bytes are not shuffled. */
static uint32_t deflate_bit(size_t element_size) {
    return 1u << (element_size > 1 ? 1 : 0);
}

/*
 * Whether deflate could hardly make the bytes smaller: those of the low mantissa bits are noise. By the chance that two of them are equal, 1/256 for
 * noise; up to 1.25 times that, an ideal code would save 4 in 100 bytes. Repetitions would not show, but noise has none.
 */
static bool is_noise(const unsigned char *bytes, size_t count) {
    enum { ways = 4 }; /* equal neighbours would wait for each other in one table */
    uint32_t counts[ways][256] = {{0}};
    uint64_t equal_pairs = 0;
    size_t i = 0;
    for (; i + ways <= count; i += ways)
        for (size_t way = 0; way < ways; way++)
            counts[way][bytes[i + way]]++;
    for (; i < count; i++)
        counts[0][bytes[i]]++;
    for (size_t value = 0; value < 256; value++) {
        const uint64_t sum = (uint64_t)counts[0][value] + counts[1][value] + counts[2][value] + counts[3][value];
        equal_pairs += sum * (sum > 0 ? sum - 1 : 0);
    }
    return count >= 1024 && count <= 65536 && 4 * 256 * equal_pairs <= 5 * (uint64_t)count * count;
}

/* Bytes at the front of a shuffled chunk that are noise: those of whole places in the elements, as many as one stored block can take. */
static size_t noise_in_front(const unsigned char *shuffled, size_t bytes, size_t element_size) {
    const size_t most = 65535, plane = bytes / element_size;
    size_t front = 0;
    if (element_size == 1 || element_size > 8 || plane * element_size != bytes)
        return 0;
    while (front < bytes && front + plane <= most && is_noise(shuffled + front, plane))
        front += plane;
    return front;
}

static size_t put_bytes(unsigned char *to, uint32_t value, int count, bool big_endian) {
    for (int byte = 0; byte < count; byte++)
        to[byte] = (unsigned char)(value >> (8 * (big_endian ? count - 1 - byte : byte)));
    return (size_t)count;
}

/*
 * A zlib stream (RFC 1950) of a shuffled chunk, if it is smaller than that; otherwise 0. Looking for repetitions in noise takes most of the time of deflate,
 * and of inflate afterwards, and finds nothing: what is noise in front goes into a stored block (RFC 1951, 3.2.4).
 */
static size_t compress(struct cx_codec *codec, const unsigned char *shuffled, size_t bytes, size_t element_size, unsigned char *stored) {
    enum { around = 2 + 5 + 4 };
    const size_t front = noise_in_front(shuffled, bytes, element_size);
    if (front == 0)
        return libdeflate_zlib_compress(codec->compressor, shuffled, bytes, stored, bytes);
    if (front + around >= bytes)
        return 0;
    size_t used = put_bytes(stored, 0x7801, 2, true);
    used += put_bytes(stored + used, 0, 1, false); /* not the last block; stored */
    used += put_bytes(stored + used, (uint32_t)front | (uint32_t)~front << 16, 4, false);
    memcpy(stored + used, shuffled, front);
    used += front;
    const size_t rest = libdeflate_deflate_compress(codec->compressor, shuffled + front, bytes - front, stored + used, bytes - used - 4);
    if (rest == 0)
        return 0;
    used += rest;
    return used + put_bytes(stored + used, libdeflate_adler32(1, shuffled, bytes), 4, true);
}

size_t cx_chunk_encode(struct cx_codec *codec, const unsigned char *plain, size_t bytes, size_t element_size, unsigned char *stored,
                       uint32_t *skipped_filters) {
    size_t used = 0;
    const unsigned char *shuffled = plain;
    struct cx_error ignored;
    *skipped_filters = 0;
    if (codec->compressor) {
        if (cx_reserve(&codec->scratch, &codec->scratch_bytes, bytes, 1, "a shuffled chunk", &ignored) != CX_OK)
            return 0;
        if (element_size > 1) {
            cx_filter_shuffle(plain, element_size, bytes, codec->scratch);
            shuffled = codec->scratch;
        }
        used = compress(codec, shuffled, bytes, element_size, stored);
        *skipped_filters = used == 0 ? deflate_bit(element_size) : 0;
        if (used == 0)
            memcpy(stored, shuffled, bytes);
    } else if (element_size > 1) {
        cx_filter_shuffle(plain, element_size, bytes, stored);
    } else {
        memcpy(stored, plain, bytes);
    }
    used = used > 0 ? used : bytes;
    return used + put_bytes(stored + used, cx_filter_fletcher32(stored, used), CX_FLETCHER32_BYTES, false);
}

bool cx_chunk_decode(struct cx_codec *codec, const struct cx_chunk_form *form, const unsigned char *stored, size_t stored_bytes, uint32_t skipped_filters,
                     unsigned char *plain) {
    const bool shuffle = form->element_size > 1, deflate = form->deflate && skipped_filters == 0;
    if (stored_bytes < CX_FLETCHER32_BYTES || (skipped_filters != 0 && (!form->deflate || skipped_filters != deflate_bit(form->element_size))))
        return false;
    const size_t used = stored_bytes - CX_FLETCHER32_BYTES;
    uint32_t checksum = 0;
    for (int byte = 0; byte < CX_FLETCHER32_BYTES; byte++)
        checksum |= (uint32_t)stored[used + (size_t)byte] << (8 * byte);
    if (cx_filter_fletcher32(stored, used) != checksum)
        return false;
    if (!deflate && used != form->bytes)
        return false;
    if (deflate && libdeflate_zlib_decompress(codec->decompressor, stored, used, shuffle ? codec->scratch : plain, form->bytes, NULL) != LIBDEFLATE_SUCCESS)
        return false;
    if (shuffle)
        cx_filter_unshuffle(deflate ? codec->scratch : stored, form->element_size, form->bytes, plain);
    else if (!deflate)
        memcpy(plain, stored, form->bytes);
    return true;
}
