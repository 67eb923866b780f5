/* The command line, the environment, and the order of precedence. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "options.h"

/* A flag as it was given; the values are arguments, but for those that had to be put together. */
struct given {
    const struct option *option;
    const char *origin; /* "--threads" */
    const char *value;
};

struct given_list {
    struct given *items;
    size_t count, capacity;
};

struct command_line {
    struct options *options;
    int count, place;
    char *const *arguments;
    struct given_list given;
};

static enum cx_status set_defaults(struct options *options, struct cx_error *error) {
    for (size_t k = 0; k < option_count; k++) {
        const struct option *option = &option_table[k];
        if (!option->fallback)
            continue;
        enum cx_status status = option_set(options, option, option->fallback, option->name, error);
        if (status != CX_OK)
            return status;
    }
    return CX_OK;
}

static const char *command_name_of(size_t index, char *buffer, size_t size) {
    (void)buffer;
    (void)size;
    return command_table[index].name;
}

static enum cx_status choose_command(struct command_line *line, struct cx_error *error) {
    const char *name = line->place < line->count ? line->arguments[line->place] : NULL;
    if (!name)
        return cx_fail(
            error, CX_ERROR_USAGE,
            "no command; the commands are run, tokenize, plan, verify, merge, info, slurm-script, completion and help, and 'contexture help' explains them");
    line->place++;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0) {
        line->options->version = true;
        name = "help";
    }
    line->options->command = command_find(name);
    if (line->options->command)
        return CX_OK;
    if (name[0] == '-')
        return cx_fail(error, CX_ERROR_USAGE, "options come behind the command; found %s in its place, as in 'contexture run %s …'", name, name);
    char nearest[64];
    suggest_nearest(name, command_name_of, command_count, "", nearest, sizeof nearest);
    return cx_fail(error, CX_ERROR_USAGE, "unknown command \"%s\"%s%s", name, nearest, nearest[0] ? "" : "; 'contexture help' lists the commands");
}

static const char *flag_name_of(size_t index, char *buffer, size_t size) {
    (void)buffer;
    (void)size;
    return option_table[index].name;
}

static enum cx_status refuse_unknown(const struct command_line *line, const char *argument, size_t length, struct cx_error *error) {
    char word[64], nearest[64];
    (void)snprintf(word, sizeof word, "%.*s", (int)length, argument);
    suggest_nearest(word, flag_name_of, option_count, "--", nearest, sizeof nearest);
    return cx_fail(error, CX_ERROR_USAGE, "unknown option --%.*s%s%s%s%s", (int)length, argument, nearest, nearest[0] ? "" : "; 'contexture help ",
                   nearest[0] ? "" : line->options->command->name, nearest[0] ? "" : "' lists the options");
}

static enum cx_status refuse_for_command(const struct command_line *line, const struct option *option, struct cx_error *error) {
    char others[128] = "";
    for (size_t k = 0; k < command_count; k++)
        if (option->commands & command_table[k].bit) {
            const size_t length = strlen(others);
            (void)snprintf(others + length, sizeof others - length, "%s%s", length > 0 ? ", " : "", command_table[k].name);
        }
    return cx_fail(error, CX_ERROR_USAGE, "'contexture %s' takes no --%s; it belongs to: %s", line->options->command->name, option->name, others);
}

/* The option that an argument names, and its value if it is in the same argument; *negated for --no-NAME. */
static enum cx_status find_flag(const struct command_line *line, const char *argument, const struct option **option, const char **value, bool *negated,
                                struct cx_error *error) {
    *value = NULL;
    *negated = false;
    *option = NULL;
    if (argument[1] != '-') {
        for (size_t k = 0; k < option_count && !*option; k++)
            if (option_table[k].letter == argument[1])
                *option = &option_table[k];
        if (!*option)
            return cx_fail(error, CX_ERROR_USAGE, "unknown option -%c; 'contexture help %s' lists the options", argument[1], line->options->command->name);
        if (argument[2] != '\0')
            *value = argument + 2 + (argument[2] == '=');
    } else {
        const char *name = argument + 2;
        const size_t length = strcspn(name, "=");
        *option = option_find(name, length);
        if (!*option && strncmp(name, "no-", 3) == 0) {
            *option = option_find(name + 3, length - 3);
            *negated = *option && (*option)->type == OPTION_FLAG;
            *option = *negated ? *option : NULL;
        }
        if (!*option)
            return refuse_unknown(line, name, length, error);
        if (name[length] == '=')
            *value = name + length + 1;
    }
    return (*option)->commands & line->options->command->bit ? CX_OK : refuse_for_command(line, *option, error);
}

