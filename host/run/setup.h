/* What a run and a plan have in common: the settings checked against the model, and the openings of tokenizer and corpus. */
#ifndef CONTEXTURE_RUN_SETUP_H
#define CONTEXTURE_RUN_SETUP_H

#include "contexture/run.h"
#include "contexture/shard_plan.h"
#include "contexture/window.h"
#include "mask_dims.h"

struct setup {
    const struct cx_run_settings *settings;
    struct cx_model_config config;
    struct cx_tokenizer *tokenizer; /* NULL: the model has none, and the corpus must carry ids */
    struct cx_corpus *corpus;
    struct cx_label_table *labels; /* of the corpus' annotations; NULL if it cannot have any */
    struct cx_sequence_options sequence_options;
    struct cx_shard_rule rule;
    bool *layers, *vector_layers;                 /* [config.layers]: marked */
    size_t *layer_numbers, *vector_layer_numbers; /* rising */
    size_t layer_count, vector_layer_count;
    unsigned vector_stages;
    struct mask_dims mask; /* its dimensions are chosen when the model has been opened */
    int threads;           /* never 0 */
    struct cx_result_layout layout;
};

/* The maps that are computed: those to store, and those that analyses look at. */
unsigned setup_maps(const struct cx_run_settings *settings);

CX_MUST_USE enum cx_status setup_open(struct setup *setup, const struct cx_run_settings *settings, const struct cx_run_observer *observer,
                                      struct cx_error *error);
void setup_close(struct setup *setup);

/* The backend that the settings ask for, on the usable GPU of that number if it has one. */
CX_MUST_USE enum cx_status setup_open_backend(const struct setup *setup, int device, struct cx_backend **backend, struct cx_error *error);

/* The part of the store's options that the setup knows: all but fingerprints, backend and version. */
struct cx_stats_options setup_stats_options(const struct setup *setup);
struct cx_store_options setup_store_options(const struct setup *setup);

#endif
