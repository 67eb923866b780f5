#include "writer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/clock.h"

enum cx_status writer_open(struct writer *writer, const struct cx_store_options *options, const char *identity, struct cx_run_report *report,
                           struct cx_error *error) {
    memset(writer, 0, sizeof *writer);
    writer->options = *options;
    writer->report = report;
    pthread_mutex_init(&writer->manifest_mutex, NULL);
    enum cx_status status = options->worker ? cx_manifest_open_shared(options->directory, identity, options->worker, &writer->manifest, error)
                                            : cx_manifest_open(options->directory, identity, &writer->manifest, error);
    if (status == CX_OK)
        writer->options.sources = cx_manifest_sources(writer->manifest, &writer->options.source_count);
    return status;
}

enum cx_status writer_refresh(struct writer *writer, struct cx_error *error) {
    pthread_mutex_lock(&writer->manifest_mutex);
    enum cx_status status = cx_manifest_refresh(writer->manifest, error);
    pthread_mutex_unlock(&writer->manifest_mutex);
    return status;
}

uint64_t writer_finished_count(struct writer *writer) {
    pthread_mutex_lock(&writer->manifest_mutex);
    const uint64_t count = cx_manifest_count(writer->manifest);
    pthread_mutex_unlock(&writer->manifest_mutex);
    return count;
}

static bool find_shard(void *context, uint64_t shard, struct cx_part_summary *summary) {
    struct writer *writer = context;
    pthread_mutex_lock(&writer->manifest_mutex);
    const struct cx_part_summary *found = cx_manifest_shard(writer->manifest, shard);
    if (found)
        *summary = *found;
    pthread_mutex_unlock(&writer->manifest_mutex);
    return found != NULL;
}

static void count_part(struct cx_run_report *report, const struct cx_part_summary *summary) {
    report->documents += summary->documents;
    report->skipped += summary->skipped;
    report->stripped += summary->stripped;
    report->sequences += summary->sequences;
    report->tokens += summary->tokens;
    report->pairs += summary->pairs;
    report->bytes += summary->bytes;
    report->shards++;
    if (summary->completeness_error > report->completeness_error)
        report->completeness_error = summary->completeness_error;
}

/* Called by the first step's thread: the report's counts are shared with the finishing thread, so under the same lock. */
static void count_passed_shard(void *context, const struct cx_part_summary *summary) {
    struct writer *writer = context;
    pthread_mutex_lock(&writer->manifest_mutex);
    count_part(writer->report, summary);
    writer->report->earlier_shards++;
    writer->report->earlier_documents += summary->documents;
    pthread_mutex_unlock(&writer->manifest_mutex);
    atomic_fetch_add(&writer->shards, 1);
}

bool writer_has_shard(struct writer *writer, uint64_t shard) {
    struct cx_part_summary summary;
    return find_shard(writer, shard, &summary);
}

void writer_count_all(struct writer *writer, uint64_t shards) {
    struct cx_run_report *report = writer->report;
    report->documents = report->skipped = report->stripped = report->sequences = report->tokens = report->pairs = report->bytes = report->shards = 0;
    for (uint64_t shard = 0; shard < shards; shard++) {
        struct cx_part_summary summary;
        if (find_shard(writer, shard, &summary))
            count_part(report, &summary);
    }
}

struct finished_shards writer_finished_shards(struct writer *writer) {
    return (struct finished_shards){writer, find_shard, count_passed_shard};
}

static enum cx_status keep_left_out(struct writer *writer, const struct window *window, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < window->left_out.count && status == CX_OK; k++)
        status = skipped_list_add(&writer->left_out, &window->left_out.items[k], error);
    return status;
}

static enum cx_status finish_part(struct writer *writer, struct cx_error *error) {
    struct finishing *finishing = &writer->finishing;
    struct cx_part_summary *summary = &finishing->summary;
    enum cx_status status = cx_part_finish(finishing->part, summary, error);
    finishing->part = NULL;
    if (status != CX_OK)
        return status;
    pthread_mutex_lock(&writer->manifest_mutex);
    status = cx_manifest_add(writer->manifest, summary, finishing->left_out.items, finishing->left_out.count, error);
    if (status == CX_OK)
        count_part(writer->report, summary);
    writer->report->profile.store.compress += summary->spent.compress;
    writer->report->profile.store.write += summary->spent.write;
    writer->report->profile.store.sync += summary->spent.sync;
    writer->report->profile.store.check += summary->spent.check;
    pthread_mutex_unlock(&writer->manifest_mutex);
    skipped_list_clear(&finishing->left_out);
    if (status == CX_OK && writer->finished)
        writer->finished(writer->finished_context, summary->shard);
    if (status == CX_OK)
        atomic_fetch_add(&writer->shards, 1);
    return status;
}

static void *finish_on_thread(void *argument) {
    struct writer *writer = argument;
    struct finishing *finishing = &writer->finishing;
    finishing->status = finish_part(writer, &finishing->error);
    atomic_store(&finishing->failed, finishing->status != CX_OK);
    return NULL;
}

static void join_finishing(struct finishing *finishing) {
    if (finishing->running)
        pthread_join(finishing->thread, NULL);
    finishing->running = false;
}

