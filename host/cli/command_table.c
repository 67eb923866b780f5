#include <string.h>

#include "commands.h"

const struct command command_table[] = {
    {"run", COMMAND_RUN, NULL, "compute the maps of a corpus and store them in a folder", "contexture run --model MiniLM --corpus text.txt --out out",
     command_run},
    {"tokenize", COMMAND_TOKENIZE, NULL, "print ids and offsets, one JSON line a document", "contexture tokenize --model MiniLM --corpus text.txt",
     command_tokenize},
    {"plan", COMMAND_PLAN, NULL, "read and tokenize only; tell what a run would compute, store and take", "contexture plan --model MiniLM --corpus text.txt",
     command_plan},
    {"verify", COMMAND_VERIFY, "DIR", "check every part of a run's folder: checksums, offsets, values, completeness", "contexture verify out", command_verify},
    {"merge", COMMAND_MERGE, "DIR", "join the finished shards of a run's folder, and their statistics, into run.h5", "contexture merge out", command_merge},
    {"info", COMMAND_INFO, "[DIR]", "describe a model, a run's folder, or without DIR this machine", "contexture info out", command_info},
    {"slurm-script", COMMAND_SLURM_SCRIPT, NULL, "print a job script for sbatch, which runs a configuration on a cluster",
     "contexture slurm-script --config c.yaml --model MiniLM --corpus big.jsonl.gz --out out --mpi --nodes 4 > job.sh", command_slurm_script},
    {"completion", COMMAND_COMPLETION, "SHELL", "print a completion script; SHELL is bash", "contexture completion bash", command_completion},
    {"help", COMMAND_HELP, "[COMMAND]", "explain the commands, or one of them", "contexture help run", command_help},
};
const size_t command_count = sizeof command_table / sizeof *command_table;

const struct command *command_find(const char *name) {
    for (size_t k = 0; k < command_count; k++)
        if (strcmp(command_table[k].name, name) == 0)
            return &command_table[k];
    return NULL;
}
