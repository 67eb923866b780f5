#include "contexture/window.h"

#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"

static size_t set_size(unsigned set) {
    return (size_t)__builtin_popcount(set);
}

/* *total += a * b * c */
static bool add_product(size_t a, size_t b, size_t c, size_t *total) {
    size_t product;
    return cx_multiply(a, b, &product) && cx_multiply(product, c, &product) && cx_add(*total, product, total);
}

enum cx_status cx_result_floats(const struct cx_result_layout *layout, size_t tokens, size_t *floats, struct cx_error *error) {
    size_t pairs, width;
    *floats = 0;
    bool fits = cx_multiply(tokens, tokens, &pairs) && cx_multiply(tokens, layout->hidden_size, &width) &&
                add_product(set_size(layout->maps), layout->stored_layers, pairs, floats) &&
                add_product(2 * (size_t)CX_STAGES, layout->stored_layers, tokens, floats) && cx_add(*floats, layout->stored_layers, floats);
    if (fits && layout->per_head)
        fits = add_product(2 * layout->heads, layout->stored_layers, pairs, floats);
    if (fits && layout->maps_without)
        fits = add_product((size_t)CX_NORMS * CX_NORM_SIDES, layout->stored_layers, pairs, floats);
    if (fits && layout->hidden_states)
        fits = add_product(layout->model_layers + 1, 1, width, floats);
    if (fits)
        fits = cx_multiply(tokens, width, &width) && add_product(set_size(layout->vector_stages), layout->vector_layers, width, floats);
    size_t bytes;
    if (!fits || !cx_multiply(*floats, sizeof(float), &bytes))
        return cx_fail_memory(error, "the results of one sequence", SIZE_MAX);
    return CX_OK;
}

static float *take(float **memory, size_t count) {
    float *taken = *memory;
    *memory += count;
    return taken;
}

void cx_result_place(const struct cx_result_layout *layout, size_t tokens, float *memory, struct cx_sequence_result *result) {
    size_t layers = layout->stored_layers, pairs = tokens * tokens;
    memset(result, 0, sizeof *result);
    for (unsigned map = 0; map < CX_MAPS; map++)
        if (layout->maps & CX_STAGE_BIT(map))
            result->maps[map] = take(&memory, layers * pairs);
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        result->mixing_ratio[stage] = take(&memory, layers * tokens);
        result->bias_norm[stage] = take(&memory, layers * tokens);
    }
    result->completeness_error = take(&memory, layers);
    if (layout->per_head) {
        result->head_attention_weight = take(&memory, layers * layout->heads * pairs);
        result->head_attention_norm = take(&memory, layers * layout->heads * pairs);
    }
    for (unsigned k = 0; layout->maps_without && k < CX_NORMS * CX_NORM_SIDES; k++)
        result->maps_without[k / CX_NORM_SIDES][k % CX_NORM_SIDES] = take(&memory, layers * pairs);
    if (layout->hidden_states)
        result->hidden_states = take(&memory, (layout->model_layers + 1) * tokens * layout->hidden_size);
    for (unsigned stage = 0; stage < CX_STAGES && layout->vector_layers > 0; stage++)
        if (layout->vector_stages & CX_STAGE_BIT(stage))
            result->vectors[stage] = take(&memory, layout->vector_layers * pairs * layout->hidden_size);
}

/* A sequence's length and place, so that sorting needs no access to the sequences. */
struct length_and_place {
    size_t tokens, place;
};

static int longer_first(const void *a, const void *b) {
    const struct length_and_place *first = a, *second = b;
    if (first->tokens != second->tokens)
        return first->tokens > second->tokens ? -1 : 1;
    return first->place < second->place ? -1 : first->place > second->place;
}

enum cx_status cx_window_order(const struct cx_sequence *sequences, size_t count, size_t *order, struct cx_error *error) {
    struct length_and_place *keys;
    enum cx_status status = cx_allocate(count, sizeof *keys, "sorting a window", &keys, error);
    if (status != CX_OK)
        return status;
    for (size_t k = 0; k < count; k++)
        keys[k] = (struct length_and_place){sequences[k].tokens, k};
    qsort(keys, count, sizeof *keys, longer_first);
    for (size_t k = 0; k < count; k++)
        order[k] = keys[k].place;
    free(keys);
    return CX_OK;
}

size_t cx_batch_count(const struct cx_sequence *sequences, const size_t *order, size_t count, size_t batch_tokens) {
    size_t taken = 1, tokens = sequences[order[0]].tokens;
    while (taken < count && tokens <= batch_tokens && sequences[order[taken]].tokens <= batch_tokens - tokens)
        tokens += sequences[order[taken++]].tokens;
    return taken;
}

enum cx_status cx_batch_pack(struct cx_packed_batch *packed, const struct cx_sequence *sequences, const struct cx_sequence_result *results, const size_t *order,
                             size_t count, struct cx_error *error) {
    struct cx_batch *batch = &packed->batch;
    *batch = (struct cx_batch){.sequences = count};
    for (size_t k = 0; k < count; k++) {
        size_t tokens = sequences[order[k]].tokens;
        batch->tokens += tokens;
        batch->pairs += tokens * tokens;
        batch->longest = tokens > batch->longest ? tokens : batch->longest;
    }
    enum cx_status status = cx_reserve(&packed->results, &packed->result_capacity, count, sizeof *packed->results, "a batch", error);
    if (status == CX_OK)
        status = cx_reserve(&packed->offsets, &packed->offset_capacity, 2 * (count + 1), sizeof *packed->offsets, "a batch", error);
    if (status == CX_OK)
        status = cx_reserve(&packed->numbers, &packed->number_capacity, 3 * batch->tokens, sizeof *packed->numbers, "a batch", error);
    if (status != CX_OK)
        return status;

    size_t *token_offset = packed->offsets, *pair_offset = token_offset + count + 1;
    int32_t *ids = packed->numbers, *types = ids + batch->tokens, *positions = types + batch->tokens;
    token_offset[0] = pair_offset[0] = 0;
    for (size_t k = 0; k < count; k++) {
        const struct cx_sequence *sequence = &sequences[order[k]];
        size_t n = sequence->tokens, first = token_offset[k];
        memcpy(ids + first, sequence->input_ids, n * sizeof *ids);
        memcpy(types + first, sequence->token_type_ids, n * sizeof *types);
        memcpy(positions + first, sequence->position_ids, n * sizeof *positions);
        token_offset[k + 1] = first + n;
        pair_offset[k + 1] = pair_offset[k] + n * n;
        packed->results[k] = results[order[k]];
    }
    batch->token_offset = token_offset;
    batch->pair_offset = pair_offset;
    batch->input_ids = ids;
    batch->token_type_ids = types;
    batch->position_ids = positions;
    return CX_OK;
}

void cx_packed_batch_free(struct cx_packed_batch *packed) {
    free(packed->results);
    free(packed->offsets);
    free(packed->numbers);
    memset(packed, 0, sizeof *packed);
}
