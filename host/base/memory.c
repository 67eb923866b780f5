#include "contexture/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { alignment = 64 };

bool cx_multiply(size_t a, size_t b, size_t *product) {
    return !__builtin_mul_overflow(a, b, product);
}

bool cx_add(size_t a, size_t b, size_t *sum) {
    return !__builtin_add_overflow(a, b, sum);
}

enum cx_status cx_allocate(size_t count, size_t size, const char *purpose, void *memory_pointer, struct cx_error *error) {
    void *memory = NULL;
    size_t bytes, padded;
    memcpy(memory_pointer, &memory, sizeof memory);
    if (!cx_multiply(count, size, &bytes) || !cx_add(bytes, alignment, &padded))
        return cx_fail_memory(error, purpose, SIZE_MAX);
    if (posix_memalign(&memory, alignment, padded) != 0)
        return cx_fail_memory(error, purpose, bytes);
    memset(memory, 0, bytes);
    memcpy(memory_pointer, &memory, sizeof memory);
    return CX_OK;
}

enum cx_status cx_reserve(void *memory_pointer, size_t *capacity, size_t needed, size_t size, const char *purpose, struct cx_error *error) {
    if (needed <= *capacity)
        return CX_OK;
    size_t wanted = *capacity > SIZE_MAX / 2 ? needed : *capacity * 2;
    if (wanted < needed)
        wanted = needed;
    if (wanted < 16)
        wanted = 16;
    void *old, *grown;
    size_t bytes;
    memcpy(&old, memory_pointer, sizeof old);
    if (!cx_multiply(wanted, size, &bytes))
        return cx_fail_memory(error, purpose, SIZE_MAX);
    grown = realloc(old, bytes);
    if (!grown)
        return cx_fail_memory(error, purpose, bytes);
    memcpy(memory_pointer, &grown, sizeof grown);
    *capacity = wanted;
    return CX_OK;
}

enum cx_status cx_copy_text(const char *text, size_t length, char **copy, struct cx_error *error) {
    *copy = malloc(length + 1);
    if (!*copy)
        return cx_fail_memory(error, "a copy of a text", length + 1);
    if (length > 0)
        memcpy(*copy, text, length);
    (*copy)[length] = '\0';
    return CX_OK;
}
