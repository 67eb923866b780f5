/* Ranks of a job, for the threads of the run: each call leaves a wish to the post office, or waits for what it brings. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "contexture/clock.h"
#include "contexture/memory.h"
#include "post_office.h"

static void end_process(int number) {
    (void)number;
    _exit(75);
}

/* Only what a handler of signals may call. */
static void end_start(int number) {
    static const char sentence[] =
        "contexture: MPI does not start: another rank has been lost before it did; the same command goes on from the finished shards\n";
    const ssize_t written = write(STDERR_FILENO, sentence, sizeof sentence - 1);
    (void)number, (void)written;
    _exit(75);
}

static void set_alarm(void (*handler)(int), unsigned seconds) {
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGALRM, &action, NULL);
    (void)alarm(seconds);
}

/* MPI waits for ever, and signs of life begin behind it. All processes are there when it begins; what it may take is an addition to the patience. */
static enum cx_status start_peers(struct cx_ranks *ranks, struct cx_error *error) {
    enum { start_seconds = 20 };
    if (peers_launched() != 1)
        set_alarm(end_start, (unsigned)ranks->patience + start_seconds);
    enum cx_status status = peers_open(&ranks->peers, &ranks->place, error);
    if (peers_launched() != 1)
        set_alarm(end_process, 0);
    return status;
}

enum cx_status cx_ranks_open(double patience, struct cx_ranks **ranks_pointer, struct cx_error *error) {
    struct cx_ranks *ranks = NULL;
    *ranks_pointer = NULL;
    enum cx_status status = cx_allocate(1, sizeof *ranks, "the ranks of a job", &ranks, error);
    if (status != CX_OK)
        return status;
    ranks->patience = patience;
    pthread_mutex_init(&ranks->mutex, NULL);
    pthread_cond_init(&ranks->changed, NULL);
    status = start_peers(ranks, error);
    if (status == CX_OK)
        status = cx_allocate((size_t)ranks->place.size, sizeof *ranks->others, "the ranks of a job", &ranks->others, error);
    for (int rank = 0; status == CX_OK && rank < ranks->place.size; rank++)
        ranks->others[rank].heard = cx_monotonic_seconds();
    ranks->heard = cx_monotonic_seconds();
    if (status == CX_OK && ranks->place.size > 1) {
        const int number = pthread_create(&ranks->office, NULL, post_office_run, ranks);
        ranks->office_runs = number == 0;
        if (number != 0)
            status = cx_fail(error, CX_ERROR_MEMORY, "cannot start a thread for the messages between ranks: %s", strerror(number));
    }
    if (status == CX_OK) {
        *ranks_pointer = ranks;
        return CX_OK;
    }
    ranks->lost = true;
    struct cx_error first = error ? *error : (struct cx_error){0};
    bool abrupt;
    (void)(cx_ranks_close(ranks, status, &abrupt, NULL) == CX_OK);
    if (error)
        *error = first;
    return status;
}

int cx_ranks_rank(const struct cx_ranks *ranks) {
    return ranks->place.rank;
}

int cx_ranks_size(const struct cx_ranks *ranks) {
    return ranks->place.size;
}

int cx_ranks_local_rank(const struct cx_ranks *ranks) {
    return ranks->place.local_rank;
}

int cx_ranks_local_size(const struct cx_ranks *ranks) {
    return ranks->place.local_size;
}

/* Why a wait ended early; the mutex is held. */
static enum cx_status fail_stopped(struct cx_ranks *ranks, struct cx_error *error) {
    if (ranks->fault.status != CX_OK)
        return cx_fail(error, ranks->fault.status, "%s", ranks->fault.message);
    if (ranks->dismissed && ranks->place.rank > 0)
        return cx_fail(error, ranks->dismissal != CX_OK ? ranks->dismissal : CX_ERROR_INTERRUPTED, "%s", "");
    if (ranks->lost && ranks->place.rank > 0)
        return cx_fail(error, CX_ERROR_INTERRUPTED, "rank %d: rank 0 has given no sign of life for %.0f s; the same command goes on from the finished shards",
                       ranks->place.rank, ranks->patience);
    if (ranks->place.rank == 0 && ranks->job_status != CX_OK)
        return cx_fail(error, ranks->job_status, "%s", ranks->job_sentence);
    return cx_fail(error, CX_ERROR_INTERRUPTED, "%s", "");
}

