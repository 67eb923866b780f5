#include "layer_results.h"

#include "decomposer.h"

#include <string.h>

/* One pass over all parts, in the order in which they lie in memory. */
struct walk {
    struct cx_backend *backend;
    struct cx_tensor *whole; /* NULL: only the places are wanted */
    bool destroys;           /* the parts are to go */
    size_t used;
    enum cx_status status;
    struct cx_error *error;
};

static size_t put(struct walk *walk, size_t count, struct cx_tensor **part) {
    const size_t at = walk->used;
    if (walk->destroys)
        walk->backend->operations->tensor_destroy(walk->backend, *part);
    if (count > 0 && walk->whole && walk->status == CX_OK)
        walk->status = walk->backend->operations->tensor_part(walk->backend, walk->whole, at, count, part, walk->error);
    walk->used += (count + CX_PART_ALIGNMENT - 1) / CX_PART_ALIGNMENT * CX_PART_ALIGNMENT;
    return at;
}

static void put_all(struct walk *walk, const struct cx_decompose_options *options, size_t tokens, size_t pairs, size_t map_elements,
                    struct layer_results *results) {
    const struct cx_model_config *config = &walk->backend->config;
    const size_t head_pairs = options->per_head ? config->heads * pairs : 0;
    struct result_places *at = &results->at;
    (void)put(walk, tokens * config->hidden_size, &results->state);
    at->first = walk->used;
    for (unsigned map = 0; map < CX_MAPS; map++)
        at->map[map] = put(walk, options->maps & CX_STAGE_BIT(map) ? map_elements : 0, &results->map[map]);
    at->attention = put(walk, head_pairs, &results->attention);
    at->attention_norms = put(walk, head_pairs, &results->attention_norms);
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        const size_t count = options->maps & CX_STAGE_BIT(stage) ? tokens : 0;
        at->mixing_ratio[stage] = put(walk, count, &results->mixing_ratio[stage]);
        at->bias_norm[stage] = put(walk, count, &results->bias_norm[stage]);
        at->completeness_error[stage] = put(walk, count, &results->completeness_error[stage]);
    }
    for (unsigned product = 0; product < pair_passes; product++) {
        const bool is_run = wants_feed_forward(options) && (product == pass_of_maps || options->masked);
        at->check[product] = put(walk, !options->unchecked && is_run ? tokens : 0, &results->check[product]);
    }
    for (unsigned norm = 0; norm < CX_NORMS; norm++) {
        for (unsigned side = 0; side < CX_NORM_SIDES; side++)
            at->map_without[norm][side] = put(walk, options->masked ? map_elements : 0, &results->map_without[norm][side]);
        at->norm_input[norm] = put(walk, options->norm_inputs ? tokens * config->hidden_size : 0, &results->norm_input[norm]);
    }
    at->end = walk->used;
}

enum cx_status layer_results_place(struct cx_backend *backend, const struct cx_decompose_options *options, const struct cx_batch *batch,
                                   struct layer_results *results, struct cx_error *error) {
    struct walk walk = {.backend = backend, .whole = results->whole, .error = error};
    put_all(&walk, options, batch->tokens, batch->pairs, cx_batch_map_elements(batch), results);
    return walk.status;
}

enum cx_status layer_results_create(struct cx_backend *backend, const struct cx_decompose_options *options, size_t tokens, size_t pairs,
                                    struct layer_results *results, struct cx_error *error) {
    struct walk walk = {.backend = backend};
    put_all(&walk, options, tokens, pairs, pairs, results); /* maps by words are no larger */
    return backend->operations->tensor_create(backend, CX_ELEMENT_FLOAT, walk.used, &results->whole, error);
}

void layer_results_destroy(struct cx_backend *backend, struct layer_results *results) {
    struct walk walk = {.backend = backend, .destroys = true};
    put_all(&walk, &(struct cx_decompose_options){0}, 0, 0, 0, results);
    backend->operations->tensor_destroy(backend, results->whole);
    memset(results, 0, sizeof *results);
}
