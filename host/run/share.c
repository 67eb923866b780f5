#include "share.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "contexture/clock.h"
#include "contexture/memory.h"
#include "summary.h"

static const char prepare_claim[] = "prepare", join_claim[] = "join", alone_claim[] = "alone";

static bool stop_is_wanted(const struct share *share) {
    return share->observer && share->observer->stop && share->observer->stop(share->observer->context);
}

static enum cx_status pause_or_stop(const struct share *share, struct cx_error *error) {
    const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
    if (stop_is_wanted(share))
        return cx_fail(error, CX_ERROR_INTERRUPTED, "stopped by %s while waiting for another process; the same command goes on from there",
                       cx_signal_caught() ? cx_signal_caught() : "the caller");
    nanosleep(&pause, NULL);
    return CX_OK;
}

enum cx_status share_open(struct share *share, const struct cx_run_settings *settings, const struct cx_run_observer *observer, struct cx_error *error) {
    *share = (struct share){.settings = settings, .observer = observer, .kind = settings->cluster};
    if (share->kind == CX_CLUSTER_MPI)
        return cx_ranks_open(settings->patience, &share->ranks, error);
    if (share->kind == CX_CLUSTER_ARRAY)
        return cx_array_place(&share->array_index, &share->array_count, error);
    return CX_OK;
}

bool share_is_told(const struct share *share) {
    return share->ranks && cx_ranks_rank(share->ranks) > 0;
}

static bool is_exclusive(const struct share *share) {
    return share->kind == CX_CLUSTER_OFF || share->kind == CX_CLUSTER_MPI;
}

const char *share_worker(const struct share *share) {
    return share->worker && (!is_exclusive(share) || share_is_told(share)) ? cx_worker_name(share->worker) : NULL;
}

static enum cx_status prepare_shared(struct share *share, const struct share_preparation *preparation, struct cx_error *error) {
    enum cx_status status;
    while ((status = preparation->find(preparation->context, error)) == CX_END) {
        bool taken = false;
        if ((status = cx_claim_take(share->worker, prepare_claim, &taken, error)) != CX_OK)
            return status;
        if (taken) {
            if ((status = preparation->find(preparation->context, error)) == CX_END)
                status = preparation->make(preparation->context, error);
            cx_claim_drop(share->worker, prepare_claim);
            return status;
        }
        if ((status = pause_or_stop(share, error)) != CX_OK)
            return status;
    }
    return status;
}

enum cx_status share_prepare(struct share *share, const struct share_preparation *preparation, struct cx_error *error) {
    const char *directory = share->settings->output;
    if (share_is_told(share))
        return CX_OK;
    if (is_exclusive(share))
        return cx_workers_refuse(directory, share->kind, share->settings->patience, error);
    enum cx_status status = cx_worker_join(directory, share->kind, share->settings->patience, &share->worker, error);
    if (status == CX_OK)
        status = cx_worker_refuse_others(share->worker, error);
    return status == CX_OK ? prepare_shared(share, preparation, error) : status;
}

enum cx_status share_join_alone(struct share *share, struct cx_error *error) {
    enum cx_status status = cx_worker_join(share->settings->output, share->kind, share->settings->patience, &share->worker, error);
    if (status != CX_OK || share_is_told(share))
        return status;
    status = cx_worker_refuse_others(share->worker, error);
    return status == CX_OK ? cx_claim_insist(share->worker, alone_claim, error) : status;
}

static enum cx_status next_of_array(struct share *share, uint64_t *shard) {
    for (const uint64_t count = cx_shard_plan_count(share->plan); share->cursor < count;) {
        *shard = share->cursor++;
        if (*shard % share->array_count == share->array_index && !writer_has_shard(share->writer, *shard))
            return CX_OK;
    }
    return CX_END;
}

static void name_claim(uint64_t shard, char *name, size_t size) {
    snprintf(name, size, "shard-%06" PRIu64, shard);
}

static void drop_claim(void *context, uint64_t shard) {
    struct share *share = context;
    char name[32];
    name_claim(shard, name, sizeof name);
    cx_claim_drop(share->worker, name);
}

