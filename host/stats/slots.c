#include "slots.h"

#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"

enum { fewest_places = 1024 };

void slots_begin(struct slots *slots, size_t layers, size_t width) {
    *slots = (struct slots){.layers = layers, .width = width};
}

void slots_free(struct slots *slots) {
    free(slots->keys);
    free(slots->places);
    free(slots->sums);
    free(slots->counts);
    *slots = (struct slots){.layers = slots->layers, .width = slots->width};
}

void slots_clear(struct slots *slots) {
    slots->count = 0;
    if (slots->place_count > 0)
        memset(slots->places, 0, slots->place_count * sizeof *slots->places);
}

static size_t place_of(const struct slots *slots, uint64_t key) {
    const size_t mask = slots->place_count - 1;
    uint64_t mixed = key * 0x9e3779b97f4a7c15u;
    size_t place = (size_t)(mixed ^ mixed >> 32) & mask;
    while (slots->places[place] != 0 && slots->keys[slots->places[place] - 1] != key)
        place = (place + 1) & mask;
    return place;
}

static enum cx_status grow_places(struct slots *slots, struct cx_error *error) {
    const size_t wanted = slots->place_count > 0 ? 2 * slots->place_count : fewest_places;
    uint32_t *places = NULL;
    enum cx_status status =
        wanted / 2 < UINT32_MAX ? cx_allocate(wanted, sizeof *places, "statistics", &places, error) : cx_fail_memory(error, "statistics", SIZE_MAX);
    if (status != CX_OK)
        return status;
    free(slots->places);
    slots->places = places;
    slots->place_count = wanted;
    for (size_t slot = 0; slot < slots->count; slot++)
        slots->places[place_of(slots, slots->keys[slot])] = (uint32_t)(slot + 1);
    return CX_OK;
}

static enum cx_status grow_slots(struct slots *slots, struct cx_error *error) {
    size_t keys = slots->capacity, counts = slots->capacity, sums = slots->capacity, bytes;
    if (!cx_multiply(slots->layers * slots->width, sizeof(double), &bytes))
        return cx_fail_memory(error, "statistics", SIZE_MAX);
    enum cx_status status = cx_reserve(&slots->keys, &keys, slots->count + 1, sizeof *slots->keys, "statistics", error);
    if (status == CX_OK)
        status = cx_reserve(&slots->counts, &counts, slots->count + 1, sizeof *slots->counts, "statistics", error);
    if (status == CX_OK)
        status = cx_reserve(&slots->sums, &sums, slots->count + 1, bytes, "statistics", error);
    slots->capacity = status == CX_OK ? sums : slots->capacity;
    return status;
}

enum cx_status slots_find(struct slots *slots, uint64_t key, size_t *slot, struct cx_error *error) {
    enum cx_status status = CX_OK;
    if (2 * (slots->count + 1) > slots->place_count)
        status = grow_places(slots, error);
    if (status != CX_OK)
        return status;
    const size_t place = place_of(slots, key);
    if (slots->places[place] == 0) {
        status = grow_slots(slots, error);
        if (status != CX_OK)
            return status;
        slots->keys[slots->count] = key;
        slots->counts[slots->count] = 0;
        memset(slots->sums + slots_place(slots, slots->count, 0), 0, slots->layers * slots->width * sizeof *slots->sums);
        slots->places[place] = (uint32_t)++slots->count;
    }
    *slot = slots->places[place] - 1;
    return CX_OK;
}

void slots_keep_below(struct slots *slots, uint64_t end) {
    size_t kept = 0;
    for (size_t slot = 0; slot < slots->count; slot++) {
        if (slots->keys[slot] >= end)
            continue;
        slots->keys[kept] = slots->keys[slot];
        slots->counts[kept] = slots->counts[slot];
        memmove(slots->sums + slots_place(slots, kept, 0), slots->sums + slots_place(slots, slot, 0), slots->layers * slots->width * sizeof *slots->sums);
        kept++;
    }
    slots_clear(slots);
    for (; slots->count < kept; slots->count++)
        slots->places[place_of(slots, slots->keys[slots->count])] = (uint32_t)(slots->count + 1);
}

size_t slots_place(const struct slots *slots, size_t slot, size_t layer) {
    return (slot * slots->layers + layer) * slots->width;
}

/* Radix sort of the slots' numbers, a byte of the key at a time. */
enum cx_status slots_order(const struct slots *slots, size_t **order, struct cx_error *error) {
    size_t *from = NULL, *to = NULL;
    enum cx_status status = cx_allocate(slots->count, sizeof *from, "sorting statistics", &from, error);
    if (status == CX_OK)
        status = cx_allocate(slots->count, sizeof *to, "sorting statistics", &to, error);
    for (size_t slot = 0; slot < slots->count && status == CX_OK; slot++)
        from[slot] = slot;
    for (unsigned shift = 0; shift < 64 && status == CX_OK; shift += 8) {
        size_t places[257] = {0};
        for (size_t k = 0; k < slots->count; k++)
            places[(slots->keys[k] >> shift & 255) + 1]++;
        for (size_t value = 1; value < 257; value++)
            places[value] += places[value - 1];
        for (size_t k = 0; k < slots->count; k++)
            to[places[slots->keys[from[k]] >> shift & 255]++] = from[k];
        size_t *swap = from;
        from = to;
        to = swap;
    }
    free(to);
    if (status != CX_OK)
        free(from);
    *order = status == CX_OK ? from : NULL;
    return status;
}
