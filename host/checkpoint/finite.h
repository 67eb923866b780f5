/* The search for numbers that are none. */
#ifndef CONTEXTURE_FINITE_H
#define CONTEXTURE_FINITE_H

#include <stddef.h>

#include "contexture/model.h"

/* The index of the first NaN or infinity among data[0..count), or `count`. The data need not be aligned. */
size_t cx_first_not_finite(const unsigned char *data, enum cx_dtype dtype, size_t count);

#endif
