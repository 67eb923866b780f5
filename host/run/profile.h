/* profile.json: where the time of a run went, by operation and by step. */
#ifndef CONTEXTURE_RUN_PROFILE_H
#define CONTEXTURE_RUN_PROFILE_H

#include "setup.h"

/* Fills report->profile, which holds the pipeline's and the store's seconds already, measures the device's rate, and writes the file. */
CX_MUST_USE enum cx_status profile_write(const struct setup *setup, struct cx_decomposer *decomposer, struct cx_backend *backend,
                                         const char *backend_description, struct cx_run_report *report, struct cx_error *error);

#endif
