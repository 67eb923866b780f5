/* The order of a map's numbers as that of unsigned integers, alike on all backends. */
#ifndef CONTEXTURE_RANK_KEY_H
#define CONTEXTURE_RANK_KEY_H

#include <stdint.h>
#include <string.h>

#include "contexture/attributes.h"

/* Above all numbers and infinity. */
#define CX_RANK_KEY_NAN     0xfffffffeu
#define CX_RANK_KEY_LEFTOUT 0xffffffffu

/* Of two numbers the larger has the larger key; equal numbers, -0 and 0 too, have the same. */
static inline CX_DEVICE uint32_t cx_rank_key(float number) {
    uint32_t bits;
    number += 0.0f;
    if (number != number)
        return CX_RANK_KEY_NAN;
    memcpy(&bits, &number, sizeof bits);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

#endif
