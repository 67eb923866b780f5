#include "half.h"

#include <cmath>
#include <limits>

namespace emulation {

namespace {

float decode(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float magnitude;
    if (exponent == 31) {
        magnitude = fraction ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
    } else if (exponent == 0) {
        magnitude = ldexpf(static_cast<float>(fraction), -24);
    } else {
        magnitude = ldexpf(static_cast<float>(1024 + fraction), exponent - 25);
    }
    return bits >> 15 ? -magnitude : magnitude;
}

} /* namespace */

const float *half_table() {
    static float table[65536];
    static const bool filled = [] {
        for (unsigned bits = 0; bits < 65536; ++bits) {
            table[bits] = decode(static_cast<uint16_t>(bits));
        }
        return true;
    }();
    static_cast<void>(filled);
    return table;
}

} /* namespace emulation */
