#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "output.h"

enum { text_column = 30, page_width = 100 };

/* "  -t, --threads N" */
static void write_left(const struct option *option, char *text, size_t size) {
    char value[96] = "";
    if (option->choices) {
        (void)snprintf(value, sizeof value, " %s", option->choices[0]);
        for (size_t k = 1; option->choices[k]; k++)
            (void)snprintf(value + strlen(value), sizeof value - strlen(value), "|%s", option->choices[k]);
    } else if (option->value) {
        (void)snprintf(value, sizeof value, " %s%s", option->value, option->type == OPTION_LIST ? "..." : "");
    }
    if (option->letter)
        (void)snprintf(text, size, "  -%c, --%s%s", option->letter, option->name, value);
    else
        (void)snprintf(text, size, "      --%s%s", option->name, value);
}

/* The sentence behind the left column, wrapped between words. */
static enum cx_status print_wrapped(const char *left, const char *text, struct cx_error *error) {
    int column = (int)strlen(left);
    enum cx_status status = output_print(error, "%s", left);
    if (column + 2 > text_column) {
        status = status == CX_OK ? output_print(error, "\n") : status;
        column = 0;
    }
    for (bool first = true; *text && status == CX_OK; first = false) {
        const int length = (int)strcspn(text, " ");
        if (first || column + 1 + length > page_width) {
            status = first ? CX_OK : output_print(error, "\n");
            column = first ? column : 0;
            if (status == CX_OK)
                status = output_print(error, "%*s%.*s", text_column - column, "", length, text);
            column = text_column + length;
        } else {
            status = output_print(error, " %.*s", length, text);
            column += 1 + length;
        }
        text += length + (text[length] == ' ');
    }
    return status == CX_OK ? output_print(error, "\n") : status;
}

static enum cx_status print_option(const struct option *option, const struct command *command, struct cx_error *error) {
    char left[128], text[400];
    write_left(option, left, sizeof left);
    const bool tells_default = option->fallback && option->type != OPTION_FLAG;
    (void)snprintf(text, sizeof text, "%s%s%s%s%s", option->help, tells_default ? " (default: " : "", tells_default ? option->fallback : "",
                   tells_default ? ")" : "", option->required & command->bit ? " (required)" : "");
    return print_wrapped(left, text, error);
}

enum cx_status help_on_command(const struct command *command, struct cx_error *error) {
    const char *group = NULL;
    enum cx_status status = output_print(error, "Usage: contexture %s%s%s [options]\n\n%c%s.\n\n  %s\n", command->name, command->argument ? " " : "",
                                         command->argument ? command->argument : "", command->help[0] - 'a' + 'A', command->help + 1, command->example);
    for (size_t k = 0; k < option_count && status == CX_OK; k++) {
        const struct option *option = &option_table[k];
        if (!(option->commands & command->bit))
            continue;
        if (!group || strcmp(group, option->group) != 0)
            status = output_print(error, "\n%s\n", option->group);
        group = option->group;
        if (status == CX_OK)
            status = print_option(option, command, error);
    }
    if (status == CX_OK && command->bit & (COMMAND_RUN | COMMAND_PLAN | COMMAND_TOKENIZE | COMMAND_VERIFY | COMMAND_INFO))
        status = output_print(error, "\nEvery option may also stand in the environment (CONTEXTURE_SHARD_SIZE=500) or in a file (shard_size: 500)\n"
                                     "given by --config; a flag goes before the environment, the environment before the file. --no-NAME\n"
                                     "switches a switch off.\n");
    return status;
}

static enum cx_status print_overview(struct cx_error *error) {
    enum cx_status status = output_print(error, "Usage: contexture COMMAND [options]\n\n"
                                                "How much of each output vector of a Transformer came from each input token: norm maps of every layer\n"
                                                "and every stage of it, for a corpus, into HDF5.\n\n"
                                                "Commands\n");
    for (size_t k = 0; k < command_count && status == CX_OK; k++) {
        char left[64];
        (void)snprintf(left, sizeof left, "  %s%s%s", command_table[k].name, command_table[k].argument ? " " : "",
                       command_table[k].argument ? command_table[k].argument : "");
        status = print_wrapped(left, command_table[k].help, error);
    }
    if (status == CX_OK)
        status = output_print(error, "\n'contexture help COMMAND' lists a command's options.\n\n"
                                     "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done, but some documents were skipped, 75 stopped by a\n"
                                     "signal or by the loss of a GPU: the same command goes on from there.\n");
    return status;
}

enum cx_status command_help(const struct options *options, struct outcome *outcome, struct cx_error *error) {
    (void)outcome;
    if (options->manual)
        return manual_print(error);
    if (!options->argument)
        return print_overview(error);
    const struct command *command = command_find(options->argument);
    if (!command)
        return cx_fail(error, CX_ERROR_USAGE, "there is no command \"%s\" to explain; 'contexture help' lists the commands", options->argument);
    return help_on_command(command, error);
}
