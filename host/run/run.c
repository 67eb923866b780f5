#include "contexture/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "contexture/clock.h"
#include "contexture/pipeline.h"
#include "profile.h"
#include "run_state.h"
#include "summary.h"

static bool stop_is_wanted(void *context) {
    struct run *run = context;
    if (team_is_faulty(&run->team) || (run->share.ranks && cx_ranks_stopped(run->share.ranks)))
        return true;
    return run->observer && run->observer->stop && run->observer->stop(run->observer->context);
}

static void pass_notice(void *context, const char *sentence) {
    const struct run *run = context;
    if (run->observer && run->observer->notice)
        run->observer->notice(run->observer->context, sentence);
}

static void pass_skipped(void *context, const struct cx_skipped_document *document) {
    const struct run *run = context;
    if (run->observer && run->observer->skipped)
        run->observer->skipped(run->observer->context, document);
}

/* Of an MPI job rank 0 alone tells how it goes. */
static void choose_observer(struct run *run) {
    const bool told = share_is_told(&run->share);
    run->own = (struct cx_run_observer){.context = run, .notice = told ? NULL : pass_notice, .skipped = pass_skipped, .stop = stop_is_wanted};
}

/* The decomposer asks before every layer. */
static bool stop_in_batch(void *context) {
    struct run *run = context;
    atomic_fetch_add(&run->computer.layers_begun, 1);
    return stop_is_wanted(run);
}

