#include "chunk_filter.h"

#include <string.h>

/* Elements of 4 bytes are nearly all of what is stored; this form of the loop becomes vector instructions. */
static void shuffle4(const unsigned char *in, size_t count, unsigned char *restrict out) {
    for (size_t i = 0; i < count; i++) {
        uint32_t element;
        memcpy(&element, in + 4 * i, sizeof element);
        out[i] = (unsigned char)element;
        out[count + i] = (unsigned char)(element >> 8);
        out[2 * count + i] = (unsigned char)(element >> 16);
        out[3 * count + i] = (unsigned char)(element >> 24);
    }
}

static void unshuffle4(const unsigned char *in, size_t count, unsigned char *restrict out) {
    for (size_t i = 0; i < count; i++) {
        uint32_t element = in[i] | (uint32_t)in[count + i] << 8 | (uint32_t)in[2 * count + i] << 16 | (uint32_t)in[3 * count + i] << 24;
        memcpy(out + 4 * i, &element, sizeof element);
    }
}

void cx_filter_shuffle(const unsigned char *in, size_t element_size, size_t bytes, unsigned char *out) {
    size_t count = bytes / element_size, whole = count * element_size;
    if (element_size == 4) {
        shuffle4(in, count, out);
    } else {
        for (size_t byte = 0; byte < element_size; byte++)
            for (size_t i = 0; i < count; i++)
                out[byte * count + i] = in[i * element_size + byte];
    }
    if (whole < bytes)
        memcpy(out + whole, in + whole, bytes - whole);
}

void cx_filter_unshuffle(const unsigned char *in, size_t element_size, size_t bytes, unsigned char *out) {
    size_t count = bytes / element_size, whole = count * element_size;
    if (element_size == 4) {
        unshuffle4(in, count, out);
    } else {
        for (size_t byte = 0; byte < element_size; byte++)
            for (size_t i = 0; i < count; i++)
                out[i * element_size + byte] = in[byte * count + i];
    }
    if (whole < bytes)
        memcpy(out + whole, in + whole, bytes - whole);
}

/* x mod 65535, but 65535 instead of 0 unless x is 0: what repeated end-around carries give. */
static uint32_t fold(uint64_t x) {
    while (x > 0xffff)
        x = (x & 0xffff) + (x >> 16);
    return (uint32_t)x;
}

/*
 * Two sums over big-endian 16-bit words w_k, modulo 65535: Σ w_k, and the sum of all its partial sums. Words are taken in blocks of B, for which
 * the second sum grows by B * (first sum so far) + Σ (B - k) w_k: 32-bit sums without a chain of dependent additions.
 */
uint32_t cx_filter_fletcher32(const unsigned char *data, size_t bytes) {
    enum { block = 128 };
    uint64_t first = 0, second = 0;
    size_t words = bytes / 2, done = 0;
    for (; done + block <= words; done += block, data += 2 * block) {
        uint32_t sum = 0, weighted = 0;
        for (uint32_t k = 0; k < block; k++) {
            uint32_t word = (uint32_t)data[2 * k] << 8 | data[2 * k + 1];
            sum += word;
            weighted += (block - k) * word;
        }
        second = fold(second + block * first + weighted);
        first = fold(first + sum);
    }
    for (; done < words; done++, data += 2) {
        first = fold(first + ((uint32_t)data[0] << 8 | data[1]));
        second = fold(second + first);
    }
    if (bytes % 2) {
        first = fold(first + ((uint32_t)data[0] << 8));
        second = fold(second + first);
    }
    return (uint32_t)second << 16 | (uint32_t)first;
}

static uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float bits_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static const uint32_t exponent_mask = 0x7f800000;

void cx_round_mantissa(const float *values, size_t count, int bits, float *out) {
    if (bits >= 23) {
        memmove(out, values, count * sizeof *values);
        return;
    }
    unsigned dropped = 23u - (unsigned)(bits < 0 ? 0 : bits);
    uint32_t mask = (1u << dropped) - 1, below_half = mask >> 1;
    for (size_t i = 0; i < count; i++) {
        uint32_t value = float_bits(values[i]);
        /* Adding just below half, and one more if the last kept bit is set, carries exactly where the nearest (even) value is the upper one. */
        uint32_t last_kept = bits > 0 ? (value >> dropped) & 1 : (value & exponent_mask) != 0; /* with no explicit bit kept: the implicit one */
        uint32_t rounded = (value + below_half + last_kept) & ~mask;
        /* The largest finite values would round up to infinity: they are cut instead. */
        uint32_t cut = value & ~mask;
        uint32_t finite = (value & exponent_mask) != exponent_mask, overflow = (rounded & exponent_mask) == exponent_mask;
        out[i] = bits_float(!finite ? value : overflow ? cut : rounded);
    }
}

size_t cx_float_to_half(const float *values, size_t count, uint16_t *out) {
    const uint32_t smallest_normal = 113u << 23; /* 2^-14 */
    const uint32_t half_infinity = 143u << 23;   /* 2^16 */
    /* A number whose unit in the last place is 2^-24, the step between subnormal halves: adding it makes the processor round to that step. */
    const float subnormal_step = 0.5f;
    uint32_t any_overflow = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = float_bits(values[i]), magnitude = bits & 0x7fffffff;
        uint32_t normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
        uint32_t subnormal = float_bits(bits_float(magnitude) + subnormal_step) - float_bits(subnormal_step);
        uint32_t special = magnitude > exponent_mask ? 0x7e00 : 0x7c00;
        uint32_t half = magnitude >= half_infinity ? special : magnitude < smallest_normal ? subnormal : normal;
        out[i] = (uint16_t)(half | (bits >> 16 & 0x8000));
        any_overflow |= half == 0x7c00 && magnitude < exponent_mask;
    }
    if (!any_overflow)
        return count;
    size_t i = 0;
    while ((out[i] & 0x7fff) != 0x7c00 || (float_bits(values[i]) & 0x7fffffff) >= exponent_mask)
        i++;
    return i;
}

float cx_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    if (exponent == 31)
        return bits_float(sign | exponent_mask | mantissa << 13);
    if (exponent > 0)
        return bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}
