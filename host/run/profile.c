#include "profile.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/file.h"

static double share(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

static double busy_seconds(const struct cx_operation_times *times) {
    double sum = 0;
    for (unsigned k = 0; k < CX_OPERATIONS; k++)
        sum += times->operations[k].seconds;
    return sum;
}

static json_t *operations_of(const struct cx_run_profile *profile) {
    const struct cx_operation_times *times = &profile->decompose.times;
    const double busy = busy_seconds(times);
    json_t *list = json_array();
    for (unsigned k = 0; k < CX_OPERATIONS; k++) {
        const double seconds = times->operations[k].seconds, flop = profile->decompose.operations_flop[k];
        if (times->operations[k].calls > 0)
            json_array_append_new(list, json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "name", cx_operation_name(k), "calls",
                                                  (json_int_t)times->operations[k].calls, "seconds", seconds, "share", share(seconds, busy), "flop", flop,
                                                  "flop_per_second", share(flop, seconds), "of_f32_rate", share(share(flop, seconds), profile->product_rate),
                                                  "of_f16_rate", share(share(flop, seconds), profile->product_rate_half)));
    }
    return list;
}

static json_t *step_of(double seconds, double whole) {
    return json_pack("{s:f, s:f}", "seconds", seconds, "busy", share(seconds, whole));
}

static json_t *steps_of(const struct cx_run_report *report) {
    const struct cx_run_profile *profile = &report->profile;
    const double whole = profile->seconds, waited = profile->decompose.wait_seconds;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "read_and_tokenize", step_of(report->step_seconds[CX_STEP_READ], whole), "decompose",
                     step_of(report->step_seconds[CX_STEP_DECOMPOSE] - waited, whole), "wait_for_device", step_of(waited, whole), "statistics",
                     step_of(profile->statistics, whole), "compress", step_of(profile->store.compress, whole), "write", step_of(profile->store.write, whole),
                     "sync", step_of(profile->store.sync, whole), "check", step_of(profile->store.check, whole));
}

static enum cx_status write_file(const struct setup *setup, const char *backend_description, const struct cx_run_report *report, struct cx_error *error) {
    const struct cx_run_profile *profile = &report->profile;
    const double busy = busy_seconds(&profile->decompose.times), idle = profile->decompose.times.idle_seconds;
    char *path = NULL, *text = NULL;
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:{s:f, s:f}, s:{s:f, s:f}, s:{s:f, s:f, s:f, s:f}, s:o, s:o}", "program_version", CX_VERSION,
                             "backend", backend_description, "forward_precision", cx_forward_precision_name(setup->settings->forward_precision),
                             "pair_precision", cx_pair_precision_name(setup->settings->pair_precision), "sequences", (json_int_t)report->computed_sequences,
                             "tokens", (json_int_t)report->computed_tokens, "seconds", "total", report->seconds, "pipeline", profile->seconds, "product_rate",
                             "f32", profile->product_rate, "f16", profile->product_rate_half,
                             /* busy: of the pipeline's time; while_computing: from the first operation to the last */
                             "device", "busy_seconds", busy, "idle_seconds", idle, "busy", share(busy, profile->seconds), "busy_while_computing",
                             share(busy, busy + idle), "operations", operations_of(profile), "steps", steps_of(report));
    enum cx_status status = json ? CX_OK : cx_fail(error, CX_ERROR_INTERNAL, "profile.json cannot be put together");
    if (status == CX_OK && !(text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(9))))
        status = cx_fail_memory(error, "profile.json", 0);
    if (status == CX_OK)
        status = cx_path_join(setup->settings->output, "profile.json", &path, error);
    if (status == CX_OK)
        status = cx_file_replace(path, text, strlen(text), error);
    free(path);
    free(text);
    json_decref(json);
    return status;
}

enum cx_status profile_write(const struct setup *setup, struct cx_decomposer *decomposer, struct cx_backend *backend, const char *backend_description,
                             struct cx_run_report *report, struct cx_error *error) {
    struct cx_run_profile *profile = &report->profile;
    enum cx_status status = cx_decompose_profile(decomposer, &profile->decompose, error);
    if (status == CX_OK)
        status = backend->operations->product_rate(backend, false, &profile->product_rate, error);
    if (status == CX_OK)
        status = backend->operations->product_rate(backend, true, &profile->product_rate_half, error);
    return status == CX_OK ? write_file(setup, backend_description, report, error) : status;
}
