#include <inttypes.h>

#include "commands.h"
#include "output.h"
#include "progress.h"

static enum cx_status print_json(const struct cx_plan *plan, struct cx_error *error) {
    return output_print(error,
                        "{\"documents\": %" PRIu64 ", \"skipped\": %" PRIu64 ", \"sequences\": %" PRIu64 ", \"tokens\": %" PRIu64 ", \"longest\": %" PRIu64
                        ", \"pairs\": %" PRIu64 ", \"shards\": %" PRIu64 ", \"least_work\": %" PRIu64 ", \"most_work\": %" PRIu64 ", \"bytes\": %" PRIu64
                        ", \"largest_sequence_bytes\": %" PRIu64 ", \"operations\": %.6g, \"gflops\": %.4g, \"gflops_measured\": %s, \"seconds\": %.4g}\n",
                        plan->documents, plan->skipped, plan->sequences, plan->tokens, plan->longest, plan->pairs, plan->shards, plan->least_work,
                        plan->most_work, plan->bytes, plan->largest_sequence, plan->operations, plan->gflops, plan->gflops_measured ? "true" : "false",
                        plan->seconds);
}

static enum cx_status print_count(const char *name, uint64_t count, const char *remark, struct cx_error *error) {
    char text[32];
    write_grouped(count, text, sizeof text);
    return output_print(error, "%-22s%s%s\n", name, text, remark);
}

static enum cx_status print_work(const struct cx_plan *plan, struct cx_error *error) {
    char least[32], most[32];
    write_grouped(plan->least_work, least, sizeof least);
    write_grouped(plan->most_work, most, sizeof most);
    return output_print(error, "%-22s%s to %s pairs, estimated from bytes; the last may have less\n", "work of a shard", least, most);
}

static enum cx_status print_table(const struct cx_plan *plan, struct cx_error *error) {
    char bytes[32], largest[32], seconds[32];
    const struct {
        const char *name;
        uint64_t count;
        const char *remark;
    } rows[] = {
        {"documents", plan->documents, ""},
        {"skipped", plan->skipped, ""},
        {"sequences", plan->sequences, ""},
        {"tokens", plan->tokens, ""},
        {"longest sequence", plan->longest, " tokens"},
        {"pairs of tokens", plan->pairs, ""},
        {"shards", plan->shards, ""},
    };
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < sizeof rows / sizeof *rows && status == CX_OK; k++)
        status = print_count(rows[k].name, rows[k].count, rows[k].remark, error);
    if (status == CX_OK && plan->shards > 1)
        status = print_work(plan, error);
    write_memory(plan->bytes, bytes, sizeof bytes);
    write_memory(plan->largest_sequence, largest, sizeof largest);
    write_duration(plan->seconds, seconds, sizeof seconds);
    if (status == CX_OK)
        status = output_print(error, "%-22s%s before compression\n", "output", bytes);
    if (status == CX_OK)
        status = output_print(error, "%-22s%s\n", "largest results", largest);
    if (status == CX_OK)
        status = output_print(error, "%-22s%.4g GFLOP\n", "operations", 1e-9 * plan->operations);
    if (status == CX_OK)
        status =
            output_print(error, "%-22s%s at 80 %% of %.0f GFLOP/s (%s)\n", "time", seconds, plan->gflops, plan->gflops_measured ? plan->backend : "as given");
    return status;
}

enum cx_status command_plan(const struct options *options, struct outcome *outcome, struct cx_error *error) {
    struct progress progress;
    struct cx_plan plan;
    progress_begin(&progress, options->quiet, options->verbose);
    const struct cx_run_observer observer = progress_observer(&progress);
    enum cx_status status = cx_plan(&options->run, options->gflops, &observer, &plan, error);
    progress_end(&progress);
    if (status == CX_OK)
        status = options->json ? print_json(&plan, error) : print_table(&plan, error);
    outcome->skipped = plan.skipped;
    return status;
}
