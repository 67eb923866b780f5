/* A small random model, batches of it, and the results of its decomposition: what the tests of the layer sequence share. */
#ifndef CONTEXTURE_DECOMPOSE_CASE_H
#define CONTEXTURE_DECOMPOSE_CASE_H

#include <stddef.h>
#include <stdint.h>

#include "contexture/decompose.h"

enum { layers = 3, heads = 4, width = 48, neurons = 80, vocabulary = 50, positions = 40, token_types = 2 };

extern const struct cx_model_config case_config;

/* All maps, norms per head and states. */
extern const struct cx_decompose_options case_everything;

/* Of the backend that is tested; of the latest failure. */
extern enum cx_backend_kind case_backend_kind;
extern struct cx_error case_error;

struct model {
    struct cx_model_weights weights;
    struct cx_layer_weights layer_weights[layers];
    float *memory;
    size_t used;
    uint32_t random;
};

struct fixture {
    struct model model;
    struct cx_backend *backend;
};

/* A batch, and room for what it points to. */
struct packed {
    struct cx_batch batch;
    size_t token_offset[8], pair_offset[8];
    int32_t ids[128], types[128], positions[128];
    struct cx_batch_words words; /* after group_words() */
    size_t word_offset[8], map_offset[8], first_token[129];
};

/* Fails the test with case_error's message. */
void expect_ok(enum cx_status status);

/* A model with the same weights every time. Its memory is free()d by the caller. */
void case_model_create(struct model *model);

/* Of a group of tests: a struct fixture. */
int case_setup(void **state);
int case_teardown(void **state);

/* Sequences of the given lengths with fixed pseudo-random ids, the same for the same `seed` and position in the batch. */
void pack_batch(struct packed *packed, const size_t *lengths, const uint32_t *seeds, size_t sequences);

/* The tokens of every sequence as words of these lengths, in turn. */
void group_words(struct packed *packed, const size_t *lengths, size_t count);

/* Results with room for everything but norm inputs and maps without dimensions; L and V wanted layers. */
struct cx_sequence_result make_result(size_t n, size_t L, size_t V);
void free_result(struct cx_sequence_result *result);

/* The batch by a decomposer of its own. */
void decompose_batch(struct fixture *fixture, const struct cx_decompose_options *options, const struct cx_batch *batch,
                     const struct cx_sequence_result *results);

/* The largest of the absolute values. */
float largest(const float *values, size_t count);

/* Every element within `bound` times the largest expected one. A sum of 80 float32 products, the longest here, rounds by about √80 2^-24 = 5e-7 of it. */
void expect_close(const char *what, const float *found, const float *expected, size_t count, float bound);

/* All of make_result(n, layers, 0), bit by bit. */
void expect_same_result(const struct cx_sequence_result *found, const struct cx_sequence_result *expected, size_t n);

#endif
