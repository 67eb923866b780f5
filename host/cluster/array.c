#include <errno.h>
#include <stdlib.h>

#include "contexture/cluster.h"

/* CX_END: not set. */
static enum cx_status read_number(const char *name, long long *value, struct cx_error *error) {
    const char *text = getenv(name);
    char *end;
    if (!text || !text[0])
        return CX_END;
    errno = 0;
    *value = strtoll(text, &end, 10);
    if (errno != 0 || *end || *value < 0)
        return cx_fail(error, CX_ERROR_USAGE, "%s: expected a whole number, found \"%.40s\"", name, text);
    return CX_OK;
}

enum cx_status cx_array_place(uint64_t *index, uint64_t *count, struct cx_error *error) {
    long long id = 0, least = 0, step = 1, tasks = 0;
    enum cx_status status = read_number("SLURM_ARRAY_TASK_ID", &id, error), of_count = read_number("SLURM_ARRAY_TASK_COUNT", &tasks, error);
    if (status == CX_END || of_count == CX_END)
        return cx_fail(
            error, CX_ERROR_USAGE,
            "--cluster array: SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT are not both set: submit with sbatch --array, or use another --cluster");
    if (status == CX_OK)
        status = of_count;
    if (status == CX_OK && (status = read_number("SLURM_ARRAY_TASK_MIN", &least, error)) == CX_END)
        status = CX_OK;
    if (status == CX_OK && (status = read_number("SLURM_ARRAY_TASK_STEP", &step, error)) == CX_END)
        status = CX_OK;
    if (status != CX_OK)
        return status;
    if (step == 0 || tasks == 0 || id < least || (id - least) / step >= tasks)
        return cx_fail(error, CX_ERROR_USAGE,
                       "task %lld is none of the %lld tasks %lld, %lld, … of the job array: give the array as 0-N, with a step if need be", id, tasks, least,
                       least + step);
    *index = (uint64_t)((id - least) / step);
    *count = (uint64_t)tasks;
    return CX_OK;
}
