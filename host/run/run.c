#include "contexture/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "computer.h"
#include "contexture/checkpoint.h"
#include "contexture/clock.h"
#include "contexture/json.h"
#include "contexture/memory.h"
#include "contexture/pipeline.h"
#include "identity.h"
#include "pair_count.h"
#include "profile.h"
#include "share.h"
#include "summary.h"
#include "writer.h"

/* One more window than there are result buffers: the next one is read while one is computed and one is written. */
enum { most_windows = most_result_buffers + 1 };

/* Pairs of token types that pair_amplification keeps sums for, if no --min-count says how many: half a megabyte a shard with 6 layers. */
enum { usual_pairs = 1000 };

struct run {
    const struct cx_run_settings *settings;
    const struct cx_run_observer *observer; /* of the caller */
    struct cx_run_observer own;             /* what the steps are given */
    struct cx_run_report *report;
    struct share share;
    struct shard_source source;
    char *identity_text;
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
    struct cx_pair_filter *pair_filter;
    struct window windows[most_windows];
    double begin, pipeline_begin;
};

static bool stop_is_wanted(void *context) {
    struct run *run = context;
    if (run->share.ranks && cx_ranks_stopped(run->share.ranks))
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

/* A GPU that cannot be used is no error, but not what one expects of a program that was built for one. */
static void tell_backend(const struct run *run) {
    char report[512];
    if (run->settings->backend == CX_BACKEND_AUTO && run->own.notice && !cx_backend_report(report, sizeof report))
        run->own.notice(run->own.context, report);
}

static enum cx_status open_model_and_corpus(struct run *run, struct cx_error *error) {
    const struct cx_run_settings *settings = run->settings;
    enum cx_status status = setup_open(&run->setup, settings, &run->own, error);
    const int device = run->share.ranks ? cx_ranks_local_rank(run->share.ranks) : 0;
    if (status == CX_OK && settings->cluster != CX_CLUSTER_OFF && !cx_corpus_has_places(run->setup.corpus))
        status = cx_fail(error, CX_ERROR_USAGE, "--cluster: standard input and pipes can be read by one process only; give the corpus as files");
    if (status == CX_OK)
        status = setup_open_backend(&run->setup, device, &run->backend, error);
    if (status == CX_OK)
        run->backend->operations->describe(run->backend, run->backend_description, sizeof run->backend_description);
    if (status == CX_OK)
        tell_backend(run);
    return status;
}

static enum cx_status describe_run(struct run *run, struct cx_error *error) {
    enum cx_status status =
        identity_create(&run->setup, run->model_fingerprint, run->corpus_fingerprint, run->backend->operations->name, &run->identity, error);
    if (status != CX_OK)
        return status;
    run->identity_text = json_dumps(run->identity, JSON_SORT_KEYS | JSON_COMPACT);
    return run->identity_text ? CX_OK : cx_fail_memory(error, "the configuration as JSON", 0);
}

/* The plan that the folder has, if it fits; it spares reading the corpus for its name. */
static enum cx_status find_plan(void *context, struct cx_error *error) {
    struct run *run = context;
    enum cx_status status = cx_shard_plan_open(run->settings->output, run->setup.corpus, &run->settings->corpus, &run->setup.rule, &run->share.plan, error);
    if (status != CX_OK)
        return status;
    strncpy(run->corpus_fingerprint, cx_shard_plan_corpus(run->share.plan), sizeof run->corpus_fingerprint - 1);
    return describe_run(run, error);
}

static enum cx_status make_plan(struct run *run, struct cx_error *error) {
    char *text = NULL;
    size_t length = 0;
    struct cx_corpus *corpus = NULL; /* its own, for the run's is at its beginning */
    enum cx_status status = cx_corpus_open(&run->settings->corpus, &corpus, error);
    if (status == CX_OK)
        status = cx_shard_plan_make(corpus, &run->settings->corpus, &run->setup.rule, run->corpus_fingerprint, stop_is_wanted, run, &text, &length, error);
    if (status == CX_OK)
        status = cx_shard_plan_write(run->settings->output, text, length, error);
    if (status == CX_OK)
        status = cx_shard_plan_open(run->settings->output, run->setup.corpus, &run->settings->corpus, &run->setup.rule, &run->share.plan, error);
    if (status == CX_END)
        status = cx_fail(error, CX_ERROR_CONFLICT, "the corpus changed while the plan of shards was made; run the same command again");
    cx_corpus_close(corpus);
    free(text);
    return status;
}

static enum cx_status prepare_folder(void *context, struct cx_error *error) {
    struct run *run = context;
    enum cx_status status = cx_corpus_fingerprint(&run->settings->corpus, run->corpus_fingerprint, error);
    if (status == CX_OK)
        status = describe_run(run, error);
    if (status == CX_OK)
        status = cx_manifest_prepare(run->settings->output, run->identity_text, error);
    return status == CX_OK ? make_plan(run, error) : status;
}

static enum cx_status open_statistics(struct run *run, struct cx_error *error) {
    const struct cx_run_settings *settings = run->settings;
    struct cx_stats_options options = setup_stats_options(&run->setup);
    enum cx_status status = CX_OK;
    if (settings->analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_PAIRS) && settings->min_count != 1)
        status = pair_count(settings, &run->own, run->corpus_fingerprint, &run->pair_filter, error);
    if (status != CX_OK)
        return status;
    options.pair_filter = run->pair_filter;
    if (run->pair_filter && settings->min_count == 0)
        options.min_count = cx_pair_filter_min_count(run->pair_filter, usual_pairs);
    return cx_stats_create(&options, run->setup.labels, run->setup.threads, &run->writer.stats, error);
}

