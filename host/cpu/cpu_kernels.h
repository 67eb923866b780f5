/*
 * Inner loops that profit from the processor's widest vectors. cpu_kernels_body.h is compiled once for every instruction set
 * (cpu_kernels_base.c, cpu_kernels_v3.c, cpu_kernels_v4.c); cpu_kernels_select() takes the best one that this processor runs.
 *
 * A kernel works on one item on the calling thread, so its result does not depend on the number of threads.
 */
#ifndef CONTEXTURE_CPU_KERNELS_H
#define CONTEXTURE_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/model.h"

/* Numbers that a kernel keeps side by side: one AVX-512 register of float64. */
#define CPU_SOURCE_LANES 8
/* Columns of a packed strip of weights: three AVX-512 registers of float32. */
#define CPU_STRIP                      48
#define CPU_QUADRATIC_WORKSPACE(heads) ((heads)*4 * CPU_SOURCE_LANES)

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

    /*
     * Norms of the attention block's parts: map[i * map_stride + l] = factor_i sqrt(Σ_hk α^h_il α^k_il G_l[h][k]) for `targets` targets i and
     * `sources` <= CPU_SOURCE_LANES neighbouring sources l, α^h_il at attention[h * head_stride + i * target_stride + l]. factor NULL: 1.
     * gram_lanes [H (H + 1) / 2, CPU_SOURCE_LANES]: the upper triangles, entry by entry, the sources side by side, entries off the diagonal doubled.
     * workspace: CPU_QUADRATIC_WORKSPACE(H) doubles.
     */
    void (*quadratic_forms)(size_t heads, size_t targets, size_t sources, const float *attention, size_t head_stride, size_t target_stride,
                            const double *gram_lanes, const float *factor, double *workspace, float *map, size_t map_stride);

    /* y [rows, columns] = x [rows, inner] B + start [rows, columns], with a packed strip of B: [inner, CPU_STRIP], of which columns <= CPU_STRIP count and the
     * others are 0. start may be y, or NULL for 0; with start_stride 0 it is one row for all. */
    void (*product)(size_t rows, size_t columns, size_t inner, const float *start, size_t start_stride, const float *x, size_t x_stride, const float *packed,
                    float *y, size_t y_stride);

    /* Packs a strip of columns of B: from a dense layer's rows [columns, inner], or from B [inner, columns] itself; `stride` from row to row. */
    void (*pack_rows)(size_t columns, size_t inner, const float *weight, size_t stride, float *packed);
    void (*pack_columns)(size_t columns, size_t inner, const float *weight, size_t stride, float *packed);

    /* One column of y += x B^T, from the unpacked row `weight` [inner]. */
    void (*dot_products)(size_t rows, size_t inner, const float *x, size_t x_stride, const float *weight, float *y, size_t y_stride);
};

/* The sets that this processor runs, best first, ended by NULL; and the first of them. */
const struct cpu_kernels *const *cpu_kernels_all(void);
const struct cpu_kernels *cpu_kernels_select(void);

#endif
