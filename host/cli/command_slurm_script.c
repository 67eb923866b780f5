/* A job script for sbatch. What it says about Slurm was tried on a real one: tests/cluster/test_slurm.py. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "contexture/memory.h"
#include "output.h"

/* 'text' for the shell: a quote inside becomes '\'' . */
static enum cx_status quote(const char *text, char **quoted, struct cx_error *error) {
    static const char inner[] = "'\\''";
    enum cx_status status = cx_allocate(strlen(text) * (sizeof inner - 1) + 3, 1, "a job script", quoted, error);
    if (status != CX_OK)
        return status;
    char *end = *quoted;
    *end++ = '\'';
    for (; *text; text++) {
        if (*text == '\'')
            end = stpcpy(end, inner);
        else
            *end++ = *text;
    }
    memcpy(end, "'", 2);
    return CX_OK;
}

/* Values of #SBATCH lines end at a blank or a line's end. */
static enum cx_status check_value(const char *option, const char *value, struct cx_error *error) {
    if (!value || (value[0] && !strpbrk(value, " \t\r\n'\"\\#")))
        return CX_OK;
    return cx_fail(error, CX_ERROR_USAGE, "--%s '%s': expected a word without blanks, quotes, # and \\", option, value);
}

static enum cx_status check_options(const struct options *options, struct cx_error *error) {
    const struct slurm_options *slurm = &options->slurm;
    if (slurm->array > 0 && slurm->mpi)
        return cx_fail(error, CX_ERROR_USAGE, "--array and --mpi: a job is either an array of tasks or one of ranks; give one of them");
    if (!slurm->mpi && (slurm->nodes > 1 || slurm->tasks_per_node > 1))
        return cx_fail(error, CX_ERROR_USAGE, "--nodes and --tasks-per-node are for a job of ranks: give --mpi, too, or --array");
    if (slurm->mpi && slurm->gpus > 0 && slurm->tasks_per_node > 1 && slurm->tasks_per_node != slurm->gpus)
        return cx_fail(error, CX_ERROR_USAGE, "--tasks-per-node %" PRIu64 ": there is one rank for every GPU of a node, which are %" PRIu64,
                       slurm->tasks_per_node, slurm->gpus);
    enum cx_status status = check_value("time", slurm->time, error);
    if (status == CX_OK)
        status = check_value("partition", slurm->partition, error);
    if (status == CX_OK)
        status = check_value("memory", slurm->memory, error);
    return status == CX_OK ? check_value("job-name", slurm->job_name, error) : status;
}

/* " --flag 'value'" */
static enum cx_status print_flag(const char *flag, const char *value, struct cx_error *error) {
    char *quoted = NULL;
    enum cx_status status = quote(value, &quoted, error);
    if (status == CX_OK)
        status = output_print(error, " %s %s", flag, quoted);
    free(quoted);
    return status;
}

/* What is told anyway stands in the script, too, so that it can be read by itself. */
static enum cx_status print_command(const struct options *options, const char *program, const char *config, struct cx_error *error) {
    const struct slurm_options *slurm = &options->slurm;
    char *quoted = NULL;
    enum cx_status status = quote(program, &quoted, error);
    if (status == CX_OK)
        status = output_print(error, "srun %s%s%s run", slurm->mpi ? "--mpi=pmix --kill-on-bad-exit=1 " : "--ntasks=1 ",
                              slurm->gpus > 0 ? "--gpu-bind=none " : "", quoted);
    free(quoted);
    if (status == CX_OK)
        status = print_flag("--config", config, error);
    if (status == CX_OK)
        status = print_flag("--model", options->run.model, error);
    for (size_t k = 0; status == CX_OK && k < options->corpus.count; k++)
        status = print_flag("--corpus", options->corpus.items[k], error);
    if (status == CX_OK)
        status = print_flag("--out", options->run.output, error);
    return status == CX_OK ? output_print(error, " --cluster %s\ncode=$?\n\n", slurm->mpi ? "mpi" : slurm->array > 0 ? "array" : "folder") : status;
}

static enum cx_status print_value(const char *option, const char *value, struct cx_error *error) {
    return value ? output_print(error, "#SBATCH --%s=%s\n", option, value) : CX_OK;
}