/* An argument that begins with a dash and a letter is a flag; -1 and - are values. */
static bool is_flag(const char *argument) {
    return argument[0] == '-' && argument[1] != '\0' && (argument[1] < '0' || argument[1] > '9');
}

static enum cx_status give(struct command_line *line, const struct option *option, const char *origin, const char *value, struct cx_error *error) {
    struct given_list *given = &line->given;
    enum cx_status status = cx_reserve(&given->items, &given->capacity, given->count + 1, sizeof *given->items, "the command line", error);
    if (status == CX_OK)
        given->items[given->count++] = (struct given){option, origin, value};
    return status;
}

/* "a" and "b" to "a,b", for `--stages attn ff`. */
static enum cx_status join_values(struct options *options, const char **value, const char *next, struct cx_error *error) {
    const size_t length = strlen(*value), next_length = strlen(next);
    char *joined;
    enum cx_status status = cx_allocate(length + next_length + 2, 1, "an option's value", &joined, error);
    if (status != CX_OK)
        return status;
    (void)snprintf(joined, length + next_length + 2, "%s,%s", *value, next);
    status = options_own(options, joined, strlen(joined), value, error);
    free(joined);
    return status;
}

static enum cx_status refuse_missing_value(const struct command_line *line, const struct option *option, const char *origin, struct cx_error *error) {
    char wanted[128];
    (void)snprintf(wanted, sizeof wanted, "%s", option->choices ? option->choices[0] : option->value);
    for (size_t k = 1; option->choices && option->choices[k]; k++)
        (void)snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "|%s", option->choices[k]);
    return cx_fail(error, CX_ERROR_USAGE, "%s: expected a value (%s), found %s", origin, wanted,
                   line->place == line->count ? "the end of the command line" : line->arguments[line->place]);
}

static enum cx_status take_values(struct command_line *line, const struct option *option, const char *origin, const char *value, struct cx_error *error) {
    if (!value) {
        if (line->place == line->count || is_flag(line->arguments[line->place]))
            return refuse_missing_value(line, option, origin, error);
        value = line->arguments[line->place++];
    } else if (!option->several) {
        return give(line, option, origin, value, error);
    }
    enum cx_status status = CX_OK;
    while (status == CX_OK && option->several && line->place < line->count && !is_flag(line->arguments[line->place])) {
        const char *next = line->arguments[line->place++];
        if (option->type == OPTION_LIST) {
            status = give(line, option, origin, value, error);
            value = next;
        } else {
            status = join_values(line->options, &value, next, error);
        }
    }
    return status == CX_OK ? give(line, option, origin, value, error) : status;
}

static enum cx_status take_flag(struct command_line *line, struct cx_error *error) {
    const char *argument = line->arguments[line->place++], *value, *origin;
    const struct option *option;
    bool negated;
    enum cx_status status = find_flag(line, argument, &option, &value, &negated, error);
    if (status == CX_OK)
        status = options_own(line->options, argument, argument[1] == '-' ? strcspn(argument, "=") : 2, &origin, error);
    if (status != CX_OK)
        return status;
    if (option->type != OPTION_FLAG)
        return take_values(line, option, origin, value, error);
    if (value && argument[1] != '-')
        return cx_fail(error, CX_ERROR_USAGE, "%s is a switch and takes no value; found %s: write short options apart", origin, argument);
    if (value && negated)
        return cx_fail(error, CX_ERROR_USAGE, "%s takes no value; found %s", origin, value);
    return give(line, option, origin, value ? value : negated ? "false" : "true", error);
}

static enum cx_status take_argument(struct command_line *line, struct cx_error *error) {
    struct options *options = line->options;
    const char *argument = line->arguments[line->place++];
    if (!options->command->argument)
        return cx_fail(error, CX_ERROR_USAGE, "'contexture %s' expects options only; found \"%s\": is the option in front of it missing?",
                       options->command->name, argument);
    if (options->argument)
        return cx_fail(error, CX_ERROR_USAGE, "'contexture %s' takes one %s; found \"%s\" and \"%s\"", options->command->name, options->command->argument,
                       options->argument, argument);
    options->argument = argument;
    return CX_OK;
}

