/*
 * Handing out shards over messages. On every rank one thread, the post office, makes all calls of MPI; the threads of the run put their wishes into
 * `struct cx_ranks` and wait for the answers there.
 *
 * Nobody waits for ever: each rank but 0 tells rank 0 that it lives, and rank 0 tells each. Where such a sign has been missing for `patience` seconds, the job
 * is over. Should the post office itself hang in a call of MPI, because the other end neither takes nor refuses what is sent, an alarm that it sets
 * anew with every turn ends the process.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "contexture/clock.h"
#include "contexture/cluster.h"
#include "contexture/memory.h"
#include "peers.h"

enum message_kind {
    /* to rank 0 */
    MESSAGE_ALIVE, /* numbers: sequences, tokens, shards */
    MESSAGE_ASK,
    MESSAGE_END, /* status, text */
    /* from rank 0 */
    MESSAGE_HERE,
    MESSAGE_TEXT, /* text */
    MESSAGE_GIVE, /* numbers[0]: the shard */
    MESSAGE_NONE, /* no shard is left */
    MESSAGE_STOP,
    MESSAGE_BYE, /* status; numbers[0]: a rank is lost */
};

struct message {
    int32_t kind, status;
    uint64_t numbers[3];
    char text[]; /* zero-terminated */
};

/* Rank 0's view of another rank. */
struct peer {
    double heard;
    bool ended, lost;
    bool waits_for_shard; /* asked before there were any */
    struct cx_ranks_progress progress;
    double ended_at;
};

struct cx_ranks {
    struct peers *peers;
    struct peers_place place;
    double patience;
    pthread_t office;
    bool office_runs;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct cx_error fault; /* of the post office */
    bool stopped, closing;
    bool lost; /* a rank is gone: MPI cannot be left in order */
    struct cx_ranks_progress own;
    double told;
    /* rank 0 */
    struct peer *others; /* [size] */
    uint64_t *queue;
    size_t queue_length, queue_taken;
    bool offered;
    double begun_at;
    char *text_to_send;
    enum cx_status job_status; /* of the first rank that failed */
    char job_sentence[2048];
    bool bye_wanted, stop_wanted, stop_sent;
    /* other ranks */
    double heard;
    bool ask_wanted, asked, answered, no_more;
    uint64_t answer;
    char *text;
    bool end_wanted, ended;
    enum cx_status end_status;
    char end_sentence[2048];
    bool dismissed; /* rank 0 has said how the job ended */
    enum cx_status dismissal;
};

static void end_process(int number) {
    (void)number;
    _exit(75);
}

static double now(void) {
    return cx_monotonic_seconds();
}

/* --- what is sent --- */

static enum cx_status send_message(struct cx_ranks *ranks, int to, enum message_kind kind, enum cx_status job, const uint64_t numbers[3], const char *text,
                                   struct cx_error *error) {
    const size_t length = text ? strlen(text) : 0;
    struct message *message = NULL;
    enum cx_status status = cx_allocate(1, sizeof *message + length + 1, "a message", &message, error);
    if (status != CX_OK)
        return status;
    message->kind = (int32_t)kind;
    message->status = (int32_t)job;
    if (numbers)
        memcpy(message->numbers, numbers, sizeof message->numbers);
    if (text)
        memcpy(message->text, text, length);
    status = peers_send(ranks->peers, to, message, sizeof *message + length + 1, error);
    free(message);
    return status;
}

static enum cx_status send_plain(struct cx_ranks *ranks, int to, enum message_kind kind, struct cx_error *error) {
    return send_message(ranks, to, kind, CX_OK, NULL, NULL, error);
}

static enum cx_status answer_wish(struct cx_ranks *ranks, int rank, struct cx_error *error) {
    struct peer *peer = &ranks->others[rank];
    if (!ranks->offered) {
        peer->waits_for_shard = true;
        return CX_OK;
    }
    peer->waits_for_shard = false;
    if (ranks->queue_taken == ranks->queue_length || ranks->stopped)
        return send_plain(ranks, rank, MESSAGE_NONE, error);
    const uint64_t numbers[3] = {ranks->queue[ranks->queue_taken++]};
    return send_message(ranks, rank, MESSAGE_GIVE, CX_OK, numbers, NULL, error);
}

/* --- what arrives; the mutex is held --- */

static void note_failure(struct cx_ranks *ranks, enum cx_status status, const char *sentence) {
    if (ranks->job_status == CX_OK) {
        ranks->job_status = status;
        snprintf(ranks->job_sentence, sizeof ranks->job_sentence, "%s", sentence);
    }
    ranks->stopped = ranks->stop_wanted = true;
}