static enum cx_status print_size(const struct slurm_options *slurm, struct cx_error *error) {
    enum cx_status status = CX_OK;
    const uint64_t tasks = slurm->mpi && slurm->gpus > 0 ? slurm->gpus : slurm->tasks_per_node;
    if (slurm->array > 0)
        status =
            output_print(error,
                         "# Tasks of an array start when there is room, and do not wait for each other; the one that finishes the last part joins all parts.\n"
                         "#SBATCH --array=0-%" PRIu64 "\n",
                         slurm->array - 1);
    if (status == CX_OK)
        status = output_print(error, "#SBATCH --nodes=%" PRIu64 "\n#SBATCH --ntasks-per-node=%" PRIu64 "\n#SBATCH --cpus-per-task=%" PRIu64 "\n", slurm->nodes,
                              tasks, slurm->cores);
    if (status == CX_OK && slurm->gpus > 0 && slurm->mpi)
        status = output_print(error, "# One rank for every GPU of a node: a rank takes the GPU of its number on the node, so each must see all of them.\n");
    if (status == CX_OK && slurm->gpus > 0)
        status = output_print(error, "#SBATCH --gpus-per-node=%" PRIu64 "\n", slurm->gpus);
    return status;
}

static enum cx_status print_head(const struct slurm_options *slurm, struct cx_error *error) {
    enum cx_status status =
        output_print(error, "#!/bin/sh\n"
                            "# Made by contexture slurm-script. Submit with sbatch, from the folder that the configuration's relative paths begin at.\n");
    if (status == CX_OK)
        status = print_value("job-name", slurm->job_name, error);
    if (status == CX_OK)
        status = print_value("partition", slurm->partition, error);
    if (status == CX_OK)
        status = print_size(slurm, error);
    if (status == CX_OK)
        status = print_value("mem", slurm->memory, error);
    if (status == CX_OK)
        status = print_value("time", slurm->time, error);
    if (status == CX_OK)
        status = output_print(
            error,
            "# So long before the limit (Slurm may be a minute early), and when the job must make room, the program is told to stop: it drops the part that "
            "it\n"
            "# is writing and ends with code 75. Without \"B:\" the signal goes to the program; with it, to this script, which would see it too late.\n"
            "#SBATCH --signal=USR1@%" PRIu64 "\n"
            "# A job that has lost its node, or asks for it below, begins again, and goes on with the finished parts. Its messages are kept.\n"
            "#SBATCH --requeue\n"
            "#SBATCH --open-mode=append\n"
            "#SBATCH --output=%s\n\n",
            slurm->warning_seconds, slurm->array > 0 ? "contexture-%A_%a.log" : "contexture-%j.log");
    return status;
}

/* Seen with Slurm 22.05: srun ends with 0 where a node refuses the step. */
static enum cx_status print_check_of_end(const char *output, struct cx_error *error) {
    char *quoted = NULL;
    enum cx_status status = quote(output, &quoted, error);
    if (status == CX_OK)
        status = output_print(error,
                              "# srun may end with 0 although no rank was started; a run that is done has its file.\n"
                              "if [ \"$code\" -eq 0 ] && [ ! -e %s/run.h5 ]; then\n"
                              "    echo \"contexture was not run to its end: srun could not start it, see above\" >&2\n"
                              "    code=1\n"
                              "fi\n\n",
                              quoted);
    free(quoted);
    return status;
}

enum { most_restarts = 8 };

enum cx_status command_slurm_script(const struct options *options, struct outcome *outcome, struct cx_error *error) {
    const struct slurm_options *slurm = &options->slurm;
    char program[PATH_MAX] = "contexture", config[PATH_MAX];
    (void)outcome;
    enum cx_status status = check_options(options, error);
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length > 0)
        program[length] = '\0';
    if (status == CX_OK && !realpath(options->config, config))
        status = cx_fail_errno(error, "find", options->config);
    if (status == CX_OK)
        status = print_head(slurm, error);
    if (status == CX_OK)
        status = output_print(error, "# srun does not take this over from sbatch by itself.\n"
                                     "export SRUN_CPUS_PER_TASK=\"$SLURM_CPUS_PER_TASK\"\n\n");
    if (status == CX_OK && slurm->mpi)
        status = output_print(error, "# Ranks find each other by PMIx. One that is lost takes the others with it, and the finished parts stay.\n");
    if (status == CX_OK)
        status = print_command(options, program, config, error);
    if (status == CX_OK && slurm->mpi)
        status = print_check_of_end(options->run.output, error);
    if (status != CX_OK)
        return status;
    return output_print(
        error,
        "# 75: stopped by a signal. 0: done; 3: done, but documents were left out. Above 128: a process was killed, or MPI fell at its start, which may happen\n"
        "# once, or every time, for want of memory; so that is tried again as long as the job has not come back %d times. Anything else would come again.\n"
        "if [ \"$code\" -eq 75 ] || { [ \"$code\" -gt 128 ] && [ \"${SLURM_RESTART_COUNT:-0}\" -lt %d ]; }; then\n"
        "    echo \"contexture was stopped (exit code $code); job $SLURM_JOB_ID goes back into the queue\"\n"
        "    scontrol requeue \"$SLURM_JOB_ID\"\n"
        "fi\n"
        "exit \"$code\"\n",
        most_restarts, most_restarts);
}
