/*
 * What HDF5's filter pipeline does to a chunk, as plain functions that any thread may call: the shuffle and fletcher32 filters as
 * the file format specifies them (section "Data Storage - Filter Pipeline"), and the ways in which a float is stored with fewer bits.
 */
#ifndef CONTEXTURE_CHUNK_FILTER_H
#define CONTEXTURE_CHUNK_FILTER_H

#include <stddef.h>
#include <stdint.h>

#include "contexture/attributes.h"

/* All first bytes of the elements, then all second bytes …; bytes behind the last whole element stay where they are. `out` is not `in`. */
void cx_filter_shuffle(const unsigned char *in, size_t element_size, size_t bytes, unsigned char *out);
void cx_filter_unshuffle(const unsigned char *in, size_t element_size, size_t bytes, unsigned char *out);

/* The checksum that the fletcher32 filter puts, little-endian, behind a chunk. */
uint32_t cx_filter_fletcher32(const unsigned char *data, size_t bytes);

enum { CX_FLETCHER32_BYTES = 4 };

/* out = values with `bits` explicit mantissa bits (0 to 23), rounded to nearest, ties to even. Not finite values are kept. */
void cx_round_mantissa(const float *values, size_t count, int bits, float *out);

/*
 * out = values as IEEE half precision, rounded to nearest, ties to even. Returns the index of the first finite value that is too large
 * (65520 and more), or `count`.
 */
CX_MUST_USE size_t cx_float_to_half(const float *values, size_t count, uint16_t *out);

/* The value of a half. */
float cx_half_to_float(uint16_t half);

#endif