static enum cx_status open_writer(struct run *run, struct cx_error *error) {
    struct cx_store_options options = setup_store_options(&run->setup);
    options.model_fingerprint = run->model_fingerprint;
    options.corpus_fingerprint = run->corpus_fingerprint;
    options.backend = run->backend->operations->name;
    options.worker = share_worker(&run->share);
    run->writer_is_open = true;
    enum cx_status status = writer_open(&run->writer, &options, run->identity_text, run->report, error);
    return status == CX_OK && run->settings->analyses != 0 ? open_statistics(run, error) : status;
}

/* The only process, or rank 0 of several: what it finds out, the other ranks are told. */
static enum cx_status claim_alone(struct run *run, struct cx_error *error) {
    enum cx_status status = CX_OK;
    if (run->share.ranks && (status = find_plan(run, error)) == CX_END)
        status = CX_OK;
    if (status == CX_OK && !run->share.plan)
        status = cx_corpus_fingerprint(&run->settings->corpus, run->corpus_fingerprint, error);
    if (status == CX_OK && !run->identity_text)
        status = describe_run(run, error);
    if (status == CX_OK)
        status = open_writer(run, error);
    if (status == CX_OK)
        status = share_join_alone(&run->share, error);
    if (status == CX_OK && run->share.ranks && !run->share.plan)
        status = make_plan(run, error);
    if (status == CX_OK && run->share.ranks) {
        char *copy = NULL;
        status = cx_ranks_share_text(run->share.ranks, run->identity_text, &copy, error);
        free(copy);
    }
    return status;
}

static enum cx_status take_fingerprint(const struct run *run, const char *key, char fingerprint[33], struct cx_error *error) {
    const char *text = "";
    enum cx_status status = cx_json_text(run->identity, key, "rank 0's description of the run", true, &text, error);
    strncpy(fingerprint, text, 32);
    return status;
}

static enum cx_status follow_rank_0(struct run *run, struct cx_error *error) {
    enum cx_status status = cx_ranks_share_text(run->share.ranks, NULL, &run->identity_text, error);
    if (status == CX_OK)
        status = cx_json_parse(run->identity_text, strlen(run->identity_text), "rank 0's description of the run", &run->identity, error);
    const char *backend = json_string_value(json_object_get(run->identity, "backend"));
    if (status == CX_OK && (!backend || strcmp(backend, run->backend->operations->name) != 0))
        status = cx_fail(error, CX_ERROR_CONFLICT,
                         "its backend is %s and that of rank 0 is %s, which would not give the same bytes; name one with --backend, on nodes that have it",
                         run->backend->operations->name, backend ? backend : "unknown");
    if (status == CX_OK)
        status = take_fingerprint(run, "model", run->model_fingerprint, error);
    if (status == CX_OK)
        status = take_fingerprint(run, "corpus", run->corpus_fingerprint, error);
    if (status == CX_OK)
        status = share_join_alone(&run->share, error);
    if (status == CX_OK)
        status = open_writer(run, error);
    if (status == CX_OK)
        status = cx_shard_plan_open(run->settings->output, run->setup.corpus, &run->settings->corpus, &run->setup.rule, &run->share.plan, error);
    if (status == CX_END)
        status = cx_fail(error, CX_ERROR_CONFLICT, "the corpus does not look the same on all nodes: rank %d sees other sizes or times of change than rank 0",
                         cx_ranks_rank(run->share.ranks));
    return status;
}

