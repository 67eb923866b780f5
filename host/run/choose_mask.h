/* Chooses the dimensions that --mask-dims asks for, from the model's weights or from its states on the corpus. */
#ifndef CONTEXTURE_RUN_CHOOSE_MASK_H
#define CONTEXTURE_RUN_CHOOSE_MASK_H

#include "setup.h"

/* Fills setup->mask. The same model and corpus, on the same backend, give the same dimensions, whatever the threads, batches and shards are. */
CX_MUST_USE enum cx_status choose_mask(struct setup *setup, struct cx_backend *backend, const struct cx_model_weights *weights,
                                       const struct cx_run_observer *observer, struct cx_error *error);

#endif
