#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "contexture/backend.h"
#include "contexture/checkpoint.h"
#include "contexture/file.h"
#include "contexture/json.h"
#include "contexture/store.h"
#include "output.h"

static const char *const activation_names[] = {[CX_GELU] = "gelu", [CX_GELU_TANH] = "gelu_new", [CX_RELU] = "relu", [CX_SILU] = "silu"};

static enum cx_status describe_machine(bool json, struct cx_error *error) {
    char report[512], team[512];
    const long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE), cores = sysconf(_SC_NPROCESSORS_ONLN);
    const uint64_t memory = pages > 0 && page_size > 0 ? (uint64_t)pages * (uint64_t)page_size : 0;
    cx_backend_report(report, sizeof report);
    const bool has_team = cx_team_report(team, sizeof team);
    if (json) {
        char *text = json_text(report, strlen(report)), *nccl = has_team ? json_text(team, strlen(team)) : NULL;
        enum cx_status status =
            output_print(error, "{\"version\": \"%s\", \"libraries\": \"%s\", \"cores\": %ld, \"memory\": %" PRIu64 ", \"backend\": %s, \"nccl\": %s}\n",
                         CX_VERSION, cx_library_versions(), cores, memory, text ? text : "null", nccl ? nccl : "null");
        free(nccl);
        free(text);
        return status;
    }
    char bytes[32];
    write_memory(memory, bytes, sizeof bytes);
    return output_print(error, "contexture  %s\nlibraries   %s\nmachine     %ld cores, %s\nbackend     %s\nnccl        %s%s\n", CX_VERSION,
                        cx_library_versions(), cores, bytes, report, has_team ? "" : "none, because ", team);
}

static enum cx_status describe_model(const char *directory, bool json, struct cx_error *error) {
    struct cx_checkpoint *checkpoint = NULL;
    char fingerprint[33];
    enum cx_status status = cx_checkpoint_open(directory, &checkpoint, error);
    if (status == CX_OK)
        status = cx_checkpoint_fingerprint(directory, fingerprint, error);
    if (status != CX_OK) {
        cx_checkpoint_close(checkpoint);
        return status;
    }
    const struct cx_model_config *config = cx_checkpoint_config(checkpoint);
    const char *format =
        json ? "{\"family\": \"%s\", \"parameters\": %zu, \"layers\": %zu, \"heads\": %zu, \"hidden_size\": %zu, \"intermediate_size\": %zu, "
               "\"vocabulary_size\": %zu, \"max_positions\": %zu, \"token_types\": %zu, \"norm_epsilon\": %g, \"activation\": \"%s\", \"causal\": %s, "
               "\"fingerprint\": \"%s\"}\n"
             : "family             %s\nparameters         %zu\nlayers             %zu\nheads              %zu\nhidden_size        %zu\n"
               "intermediate_size  %zu\nvocabulary_size    %zu\nmax_positions      %zu\ntoken_types        %zu\nnorm_epsilon       %g\n"
               "activation         %s\nattention          %s\nfingerprint        %s\n";
    const char *attention = json ? (config->causal ? "true" : "false") : config->causal ? "causal" : "bidirectional";
    char text[1024];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(text, sizeof text, format, cx_checkpoint_family(checkpoint), cx_checkpoint_parameters(checkpoint), config->layers, config->heads,
                   config->hidden_size, config->intermediate_size, config->vocabulary_size, config->max_positions, config->token_types, config->norm_epsilon,
                   activation_names[config->activation], attention, fingerprint);
#pragma GCC diagnostic pop
    status = output_print(error, "%s", text);
    cx_checkpoint_close(checkpoint);
    return status;
}

/* The manifest's header, as it stands or indented. */
static enum cx_status describe_run(const char *directory, bool json, struct cx_error *error) {
    char *header = NULL, *indented = NULL;
    json_t *value = NULL;
    enum cx_status status = cx_store_describe(directory, &header, error);
    if (status == CX_OK)
        status = cx_json_parse(header, strlen(header), directory, &value, error);
    if (status == CX_OK && !(indented = json_dumps(value, json ? JSON_COMPACT | JSON_SORT_KEYS : JSON_INDENT(2) | JSON_SORT_KEYS)))
        status = cx_fail_memory(error, "the description of a run", 0);
    if (status == CX_OK)
        status = output_print(error, "%s\n", indented);
    free(indented);
    json_decref(value);
    free(header);
    return status;
}

static bool holds(const char *directory, const char *name) {
    char *path = NULL;
    const bool found = cx_path_join(directory, name, &path, NULL) == CX_OK && cx_file_exists(path);
    free(path);
    return found;
}

enum cx_status command_info(const struct options *options, struct outcome *outcome, struct cx_error *error) {
    const char *directory = options->argument;
    (void)outcome;
    if (!directory)
        return describe_machine(options->json, error);
    if (holds(directory, "manifest.json"))
        return describe_run(directory, options->json, error);
    if (holds(directory, "config.json"))
        return describe_model(directory, options->json, error);
    return cx_fail(error, CX_ERROR_INPUT, "%s is neither a model (config.json) nor a run's folder (manifest.json)", directory);
}
