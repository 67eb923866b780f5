#include "shared_memory.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <unordered_map>

#include <sys/mman.h>

#include "device_threads.h"
#include "sanitizers.h"
#include "scheduler.h"

namespace emulation {

namespace {

constexpr size_t red_zone = 256, page = 4096, arena_bytes = 512 * 1024, first_offset = 1024; /* the device keeps 1024 bytes for itself too */
constexpr unsigned char fill = 0xff, red_fill = 0xfe;                                        /* NaN; a number that changes in sums, unlike NaN */

unsigned char *arenas;
unsigned block_count;
size_t used, static_bytes, dynamic_bytes, shared_limit, dynamic_offset;
std::unordered_map<const void *, size_t> &offsets = *new std::unordered_map<const void *, size_t>; /* of static arrays by their keys */
std::map<size_t, size_t> &arrays = *new std::map<size_t, size_t>;                                  /* offset, bytes; a red zone follows each */

/* Not memset, which ThreadSanitizer would see. */
void fill_silently(unsigned char *start, size_t bytes, unsigned char value) {
    asm volatile("rep stosb" : "+D"(start), "+c"(bytes) : "a"(value) : "memory");
}

unsigned char *arena_of(unsigned block) {
    return arenas + block * arena_bytes;
}

/* The array's offset. */
size_t place(size_t bytes, size_t alignment) {
    size_t offset = (used + alignment - 1) / alignment * alignment;
    /* Aligned as asked and no better, so that a kernel which needs more than it asks for does not get it by luck. */
    if (alignment < 1024 && offset % (2 * alignment) == 0) {
        offset += alignment;
    }
    for (unsigned block = 0; block < block_count; ++block) {
        unsigned char *arena = arena_of(block);
        ASAN_UNPOISON_MEMORY_REGION(arena + used, offset + bytes + red_zone - used);
        fill_silently(arena + used, offset + bytes + red_zone - used, red_fill);
        fill_silently(arena + offset, bytes, fill);
        ASAN_POISON_MEMORY_REGION(arena + used, offset - used);
        ASAN_POISON_MEMORY_REGION(arena + offset + bytes, red_zone);
    }
    arrays[offset] = bytes;
    used = offset + bytes + red_zone;
    return offset;
}

#ifndef __SANITIZE_ADDRESS__ /* where the zones are poisoned */
void check_unwritten(const unsigned char *arena, size_t from, size_t to) {
    for (size_t i = from; i < to; ++i) {
        if (arena[i] != red_fill) {
            fail("shared memory written outside every array, at offset %zu", i);
        }
    }
}
#endif

} /* namespace */

void shared_memory_configure(size_t dynamic, size_t limit) {
    dynamic_bytes = dynamic;
    shared_limit = limit;
}

void shared_memory_forget() {
#ifdef EMULATION_RACES
    for (unsigned block = 0; block < block_count; ++block) {
        unsigned char *arena = arena_of(block);
        if (mmap(arena, (used + page - 1) / page * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != arena) {
            abort();
        }
    }
#endif
}

void shared_memory_begin(unsigned blocks) {
    if (!arenas) {
        void *memory = mmap(nullptr, most_cluster_blocks * arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            abort();
        }
        arenas = static_cast<unsigned char *>(memory);
    }
    block_count = blocks;
    ASAN_POISON_MEMORY_REGION(arenas, blocks * arena_bytes);
    used = first_offset;
    static_bytes = dynamic_offset = 0;
    offsets.clear();
    arrays.clear();
}

void shared_memory_end() {
#ifndef __SANITIZE_ADDRESS__
    for (unsigned block = 0; block < block_count; ++block) {
        size_t end = first_offset;
        for (auto [offset, bytes] : arrays) {
            check_unwritten(arena_of(block), end, offset);
            end = offset + bytes;
        }
        check_unwritten(arena_of(block), end, used);
    }
#endif
}

void *shared_array(const void *key, size_t bytes, size_t alignment) {
    RaceScope inside(emulation_race_fibre);
    auto [position, inserted] = offsets.try_emplace(key);
    if (inserted) {
        static_bytes += bytes;
        if (static_bytes > static_shared_limit) {
            fail("%zu bytes of static shared memory; the limit is 48 KiB", static_bytes);
        }
        position->second = place(bytes, alignment);
    }
    return arena_of(self()->block) + position->second;
}

void *dynamic_shared(size_t alignment) {
    RaceScope inside(emulation_race_fibre);
    if (!dynamic_offset) {
        if (static_bytes + dynamic_bytes > shared_limit) {
            fail("%zu bytes of shared memory; this device has %zu", static_bytes + dynamic_bytes, shared_limit);
        }
        dynamic_offset = place(dynamic_bytes, alignment);
    }
    return arena_of(self()->block) + dynamic_offset;
}

unsigned shared_offset(const void *pointer, size_t bytes) {
    const unsigned char *address = static_cast<const unsigned char *>(pointer), *arena = arena_of(self()->block);
    size_t offset = static_cast<size_t>(address - arena);
    auto next = address >= arena && offset < used ? arrays.upper_bound(offset) : arrays.begin();
    if (next == arrays.begin()) {
        fail("an address outside shared memory where a shared one is needed");
    }
    --next;
    if (offset + bytes > next->first + next->second) {
        fail("shared address at offset %zu lies outside every array (%zu bytes)", offset, bytes);
    }
    return static_cast<unsigned>(offset);
}

unsigned char *shared_at(unsigned offset, size_t bytes) {
    unsigned char *address = arena_of(self()->block) + offset;
    shared_offset(address, bytes);
    return address;
}

unsigned char *shared_of_block(unsigned block, const void *pointer, size_t bytes, const char *what, int line) {
    const unsigned offset = shared_offset(pointer, bytes);
    if (block >= block_count) {
        fail("line %d: %s to block %u of a cluster of %u", line, what, block, block_count);
    }
    if (!live_threads(block)) {
        fail("line %d: %s to block %u of the cluster, which has ended", line, what, block);
    }
    return arena_of(block) + offset;
}

} /* namespace emulation */
