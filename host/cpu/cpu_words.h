/* Words as sources: what the files of the attention block's maps share. */
#ifndef CONTEXTURE_CPU_WORDS_H
#define CONTEXTURE_CPU_WORDS_H

#include "cpu_backend.h"

/* The rows of a tile's targets in `map`: each word the sum of its tokens' elements in values [tile->rows, tile->length]. */
void cpu_sum_words(const struct cx_batch *batch, const struct cpu_tile *tile, const float *values, float *map);

#endif
