/* summary.json: what ran, counts, throughput, skipped documents and why. */
#ifndef CONTEXTURE_RUN_SUMMARY_H
#define CONTEXTURE_RUN_SUMMARY_H

#include <jansson.h>

#include "setup.h"

/* Writes the file and keeps its text in report->summary_json. `configuration` is borrowed. */
CX_MUST_USE enum cx_status summary_write(const struct setup *setup, json_t *configuration, const char *backend_description, struct cx_run_report *report,
                                         struct cx_error *error);

#endif
