#include "choose_mask.h"

#include <math.h>
#include <stdlib.h>

#include "contexture/corpus.h"
#include "contexture/memory.h"
#include "reader.h"

/* sizes [L, CX_NORMS, d] = |γ| */
static enum cx_status measure_scales(const struct setup *setup, const struct cx_model_weights *weights, double *sizes, struct cx_error *error) {
    const size_t width = setup->config.hidden_size;
    float *scale = NULL;
    enum cx_status status = cx_allocate(width, sizeof *scale, "a layer norm's scale", &scale, error);
    for (size_t k = 0; k < setup->layer_count * CX_NORMS && status == CX_OK; k++) {
        const struct cx_layer_weights *layer = &weights->layers[setup->layer_numbers[k / CX_NORMS]];
        cx_weight_to_float(k % CX_NORMS == 0 ? &layer->attention_norm_scale : &layer->output_norm_scale, scale);
        for (size_t dimension = 0; dimension < width; dimension++)
            sizes[k * width + dimension] = fabs((double)scale[dimension]);
    }
    free(scale);
    return status;
}

/* The corpus read from its beginning, and a decomposer that gives nothing but the layer norms' inputs. */
struct calibration {
    struct setup setup; /* its own: the run's corpus stays where it is */
    struct cx_run_observer observer;
    struct reader reader;
    struct window window;
    struct cx_decomposer *decomposer;
    struct cx_packed_batch packed;
    float *inputs; /* [CX_NORMS, L, n, d] */
    size_t input_capacity;
    size_t sequences, tokens;
};

/* One sequence a batch, so that what is measured does not depend on the options that batches are made by. */
static enum cx_status add_sequence(struct calibration *calibration, const struct cx_sequence *sequence, double *sizes, struct cx_error *error) {
    const size_t layers = calibration->setup.layer_count, width = calibration->setup.config.hidden_size, n = sequence->tokens, first = 0;
    const size_t count = layers * n * width; /* less than the sequence's results, whose size has been checked */
    struct cx_sequence_result result = {.name = sequence->id};
    enum cx_status status = cx_reserve(&calibration->inputs, &calibration->input_capacity, CX_NORMS * count, sizeof(float), "states", error);
    if (status != CX_OK)
        return status;
    for (size_t norm = 0; norm < CX_NORMS; norm++)
        result.norm_inputs[norm] = calibration->inputs + norm * count;
    status = cx_batch_pack(&calibration->packed, sequence, &result, &first, 1, error);
    if (status == CX_OK)
        status = cx_decompose(calibration->decomposer, &calibration->packed.batch, calibration->packed.results, error);
    if (status != CX_OK)
        return status;
    for (size_t norm = 0; norm < CX_NORMS; norm++)
        for (size_t k = 0; k < count; k++)
            sizes[(k / (n * width) * CX_NORMS + norm) * width + k % width] += fabs((double)result.norm_inputs[norm][k]);
    calibration->sequences++;
    calibration->tokens += n;
    return CX_OK;
}

static enum cx_status measure_first_sequences(struct calibration *calibration, double *sizes, struct cx_error *error) {
    enum cx_status status = CX_OK;
    while (calibration->sequences < calibration_sequences && status == CX_OK) {
        const struct cx_sequence_list *list = &calibration->window.sequences;
        status = reader_next(&calibration->reader, &calibration->window, error);
        for (size_t k = 0; status == CX_OK && k < list->count && calibration->sequences < calibration_sequences; k++)
            status = add_sequence(calibration, &list->items[k], sizes, error);
    }
    return status == CX_END ? CX_OK : status;
}

/* sizes [L, CX_NORMS, d] = mean |input| over the tokens of the first sequences of the corpus */
static enum cx_status measure_inputs(const struct setup *setup, struct cx_backend *backend, const struct cx_model_weights *weights,
                                     const struct cx_run_observer *observer, double *sizes, struct cx_error *error) {
    const size_t count = setup->layer_count * CX_NORMS * setup->config.hidden_size;
    struct calibration calibration = {.observer = {.context = observer->context, .stop = observer->stop}};
    const struct cx_decompose_options options = {
        .layers = setup->layers, .norm_inputs = true, .stop = observer->stop, .stop_context = observer->context, .unchecked = true};
    if (!cx_corpus_has_places(setup->corpus))
        return cx_fail(error, CX_ERROR_USAGE,
                       "--mask-dims activation reads the first %d sequences twice, and standard input or a pipe can be read once; give files, or gamma or dims",
                       (int)calibration_sequences);
    enum cx_status status = setup_open(&calibration.setup, setup->settings, &calibration.observer, error);
    calibration.reader = (struct reader){.setup = &calibration.setup, .observer = &calibration.observer};
    if (status == CX_OK)
        status = cx_decomposer_open(backend, weights, &options, &calibration.decomposer, error);
    if (status == CX_OK)
        status = measure_first_sequences(&calibration, sizes, error);
    for (size_t k = 0; k < count && status == CX_OK; k++) {
        sizes[k] = calibration.tokens > 0 ? sizes[k] / (double)calibration.tokens : 0;
        if (!isfinite(sizes[k]))
            status = cx_fail(error, CX_ERROR_INPUT, "--mask-dims activation: a layer norm's input is not finite in the first %zu sequences of the corpus",
                             calibration.sequences);
    }
    cx_decomposer_close(calibration.decomposer);
    cx_packed_batch_free(&calibration.packed);
    free(calibration.inputs);
    window_free(&calibration.window);
    reader_free(&calibration.reader);
    setup_close(&calibration.setup);
    return status;
}

enum cx_status choose_mask(struct setup *setup, struct cx_backend *backend, const struct cx_model_weights *weights, const struct cx_run_observer *observer,
                           struct cx_error *error) {
    struct mask_dims *mask = &setup->mask;
    const size_t width = setup->config.hidden_size;
    double *sizes = NULL;
    if (mask->choice == CX_MASK_DIMENSIONS)
        return mask_dims_take_named(mask, setup->layer_count, error);
    enum cx_status status = cx_allocate(setup->layer_count * CX_NORMS * width, sizeof *sizes, "the dimensions' sizes", &sizes, error);
    if (status == CX_OK)
        status = mask->choice == CX_MASK_GAMMA ? measure_scales(setup, weights, sizes, error) : measure_inputs(setup, backend, weights, observer, sizes, error);
    if (status == CX_OK)
        status = mask_dims_take_largest(mask, setup->layer_count, width, sizes, error);
    free(sizes);
    return status;
}
