/* What a run leaves beside its parts. summary.json: what ran, counts, throughput, skipped documents and why. tokens.json: the vocabulary. */
#ifndef CONTEXTURE_RUN_SUMMARY_H
#define CONTEXTURE_RUN_SUMMARY_H

#include <jansson.h>

#include "setup.h"

/* Writes the file and keeps its text in report->summary_json. `configuration` is borrowed. */
CX_MUST_USE enum cx_status summary_write(const struct setup *setup, json_t *configuration, const char *backend_description, struct cx_run_report *report,
                                         struct cx_error *error);

/* Keeps the text of the summary.json that another process has written. */
CX_MUST_USE enum cx_status summary_read(const struct setup *setup, struct cx_run_report *report, struct cx_error *error);

/* For a run that is joined anew: the summary comes last, and says by being there that all the rest is. */
CX_MUST_USE enum cx_status summary_exists(const char *directory, bool *exists, struct cx_error *error);
CX_MUST_USE enum cx_status summary_remove(const char *directory, struct cx_error *error);

/* tokens.json: a list of the vocabulary's tokens by id, null for an id without one, so that results can be read without the model. Nothing if there is no
 * tokenizer. */
CX_MUST_USE enum cx_status tokens_write(const struct setup *setup, struct cx_error *error);

#endif
