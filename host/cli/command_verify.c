#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "contexture/store.h"
#include "output.h"

struct complaints {
    bool json;
    uint64_t count;
    enum cx_status status; /* of standard output */
    struct cx_error error;
};

static void print_complaint(void *context, const char *sentence) {
    struct complaints *complaints = context;
    if (complaints->status != CX_OK)
        return;
    if (!complaints->json) {
        char text[sizeof complaints->error.message];
        (void)snprintf(text, sizeof text, "%s", sentence);
        hide_control_characters(text);
        complaints->status = output_print(&complaints->error, "fault: %s\n", text);
    } else {
        char *text = json_text(sentence, strlen(sentence));
        complaints->status = output_print(&complaints->error, "%s%s", complaints->count > 0 ? ", " : "", text ? text : "null");
        free(text);
    }
    complaints->count++;
}

static enum cx_status print_json(const struct cx_verify_report *report, struct cx_error *error) {
    return output_print(error,
                        "], \"shards\": %" PRIu64 ", \"damaged\": %" PRIu64 ", \"sequences\": %" PRIu64 ", \"tokens\": %" PRIu64
                        ", \"completeness_error\": %.9g, \"complete\": %s}\n",
                        report->shards, report->damaged, report->sequences, report->tokens, (double)report->completeness_error,
                        report->complete ? "true" : "false");
}

static enum cx_status print_line(const char *directory, const struct cx_verify_report *report, struct cx_error *error) {
    char shards[48], sequences[48], tokens[48];
    write_counted(report->shards, "shard", shards, sizeof shards);
    write_counted(report->sequences, "sequence", sequences, sizeof sequences);
    write_counted(report->tokens, "token", tokens, sizeof tokens);
    return output_print(error, "%s: %s, %" PRIu64 " damaged, %s, %s, completeness error at most %.1e, %s\n", directory, shards, report->damaged, sequences,
                        tokens, (double)report->completeness_error, report->complete ? "the run has ended" : "the run has not ended yet");
}

enum cx_status command_verify(const struct options *options, struct outcome *outcome, struct cx_error *error) {
    struct complaints complaints = {.json = options->json};
    struct cx_verify_report report = {0};
    (void)outcome;
    enum cx_status status = options->json ? output_print(error, "{\"faults\": [") : CX_OK;
    if (status != CX_OK)
        return status;
    enum cx_status verdict = cx_store_verify(options->argument, options->completeness_bound, print_complaint, &complaints, &report, error);
    if (complaints.status != CX_OK) {
        *error = complaints.error;
        return complaints.status;
    }
    if (verdict != CX_OK && verdict != CX_ERROR_DAMAGED)
        return verdict;
    struct cx_error *own = verdict == CX_OK ? error : NULL; /* the verdict's sentence stands */
    status = options->json ? print_json(&report, own) : print_line(options->argument, &report, own);
    return verdict == CX_OK ? status : verdict;
}