static enum cx_status take_at_rank_0(struct cx_ranks *ranks, int from, const struct message *message, struct cx_error *error) {
    struct peer *peer = &ranks->others[from];
    char sentence[2048];
    peer->heard = now();
    switch (message->kind) {
    case MESSAGE_ALIVE:
        peer->progress = (struct cx_ranks_progress){message->numbers[0], message->numbers[1], message->numbers[2]};
        return CX_OK;
    case MESSAGE_ASK:
        return answer_wish(ranks, from, error);
    case MESSAGE_END:
        peer->ended = true;
        peer->ended_at = now();
        if (message->status == CX_OK)
            return CX_OK;
        snprintf(sentence, sizeof sentence, "rank %d: %.1900s", from, message->text);
        note_failure(ranks, (enum cx_status)message->status, sentence);
        return CX_OK;
    default:
        return cx_fail(error, CX_ERROR_INTERNAL, "rank %d sent a message of kind %d", from, (int)message->kind);
    }
}

static enum cx_status take_at_other(struct cx_ranks *ranks, int from, const struct message *message, struct cx_error *error) {
    ranks->heard = now();
    switch (message->kind) {
    case MESSAGE_HERE:
        return CX_OK;
    case MESSAGE_TEXT:
        return ranks->text ? CX_OK : cx_copy_text(message->text, strlen(message->text), &ranks->text, error);
    case MESSAGE_GIVE:
    case MESSAGE_NONE:
        ranks->answered = true;
        ranks->no_more = message->kind == MESSAGE_NONE;
        ranks->answer = message->numbers[0];
        return CX_OK;
    case MESSAGE_STOP:
        ranks->stopped = true;
        return CX_OK;
    case MESSAGE_BYE:
        ranks->dismissed = ranks->stopped = true;
        ranks->lost = message->numbers[0] != 0;
        ranks->dismissal = (enum cx_status)message->status;
        return CX_OK;
    default:
        return cx_fail(error, CX_ERROR_INTERNAL, "rank %d sent a message of kind %d", from, (int)message->kind);
    }
}

static enum cx_status take_messages(struct cx_ranks *ranks, bool *busy, struct cx_error *error) {
    for (;;) {
        int from = 0;
        void *data = NULL;
        size_t length = 0;
        enum cx_status status = peers_receive(ranks->peers, &from, &data, &length, error);
        if (status != CX_OK || !data)
            return status;
        *busy = true;
        const struct message *message = data;
        if (length <= sizeof *message || message->text[length - sizeof *message - 1] != '\0')
            status = cx_fail(error, CX_ERROR_INTERNAL, "rank %d sent a message of %zu bytes that is none of contexture's", from, length);
        else if (ranks->place.rank == 0)
            status = take_at_rank_0(ranks, from, message, error);
        else
            status = take_at_other(ranks, from, message, error);
        free(data);
        pthread_cond_broadcast(&ranks->changed);
        if (status != CX_OK)
            return status;
    }
}

/* --- a turn of the post office; the mutex is held --- */

static enum cx_status send_to_all(struct cx_ranks *ranks, enum message_kind kind, enum cx_status job, const char *text, struct cx_error *error) {
    enum cx_status status = CX_OK;
    const uint64_t numbers[3] = {ranks->lost};
    for (int rank = 1; rank < ranks->place.size && status == CX_OK; rank++)
        if (!ranks->others[rank].lost)
            status = send_message(ranks, rank, kind, job, numbers, text, error);
    return status;
}

static void look_for_lost(struct cx_ranks *ranks) {
    for (int rank = 1; rank < ranks->place.size; rank++) {
        struct peer *peer = &ranks->others[rank];
        if (peer->lost || now() - peer->heard < ranks->patience)
            continue;
        char sentence[256];
        peer->lost = ranks->lost = true;
        snprintf(sentence, sizeof sentence, "rank %d has given no sign of life for %.0f s; the job ends; the same command goes on from the finished shards",
                 rank, ranks->patience);
        note_failure(ranks, CX_ERROR_INTERRUPTED, sentence);
        pthread_cond_broadcast(&ranks->changed);
    }
}

static enum cx_status turn_at_rank_0(struct cx_ranks *ranks, bool tell, struct cx_error *error) {
    enum cx_status status = CX_OK;
    if (ranks->text_to_send) {
        status = send_to_all(ranks, MESSAGE_TEXT, CX_OK, ranks->text_to_send, error);
        free(ranks->text_to_send);
        ranks->text_to_send = NULL;
    }
    for (int rank = 1; rank < ranks->place.size && status == CX_OK; rank++)
        if (ranks->others[rank].waits_for_shard && (ranks->offered || ranks->stopped))
            status = answer_wish(ranks, rank, error);
    if (status == CX_OK && ranks->stop_wanted && !ranks->stop_sent) {
        ranks->stop_sent = true;
        status = send_to_all(ranks, MESSAGE_STOP, CX_OK, NULL, error);
    }
    if (status == CX_OK && tell)
        status = send_to_all(ranks, MESSAGE_HERE, CX_OK, NULL, error);
    if (status == CX_OK && ranks->bye_wanted) {
        ranks->bye_wanted = false;
        status = send_to_all(ranks, MESSAGE_BYE, ranks->dismissal, NULL, error);
        ranks->dismissed = true;
        pthread_cond_broadcast(&ranks->changed);
    }
    look_for_lost(ranks);
    return status;
}

