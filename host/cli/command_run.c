#include <inttypes.h>
#include <stdio.h>

#include "commands.h"
#include "output.h"
#include "profile_table.h"
#include "progress.h"

static enum cx_status print_report(const struct options *options, const struct cx_run_report *report, struct cx_error *error) {
    char documents[48], sequences[48], tokens[48], shards[48], bytes[32], seconds[32], memory[32];
    if (options->json && report->summary_json)
        return output_print(error, "%s", report->summary_json);
    if (options->json)
        return output_print(error, "{\"shards\": %" PRIu64 ", \"planned_shards\": %" PRIu64 "}\n", report->shards, report->planned_shards);
    if (!report->joined)
        return output_print(error, "%s: %" PRIu64 " of %" PRIu64 " shards are finished; who finishes the last one joins them\n", options->run.output,
                            report->shards, report->planned_shards);
    write_counted(report->documents, "document", documents, sizeof documents);
    write_counted(report->sequences, "sequence", sequences, sizeof sequences);
    write_counted(report->tokens, "token", tokens, sizeof tokens);
    write_counted(report->shards, "shard", shards, sizeof shards);
    write_memory(report->bytes, bytes, sizeof bytes);
    write_duration(report->seconds, seconds, sizeof seconds);
    write_memory(report->peak_memory, memory, sizeof memory);
    enum cx_status status = output_print(error, "%s: %s, %s, %s in %s, %s; completeness error at most %.1e\n", options->run.output, documents, sequences,
                                         tokens, shards, bytes, (double)report->completeness_error);
    if (status == CX_OK && report->earlier_shards > 0)
        status = output_print(error, "%" PRIu64 " of %s %s there already\n", report->earlier_shards, shards, report->earlier_shards == 1 ? "was" : "were");
    if (status == CX_OK && options->verbose)
        status = output_print(error, "%s, peak memory %s; busy: read %.1f s, decompose %.1f s, write %.1f s\n", seconds, memory,
                              report->step_seconds[CX_STEP_READ], report->step_seconds[CX_STEP_DECOMPOSE], report->step_seconds[CX_STEP_WRITE]);
    if (status == CX_OK && options->verbose && report->ranks > 1)
        status = output_print(error, "%d ranks; the first to be done waited for the last for %.1f %% of the time\n", report->ranks, 100 * report->idle_share);
    return status;
}

static enum cx_status tell_end(const struct options *options, const struct cx_run_report *report, struct outcome *outcome, struct cx_error *error) {
    enum cx_status status = print_report(options, report, error);
    outcome->skipped = report->skipped;
    if (status == CX_OK && report->skipped > 0 && !options->quiet)
        print_sentence("%" PRIu64 " of %" PRIu64 " documents skipped; %s/summary.json says why", report->skipped, report->documents, options->run.output);
    if (status == CX_OK && report->stripped > 0 && !options->quiet)
        print_sentence("%" PRIu64 " of %" PRIu64 " documents kept without their annotations, which cannot be used; %s/summary.json says why", report->stripped,
                       report->documents, options->run.output);
    if (status == CX_OK && options->run.profile)
        profile_print(report);
    return status;
}

enum cx_status command_run(const struct options *options, struct outcome *outcome, struct cx_error *error) {
    struct progress progress;
    struct cx_run_report report = {0};
    enum cx_status status = cx_signals_catch(error);
    if (status != CX_OK)
        return status;
    progress_begin(&progress, options->quiet, options->verbose);
    const struct cx_run_observer observer = progress_observer(&progress);
    status = cx_run(&options->run, &observer, &report, error);
    progress_end(&progress);
    /* Of the ranks of a job one tells how it ended, by its exit code, too: with another one's the launcher might end it before it has spoken. */
    if (report.silent && (status == CX_OK || !error->message[0]))
        status = report.abrupt ? status : CX_OK;
    else if (status == CX_OK)
        status = tell_end(options, &report, outcome, error);
    cx_run_report_free(&report);
    return status;
}
