/*
 * What a person sees on standard error while something runs: on a terminal a bar, else a line every 30 seconds; notices, and the
 * first skipped documents. Observes a run from several threads; standard error's own lock keeps them apart.
 */
#ifndef CONTEXTURE_CLI_PROGRESS_H
#define CONTEXTURE_CLI_PROGRESS_H

#include <stdbool.h>

#include "contexture/run.h"

struct progress {
    bool quiet, verbose, terminal, color;
    bool bar_is_shown;
    double last;                /* seconds of the run at the latest bar or line */
    uint64_t skipped, stripped; /* the latter are among the former */
};

void progress_begin(struct progress *progress, bool quiet, bool verbose);
struct cx_run_observer progress_observer(struct progress *progress);

/* Takes the bar away, and says how many documents were skipped without being named. */
void progress_end(struct progress *progress);

#endif