/* Everything up to the refusal of a folder that belongs to another run: no weight has been loaded so far. */
static enum cx_status claim_folder(struct run *run, struct cx_error *error) {
    const struct share_preparation preparation = {run, find_plan, prepare_folder};
    enum cx_status status = open_model_and_corpus(run, error);
    if (status == CX_OK && share_is_told(&run->share))
        return follow_rank_0(run, error);
    if (status == CX_OK)
        status = cx_checkpoint_fingerprint(run->settings->model, run->model_fingerprint, error);
    if (status == CX_OK)
        status = share_prepare(&run->share, &preparation, error);
    if (status != CX_OK)
        return status;
    return run->share.plan ? open_writer(run, error) : claim_alone(run, error);
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
    struct cx_ranks_progress all = {atomic_load(&run->computer.sequences), atomic_load(&run->computer.tokens), atomic_load(&run->writer.shards)};
    if (run->share.ranks)
        cx_ranks_tell_progress(run->share.ranks, &(struct cx_ranks_progress){all.sequences, all.tokens, all.shards}, &all);
    if (!run->observer || !run->observer->progress || share_is_told(&run->share))
        return;
    struct cx_run_progress progress = {
        .sequences = all.sequences,
        .tokens = all.tokens,
        .shards = all.shards,
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
    run->computer.setup = &run->setup;
    run->computer.observer = &run->own;
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
    enum cx_status status = share_begin(&run->share, &run->setup, &run->reader, &run->writer, &run->source, error);
    for (bool more = true; status == CX_OK && more;) {
        run->reader.ended = false;
        computer_begin(&run->computer, run->backend);
        status = cx_pipeline_run(steps, CX_STEPS, &options, error);
        for (size_t k = 0; k < CX_STEPS; k++)
            run->report->step_seconds[k] += steps[k].seconds;
        status = settle_writer(run, status, error);
        if (status == CX_OK)
            status = share_wait(&run->share, &more, error);
    }
    run->report->profile.seconds = cx_monotonic_seconds() - run->pipeline_begin;
    return status;
}

/* Ends that the same command goes on from. */
static enum cx_status tell_resumable(struct run *run, enum cx_status status, struct cx_error *error) {
    char cause[sizeof error->message];
    if (status == CX_ERROR_DEVICE_LOST)
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
    enum cx_status status = tokens_write(&run->setup, error);
    if (run->share.plan)
        writer_count_all(&run->writer, cx_shard_plan_count(run->share.plan));
    if (status == CX_OK)
        status = refuse_empty_corpus(run, error);
    if (status == CX_OK && run->share.plan)
        status = summary_remove(run->settings->output, error);
    if (status == CX_OK && run->share.plan)
        status = cx_manifest_merge(run->writer.manifest, report->shards, error);
    if (status == CX_OK && !run->share.plan)
        status = cx_store_join(run->settings->output, error);
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
    if (status == CX_OK)
        status = run_steps(&run, error);
    if (run.writer_is_open && (status == CX_ERROR_INTERRUPTED || status == CX_ERROR_DEVICE_LOST))
        status = tell_resumable(&run, status, error);
    status = end_run(&run, status, error);

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
    cx_backend_close(run.backend);
    setup_close(&run.setup);
    return share_close(&run.share, status, error);
}

void cx_run_report_free(struct cx_run_report *report) {
    free(report->summary_json);
    report->summary_json = NULL;
}
