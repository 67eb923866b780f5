#include "roofline.h"

#include <stdlib.h>
#include <string.h>

#include <omp.h>

enum { copy_bytes = 192 << 20, copies = 7, piece_bytes = 1 << 20 };

struct roofline roofline_of(double flop, double bytes, double seconds, double product_rate, double copy_rate) {
    const double computing = flop / product_rate, moving = bytes / copy_rate;
    return (struct roofline){
        .intensity = flop / bytes,
        .bytes_per_second = bytes / seconds,
        .is_memory_bound = moving > computing,
        .share = (moving > computing ? moving : computing) / seconds,
    };
}

static int ascending(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

double roofline_processor_copy_rate(int threads) {
    double seconds[copies + 1];
    unsigned char *from = malloc(copy_bytes), *to = malloc(copy_bytes);
    /* The first copy touches the pages, and is not counted. */
    for (int k = 0; from && to && k <= copies; k++) {
        const double start = omp_get_wtime();
#pragma omp parallel for num_threads(threads) schedule(static)
        for (size_t at = 0; at < copy_bytes; at += piece_bytes) {
            if (k == 0)
                memset(from + at, 1, piece_bytes);
            memcpy(to + at, from + at, piece_bytes);
        }
        seconds[k] = omp_get_wtime() - start;
    }
    const bool is_done = from && to;
    free(from);
    free(to);
    if (!is_done)
        return 0.0;
    qsort(seconds + 1, copies, sizeof *seconds, ascending);
    return 2.0 * copy_bytes / seconds[1 + copies / 2];
}
