/* The manual page, made from the tables of commands and options. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "output.h"

/* troff reads a backslash as its own, a dash as a hyphen, and a dot or quote at a line's begin as a request. */
static enum cx_status print_escaped(const char *text, struct cx_error *error) {
    enum cx_status status = *text == '.' || *text == '\'' ? output_print(error, "\\&") : CX_OK;
    for (; *text && status == CX_OK; text++)
        status = *text == '\\' ? output_print(error, "\\e") : output_print(error, *text == '-' ? "\\%c" : "%c", *text);
    return status;
}

static enum cx_status print_commands(struct cx_error *error) {
    enum cx_status status = output_print(error, ".SH COMMANDS\n");
    for (size_t k = 0; k < command_count && status == CX_OK; k++) {
        const struct command *command = &command_table[k];
        status = output_print(error, ".TP\n\\fB%s\\fR%s\\fI%s\\fR\n", command->name, command->argument ? " " : "", command->argument ? command->argument : "");
        if (status == CX_OK)
            status = print_escaped(command->help, error);
        if (status == CX_OK)
            status = output_print(error, ".\n");
    }
    return status;
}

static enum cx_status print_option(const struct option *option, struct cx_error *error) {
    enum cx_status status = output_print(error, ".TP\n");
    if (status == CX_OK && option->letter)
        status = output_print(error, "\\fB\\-%c\\fR, ", option->letter);
    if (status == CX_OK)
        status = output_print(error, "\\fB\\-\\-");
    if (status == CX_OK)
        status = print_escaped(option->name, error);
    if (status == CX_OK)
        status = output_print(error, "\\fR");
    if (status == CX_OK && option->value)
        status = output_print(error, " \\fI%s\\fR", option->value);
    for (size_t k = 0; option->choices && option->choices[k] && status == CX_OK; k++)
        status = output_print(error, "%s\\fI%s\\fR", k == 0 ? " " : "|", option->choices[k]);
    if (status == CX_OK)
        status = output_print(error, "\n");
    if (status == CX_OK)
        status = print_escaped(option->help, error);
    if (status == CX_OK && option->fallback && option->type != OPTION_FLAG)
        status = output_print(error, " (default: %s)", option->fallback);
    if (status == CX_OK)
        status = output_print(error, ".\nCommands:");
    for (size_t k = 0; k < command_count && status == CX_OK; k++)
        if (option->commands & command_table[k].bit)
            status = output_print(error, " %s", command_table[k].name);
    return status == CX_OK ? output_print(error, ".\n") : status;
}

enum cx_status manual_print(struct cx_error *error) {
    const char *group = NULL;
    enum cx_status status = output_print(error,
                                         ".TH CONTEXTURE 1 \"\" \"contexture %s\" \"User Commands\"\n"
                                         ".SH NAME\ncontexture \\- how much of each output vector of a Transformer came from each input token\n"
                                         ".SH SYNOPSIS\n.B contexture\n.I COMMAND\n[options]\n"
                                         ".SH DESCRIPTION\nReads a Transformer checkpoint and a corpus, splits the output of every component of every layer\n"
                                         "into the parts that came from each input token, and stores their norms in HDF5.\n",
                                         CX_VERSION);
    if (status == CX_OK)
        status = print_commands(error);
    for (size_t k = 0; k < option_count && status == CX_OK; k++) {
        if (!group || strcmp(group, option_table[k].group) != 0)
            status = output_print(error, ".SH \"OPTIONS: %s\"\n", option_table[k].group);
        group = option_table[k].group;
        if (status == CX_OK)
            status = print_option(&option_table[k], error);
    }
    if (status == CX_OK)
        status = output_print(
            error, ".SH ENVIRONMENT\nEvery option may be given as a variable, as CONTEXTURE_SHARD_SIZE for \\-\\-shard\\-size, or as a key of the file\n"
                   "named by \\-\\-config, as shard_size. A flag goes before a variable, a variable before the file.\n"
                   "NO_COLOR switches colors off.\n"
                   ".SH \"EXIT STATUS\"\n0 done; 1 failed; 2 wrong usage; 3 done, but some documents were skipped;\n"
                   "75 stopped by a signal or by the loss of a GPU: the same command goes on from there.\n");
    return status;
}
