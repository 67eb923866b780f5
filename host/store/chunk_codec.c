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
        used = libdeflate_zlib_compress(codec->compressor, shuffled, bytes, stored, bytes);
        *skipped_filters = used == 0 ? deflate_bit(element_size) : 0;
        if (used == 0)
            memcpy(stored, shuffled, bytes);
    } else if (element_size > 1) {
        cx_filter_shuffle(plain, element_size, bytes, stored);
    } else {
        memcpy(stored, plain, bytes);
    }
    used = used > 0 ? used : bytes;
    const uint32_t checksum = cx_filter_fletcher32(stored, used);
    for (int byte = 0; byte < CX_FLETCHER32_BYTES; byte++)
        stored[used++] = (unsigned char)(checksum >> (8 * byte));
    return used;
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