enum cx_status writer_settle(struct writer *writer, struct cx_error *error) {
    struct finishing *finishing = &writer->finishing;
    join_finishing(finishing);
    if (finishing->status != CX_OK)
        *error = finishing->error;
    return finishing->status;
}

enum cx_status writer_append_pairs(void *context, const struct cx_stats_table *rows, struct cx_error *error) {
    const struct writer *writer = context;
    return cx_part_append_pairs(writer->part, rows, error);
}

static enum cx_status add_statistics(struct writer *writer, const struct window *window, struct cx_error *error) {
    const double begin = cx_monotonic_seconds();
    enum cx_status status = cx_stats_add(writer->stats, window->sequences.items, window->results, window->sequences.count, error);
    struct cx_stats_set set = {0};
    if (status == CX_OK && window->last) {
        status = cx_stats_take(writer->stats, &set, error);
        if (status == CX_OK)
            status = cx_part_add_statistics(writer->part, &set, error);
        cx_stats_set_free(&set);
    }
    writer->report->profile.statistics += cx_monotonic_seconds() - begin;
    return status;
}

/* The part and what its shard left out go over to the finishing thread; what that list held goes back, for its memory. */
static enum cx_status finish_shard(struct writer *writer, const struct window *window, struct cx_error *error) {
    struct finishing *finishing = &writer->finishing;
    const double seconds = cx_monotonic_seconds() - writer->shard_begin;
    enum cx_status status = writer_settle(writer, error);
    if (status != CX_OK)
        return status;
    finishing->summary = (struct cx_part_summary){
        .shard = window->shard,
        .first_document = window->first_document,
        .documents = window->documents,
        .skipped = window->skipped,
        .stripped = window->stripped,
        .content_hash = window->content_hash,
        .seconds = seconds,
    };
    struct skipped_list empty = finishing->left_out;
    finishing->left_out = writer->left_out;
    writer->left_out = empty;
    finishing->part = writer->part;
    writer->part = NULL;
    finishing->running = pthread_create(&finishing->thread, NULL, finish_on_thread, writer) == 0;
    return finishing->running ? CX_OK : finish_part(writer, error);
}

/* Stages that only the statistics asked for are stored as if they had not been computed. */
static void hide_stages(const struct writer *writer, const struct window *window) {
    for (size_t k = 0; k < window->sequences.count; k++)
        for (unsigned stage = 0; stage < CX_STAGES; stage++)
            for (size_t place = 0;
                 !(writer->options.maps & CX_STAGE_BIT(stage)) && place < window->sequences.items[k].tokens * writer->options.stored_layer_count; place++) {
                window->results[k].mixing_ratio[stage][place] = NAN;
                window->results[k].bias_norm[stage][place] = NAN;
            }
}

/* What the run finds, while it runs; the statistics proper are those of the parts. */
static void watch_mixing_ratio(struct writer *writer, const struct window *window) {
    const unsigned maps = writer->options.maps;
    double sum = atomic_load(&writer->mixing_ratios), count = atomic_load(&writer->mixing_ratio_count);
    unsigned stage = CX_STAGES;
    while (stage > 0 && !(maps & CX_STAGE_BIT(stage - 1)))
        stage--;
    if (stage == 0)
        return;
    for (size_t k = 0; k < window->sequences.count; k++) {
        const size_t numbers = writer->options.stored_layer_count * window->sequences.items[k].tokens;
        for (size_t place = 0; place < numbers; place++) {
            const float ratio = window->results[k].mixing_ratio[stage - 1][place];
            sum += isnan(ratio) ? 0 : (double)ratio;
            count += isnan(ratio) ? 0 : 1;
        }
    }
    atomic_store(&writer->mixing_ratios, sum);
    atomic_store(&writer->mixing_ratio_count, count);
}

enum cx_status writer_work(struct writer *writer, struct window *window, struct cx_error *error) {
    enum cx_status status = atomic_load(&writer->finishing.failed) ? writer_settle(writer, error) : CX_OK;
    if (status == CX_OK && !writer->part) {
        writer->shard_begin = cx_monotonic_seconds();
        status = cx_part_create(&writer->options, window->shard, &writer->part, error);
    }
    if (status == CX_OK && writer->stats) {
        status = add_statistics(writer, window, error);
        hide_stages(writer, window);
    }
    if (status == CX_OK)
        watch_mixing_ratio(writer, window);
    if (status == CX_OK && window->sequences.count > 0)
        status = cx_part_append(writer->part, window->sequences.items, window->results, window->sequences.count, error);
    if (status == CX_OK)
        status = keep_left_out(writer, window, error);
    if (status == CX_OK && window->last)
        status = finish_shard(writer, window, error);
    return status;
}

void writer_close(struct writer *writer) {
    join_finishing(&writer->finishing);
    cx_part_abandon(writer->part);
    if (writer->manifest)
        cx_manifest_close(writer->manifest);
    cx_stats_destroy(writer->stats);
    skipped_list_free(&writer->left_out);
    skipped_list_free(&writer->finishing.left_out);
    pthread_mutex_destroy(&writer->manifest_mutex);
}
