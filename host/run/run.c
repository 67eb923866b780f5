#include "contexture/run.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "computer.h"
#include "contexture/checkpoint.h"
#include "contexture/clock.h"
#include "contexture/pipeline.h"
#include "identity.h"
#include "profile.h"
#include "summary.h"
#include "writer.h"

/* One more window than there are result buffers: the next one is read while one is computed and one is written. */
enum { most_windows = most_result_buffers + 1 };

struct run {
    const struct cx_run_settings *settings;
    const struct cx_run_observer *observer;
    struct cx_run_report *report;
    struct setup setup;
    char model_fingerprint[33], corpus_fingerprint[33];
    char backend_description[256];
    struct cx_backend *backend;
    struct cx_checkpoint *checkpoint;
    json_t *identity;
    struct finished_shards finished;
    struct reader reader;
    struct computer computer;
    struct writer writer;
    bool writer_is_open;
    struct window windows[most_windows];
    double begin, pipeline_begin;
};

/* Everything up to the refusal of a folder that belongs to another run: no weight has been loaded so far. */
static enum cx_status claim_folder(struct run *run, struct cx_error *error) {
    const struct cx_run_settings *settings = run->settings;
    char *text = NULL;
    enum cx_status status = setup_open(&run->setup, settings, run->observer, error);
    const struct cx_backend_options backend_options = {.kind = settings->backend, .threads = run->setup.threads, .pair_precision = settings->pair_precision};
    if (status == CX_OK)
        status = cx_backend_open(&backend_options, &run->setup.config, &run->backend, error);
    if (status == CX_OK)
        status = cx_checkpoint_fingerprint(settings->model, run->model_fingerprint, error);
    if (status == CX_OK)
        status = cx_corpus_fingerprint(&settings->corpus, run->corpus_fingerprint, error);
    if (status == CX_OK)
        status = identity_create(&run->setup, run->model_fingerprint, run->corpus_fingerprint, run->backend->operations->name, &run->identity, error);
    if (status != CX_OK)
        return status;
    run->backend->operations->describe(run->backend, run->backend_description, sizeof run->backend_description);
    text = json_dumps(run->identity, JSON_SORT_KEYS | JSON_COMPACT);
    if (!text)
        return cx_fail_memory(error, "the configuration as JSON", 0);

    struct cx_store_options options = setup_store_options(&run->setup);
    options.model_fingerprint = run->model_fingerprint;
    options.corpus_fingerprint = run->corpus_fingerprint;
    options.backend = run->backend->operations->name;
    run->writer_is_open = true;
    status = writer_open(&run->writer, &options, text, run->report, error);
    free(text);
    return status;
}

static bool stop_is_wanted(void *context) {
    const struct run *run = context;
    return run->observer && run->observer->stop && run->observer->stop(run->observer->context);
}

/* The decomposer asks before every layer. */
static bool stop_in_batch(void *context) {
    struct run *run = context;
    atomic_fetch_add(&run->computer.layers_begun, 1);
    return stop_is_wanted(run);
}

static enum cx_status load_model(struct run *run, struct cx_error *error) {
    const struct cx_decompose_options options = {
        .maps = run->settings->maps,
        .per_head = run->settings->per_head,
        .hidden_states = run->settings->hidden_states,
        .layers = run->setup.layers,
        .vector_layers = run->setup.vector_layers,
        .stop = stop_in_batch,
        .stop_context = run,
        .unchecked = !run->settings->checks,
        .profile = run->settings->profile,
    };
    enum cx_status status = cx_checkpoint_open(run->settings->model, &run->checkpoint, error);
    if (status == CX_OK)
        status = cx_decomposer_open(run->backend, cx_checkpoint_weights(run->checkpoint), &options, &run->computer.decomposer, error);
    if (status == CX_OK)
        cx_checkpoint_release_pages(run->checkpoint);
    return status;
}

static enum cx_status read_step(void *context, void *slot, struct cx_error *error) {
    return reader_next(context, slot, error);
}

static enum cx_status decompose_step(void *context, void *slot, struct cx_error *error) {
    return computer_work(context, slot, error);
}

static uint64_t windows_ended(void *context) {
    return computer_ended(context);
}

static enum cx_status advance_windows(void *context, struct cx_error *error) {
    return computer_advance(context, error);
}

static enum cx_status write_step(void *context, void *slot, struct cx_error *error) {
    return writer_work(context, slot, error);
}

static bool window_is_large(const void *slot) {
    return ((const struct window *)slot)->is_large;
}