enum cx_status cx_ranks_share_text(struct cx_ranks *ranks, const char *given, char **got, struct cx_error *error) {
    enum cx_status status = CX_OK;
    pthread_mutex_lock(&ranks->mutex);
    if (ranks->place.rank == 0) {
        if (ranks->place.size > 1)
            status = cx_copy_text(given, strlen(given), &ranks->text_to_send, error);
    } else {
        while (!ranks->text && !ranks->stopped)
            pthread_cond_wait(&ranks->changed, &ranks->mutex);
        *got = ranks->text;
        ranks->text = NULL;
        if (!*got)
            status = fail_stopped(ranks, error);
    }
    pthread_mutex_unlock(&ranks->mutex);
    return status;
}

/* The lines of all ranks as one text, when the last has come; the mutex is held. */
static enum cx_status collect_lines(struct cx_ranks *ranks, const char *own, char **lines, struct cx_error *error) {
    size_t length = strlen(own) + 1;
    for (int rank = 1; rank < ranks->place.size; rank++) {
        while (!ranks->others[rank].line && !ranks->stopped)
            pthread_cond_wait(&ranks->changed, &ranks->mutex);
        if (!ranks->others[rank].line)
            return fail_stopped(ranks, error);
        length += strlen(ranks->others[rank].line) + 1;
    }
    enum cx_status status = cx_allocate(length + 1, 1, "what the ranks say", lines, error);
    if (status != CX_OK)
        return status;
    char *end = stpcpy(stpcpy(*lines, own), "\n");
    for (int rank = 1; rank < ranks->place.size; rank++)
        end = stpcpy(stpcpy(end, ranks->others[rank].line), "\n");
    return CX_OK;
}

enum cx_status cx_ranks_exchange(struct cx_ranks *ranks, const char *line, char **lines, struct cx_error *error) {
    enum cx_status status;
    *lines = NULL;
    if (ranks->place.rank == 0) {
        pthread_mutex_lock(&ranks->mutex);
        status = collect_lines(ranks, line, lines, error);
        pthread_mutex_unlock(&ranks->mutex);
        return status == CX_OK ? cx_ranks_share_text(ranks, *lines, NULL, error) : status;
    }
    pthread_mutex_lock(&ranks->mutex);
    status = cx_copy_text(line, strlen(line), &ranks->line_to_send, error);
    pthread_mutex_unlock(&ranks->mutex);
    return status == CX_OK ? cx_ranks_share_text(ranks, NULL, lines, error) : status;
}

enum cx_status cx_ranks_offer(struct cx_ranks *ranks, const uint64_t *shards, size_t count, struct cx_error *error) {
    uint64_t *queue = NULL;
    enum cx_status status = cx_allocate(count, sizeof *queue, "the shards to hand out", &queue, error);
    if (status != CX_OK)
        return status;
    if (count > 0)
        memcpy(queue, shards, count * sizeof *queue);
    pthread_mutex_lock(&ranks->mutex);
    free(ranks->queue);
    ranks->queue = queue;
    ranks->queue_length = count;
    ranks->queue_taken = 0;
    ranks->offered = true;
    ranks->begun_at = cx_monotonic_seconds();
    pthread_mutex_unlock(&ranks->mutex);
    return CX_OK;
}

