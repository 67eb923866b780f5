/* The commands' entries, one file each. */
#ifndef CONTEXTURE_CLI_COMMANDS_H
#define CONTEXTURE_CLI_COMMANDS_H

#include "options.h"

CX_MUST_USE enum cx_status command_run(const struct options *options, struct outcome *outcome, struct cx_error *error);
CX_MUST_USE enum cx_status command_tokenize(const struct options *options, struct outcome *outcome, struct cx_error *error);
CX_MUST_USE enum cx_status command_plan(const struct options *options, struct outcome *outcome, struct cx_error *error);
CX_MUST_USE enum cx_status command_slurm_script(const struct options *options, struct outcome *outcome, struct cx_error *error);
CX_MUST_USE enum cx_status command_verify(const struct options *options, struct outcome *outcome, struct cx_error *error);
CX_MUST_USE enum cx_status command_merge(const struct options *options, struct outcome *outcome, struct cx_error *error);
CX_MUST_USE enum cx_status command_info(const struct options *options, struct outcome *outcome, struct cx_error *error);
CX_MUST_USE enum cx_status command_completion(const struct options *options, struct outcome *outcome, struct cx_error *error);
CX_MUST_USE enum cx_status command_help(const struct options *options, struct outcome *outcome, struct cx_error *error);

/* Help on one command, as `contexture run --help`. */
CX_MUST_USE enum cx_status help_on_command(const struct command *command, struct cx_error *error);
CX_MUST_USE enum cx_status manual_print(struct cx_error *error);

#endif
