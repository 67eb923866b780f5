/* cp.async.bulk.tensor: a box of a matrix into shared memory, its bytes counted at an mbarrier. */
#include <cstring>

#include "copy_engine.h"
#include "device.h"
#include "device_memory.h"
#include "emulated_hopper.h"
#include "sanitizers.h"
#include "scheduler.h"
#include "shared_memory.h"
#include "tensor_map.h"
#include "transaction_barrier.h"

namespace emulation {

namespace {

constexpr unsigned piece_bytes = 16;

/* The part of a box's row that lies in the matrix, in bytes from the start of the box's row. */
struct Inside {
    unsigned from, to; /* from == to: nothing */
    const unsigned char *row;
};

Inside inside_of(const TensorMap &map, int x, int y, unsigned box_row) {
    int64_t row = y + int64_t{box_row}, first = x, last = x + int64_t{map.box_columns};
    first = first < 0 ? 0 : first;
    last = last > static_cast<int64_t>(map.columns) ? static_cast<int64_t>(map.columns) : last;
    if (row < 0 || row >= static_cast<int64_t>(map.rows) || first >= last) {
        return {0, 0, nullptr};
    }
    return {static_cast<unsigned>(first - x) * map.element_bytes, static_cast<unsigned>(last - x) * map.element_bytes,
            map.base + static_cast<uint64_t>(row) * map.row_bytes + static_cast<uint64_t>(first) * map.element_bytes};
}

/* Calls visit(the part inside, where the box's row begins in shared memory), row by row. */
template <typename Visit> void for_each_row(const TensorMap &map, int x, int y, Visit visit) {
    for (unsigned row = 0; row < map.box_rows; ++row) {
        visit(inside_of(map, x, y, row), row * map.box_columns * map.element_bytes);
    }
}

/* Byte by byte only at the edges; no call that ThreadSanitizer would see. */
void copy_row(unsigned char *tile, unsigned start, const TensorMap &map, const Inside &inside) {
    for (unsigned byte = 0; byte < map.box_columns * map.element_bytes; byte += piece_bytes) {
        unsigned char piece[piece_bytes] = {};
        if (byte >= inside.from && byte + piece_bytes <= inside.to) {
            memcpy(piece, inside.row + (byte - inside.from), piece_bytes);
        } else {
            for (unsigned i = 0; i < piece_bytes; ++i) {
                if (byte + i >= inside.from && byte + i < inside.to) {
                    piece[i] = inside.row[byte + i - inside.from];
                }
            }
        }
        const unsigned plain = start + byte;
        memcpy(tile + (map.swizzled ? swizzled_128(plain) : plain), piece, piece_bytes);
    }
}

void check_alignment(const TensorMap &map, unsigned offset, int line) {
    const unsigned alignment = map.swizzled ? 1024 : 128;
    if (offset % alignment) {
        fail("line %d: TMA: shared offset %u is no multiple of %u", line, offset, alignment);
    }
}

/* The copy to one block's shared memory; to several it arrives in any order. */
void load_into(unsigned block, unsigned char *tile, const TensorMap &map, int x, int y, uint64_t *barrier, int line) {
    /* To ThreadSanitizer all is done by this thread, now; who waits at the barrier knows of it. */
    const unsigned bytes = map.box_bytes();
    announce_write(tile, bytes);
    transaction_announce(barrier, line);

    RaceScope emulation(emulation_race_fibre);
    engine_issue(block, [=] {
        for_each_row(map, x, y, [&](const Inside &inside, unsigned start) { copy_row(tile, start, map, inside); });
        transaction_complete(barrier, bytes, line);
    });
}

} /* namespace */

void tensor_load(void *shared, const void *encoded, int x, int y, uint64_t *barrier, unsigned blocks, int line) {
    if (device().major < 9) {
        fail("line %d: TMA on a device that has none", line);
    }
    const TensorMap map = tensor_map_decode(encoded, line);
    const unsigned bytes = map.box_bytes();
    check_alignment(map, shared_offset(shared, bytes), line);
    check_device_range(map.base, (map.rows - 1) * map.row_bytes + map.columns * map.element_bytes, "TMA");

    for_each_row(map, x, y, [](const Inside &inside, unsigned) { announce_read(inside.row, inside.to - inside.from); });
    for (unsigned block = 0; blocks >> block; ++block) {
        if (blocks >> block & 1) {
            unsigned char *tile = shared_of_block(block, shared, bytes, "TMA", line);
            uint64_t *counter = reinterpret_cast<uint64_t *>(shared_of_block(block, barrier, sizeof *barrier, "TMA", line));
            load_into(block, tile, map, x, y, counter, line);
        }
    }
}

void tensor_load(void *shared, const void *map, int x, int y, uint64_t *barrier, int line) {
    tensor_load(shared, map, x, y, barrier, 1u << self()->block, line);
}

} /* namespace emulation */