enum cx_status cx_ranks_next(struct cx_ranks *ranks, uint64_t *shard, struct cx_error *error) {
    enum cx_status status = CX_OK;
    pthread_mutex_lock(&ranks->mutex);
    if (ranks->place.rank == 0) {
        if (ranks->stopped)
            status = fail_stopped(ranks, error);
        else if (ranks->queue_taken == ranks->queue_length)
            status = CX_END;
        else
            *shard = ranks->queue[ranks->queue_taken++];
    } else if (ranks->no_more) {
        status = CX_END;
    } else {
        ranks->ask_wanted = true;
        while (!ranks->answered && !ranks->stopped)
            pthread_cond_wait(&ranks->changed, &ranks->mutex);
        if (ranks->stopped)
            status = fail_stopped(ranks, error);
        else if (ranks->no_more)
            status = CX_END;
        else
            *shard = ranks->answer;
        ranks->ask_wanted = ranks->asked = ranks->answered = false;
    }
    pthread_mutex_unlock(&ranks->mutex);
    return status;
}

bool cx_ranks_stopped(struct cx_ranks *ranks) {
    pthread_mutex_lock(&ranks->mutex);
    const bool stopped = ranks->stopped;
    pthread_mutex_unlock(&ranks->mutex);
    return stopped;
}

void cx_ranks_tell_progress(struct cx_ranks *ranks, const struct cx_ranks_progress *own, struct cx_ranks_progress *all) {
    pthread_mutex_lock(&ranks->mutex);
    ranks->own = *all = *own;
    for (int rank = 1; ranks->place.rank == 0 && rank < ranks->place.size; rank++) {
        all->sequences += ranks->others[rank].progress.sequences;
        all->tokens += ranks->others[rank].progress.tokens;
        all->shards += ranks->others[rank].progress.shards;
        all->mixing_ratios += ranks->others[rank].progress.mixing_ratios;
        all->mixing_ratio_count += ranks->others[rank].progress.mixing_ratio_count;
    }
    pthread_mutex_unlock(&ranks->mutex);
}

void cx_ranks_call_sum(struct cx_ranks *ranks) {
    pthread_mutex_lock(&ranks->mutex);
    if (!ranks->sums_ended && !ranks->stopped) {
        ranks->sum_wanted = true;
        ranks->sums_called++;
    }
    pthread_mutex_unlock(&ranks->mutex);
}

uint64_t cx_ranks_sums_called(struct cx_ranks *ranks) {
    pthread_mutex_lock(&ranks->mutex);
    const uint64_t called = ranks->sums_called;
    pthread_mutex_unlock(&ranks->mutex);
    return called;
}

void cx_ranks_end_sums(struct cx_ranks *ranks) {
    pthread_mutex_lock(&ranks->mutex);
    if (ranks->place.rank == 0)
        ranks->sums_ended = true;
    ranks->leave_wanted = true;
    while (!ranks->sums_ended && !ranks->stopped)
        pthread_cond_wait(&ranks->changed, &ranks->mutex);
    pthread_mutex_unlock(&ranks->mutex);
}

static bool all_have_ended(const struct cx_ranks *ranks) {
    for (int rank = 1; rank < ranks->place.size; rank++)
        if (!ranks->others[rank].ended && !ranks->others[rank].lost)
            return false;
    return true;
}

/* After a failure the others get as much time to end as a sign of life may be late. */
static void wait_for_all(struct cx_ranks *ranks) {
    double stopped_since = 0;
    while (!all_have_ended(ranks) && ranks->fault.status == CX_OK) {
        struct timespec until;
        if (ranks->stopped && stopped_since <= 0)
            stopped_since = cx_monotonic_seconds();
        if (stopped_since > 0 && cx_monotonic_seconds() - stopped_since > ranks->patience) {
            ranks->lost = true;
            return;
        }
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        (void)pthread_cond_timedwait(&ranks->changed, &ranks->mutex, &until);
    }
}

