/* The finisher of splitmix64: every bit of the value changes about half of the result's. */
#ifndef STATS_MIX_H
#define STATS_MIX_H

#include <stdint.h>

static inline uint64_t mix(uint64_t value) {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

#endif
