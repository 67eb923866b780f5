#include "decomposer.h"

#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"

static enum cx_status copy_choice(const bool *chosen, bool otherwise, size_t layers, bool **copy, struct cx_error *error) {
    enum cx_status status = cx_allocate(layers, sizeof **copy, "the choice of layers", copy, error);
    for (size_t layer = 0; status == CX_OK && layer < layers; layer++)
        (*copy)[layer] = chosen ? chosen[layer] : otherwise;
    return status;
}

bool wants_maps(const struct cx_decompose_options *options) {
    return options->maps || options->per_head || options->masked;
}

bool wants_feed_forward(const struct cx_decompose_options *options) {
    return options->masked || (options->maps & (CX_STAGE_BIT(CX_STAGE_FF) | CX_STAGE_BIT(CX_STAGE_FF_RES) | CX_STAGE_BIT(CX_STAGE_FF_RES_LN)));
}

enum cx_status cx_decomposer_open(struct cx_backend *backend, const struct cx_model_weights *weights, const struct cx_decompose_options *options,
                                  struct cx_decomposer **decomposer, struct cx_error *error) {
    const size_t layers = backend->config.layers;
    enum cx_status status = cx_allocate(1, sizeof **decomposer, "the decomposer", decomposer, error);
    if (status)
        return status;
    struct cx_decomposer *self = *decomposer;
    self->backend = backend;
    self->weights = weights;
    self->options = *options;
    if ((status = copy_choice(options->layers, true, layers, &self->layers, error)) ||
        (status = copy_choice(options->vector_layers, false, layers, &self->vector_layers, error)) ||
        (status = cx_allocate(layers, sizeof *self->tensors, "the layers' tensors", &self->tensors, error)) ||
        (status = backend->operations->embed_open(backend, &weights->word_embedding, &weights->position_embedding, &weights->token_type_embedding, error)) ||
        (status = vector_upload(backend, &weights->embedding_norm_scale, &self->embedding_norm_scale, error)) ||
        (status = vector_upload(backend, &weights->embedding_norm_shift, &self->embedding_norm_shift, error)))
        goto cleanup;
    self->options.layers = self->layers;
    self->options.vector_layers = self->vector_layers;
    self->workspace.heads_wanted = options->per_head;
    self->workspace.maps_wanted = wants_maps(options);
    self->workspace.ff_wanted = wants_feed_forward(options);
    self->workspace.masked_wanted = options->masked != NULL;
    /* A layer's input is the state among the results of the layer before, so there are two at least. */
    self->workspace.result_count = backend->reads_ahead > 0 ? backend->reads_ahead + 1 : 2;
    self->layers_needed = options->hidden_states ? layers : 0;
    for (size_t layer = 0; layer < layers; layer++) {
        if (self->layers[layer] || self->vector_layers[layer])
            self->layers_needed = layer + 1 > self->layers_needed ? layer + 1 : self->layers_needed;
    }
    for (size_t layer = 0; layer < self->layers_needed; layer++) {
        const size_t *masked = options->masked ? options->masked + self->layer_count * CX_NORMS * options->masked_count : NULL;
        self->layer_count += self->layers[layer];
        self->workspace.vectors_wanted |= self->vector_layers[layer];
        if ((status = layer_tensors_create(backend, &weights->layers[layer], self->layers[layer] && wants_feed_forward(options), &self->tensors[layer], error)))
            goto cleanup;
        if (masked && self->layers[layer] &&
            (status = layer_tensors_mask(backend, &weights->layers[layer], masked, options->masked_count, &self->tensors[layer], error)))
            goto cleanup;
    }
    self->workspace.parts_wanted = self->workspace.maps_wanted || self->workspace.vectors_wanted;

cleanup:
    if (status) {
        cx_decomposer_close(self);
        *decomposer = NULL;
    }
    return status;
}

void cx_decomposer_close(struct cx_decomposer *decomposer) {
    if (!decomposer)
        return;
    struct cx_backend *backend = decomposer->backend;
    workspace_destroy(backend, &decomposer->workspace);
    for (size_t layer = 0; decomposer->tensors && layer < backend->config.layers; layer++)
        layer_tensors_destroy(backend, &decomposer->tensors[layer]);
    backend->operations->tensor_destroy(backend, decomposer->embedding_norm_shift);
    backend->operations->tensor_destroy(backend, decomposer->embedding_norm_scale);
    free(decomposer->tensors);
    free(decomposer->vector_layers);
    free(decomposer->layers);
    free(decomposer);
}

void pass_time_begin(struct pass *pass, enum cx_operation operation, double flop) {
    CALL(pass, time_begin, operation);
    pass->decomposer->operations_flop[operation] += flop;
}

enum cx_status cx_decompose_profile(struct cx_decomposer *decomposer, struct cx_decompose_profile *profile, struct cx_error *error) {
    *profile = (struct cx_decompose_profile){.wait_seconds = decomposer->wait_seconds};
    memcpy(profile->operations_flop, decomposer->operations_flop, sizeof profile->operations_flop);
    return decomposer->backend->operations->times_read(decomposer->backend, &profile->times, error);
}
