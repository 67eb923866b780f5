/*
 * Inner loops that profit from the processor's widest vectors. cpu_kernels.inc is compiled once for every instruction set
 * (cpu_kernels_base.c, cpu_kernels_v3.c, cpu_kernels_v4.c); cpu_kernels_select() takes the best one that this processor runs.
 *
 * A kernel works on one item on the calling thread, so its result does not depend on the number of threads.
 */
#ifndef CONTEXTURE_CPU_KERNELS_H
#define CONTEXTURE_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/model.h"

struct cpu_kernels {
    const char *name; /* "AVX-512", "AVX2", "baseline" */

    /* g(u) and g(u)/u of `count` numbers. */
    void (*activate)(enum cx_activation, size_t count, const float *u, float *activated, float *ratio);

    /* row[0 .. n) = softmax(scale * row). */
    void (*softmax)(size_t n, float scale, float *row);

    /* y = scale ⊙ (x - mean x)/σ + shift; returns 1/σ. shift may be NULL. y may be x. */
    float (*norm)(size_t width, const float *x, const float *scale, const float *shift, double epsilon, float *y);

    /* y = factor * scale ⊙ (x - mean x) + shift; shift may be NULL. y may be x. */
    void (*norm_linear)(size_t width, const float *x, const float *scale, float factor, const float *shift, float *y);

    /* gram [H+1, H+1] of the rows sources [H, d] and residual [d]. */
    void (*gram)(size_t heads, size_t width, const float *sources, const float *residual, double *gram);

    /* map[i] = sqrt(Σ_hk α[h][i] α[k][i] gram[h][k]) for `targets` targets: α^h_ij at attention[h * head_stride + i * target_stride], map[i * target_stride]. */
    void (*quadratic_forms)(size_t heads, size_t targets, const float *attention, size_t head_stride, size_t target_stride, const double *gram,
                            float *map);
};

/* The best set of kernels for this processor. */
const struct cpu_kernels *cpu_kernels_select(void);

#endif