enum cx_status cx_ranks_end(struct cx_ranks *ranks, enum cx_status status, struct cx_error *error) {
    pthread_mutex_lock(&ranks->mutex);
    if (ranks->place.rank > 0) {
        /* One that stopped because it was told to has nothing of its own to tell. */
        const bool told = ranks->stopped && status == CX_ERROR_INTERRUPTED;
        ranks->end_status = told ? CX_OK : status;
        snprintf(ranks->end_sentence, sizeof ranks->end_sentence, "%s", error && status != CX_OK && !told ? error->message : "");
        ranks->end_wanted = true;
        pthread_mutex_unlock(&ranks->mutex);
        return status;
    }
    if (status != CX_OK && error)
        ranks_note_failure(ranks, status, error->message);
    ranks->others[0].ended_at = cx_monotonic_seconds();
    wait_for_all(ranks);
    if (ranks->fault.status != CX_OK)
        status = cx_fail(error, ranks->fault.status, "%s", ranks->fault.message);
    else if (ranks->job_status != CX_OK)
        status = cx_fail(error, ranks->job_status, "%s", ranks->job_sentence);
    pthread_mutex_unlock(&ranks->mutex);
    return status;
}

double cx_ranks_idle_share(const struct cx_ranks *ranks) {
    double first = ranks->others[0].ended_at, last = first;
    for (int rank = 1; rank < ranks->place.size; rank++) {
        first = ranks->others[rank].ended_at < first ? ranks->others[rank].ended_at : first;
        last = ranks->others[rank].ended_at > last ? ranks->others[rank].ended_at : last;
    }
    return last > ranks->begun_at ? (last - first) / (last - ranks->begun_at) : 0;
}

static enum cx_status wait_for_dismissal(struct cx_ranks *ranks, enum cx_status status, struct cx_error *error) {
    while (!ranks->dismissed && !ranks->lost)
        pthread_cond_wait(&ranks->changed, &ranks->mutex);
    if (!ranks->dismissed)
        return fail_stopped(ranks, error);
    if (ranks->dismissal != CX_OK)
        return cx_fail(error, ranks->dismissal, "%s", "");
    return status;
}

/* The others learn how the job ended, unless the post office hangs at the one that is lost. */
static void wait_for_dispatch(struct cx_ranks *ranks) {
    enum { seconds = 2 };
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    while (!ranks->dismissed && ranks->fault.status == CX_OK && pthread_cond_timedwait(&ranks->changed, &ranks->mutex, &until) != ETIMEDOUT)
        continue;
}

/* Launchers end a job when one of its processes ends without leaving MPI; by then rank 0 should have told why. */
static void let_rank_0_speak(void) {
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
}

enum cx_status cx_ranks_close(struct cx_ranks *ranks, enum cx_status status, bool *abrupt, struct cx_error *error) {
    *abrupt = false;
    if (!ranks)
        return status;
    if (ranks->office_runs) {
        pthread_mutex_lock(&ranks->mutex);
        if (ranks->place.rank == 0) {
            ranks->dismissal = status;
            ranks->bye_wanted = true;
            if (ranks->lost)
                wait_for_dispatch(ranks);
        } else {
            status = wait_for_dismissal(ranks, status, error);
        }
        ranks->closing = true;
        const bool lost = ranks->lost, dismissed = ranks->dismissed;
        pthread_mutex_unlock(&ranks->mutex);
        if (!lost)
            pthread_join(ranks->office, NULL);
        else if (dismissed && ranks->place.rank > 0)
            let_rank_0_speak();
        *abrupt = lost;
    }
    /* With a lost rank the post office may hang: what it uses stays until the process ends, which is soon. The alarm sees to that. */
    if (ranks->lost && ranks->office_runs)
        return status;
    if (ranks->place.size > 1)
        (void)alarm((unsigned)ranks->patience + 1);
    peers_close(ranks->peers, !ranks->lost);
    (void)alarm(0);
    pthread_cond_destroy(&ranks->changed);
    pthread_mutex_destroy(&ranks->mutex);
    free(ranks->text_to_send);
    free(ranks->text);
    free(ranks->line_to_send);
    for (int rank = 1; ranks->others && rank < ranks->place.size; rank++)
        free(ranks->others[rank].line);
    free(ranks->queue);
    free(ranks->others);
    free(ranks);
    return status;
}
