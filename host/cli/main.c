#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "output.h"

enum { some_documents_skipped = 3 };

static enum cx_status dump_configuration(struct options *options, struct cx_error *error) {
    char *yaml;
    enum cx_status status = options_dump(options, &yaml, error);
    if (status == CX_OK)
        status = output_print(error, "%s", yaml);
    free(yaml);
    return status;
}

static enum cx_status dispatch(struct options *options, struct outcome *outcome, struct cx_error *error) {
    if (options->version)
        return output_print(error, "contexture %s\n", CX_VERSION);
    if (options->help && options->command->bit != COMMAND_HELP)
        return help_on_command(options->command, error);
    if (options->dump_config)
        return dump_configuration(options, error);
    return options->command->work(options, outcome, error);
}

/*
 * Blocks of this size and more get pages of their own, which are given back with them. Of itself glibc raises the size to that of the largest block freed
 * so far; from then on large blocks lie between small ones, and a tenth of the program's memory is holes.
 */
static void give_memory_back(void) {
#ifdef M_MMAP_THRESHOLD
    (void)mallopt(M_MMAP_THRESHOLD, 256 << 10);
#endif
}

int main(int count, char **arguments) {
    struct options options;
    struct outcome outcome = {0};
    struct cx_error error = {0};
    give_memory_back();
    (void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is told as an error */
    enum cx_status status = options_read(count, arguments, environ, &options, &error);
    if (status == CX_OK)
        status = dispatch(&options, &outcome, &error);
    if (status == CX_OK)
        status = output_flush(&error);
    options_free(&options);
    if (status != CX_OK) {
        if (error.message[0]) /* of the ranks of a job one speaks */
            print_sentence("%s", error.message);
        return cx_status_exit_code(status);
    }
    return outcome.skipped > 0 ? some_documents_skipped : 0;
}