static enum cx_status turn_at_other(struct cx_ranks *ranks, bool tell, struct cx_error *error) {
    enum cx_status status = CX_OK;
    if (ranks->ask_wanted && !ranks->asked) {
        ranks->asked = true;
        status = send_plain(ranks, 0, MESSAGE_ASK, error);
    }
    if (status == CX_OK && tell) {
        const uint64_t numbers[3] = {ranks->own.sequences, ranks->own.tokens, ranks->own.shards};
        status = send_message(ranks, 0, MESSAGE_ALIVE, CX_OK, numbers, NULL, error);
    }
    if (status == CX_OK && ranks->end_wanted && !ranks->ended) {
        ranks->ended = true;
        status = send_message(ranks, 0, MESSAGE_END, ranks->end_status, NULL, ranks->end_sentence, error);
    }
    if (!ranks->dismissed && now() - ranks->heard >= ranks->patience && !ranks->lost) {
        ranks->lost = ranks->stopped = true;
        pthread_cond_broadcast(&ranks->changed);
    }
    return status;
}

/* Quick enough that nobody waits for a shard, and slow enough that a core does not notice. */
static void *run_office(void *argument) {
    struct cx_ranks *ranks = argument;
    const double sign_pause = ranks->patience / 8 < 2 ? ranks->patience / 8 : 2;
    const unsigned alarm_seconds = (unsigned)(1.5 * ranks->patience) + 1;
    pthread_mutex_lock(&ranks->mutex);
    for (bool done = false; !done;) {
        bool busy = false, tell = now() - ranks->told >= sign_pause;
        struct cx_error error = {0};
        (void)alarm(alarm_seconds);
        if (tell)
            ranks->told = now();
        enum cx_status status = take_messages(ranks, &busy, &error);
        if (status == CX_OK)
            status = ranks->place.rank == 0 ? turn_at_rank_0(ranks, tell, &error) : turn_at_other(ranks, tell, &error);
        if (status != CX_OK) {
            ranks->fault = error;
            ranks->fault.status = status;
            ranks->lost = ranks->stopped = true;
            pthread_cond_broadcast(&ranks->changed);
            break;
        }
        done = ranks->closing && !ranks->bye_wanted && peers_are_quiet(ranks->peers);
        const bool waiting = ranks->asked && !ranks->answered;
        pthread_mutex_unlock(&ranks->mutex);
        const long milliseconds = busy ? 0 : waiting || ranks->place.rank == 0 || ranks->closing ? 2 : 10;
        if (milliseconds > 0)
            nanosleep(&(struct timespec){.tv_nsec = milliseconds * 1000000}, NULL);
        pthread_mutex_lock(&ranks->mutex);
    }
    pthread_mutex_unlock(&ranks->mutex);
    return NULL;
}

/* --- for the threads of the run --- */

enum cx_status cx_ranks_open(double patience, struct cx_ranks **ranks_pointer, struct cx_error *error) {
    struct cx_ranks *ranks = NULL;
    *ranks_pointer = NULL;
    enum cx_status status = cx_allocate(1, sizeof *ranks, "the ranks of a job", &ranks, error);
    if (status != CX_OK)
        return status;
    ranks->patience = patience;
    pthread_mutex_init(&ranks->mutex, NULL);
    pthread_cond_init(&ranks->changed, NULL);
    status = peers_open(&ranks->peers, &ranks->place, error);
    if (status == CX_OK)
        status = cx_allocate((size_t)ranks->place.size, sizeof *ranks->others, "the ranks of a job", &ranks->others, error);
    for (int rank = 0; status == CX_OK && rank < ranks->place.size; rank++)
        ranks->others[rank].heard = now();
    ranks->heard = now();
    if (status == CX_OK && ranks->place.size > 1) {
        struct sigaction action = {.sa_handler = end_process};
        sigemptyset(&action.sa_mask);
        (void)sigaction(SIGALRM, &action, NULL);
        const int number = pthread_create(&ranks->office, NULL, run_office, ranks);
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
    (void)(cx_ranks_close(ranks, status, NULL) == CX_OK);
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
    *got = NULL;
    pthread_mutex_lock(&ranks->mutex);
    if (ranks->place.rank == 0) {
        status = cx_copy_text(given, strlen(given), got, error);
        if (status == CX_OK && ranks->place.size > 1)
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
    ranks->begun_at = now();
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
    }
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
            stopped_since = now();
        if (stopped_since > 0 && now() - stopped_since > ranks->patience) {
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
        note_failure(ranks, status, error->message);
    ranks->others[0].ended_at = now();
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

enum cx_status cx_ranks_close(struct cx_ranks *ranks, enum cx_status status, struct cx_error *error) {
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
        const bool lost = ranks->lost;
        pthread_mutex_unlock(&ranks->mutex);
        if (!lost)
            pthread_join(ranks->office, NULL);
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
    free(ranks->queue);
    free(ranks->others);
    free(ranks);
    return status;
}
