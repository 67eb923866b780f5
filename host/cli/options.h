/*
 * The options: one table (option_table.c) from which come the parser, the help, the environment's and the configuration
 * file's names, the completion and the manual. Precedence: flag, then environment, then file, then default.
 */
#ifndef CONTEXTURE_CLI_OPTIONS_H
#define CONTEXTURE_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"
#include "contexture/run.h"

/* --- commands --- */

enum {
    COMMAND_RUN = 1,
    COMMAND_TOKENIZE = 2,
    COMMAND_PLAN = 4,
    COMMAND_VERIFY = 8,
    COMMAND_INFO = 16,
    COMMAND_COMPLETION = 32,
    COMMAND_HELP = 64,
    COMMAND_MERGE = 128,
    COMMAND_SLURM_SCRIPT = 256
};

struct options;

/* What a command leaves behind besides its status: whether documents were skipped decides between the exit codes 0 and 3. */
struct outcome {
    uint64_t skipped;
};

struct command {
    const char *name;
    unsigned bit;
    const char *argument; /* "DIR", "[DIR]" if it may be missing, NULL: takes none */
    const char *help;     /* a sentence */
    const char *example;
    enum cx_status (*work)(const struct options *options, struct outcome *outcome, struct cx_error *error);
};

extern const struct command command_table[];
extern const size_t command_count;
const struct command *command_find(const char *name); /* NULL if there is none */

/* --- options --- */

/* The type of the member at `offset`. */
enum option_type {
    OPTION_FLAG,     /* bool */
    OPTION_TEXT,     /* const char * */
    OPTION_LIST,     /* struct text_list */
    OPTION_COUNT,    /* uint64_t */
    OPTION_BYTES,    /* uint64_t, with K, M, G for powers of 1024 */
    OPTION_NUMBER,   /* double */
    OPTION_CHOICE,   /* an enum: the number of the choice */
    OPTION_STAGES,   /* unsigned: a set of maps */
    OPTION_ANALYSES, /* unsigned: a set of analyses */
};

/* In a set of analyses: "all" was said, and which these are is known when all options are. */
static const unsigned all_analyses_flag = 1u << 31;

/* Where an option may stand. */
enum { PLACE_FLAG = 1, PLACE_ENVIRONMENT = 2, PLACE_FILE = 4, PLACE_ALL = 7 };

struct option {
    const char *name; /* --shard-size; CONTEXTURE_SHARD_SIZE; shard_size in a file */
    char letter;      /* 0: none */
    enum option_type type;
    size_t offset;              /* in struct options */
    const char *fallback;       /* the default as text; NULL: none */
    double lowest, highest;     /* of counts, bytes and numbers */
    const char *const *choices; /* ends in NULL */
    const char *value;          /* what the help calls the value */
    unsigned commands;          /* bits of those that take it */
    unsigned required;          /* bits of those that cannot do without */
    unsigned places;
    bool several; /* takes several values behind one flag */
    const char *group;
    const char *help;
};

extern const struct option option_table[];
extern const size_t option_count;

struct text_list {
    const char **items;
    size_t count, capacity;
};

/* Everything the user said. Texts are owned; release with options_free(). */
struct options {
    const struct command *command;
    const char *argument; /* of the command, or NULL */
    struct cx_run_settings run;
    struct text_list corpus;
    const char *config;
    bool json, quiet, verbose, dump_config, help, manual, version;
    int offsets; /* 0: characters, 1: bytes */
    double gflops, completeness_bound;
    struct slurm_options {
        uint64_t array; /* tasks of a job array; 0: none */
        bool mpi;
        uint64_t nodes, tasks_per_node, cores, gpus, warning_seconds;
        const char *time, *partition, *memory, *job_name;
    } slurm;
    struct text_list owned;
};

/* Reads defaults, file, environment and flags, and checks that nothing that the command needs is missing. */
CX_MUST_USE enum cx_status options_read(int count, char *const *arguments, char *const *environment, struct options *options, struct cx_error *error);
void options_free(struct options *options);

/* --- pieces of options_read, and what help and the others need --- */

const struct option *option_find(const char *name, size_t length);

/* Sets the option from text. `origin` begins the sentence of an error: "--threads", "demo.yaml:3: threads". A list grows by one. */
CX_MUST_USE enum cx_status option_set(struct options *options, const struct option *option, const char *text, const char *origin, struct cx_error *error);

/* Empties a list, so that a source of higher precedence replaces it. */
void option_clear(struct options *options, const struct option *option);

/* The option's value as the text that would set it; NULL: no value. A list has `count` items, any other option one. */
CX_MUST_USE enum cx_status option_text(struct options *options, const struct option *option, size_t index, const char **text, struct cx_error *error);
size_t option_text_count(const struct options *options, const struct option *option);

/* "CONTEXTURE_SHARD_SIZE" and "shard_size"; the texts are cut to `size`. */
void option_environment_name(const struct option *option, char *name, size_t size);
void option_key(const struct option *option, char *name, size_t size);

CX_MUST_USE enum cx_status options_read_file(struct options *options, const char *path, struct cx_error *error);

/* The effective options of options->command as YAML; release with free(). */
CX_MUST_USE enum cx_status options_dump(struct options *options, char **yaml, struct cx_error *error);

/* A copy that lives as long as the options. */
CX_MUST_USE enum cx_status options_own(struct options *options, const char *text, size_t length, const char **copy, struct cx_error *error);
CX_MUST_USE enum cx_status text_list_add(struct text_list *list, const char *text, struct cx_error *error);

/*
 * Writes "; did you mean PREFIXname?" with the nearest of `count` names (names[k * stride] as text pointers), or an empty text if none is near.
 * The distance counts insertions, deletions, replacements and swaps of neighbours.
 */
void suggest_nearest(const char *word, const char *(*name)(size_t index, char *buffer, size_t size), size_t count, const char *prefix, char *text, size_t size);

#endif
