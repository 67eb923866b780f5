/* A random instance of ff_pair_norms: its inputs, its tensors on a CPU backend, and the result from the definition in float64. */
#ifndef CONTEXTURE_FF_PAIR_CASE_H
#define CONTEXTURE_FF_PAIR_CASE_H

#include <stddef.h>
#include <stdint.h>

#include "contexture/backend.h"
#include "pair_kernel.h"

enum { FF_PAIR_INPUTS = 9, FF_PAIR_MAX_SEQUENCES = 64 };

struct ff_pair_shape {
    size_t width, depth, heads; /* d, f, H */
    size_t lengths[FF_PAIR_MAX_SEQUENCES];
};

struct ff_pair_case {
    struct cx_model_config config;
    struct cx_batch batch;
    size_t token_offset[FF_PAIR_MAX_SEQUENCES + 1], pair_offset[FF_PAIR_MAX_SEQUENCES + 1];
    struct cx_batch_words words; /* after ff_pair_case_group() */
    size_t word_offset[FF_PAIR_MAX_SEQUENCES + 1], map_offset[FF_PAIR_MAX_SEQUENCES + 1], *first_token;

    /* attention, 1/σ1, ρ, P, Px, F̂, x̂, γ2, 1/σ2, as in struct cx_ff_pairs; the weight W2 [d, f] */
    float *inputs[FF_PAIR_INPUTS];
    size_t counts[FF_PAIR_INPUTS];
    float *weight;
};

enum { ATTENTION, INVERSE_DEVIATION1, RATIO, HEAD_FF, RESIDUAL_FF, HEAD_NORM, RESIDUAL_NORM, NORM2_SCALE, INVERSE_DEVIATION2 };

/* ‖o‖, ‖v‖, ‖w‖ [elements of a map], own and sum [T, d]. */
struct ff_pair_result {
    float *maps[3], *own, *sum;
};

struct ff_pair_reference {
    double *maps[3], *own, *sum;
};

/* Aborts if there is no memory. */
void ff_pair_case_create(struct ff_pair_case *created, const struct ff_pair_shape *shape, uint32_t seed);
/* Makes words of 1 to `longest` tokens the sources, those of every third sequence of 1. */
void ff_pair_case_group(struct ff_pair_case *of, size_t longest, uint32_t seed);
void ff_pair_case_destroy(struct ff_pair_case *destroyed);

/* Makes the case one of a causal model. What attention holds above the diagonal becomes `unused`: NaN, to find out who reads it. */
void ff_pair_case_make_causal(struct ff_pair_case *changed, float unused);

void ff_pair_result_create(struct ff_pair_result *result, const struct ff_pair_case *of);
void ff_pair_result_destroy(struct ff_pair_result *result);

/* `wanted`: bits 0 to 2 the maps, 3 own, 4 sum. The checksums must hold, else it aborts. */
enum { FF_PAIR_ALL = 31 };
void ff_pair_case_run(const struct ff_pair_case *run, const struct pair_kernel *kernel, int threads, unsigned wanted, struct ff_pair_result *result);

void ff_pair_reference_create(struct ff_pair_reference *reference, const struct ff_pair_case *of);
void ff_pair_reference_destroy(struct ff_pair_reference *reference);

#endif
