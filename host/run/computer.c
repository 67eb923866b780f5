#include "computer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"

static void release(struct result_buffer *buffer) {
    free(buffer->memory);
    *buffer = (struct result_buffer){0};
}

/*
 * A buffer of at least that many floats; its old contents are of no use to anybody. It only grows, so that its pages are touched for the first time
 * once. The others may be in use, so this is the one not used for longest; a large window is alone and takes the largest, and all the memory.
 */
static enum cx_status buffer_of(struct computer *computer, bool is_large, size_t floats, float **memory, struct cx_error *error) {
    struct result_buffer *buffers = computer->buffers;
    size_t chosen = (computer->buffer + 1) % computer->buffer_count;
    for (size_t k = 0; is_large && k < computer->buffer_count; k++)
        chosen = buffers[k].capacity > buffers[chosen].capacity ? k : chosen;
    for (size_t k = 0; is_large && k < computer->buffer_count; k++)
        if (k != chosen)
            release(&buffers[k]);
    computer->buffer = chosen;
    struct result_buffer *buffer = &buffers[computer->buffer];
    if (floats > buffer->capacity) {
        release(buffer);
        enum cx_status status = cx_allocate(floats, sizeof(float), "the results of a window", &buffer->memory, error);
        if (status != CX_OK)
            return status;
        buffer->capacity = floats;
    }
    *memory = buffer->memory;
    return CX_OK;
}

/* A stage that is not computed keeps NaN: the buffers are reused, and what was there before means nothing. */
static void fill_with_nan(float *values, size_t count) {
    for (size_t k = 0; k < count; k++)
        values[k] = NAN;
}

static enum cx_status place_results(struct computer *computer, struct window *window, struct cx_error *error) {
    const struct cx_result_layout *layout = &computer->setup->layout;
    const size_t count = window->sequences.count;
    size_t total = 0, floats;
    enum cx_status status = cx_reserve(&window->results, &window->result_capacity, count, sizeof *window->results, "a window", error);
    for (size_t k = 0; k < count && status == CX_OK; k++) {
        const struct cx_sequence *sequence = &window->sequences.items[k];
        status = cx_result_floats(layout, sequence->tokens, cx_sequence_map_side(sequence, layout->by_words), &floats, error);
        if (status == CX_OK && !cx_add(total, floats, &total))
            status = cx_fail_memory(error, "the results of a window", SIZE_MAX);
    }
    float *memory = NULL;
    if (status == CX_OK)
        status = buffer_of(computer, window->is_large, total, &memory, error);
    for (size_t k = 0; k < count && status == CX_OK; k++) {
        const struct cx_sequence *sequence = &window->sequences.items[k];
        const size_t tokens = sequence->tokens, side = cx_sequence_map_side(sequence, layout->by_words);
        cx_result_place(layout, tokens, side, memory, &window->results[k]);
        window->results[k].name = sequence->id;
        for (unsigned stage = 0; stage < CX_STAGES; stage++) {
            fill_with_nan(window->results[k].mixing_ratio[stage], layout->stored_layers * tokens);
            fill_with_nan(window->results[k].bias_norm[stage], layout->stored_layers * tokens);
        }
        status = cx_result_floats(layout, tokens, side, &floats, error);
        memory += floats;
    }
    return status;
}

/* The bytes of the corpus that stand for the work done, told in proportion inside a window. */
static void tell_progress(struct computer *computer, const struct window *window, size_t sequences, size_t tokens, uint64_t *told, double share) {
    uint64_t bytes = (uint64_t)(share * (double)(window->bytes_end - window->bytes_begin));
    atomic_fetch_add(&computer->tokens, tokens);
    atomic_fetch_add(&computer->sequences, sequences);
    atomic_fetch_add(&computer->bytes, bytes - *told);
    atomic_store(&computer->bytes_end, window->bytes_begin + bytes);
    atomic_store(&computer->batch_bytes, 0);
    *told = bytes;
}

uint64_t computer_batch_progress(struct computer *computer) {
    const uint64_t begun = atomic_load(&computer->layers_begun), layers = computer->setup->config.layers;
    return begun > 0 && begun <= layers ? atomic_load(&computer->batch_bytes) * (begun - 1) / layers : 0;
}

enum cx_status computer_work(struct computer *computer, struct window *window, struct cx_error *error) {
    const struct cx_run_observer *observer = computer->observer;
    const struct cx_sequence *sequences = window->sequences.items;
    const size_t count = window->sequences.count;
    uint64_t told = 0;
    size_t pairs_done = 0, pairs = 0;
    for (size_t k = 0; k < count; k++)
        pairs += sequences[k].tokens * sequences[k].tokens;
    enum cx_status status = place_results(computer, window, error);
    if (status == CX_OK)
        status = cx_reserve(&computer->order, &computer->order_capacity, count, sizeof *computer->order, "a window", error);
    if (status == CX_OK)
        status = cx_window_order(sequences, count, computer->order, error);
    for (size_t done = 0, taken; done < count && status == CX_OK; done += taken) {
        const size_t *order = computer->order + done;
        struct cx_packed_batch *packed = &computer->packed[computer->batches_begun % batches_in_flight];
        if (observer && observer->stop && observer->stop(observer->context))
            return cx_fail(error, CX_ERROR_INTERRUPTED, "stopped by a signal");
        while (status == CX_OK && cx_decompose_unfinished(computer->decomposer) >= batches_in_flight)
            status = cx_decompose_advance(computer->decomposer, error);
        taken = cx_batch_count(sequences, order, count - done, (size_t)computer->setup->settings->batch_tokens);
        if (status == CX_OK)
            status = cx_batch_pack(packed, sequences, window->results, order, taken, computer->setup->layout.by_words, error);
        if (status != CX_OK)
            return status;
        atomic_store(&computer->layers_begun, 0);
        atomic_store(&computer->batch_bytes, (uint64_t)((double)(window->bytes_end - window->bytes_begin) * (double)packed->batch.pairs / (double)pairs));
        status = cx_decompose_begin(computer->decomposer, &packed->batch, packed->results, error);
        computer->batches_begun++;
        pairs_done += packed->batch.pairs;
        tell_progress(computer, window, taken, packed->batch.tokens, &told, (double)pairs_done / (double)pairs);
    }
    computer->batches_until_end[computer->windows_begun++ % most_result_buffers] = computer->batches_begun;
    return status;
}

uint64_t computer_ended(struct computer *computer) {
    const uint64_t finished = computer->batches_begun - cx_decompose_unfinished(computer->decomposer);
    while (computer->windows_ended < computer->windows_begun && computer->batches_until_end[computer->windows_ended % most_result_buffers] <= finished)
        computer->windows_ended++;
    return computer->windows_ended;
}

enum cx_status computer_advance(struct computer *computer, struct cx_error *error) {
    return cx_decompose_advance(computer->decomposer, error);
}

void computer_open(struct computer *computer, const struct setup *setup, const struct cx_run_observer *observer, const struct cx_backend *backend) {
    computer->setup = setup;
    computer->observer = observer;
    computer->buffer_count = backend->reads_ahead > 0 ? most_result_buffers : most_result_buffers - 1;
}

void computer_begin(struct computer *computer) {
    computer->windows_begun = computer->windows_ended = 0;
}

void computer_free(struct computer *computer) {
    for (size_t k = 0; k < most_result_buffers; k++)
        release(&computer->buffers[k]);
    free(computer->order);
    for (size_t k = 0; k < batches_in_flight; k++)
        cx_packed_batch_free(&computer->packed[k]);
}