static enum cx_status load_model(struct run *run, struct cx_error *error) {
    const struct cx_decompose_options options = {
        .maps = setup_maps(run->settings),
        .per_head = run->settings->per_head,
        .hidden_states = run->settings->hidden_states,
        .layers = run->setup.layers,
        .vector_layers = run->setup.vector_layers,
        .masked = run->setup.mask.dimensions,
        .masked_count = run->setup.mask.count,
        .stop = stop_in_batch,
        .stop_context = run,
        .unchecked = !run->settings->checks,
        .profile = run->settings->profile,
    };
    const struct team_options team = {run->settings, &run->own, run->model_fingerprint};
    enum cx_status status = team_open(&run->team, run->share.ranks, run->backend, &team, error);
    if (status == CX_OK && !run->checkpoint)
        status = run->backend->is_given_weights ? cx_checkpoint_open_unread(run->settings->model, &run->checkpoint, error)
                                                : cx_checkpoint_open(run->settings->model, &run->checkpoint, error);
    if (status == CX_OK)
        status = cx_decomposer_open(run->backend, cx_checkpoint_weights(run->checkpoint), &options, &run->computer.decomposer, error);
    if (status == CX_OK)
        cx_checkpoint_release_pages(run->checkpoint);
    return status == CX_OK ? CX_OK : team_fail(&run->team, status, error);
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

/* Several processes are at it: what the manifest says, and how fast this job gets on. */
static void tell_shared_progress(struct run *run, struct cx_run_progress *progress) {
    const struct cx_run_report *report = run->report;
    const double all = (double)report->planned_shards, earlier = (double)report->earlier_shards;
    double finished = (double)writer_finished_count(&run->writer);
    if (earlier + (double)progress->shards > finished)
        finished = earlier + (double)progress->shards;
    progress->fraction = finished / all;
    progress->seconds_left = finished > earlier ? progress->seconds * (all - finished) / (finished - earlier) : -1;
    run->observer->progress(run->observer->context, progress);
}

static void tell_progress(void *context) {
    struct run *run = context;
    const struct cx_ranks_progress own = {
        .sequences = (double)atomic_load(&run->computer.sequences),
        .tokens = (double)atomic_load(&run->computer.tokens),
        .shards = (double)atomic_load(&run->writer.shards),
        .mixing_ratios = atomic_load(&run->writer.mixing_ratios),
        .mixing_ratio_count = atomic_load(&run->writer.mixing_ratio_count),
    };
    struct cx_ranks_progress all = own;
    if (run->share.ranks)
        cx_ranks_tell_progress(run->share.ranks, &own, &all);
    team_tick(&run->team, &own, &all);
    if (!run->observer || !run->observer->progress || share_is_told(&run->share))
        return;
    struct cx_run_progress progress = {
        .sequences = (uint64_t)all.sequences,
        .tokens = (uint64_t)all.tokens,
        .shards = (uint64_t)all.shards,
        .mixing_ratio = all.mixing_ratio_count > 0 ? all.mixing_ratios / all.mixing_ratio_count : -1,
        .seconds = cx_monotonic_seconds() - run->pipeline_begin,
        .fraction = -1,
        .seconds_left = -1,
    };
    if (run->report->planned_shards > 0) {
        tell_shared_progress(run, &progress);
        return;
    }
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

/* The last shard is still being finished when the steps have ended. */
static enum cx_status settle_writer(struct run *run, enum cx_status status, struct cx_error *error) {
    const double begin = cx_monotonic_seconds();
    struct cx_error late = {0};
    if (writer_settle(&run->writer, &late) != CX_OK && status == CX_OK) {
        status = late.status;
        if (error)
            *error = late;
    }
    run->report->step_seconds[CX_STEP_WRITE] += cx_monotonic_seconds() - begin;
    return status;
}

static enum cx_status run_steps(struct run *run, struct cx_error *error) {
    run->finished = writer_finished_shards(&run->writer);
    run->reader = (struct reader){.setup = &run->setup, .observer = &run->own, .finished = &run->finished};
    computer_open(&run->computer, &run->setup, &run->own, run->backend);
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
    enum cx_status status = share_begin(&run->share, &run->setup, &run->reader, &run->writer, &run->source, error);
    for (bool more = true; status == CX_OK && more;) {
        run->reader.ended = false;
        computer_begin(&run->computer);
        status = cx_pipeline_run(steps, CX_STEPS, &options, error);
        for (size_t k = 0; k < CX_STEPS; k++)
            run->report->step_seconds[k] += steps[k].seconds;
        status = settle_writer(run, status, error);
        if (status == CX_OK)
            status = share_wait(&run->share, &more, error);
    }
    run->report->profile.seconds = cx_monotonic_seconds() - run->pipeline_begin;
    return team_end(&run->team, status, error);
}

/* Ends that the same command goes on from. */
static enum cx_status tell_resumable(struct run *run, enum cx_status status, struct cx_error *error) {
    char cause[sizeof error->message];
    if (status == CX_ERROR_DEVICE_LOST || team_is_faulty(&run->team))
        snprintf(cause, sizeof cause, "%s", error ? error->message : "the device was lost");
    else
        snprintf(cause, sizeof cause, "stopped by %s", cx_signal_caught() ? cx_signal_caught() : "the caller");
    return cx_fail(error, status, "%s; shards finished in %s: %llu; the same command goes on from there", cause, run->settings->output,
                   (unsigned long long)writer_finished_count(&run->writer));
}

static uint64_t peak_memory(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024u : 0;
}

static enum cx_status refuse_empty_corpus(const struct run *run, struct cx_error *error) {
    if (run->report->documents > 0)
        return CX_OK;
    return cx_fail(error, CX_ERROR_INPUT, "the corpus (%s%s) has no documents%s: give files with text", cx_corpus_source(run->setup.corpus, 0),
                   cx_corpus_source_count(run->setup.corpus) > 1 ? ", …" : "", run->settings->corpus.skip > 0 ? " behind those that --skip leaves out" : "");
}

/* All parts are there: join them, say so in the manifest, and sum up. */
static enum cx_status join_parts(struct run *run, struct cx_error *error) {
    struct cx_run_report *report = run->report;
    enum cx_status status = run->share.plan ? tokens_write(&run->setup, error) : CX_OK;
    if (run->share.plan)
        writer_count_all(&run->writer, cx_shard_plan_count(run->share.plan));
    if (status == CX_OK)
        status = refuse_empty_corpus(run, error);
    if (status == CX_OK && run->share.plan)
        status = summary_remove(run->settings->output, error);
    if (status == CX_OK && run->share.plan)
        status = cx_manifest_merge(run->writer.manifest, report->shards, error);
    if (status == CX_OK && !run->share.plan)
        status = cx_store_join(run->settings->output, NULL, error);
    if (status == CX_OK && !run->share.plan)
        status = cx_manifest_complete(run->writer.manifest, report->shards, error);
    if (status != CX_OK)
        return status;
    share_clear(&run->share);
    report->joined = true;
    report->seconds = cx_monotonic_seconds() - run->begin;
    report->peak_memory = peak_memory();
    if (run->settings->profile)
        status = profile_write(&run->setup, run->computer.decomposer, run->backend, run->backend_description, report, error);
    if (status != CX_OK)
        return status;
    return summary_write(&run->setup, run->identity, run->backend_description, report, error);
}

static enum cx_status end_run(struct run *run, enum cx_status status, struct cx_error *error) {
    struct cx_run_report *report = run->report;
    bool join = false;
    report->computed_sequences = atomic_load(&run->computer.sequences);
    report->computed_tokens = atomic_load(&run->computer.tokens);
    status = share_end(&run->share, status, &join, report, error);
    if (status != CX_OK)
        return status;
    if (join)
        return join_parts(run, error);
    if (run->share.plan && !report->silent)
        writer_count_all(&run->writer, cx_shard_plan_count(run->share.plan));
    report->seconds = cx_monotonic_seconds() - run->begin;
    report->peak_memory = peak_memory();
    return report->joined ? summary_read(&run->setup, report, error) : CX_OK;
}

enum cx_status cx_run(const struct cx_run_settings *settings, const struct cx_run_observer *observer, struct cx_run_report *report, struct cx_error *error) {
    struct run run = {.settings = settings, .observer = observer, .report = report, .begin = cx_monotonic_seconds()};
    memset(report, 0, sizeof *report);
    enum cx_status status = share_open(&run.share, settings, &run.own, error);
    choose_observer(&run);
    if (status == CX_OK)
        status = claim_folder(&run, error);
    if (status == CX_OK)
        status = load_model(&run, error);
    if (status == CX_OK && !run.share.plan) /* several processes leave it to the one that joins the parts */
        status = tokens_write(&run.setup, error);
    if (status == CX_OK)
        status = run_steps(&run, error);
    if (run.writer_is_open && (status == CX_ERROR_INTERRUPTED || status == CX_ERROR_DEVICE_LOST))
        status = tell_resumable(&run, status, error);
    status = end_run(&run, status, error);
    if (status != CX_OK)
        team_close(&run.team, false);

    for (size_t k = 0; k < most_windows; k++)
        window_free(&run.windows[k]);
    if (run.writer_is_open)
        writer_close(&run.writer);
    cx_pair_filter_destroy(run.pair_filter);
    computer_free(&run.computer);
    reader_free(&run.reader);
    json_decref(run.identity);
    free(run.identity_text);
    cx_decomposer_close(run.computer.decomposer);
    cx_checkpoint_close(run.checkpoint);
    setup_close(&run.setup);
    status = share_close(&run.share, status, &report->abrupt, error);
    team_close(&run.team, status == CX_OK);
    cx_backend_close(run.backend);
    return status;
}

void cx_run_report_free(struct cx_run_report *report) {
    free(report->summary_json);
    report->summary_json = NULL;
}