/* One look at all shards that are not finished. CX_END: they are all claimed. */
static enum cx_status claim_one(struct share *share, uint64_t *shard, struct cx_error *error) {
    const uint64_t count = cx_shard_plan_count(share->plan);
    while (share->cursor < count && writer_has_shard(share->writer, share->order[share->cursor]))
        share->cursor++;
    for (uint64_t k = share->cursor; k < count; k++) {
        char name[32];
        bool taken = false;
        *shard = share->order[k];
        if (writer_has_shard(share->writer, *shard))
            continue;
        name_claim(*shard, name, sizeof name);
        enum cx_status status = cx_claim_take(share->worker, name, &taken, error);
        /* Another may have finished it and dropped its claim since the last look. */
        if (status == CX_OK && taken)
            status = writer_refresh(share->writer, error);
        if (status != CX_OK)
            return status;
        if (taken && !writer_has_shard(share->writer, *shard))
            return CX_OK;
        if (taken)
            cx_claim_drop(share->worker, name);
        if (stop_is_wanted(share))
            return cx_fail(error, CX_ERROR_INTERRUPTED, "stopped by a signal");
    }
    return CX_END;
}

static enum cx_status next_of_folder(struct share *share, uint64_t *shard, struct cx_error *error) {
    if (!share->holds)
        return claim_one(share, shard, error);
    share->holds = false;
    *shard = share->held;
    return CX_OK;
}

enum cx_status share_wait(struct share *share, bool *more, struct cx_error *error) {
    *more = false;
    if (share->kind != CX_CLUSTER_FOLDER)
        return CX_OK;
    for (;;) {
        enum cx_status status = writer_refresh(share->writer, error);
        if (status == CX_OK)
            status = claim_one(share, &share->held, error);
        *more = share->holds = status == CX_OK;
        if (status != CX_END)
            return status;
        if (share->cursor == cx_shard_plan_count(share->plan))
            return CX_OK;
        if ((status = pause_or_stop(share, error)) != CX_OK)
            return status;
    }
}

static enum cx_status next_shard(void *context, struct cx_shard_range *range, struct cx_error *error) {
    struct share *share = context;
    uint64_t shard = 0;
    enum cx_status status = share->kind == CX_CLUSTER_MPI     ? cx_ranks_next(share->ranks, &shard, error)
                            : share->kind == CX_CLUSTER_ARRAY ? next_of_array(share, &shard)
                                                              : next_of_folder(share, &shard, error);
    if (status != CX_OK)
        return status;
    const struct cx_shard_range *planned = cx_shard_plan_range(share->plan, shard);
    if (!planned)
        return cx_fail(error, CX_ERROR_INTERNAL, "shard %" PRIu64 " is not in the plan", shard);
    *range = *planned;
    return cx_shard_plan_go(share->plan, share->setup->corpus, shard, error);
}

/* Rank 0 hands out what is not finished. */
static enum cx_status offer_rest(struct share *share, struct cx_error *error) {
    const uint64_t count = cx_shard_plan_count(share->plan);
    uint64_t rest = 0;
    for (uint64_t k = 0; k < count; k++)
        if (!writer_has_shard(share->writer, share->order[k]))
            share->order[rest++] = share->order[k];
    return cx_ranks_offer(share->ranks, share->order, rest, error);
}

enum cx_status share_begin(struct share *share, const struct setup *setup, struct reader *reader, struct writer *writer, struct shard_source *source,
                           struct cx_error *error) {
    share->writer = writer;
    share->setup = setup;
    if (!share->plan)
        return CX_OK;
    const uint64_t count = cx_shard_plan_count(share->plan);
    enum cx_status status = cx_allocate(count, sizeof *share->order, "the order of the shards", &share->order, error);
    if (status != CX_OK)
        return status;
    cx_shard_plan_order(share->plan, share->order);
    writer->report->planned_shards = count;
    for (uint64_t k = 0; k < count; k++) {
        const struct cx_shard_range *range = cx_shard_plan_range(share->plan, k);
        if (!writer_has_shard(share->writer, k))
            continue;
        writer->report->earlier_shards++;
        writer->report->earlier_documents += range->documents;
    }
    if (share->kind == CX_CLUSTER_FOLDER) {
        writer->finished = drop_claim;
        writer->finished_context = share;
    }
    if (share->ranks && !share_is_told(share))
        status = offer_rest(share, error);
    *source = (struct shard_source){share, next_shard};
    reader->source = source;
    return status;
}

