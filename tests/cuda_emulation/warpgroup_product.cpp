/* A product's operand in shared memory as the descriptor says, and the product itself. */
#include <cstring>

#include "half.h"
#include "sanitizers.h"
#include "shared_memory.h"
#include "statistics.h"
#include "warpgroup.h"

namespace emulation {

namespace {

constexpr unsigned depth = 16, most_columns = 256, piece = 8; /* halves in 16 bytes */

struct Descriptor {
    unsigned start, block_bytes, group_bytes;
};

Descriptor decode(const ProductArguments &product) {
    const uint64_t bits = product.b;
    auto distance = [bits](unsigned first) { return static_cast<unsigned>(bits >> first & 0x3fff) << 4; };
    const Descriptor descriptor{distance(0), distance(16), distance(32)};
    const int line = product.line;
    if (bits >> 62 != 1) {
        fail("line %d: wgmma: only 128-byte swizzle is emulated", line);
    }
    if (bits >> 49 & 7) {
        fail("line %d: wgmma: the descriptor's base offset must be 0", line);
    }
    /* The swizzle is of the address: a tile that begins elsewhere is not read as it was written. */
    const unsigned within = descriptor.start % 1024, row_part = product.transposed ? 2 * (product.columns < 64 ? product.columns : 64) : 2 * depth;
    if (within + row_part > 128) {
        fail("line %d: wgmma: an operand at shared offset %u; tiles begin at multiples of 1024", line, descriptor.start);
    }
    return descriptor;
}

/* Calls visit(the 16 bytes, line of 8 neighbours, which 8): K-major, line is a column and 8 of k follow; MN-major, line is a k and 8 columns follow. */
template <typename Visit> void for_each_piece(const ProductArguments &product, Visit visit) {
    const Descriptor b = decode(product);
    const unsigned lines = product.transposed ? depth : product.columns, pieces = (product.transposed ? product.columns : depth) / piece;
    for (unsigned line = 0; line < lines; ++line) {
        for (unsigned i = 0; i < pieces; ++i) {
            unsigned offset = b.start + line / 8 * b.group_bytes + line % 8 * 128 + (product.transposed ? i / 8 * b.block_bytes + i % 8 * 16 : i * 16);
            visit(shared_at(swizzled_128(offset), 16), line, i);
        }
    }
}

constexpr unsigned bank_groups = 8, most_pieces = most_columns / piece; /* of four banks each: 16 bytes are read from each at a time */

/* Eight neighbouring lines are read in one go when their 16 bytes lie in different groups of banks. */
struct BankConflicts {
    unsigned char groups[most_columns / bank_groups][most_pieces] = {};

    void see(const unsigned char *bytes, unsigned line, unsigned i) {
        unsigned char &seen = groups[line / bank_groups][i];
        seen = static_cast<unsigned char>(seen | 1u << (reinterpret_cast<uintptr_t>(bytes) / 16 % bank_groups));
        if (line % bank_groups == bank_groups - 1) {
            ++statistics.product_loads;
            statistics.product_load_conflicts += seen != 255;
        }
    }
};

void load_right(const ProductArguments &product, float (&b)[depth][most_columns]) {
    BankConflicts conflicts;
    for_each_piece(product, [&](const unsigned char *bytes, unsigned line, unsigned i) {
        conflicts.see(bytes, line, i);
        uint16_t halves[piece];
        memcpy(halves, bytes, sizeof halves);
        for (unsigned j = 0; j < piece; ++j) {
            if (product.transposed) {
                b[line][i * piece + j] = half_to_float(halves[j]);
            } else {
                b[i * piece + j][line] = half_to_float(halves[j]);
            }
        }
    });
}

void load_left(const Product &product, float (&a)[16][depth]) {
    for (unsigned lane = 0; lane < 32; ++lane) {
        for (unsigned i = 0; i < 4; ++i) {
            const unsigned row = lane / 4 + i % 2 * 8, k = lane % 4 * 2 + i / 2 * 8;
            const uint32_t word = product.a[lane][i];
            a[row][k] = half_to_float(static_cast<uint16_t>(word));
            a[row][k + 1] = half_to_float(static_cast<uint16_t>(word >> 16));
        }
    }
}

/* 64 columns of one row at a time, which stay in registers. Products of halves are exact in float, so a fused sum is the same number. */
typedef float Eight __attribute__((vector_size(32)));
constexpr unsigned together = 8;

__attribute__((always_inline)) inline void multiply_eights(const float (&a)[16][depth], const float (&b)[depth][most_columns], unsigned eights,
                                                           float (&d)[16][most_columns]) {
    for (unsigned row = 0; row < 16; ++row) {
        for (unsigned first = 0; first < eights; first += together) {
            const unsigned count = eights - first < together ? eights - first : together;
            Eight sums[together] = {};
            for (unsigned k = 0; k < depth; ++k) {
                for (unsigned i = 0; i < together; ++i) {
                    if (i < count) {
                        Eight right;
                        memcpy(&right, &b[k][(first + i) * 8], sizeof right);
                        sums[i] += a[row][k] * right;
                    }
                }
            }
            for (unsigned i = 0; i < count; ++i) {
                memcpy(&d[row][(first + i) * 8], &sums[i], sizeof sums[i]);
            }
        }
    }
}

__attribute__((target("avx2,fma"))) void multiply_wide(const float (&a)[16][depth], const float (&b)[depth][most_columns], unsigned eights,
                                                       float (&d)[16][most_columns]) {
    multiply_eights(a, b, eights, d);
}

void multiply_anywhere(const float (&a)[16][depth], const float (&b)[depth][most_columns], unsigned eights, float (&d)[16][most_columns]) {
    multiply_eights(a, b, eights, d);
}

} /* namespace */

void product_announce(const Product &product) {
#ifdef EMULATION_RACES
    for_each_piece(product.shape, [](const unsigned char *bytes, unsigned, unsigned) { announce_read(bytes, 16); });
#else
    static_cast<void>(product);
#endif
}

void product_perform(const Product &product, float *const (&d)[32]) {
    static const bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    float a[16][depth], b[depth][most_columns], sums[16][most_columns];
    load_left(product, a);
    load_right(product.shape, b);
    (wide ? multiply_wide : multiply_anywhere)(a, b, product.shape.columns / 8, sums);
    for (unsigned lane = 0; lane < 32; ++lane) {
        for (unsigned i = 0; i < product.shape.columns / 2; ++i) {
            const float sum = sums[lane / 4 + i / 2 % 2 * 8][i / 4 * 8 + lane % 4 * 2 + i % 2];
            d[lane][i] = sum + (product.shape.accumulate ? d[lane][i] : 0.0f);
        }
    }
}

} /* namespace emulation */
