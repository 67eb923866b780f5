/* Elementary functions in plain C that compilers turn into vector code, since the C library's erff and expf stay scalar. */
#ifndef CONTEXTURE_CPU_KERNEL_MATH_H
#define CONTEXTURE_CPU_KERNEL_MATH_H

#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float bits_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/*
 * exp(high + low) for -106 <= high <= 0 and small low, within 2 ulp down to the smallest subnormal; NaN gives NaN.
 * exp(x) = 2^k exp(r) with |r| <= ln 2 / 2; exp(r) = 1 + r + r² q(r), q by a minimax fit (relative error 1.3e-7 of q, 8e-9 of exp).
 */
static inline float exp_of_sum(float high, float low) {
    const float round_magic = 12582912.0f; /* 1.5 * 2^23: adding it leaves round(x) in the low bits of the mantissa */
    const float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    float shifted = high * 1.44269504f + round_magic;
    float k = shifted - round_magic;
    float r = ((high - k * ln2_high) + low) - k * ln2_low;
    float q = 0.00139015348f;
    q = q * r + 0.008363739859f;
    q = q * r + 0.04166686092f;
    q = q * r + 0.1666657369f;
    q = q * r + 0.4999999953f;
    float power = 1.0f + (r + r * r * q);
    /* 2^k in two factors, as 2^-150 itself is no float. Unsigned, since a NaN makes k any number. */
    uint32_t negated = 0x4B400000u - float_bits(shifted);
    uint32_t half = negated >> 1;
    return power * bits_float((127u - half) << 23) * bits_float((127u - (negated - half)) << 23);
}

/* exp(x) for x <= 0, -infinity included. */
static inline float exp_nonpositive(float x) {
    return exp_of_sum(x < -105.0f ? -105.0f : x, 0.0f);
}

/* 1 / (1 + exp(-x)), with a relative error of a few ulp on both sides. */
static inline float sigmoid(float x) {
    float power = exp_nonpositive(x < 0.0f ? x : -x);
    float share = 1.0f / (1.0f + power);
    return x < 0.0f ? power * share : share;
}

/*
 * Φ(u), the normal distribution: u Φ(u) is gelu. With a = |u|, Φ(-a) = exp(-a²/2) w(a), and (1 + a) w(a) is a polynomial of
 * t = (a - 4)/(a + 4), fitted on 0 .. 14.5 with relative error 1.7e-9; beyond, Φ is 0 or 1 in float32.
 * a² is split into an exact square of a's upper 12 bits and the rest, since an error of a² is one of the exponent.
 */
static inline float normal_distribution(float u) {
    float a = u < 0.0f ? -u : u;
    a = a > 14.5f ? 14.5f : a;
    float upper = bits_float(float_bits(a) & 0xFFFFF000u);
    float power = exp_of_sum(-0.5f * (upper * upper), -0.5f * ((a - upper) * (a + upper)));
    float t = (a - 4.0f) / (a + 4.0f);
    float w = -7.161166653e-5f;
    w = w * t - 6.055727634e-5f;
    w = w * t + 6.928593567e-4f;
    w = w * t - 3.037597674e-4f;
    w = w * t - 5.004382435e-3f;
    w = w * t + 0.01794020283f;
    w = w * t - 0.0321972695f;
    w = w * t + 0.02859998074f;
    w = w * t + 0.01399959614f;
    w = w * t - 0.09670346693f;
    w = w * t + 0.4720532069f;
    float tail = power * w / (1.0f + a);
    return u < 0.0f ? tail : 1.0f - tail;
}

#endif
