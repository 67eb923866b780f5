/* What comes before the work: model, corpus and backend are opened, and the folder is this run's, or is refused. */
#include <stdlib.h>
#include <string.h>

#include "choose_mask.h"
#include "contexture/json.h"
#include "identity.h"
#include "pair_count.h"
#include "run_state.h"

/* Pairs of token types that pair_amplification keeps sums for, if no --min-count says how many: half a megabyte a shard with 6 layers. */
enum { usual_pairs = 1000 };

/* A GPU that cannot be used is no error, but not what one expects of a program that was built for one. */
static void tell_backend(const struct run *run) {
    char report[512];
    if (run->settings->backend != CX_BACKEND_AUTO || !run->own.notice)
        return;
    if (!cx_backend_report(report, sizeof report))
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

/* Part of the run's description, so before it; needs the weights. */
static enum cx_status mask_dimensions(struct run *run, struct cx_error *error) {
    if (run->setup.mask.choice == CX_MASK_NONE)
        return CX_OK;
    enum cx_status status = cx_checkpoint_open(run->settings->model, &run->checkpoint, error);
    return status == CX_OK ? choose_mask(&run->setup, run->backend, cx_checkpoint_weights(run->checkpoint), &run->own, error) : status;
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
        status = cx_shard_plan_make(corpus, &run->settings->corpus, &run->setup.rule, run->corpus_fingerprint, run->own.stop, run->own.context, &text, &length,
                                    error);
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
    options.pair_sink = (struct cx_pair_sink){.context = &run->writer, .write = writer_append_pairs};
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
        status = share_join_alone(&run->share, error);
    if (status == CX_OK)
        status = open_writer(run, error);
    if (status == CX_OK && run->share.ranks && !run->share.plan)
        status = make_plan(run, error);
    if (status == CX_OK && run->share.ranks)
        status = cx_ranks_share_text(run->share.ranks, run->identity_text, NULL, error);
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
    if (status == CX_OK && run->setup.mask.choice != CX_MASK_NONE)
        status = mask_dims_take_json(&run->setup.mask, run->setup.layer_count, run->setup.config.hidden_size,
                                     json_object_get(json_object_get(run->identity, "analyses"), "masked_dimensions"), error);
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

enum cx_status claim_folder(struct run *run, struct cx_error *error) {
    const struct share_preparation preparation = {run, find_plan, prepare_folder};
    enum cx_status status = open_model_and_corpus(run, error);
    if (status == CX_OK && share_is_told(&run->share))
        return follow_rank_0(run, error);
    if (status == CX_OK)
        status = mask_dimensions(run, error);
    if (status == CX_OK)
        status = cx_checkpoint_fingerprint(run->settings->model, run->model_fingerprint, error);
    if (status == CX_OK)
        status = share_prepare(&run->share, &preparation, error);
    if (status != CX_OK)
        return status;
    return run->share.plan ? open_writer(run, error) : claim_alone(run, error);
}
