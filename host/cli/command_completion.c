#include <string.h>

#include "commands.h"
#include "output.h"

/* The words of one command's flags, for a case of the script. */
static enum cx_status print_flags(const struct command *command, struct cx_error *error) {
    enum cx_status status = output_print(error, "        %s) flags=\"", command->name);
    bool first = true;
    for (size_t k = 0; k < option_count && status == CX_OK; k++)
        if (option_table[k].commands & command->bit) {
            status = output_print(error, "%s--%s", first ? "" : " ", option_table[k].name);
            first = false;
        }
    return status == CX_OK ? output_print(error, "\" ;;\n") : status;
}

/* What may stand behind a flag: choices, stages, or files. */
static enum cx_status print_values(struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < option_count && status == CX_OK; k++) {
        const struct option *option = &option_table[k];
        const bool stages = option->type == OPTION_STAGES, analyses = option->type == OPTION_ANALYSES;
        if (option->type == OPTION_FLAG || (!option->choices && !stages && !analyses))
            continue;
        status = output_print(error, "        --%s) COMPREPLY=($(compgen -W \"", option->name);
        for (size_t choice = 0; option->choices && option->choices[choice] && status == CX_OK; choice++)
            status = output_print(error, "%s%s", choice > 0 ? " " : "", option->choices[choice]);
        if (status == CX_OK && (stages || analyses))
            status = output_print(error, "all none");
        for (unsigned bit = 0; bit < (stages ? CX_MAPS : analyses ? CX_ANALYSES : 0) && status == CX_OK; bit++)
            status = output_print(error, " %s", stages ? cx_map_name(bit) : cx_analysis_name(bit));
        if (status == CX_OK)
            status = output_print(error, "\" -- \"$word\")); return ;;\n");
    }
    return status;
}

enum cx_status command_completion(const struct options *options, struct outcome *outcome, struct cx_error *error) {
    (void)outcome;
    if (strcmp(options->argument, "bash") != 0)
        return cx_fail(error, CX_ERROR_USAGE, "there is a completion for bash only; found \"%s\"", options->argument);
    enum cx_status status =
        output_print(error, "# bash completion for contexture: source <(contexture completion bash)\n"
                            "_contexture() {\n"
                            "    local word=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\" command=\"${COMP_WORDS[1]}\" flags=\"\"\n"
                            "    COMPREPLY=()\n"
                            "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                            "        COMPREPLY=($(compgen -W \"");
    for (size_t k = 0; k < command_count && status == CX_OK; k++)
        status = output_print(error, "%s%s", k > 0 ? " " : "", command_table[k].name);
    if (status == CX_OK)
        status = output_print(error, "\" -- \"$word\"))\n        return\n    fi\n    case \"$before\" in\n");
    if (status == CX_OK)
        status = print_values(error);
    if (status == CX_OK)
        status = output_print(error, "    esac\n    case \"$command\" in\n");
    for (size_t k = 0; k < command_count && status == CX_OK; k++)
        status = print_flags(&command_table[k], error);
    if (status == CX_OK)
        status = output_print(error, "    esac\n"
                                     "    case \"$word\" in\n"
                                     "        -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$word\")) ;;\n"
                                     "        *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
                                     "    esac\n"
                                     "}\n"
                                     "complete -o filenames -F _contexture contexture\n");
    return status;
}