static void tell_progress(void *context) {
    struct run *run = context;
    if (!run->observer || !run->observer->progress)
        return;
    struct cx_run_progress progress = {
        .sequences = atomic_load(&run->computer.sequences),
        .tokens = atomic_load(&run->computer.tokens),
        .shards = atomic_load(&run->writer.shards),
        .seconds = cx_monotonic_seconds() - run->pipeline_begin,
        .fraction = -1,
        .seconds_left = -1,
    };
    const double in_batch = (double)computer_batch_progress(&run->computer);
    const double computed = (double)atomic_load(&run->computer.bytes) + in_batch, place = (double)atomic_load(&run->computer.bytes_end) + in_batch;
    const double total = (double)cx_corpus_bytes_total(run->setup.corpus);
    if (total > 0)
        progress.fraction = place / total;
    if (total > 0 && computed > 0)
        progress.seconds_left = progress.seconds * (total - place) / computed;
    /* With --limit the end comes before that of the files. */
    const double limited = run->settings->corpus.limit > 0 ? (double)progress.sequences / (double)run->settings->corpus.limit : 0;
    if (limited > progress.fraction) {
        progress.fraction = limited < 1 ? limited : 1;
        progress.seconds_left = progress.seconds * (1 - progress.fraction) / limited;
    }
    run->observer->progress(run->observer->context, &progress);
}

static enum cx_status run_steps(struct run *run, struct cx_error *error) {
    run->finished = writer_finished_shards(&run->writer);
    run->reader = (struct reader){.setup = &run->setup, .observer = run->observer, .finished = &run->finished};
    run->computer.setup = &run->setup;
    run->computer.observer = run->observer;
    computer_begin(&run->computer, run->backend);
    struct cx_pipeline_step steps[CX_STEPS] = {
        [CX_STEP_READ] = {.name = "read", .work = read_step, .context = &run->reader},
        [CX_STEP_DECOMPOSE] = {.name = "decompose",
                               .work = decompose_step,
                               .ended = windows_ended,
                               .advance = advance_windows,
                               .context = &run->computer,
                               .ahead = run->computer.buffer_count},
        [CX_STEP_WRITE] = {.name = "write", .work = write_step, .context = &run->writer},
    };
    void *slots[most_windows];
    for (size_t k = 0; k < most_windows; k++)
        slots[k] = &run->windows[k];
    const struct cx_pipeline_options options = {.slots = slots,
                                                .slot_count = run->computer.buffer_count + 1,
                                                .context = run,
                                                .is_large = window_is_large,
                                                .stop = stop_is_wanted,
                                                .tick = tell_progress};
    run->pipeline_begin = cx_monotonic_seconds();
    enum cx_status status = cx_pipeline_run(steps, CX_STEPS, &options, error);
    run->report->profile.seconds = cx_monotonic_seconds() - run->pipeline_begin;
    for (size_t k = 0; k < CX_STEPS; k++)
        run->report->step_seconds[k] = steps[k].seconds;
    if (status == CX_ERROR_INTERRUPTED)
        return cx_fail(error, status, "stopped by %s; shards finished in %s: %llu; the same command goes on from there",
                       cx_signal_caught() ? cx_signal_caught() : "the caller", run->settings->output, (unsigned long long)run->report->shards);
    return status;
}

static uint64_t peak_memory(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024u : 0;
}

/* All parts are there: join them, say so in the manifest, and sum up. */
static enum cx_status end_run(struct run *run, struct cx_error *error) {
    struct cx_run_report *report = run->report;
    if (report->documents == 0)
        return cx_fail(error, CX_ERROR_INPUT, "the corpus (%s%s) has no documents%s: give files with text", cx_corpus_source(run->setup.corpus, 0),
                       cx_corpus_source_count(run->setup.corpus) > 1 ? ", …" : "",
                       run->settings->corpus.skip > 0 ? " behind those that --skip leaves out" : "");
    enum cx_status status = cx_store_join(run->settings->output, error);
    if (status == CX_OK)
        status = tokens_write(&run->setup, error);
    if (status == CX_OK)
        status = cx_manifest_complete(run->writer.manifest, report->shards, error);
    if (status != CX_OK)
        return status;
    report->computed_sequences = atomic_load(&run->computer.sequences);
    report->computed_tokens = atomic_load(&run->computer.tokens);
    report->seconds = cx_monotonic_seconds() - run->begin;
    report->peak_memory = peak_memory();
    if (run->settings->profile)
        status = profile_write(&run->setup, run->computer.decomposer, run->backend, run->backend_description, report, error);
    if (status != CX_OK)
        return status;
    return summary_write(&run->setup, run->identity, run->backend_description, report, error);
}

enum cx_status cx_run(const struct cx_run_settings *settings, const struct cx_run_observer *observer, struct cx_run_report *report, struct cx_error *error) {
    struct run run = {.settings = settings, .observer = observer, .report = report, .begin = cx_monotonic_seconds()};
    memset(report, 0, sizeof *report);
    enum cx_status status = claim_folder(&run, error);
    if (status == CX_OK)
        status = load_model(&run, error);
    if (status == CX_OK)
        status = run_steps(&run, error);
    if (status == CX_OK)
        status = end_run(&run, error);

    for (size_t k = 0; k < most_windows; k++)
        window_free(&run.windows[k]);
    if (run.writer_is_open)
        writer_close(&run.writer);
    computer_free(&run.computer);
    reader_free(&run.reader);
    json_decref(run.identity);
    cx_decomposer_close(run.computer.decomposer);
    cx_checkpoint_close(run.checkpoint);
    cx_backend_close(run.backend);
    setup_close(&run.setup);
    return status;
}

void cx_run_report_free(struct cx_run_report *report) {
    free(report->summary_json);
    report->summary_json = NULL;
}
