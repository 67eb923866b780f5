/* Memory whose size is computed from what a file says: every product and sum is checked for overflow. */
#ifndef CONTEXTURE_MEMORY_H
#define CONTEXTURE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/error.h"

/* *product = a * b, *sum = a + b; false if it does not fit. */
CX_MUST_USE bool cx_multiply(size_t a, size_t b, size_t *product);
CX_MUST_USE bool cx_add(size_t a, size_t b, size_t *sum);

/* count * size bytes, zeroed, aligned to 64 bytes; *memory is NULL after a failure. count 0 gives a pointer to free, too. Release with free(). */
CX_MUST_USE enum cx_status cx_allocate(size_t count, size_t size, const char *purpose, void *memory_pointer, struct cx_error *error);

/* Grows *memory (of *capacity elements) geometrically to hold at least `needed` elements; keeps contents, does not zero the new part. Not 64-byte aligned. */
CX_MUST_USE enum cx_status cx_reserve(void *memory_pointer, size_t *capacity, size_t needed, size_t size, const char *purpose, struct cx_error *error);

/* A copy of text[0..length), with a terminating zero. Release with free(). */
CX_MUST_USE enum cx_status cx_copy_text(const char *text, size_t length, char **copy, struct cx_error *error);

#endif
