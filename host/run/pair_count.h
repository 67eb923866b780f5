/* The reading before a run that counts pairs of tokens, so that those too rare to be told need not be kept. */
#ifndef CONTEXTURE_RUN_PAIR_COUNT_H
#define CONTEXTURE_RUN_PAIR_COUNT_H

#include "setup.h"

/* Reads and tokenizes the whole corpus. Skipped documents are told of by the run itself. */
CX_MUST_USE enum cx_status pair_count(const struct cx_run_settings *settings, const struct cx_run_observer *observer, const char *corpus_fingerprint,
                                      struct cx_pair_filter **filter, struct cx_error *error);

#endif
