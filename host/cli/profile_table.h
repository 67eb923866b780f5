/* What --profile prints on standard error. */
#ifndef CONTEXTURE_CLI_PROFILE_TABLE_H
#define CONTEXTURE_CLI_PROFILE_TABLE_H

#include "contexture/run.h"

void profile_print(const struct cx_run_report *report);

#endif