/* The manifest says so, and the summary, which is written last of all, is there: a joiner may have been killed in between. */
static enum cx_status is_joined(const struct share *share, bool *joined, struct cx_error *error) {
    bool summed_up = false;
    enum cx_status status = cx_store_is_complete(share->settings->output, joined, error);
    if (status == CX_OK && *joined)
        status = summary_exists(share->settings->output, &summed_up, error);
    *joined = *joined && summed_up;
    return status;
}

/* How late a process may see what another wrote, where a network file system keeps a cache. */
static double longest_lag(const struct share *share) {
    const double seconds = 3;
    return share->settings->patience / 3 < seconds ? share->settings->patience / 3 : seconds;
}

/* Looks again and again, for so many seconds at most. */
static bool sees_all_finished(struct share *share, double seconds) {
    const double begin = cx_monotonic_seconds();
    do {
        if (writer_refresh(share->writer, NULL) == CX_OK && writer_finished_count(share->writer) == cx_shard_plan_count(share->plan))
            return true;
    } while (cx_monotonic_seconds() - begin < seconds && pause_or_stop(share, NULL) == CX_OK);
    return false;
}

/* Tasks of an array that end at the same time may each be the last, and not see it yet. */
static bool may_be_last(const struct share *share) {
    const uint64_t shards_at_work = 2; /* of a task: one is computed, and one written */
    const uint64_t unfinished = cx_shard_plan_count(share->plan) - writer_finished_count(share->writer);
    return share->kind == CX_CLUSTER_ARRAY && unfinished <= shards_at_work * share->array_count;
}

/* After the last shard: one process joins the parts, the others see that it is done. */
static enum cx_status end_shared(struct share *share, bool *join, struct cx_run_report *report, struct cx_error *error) {
    enum cx_status status = writer_refresh(share->writer, error);
    if (status == CX_OK && !sees_all_finished(share, may_be_last(share) ? longest_lag(share) : 0))
        return CX_OK;
    while (status == CX_OK) {
        status = is_joined(share, &report->joined, error);
        if (status != CX_OK || report->joined)
            break;
        status = cx_claim_take(share->worker, join_claim, join, error);
        if (status == CX_OK && *join) { /* it may have been done between the two looks */
            status = is_joined(share, &report->joined, error);
            *join = !report->joined;
            break;
        }
        if (status == CX_OK)
            status = pause_or_stop(share, error);
    }
    if (report->joined)
        share_clear(share);
    return status;
}

/*
 * Where the view of the folder lags, or after a long pause, a process may have taken a shard that another had finished; and who joined the parts may have
 * removed its unfinished file. Nothing is lost then, and its failure is none.
 */
static bool may_be_overtaken(const struct share *share, enum cx_status status) {
    return (share->kind == CX_CLUSTER_FOLDER || share->kind == CX_CLUSTER_ARRAY) && share->plan && share->writer &&
           (status == CX_ERROR_IO || status == CX_ERROR_DAMAGED);
}

enum cx_status share_end(struct share *share, enum cx_status status, bool *join, struct cx_run_report *report, struct cx_error *error) {
    *join = false;
    if (share->ranks) {
        status = cx_ranks_end(share->ranks, status, error);
        report->silent = share_is_told(share);
        if (status != CX_OK || report->silent)
            return status;
        *join = true;
        report->ranks = cx_ranks_size(share->ranks);
        report->idle_share = cx_ranks_idle_share(share->ranks);
        return writer_refresh(share->writer, error);
    }
    if (may_be_overtaken(share, status) && sees_all_finished(share, longest_lag(share))) {
        status = CX_OK;
        if (error)
            *error = (struct cx_error){0};
    }
    if (status == CX_OK && share->kind == CX_CLUSTER_OFF)
        *join = true;
    else if (status == CX_OK)
        status = end_shared(share, join, report, error);
    return status;
}

void share_clear(struct share *share) {
    if (!share->worker)
        return;
    cx_claims_clear(share->worker, CX_CLAIMS_OF_OTHERS);
    cx_workers_clear(share->worker);
}

enum cx_status share_close(struct share *share, enum cx_status status, bool *abrupt, struct cx_error *error) {
    if (share->worker)
        cx_claims_clear(share->worker, CX_CLAIMS_OWN);
    cx_worker_leave(share->worker);
    cx_shard_plan_close(share->plan);
    free(share->order);
    return cx_ranks_close(share->ranks, status, abrupt, error);
}