static enum cx_status read_environment(struct options *options, char *const *environment, bool config_alone, struct cx_error *error) {
    for (size_t k = 0; k < option_count; k++) {
        const struct option *option = &option_table[k];
        char name[64], origin[96];
        if (!(option->places & PLACE_ENVIRONMENT) || !(option->commands & options->command->bit) || config_alone != (strcmp(option->name, "config") == 0))
            continue;
        option_environment_name(option, name, sizeof name);
        (void)snprintf(origin, sizeof origin, "environment variable %s", name);
        const size_t length = strlen(name);
        for (size_t variable = 0; environment[variable]; variable++) {
            const char *value = environment[variable] + length + 1;
            if (strncmp(environment[variable], name, length) != 0 || environment[variable][length] != '=' || *value == '\0')
                continue;
            option_clear(options, option);
            enum cx_status status = option_set(options, option, value, origin, error);
            if (status != CX_OK)
                return status;
        }
    }
    return CX_OK;
}

/* Flags replace what file and environment said, lists included; among flags the last one counts, and lists grow. */
static enum cx_status set_flags(struct command_line *line, bool config_alone, struct cx_error *error) {
    struct options *options = line->options;
    for (size_t k = 0; k < line->given.count && !config_alone; k++)
        option_clear(options, line->given.items[k].option);
    for (size_t k = 0; k < line->given.count; k++) {
        const struct given *given = &line->given.items[k];
        if (config_alone && strcmp(given->option->name, "config") != 0)
            continue;
        enum cx_status status = option_set(options, given->option, given->value, given->origin, error);
        if (status != CX_OK)
            return status;
    }
    return CX_OK;
}

/* norm_dimensions cannot be without dimensions, so "all" has it only with them. */
static void settle_all_analyses(struct cx_run_settings *run) {
    if (!(run->analyses & all_analyses_flag))
        return;
    const bool has_mask = strcmp(run->mask_dims, cx_mask_choice_name(CX_MASK_NONE)) != 0;
    run->analyses = has_mask ? CX_ALL_ANALYSES : CX_ALL_ANALYSES & ~CX_ANALYSIS_BIT(CX_ANALYSIS_NORMS);
}

static enum cx_status check_required(const struct options *options, struct cx_error *error) {
    if (options->help || options->version || options->dump_config)
        return CX_OK;
    for (size_t k = 0; k < option_count; k++)
        if (option_table[k].required & options->command->bit && option_text_count(options, &option_table[k]) == 0)
            return cx_fail(error, CX_ERROR_USAGE, "'contexture %s' needs --%s %s; for instance: %s", options->command->name, option_table[k].name,
                           option_table[k].value, options->command->example);
    if (options->command->argument && options->command->argument[0] != '[' && !options->argument)
        return cx_fail(error, CX_ERROR_USAGE, "'contexture %s' needs its argument %s; for instance: %s", options->command->name, options->command->argument,
                       options->command->example);
    return CX_OK;
}

enum cx_status options_read(int count, char *const *arguments, char *const *environment, struct options *options, struct cx_error *error) {
    struct command_line line = {.options = options, .count = count, .place = 1, .arguments = arguments};
    memset(options, 0, sizeof *options);
    enum cx_status status = set_defaults(options, error);
    if (status == CX_OK)
        status = choose_command(&line, error);
    while (status == CX_OK && line.place < line.count)
        status = is_flag(arguments[line.place]) ? take_flag(&line, error) : take_argument(&line, error);

    /* The file must be known before it can be overridden. */
    if (status == CX_OK)
        status = read_environment(options, environment, true, error);
    if (status == CX_OK)
        status = set_flags(&line, true, error);
    if (status == CX_OK && options->config)
        status = options_read_file(options, options->config, error);
    if (status == CX_OK)
        status = read_environment(options, environment, false, error);
    if (status == CX_OK)
        status = set_flags(&line, false, error);
    if (status == CX_OK)
        settle_all_analyses(&options->run);
    if (status == CX_OK)
        status = check_required(options, error);
    options->run.corpus.paths = options->corpus.items;
    options->run.corpus.path_count = options->corpus.count;
    free(line.given.items);
    return status;
}

void options_free(struct options *options) {
    for (size_t k = 0; k < options->owned.count; k++)
        free((char *)options->owned.items[k]);
    free(options->owned.items);
    free(options->corpus.items);
    memset(options, 0, sizeof *options);
}
