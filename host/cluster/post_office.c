/*
 * Handing out shards over messages. On every rank one thread, the post office, makes all calls of MPI; the threads of the run put their wishes into
 * `struct cx_ranks` and wait for the answers there.
 *
 * Nobody waits for ever: each rank but 0 tells rank 0 that it lives, and rank 0 tells each. Where such a sign has been missing for `patience` seconds, the job
 * is over. Should the post office itself hang in a call of MPI, because the other end neither takes nor refuses what is sent, an alarm that it sets
 * anew with every turn ends the process.
 */
#include "post_office.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "contexture/clock.h"
#include "contexture/memory.h"

enum message_kind {
    /* to rank 0 */
    MESSAGE_ALIVE, /* progress */
    MESSAGE_ASK,
    MESSAGE_LINE,  /* text */
    MESSAGE_LEAVE, /* the sums */
    MESSAGE_END,   /* status, text */
    /* from rank 0 */
    MESSAGE_HERE,
    MESSAGE_TEXT, /* text */
    MESSAGE_GIVE, /* number: the shard */
    MESSAGE_NONE, /* no shard is left */
    MESSAGE_SUM,  /* begin one */
    MESSAGE_LEFT, /* there will be no further sum */
    MESSAGE_STOP,
    MESSAGE_BYE, /* status; number: a rank is lost */
};

struct message {
    int32_t kind, status;
    uint64_t number;
    struct cx_ranks_progress progress;
    char text[]; /* zero-terminated */
};

/* --- what is sent --- */

static enum cx_status send_message(struct cx_ranks *ranks, int to, const struct message *head, const char *text, struct cx_error *error) {
    const size_t length = text ? strlen(text) : 0;
    struct message *message = NULL;
    enum cx_status status = cx_allocate(1, sizeof *message + length + 1, "a message", &message, error);
    if (status != CX_OK)
        return status;
    *message = *head;
    if (text)
        memcpy(message->text, text, length);
    status = peers_send(ranks->peers, to, message, sizeof *message + length + 1, error);
    free(message);
    return status;
}

static enum cx_status send_plain(struct cx_ranks *ranks, int to, enum message_kind kind, struct cx_error *error) {
    return send_message(ranks, to, &(struct message){.kind = (int32_t)kind}, NULL, error);
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
    return send_message(ranks, rank, &(struct message){.kind = MESSAGE_GIVE, .number = ranks->queue[ranks->queue_taken++]}, NULL, error);
}

/* --- what arrives; the mutex is held --- */

/* Who was interrupted may have been so by another's failure, of which the message comes later; unless that is a rank's loss. */
void ranks_note_failure(struct cx_ranks *ranks, enum cx_status status, const char *sentence) {
    const bool is_cause = ranks->job_status == CX_ERROR_INTERRUPTED && status != CX_ERROR_INTERRUPTED && !ranks->lost;
    if (ranks->job_status == CX_OK || is_cause) {
        ranks->job_status = status;
        snprintf(ranks->job_sentence, sizeof ranks->job_sentence, "%s", sentence);
    }
    ranks->stopped = ranks->stop_wanted = true;
}

static enum cx_status take_at_rank_0(struct cx_ranks *ranks, int from, const struct message *message, struct cx_error *error) {
    struct peer *peer = &ranks->others[from];
    char sentence[2048];
    peer->heard = cx_monotonic_seconds();
    switch (message->kind) {
    case MESSAGE_ALIVE:
        peer->progress = message->progress;
        return CX_OK;
    case MESSAGE_ASK:
        return answer_wish(ranks, from, error);
    case MESSAGE_LINE:
        return peer->line ? CX_OK : cx_copy_text(message->text, strlen(message->text), &peer->line, error);
    case MESSAGE_LEAVE:
        ranks->sums_ended = peer->leaves_sums = true;
        return CX_OK;
    case MESSAGE_END:
        peer->ended = true;
        peer->ended_at = cx_monotonic_seconds();
        if (message->status == CX_OK)
            return CX_OK;
        snprintf(sentence, sizeof sentence, "rank %d: %.1900s", from, message->text);
        ranks_note_failure(ranks, (enum cx_status)message->status, sentence);
        return CX_OK;
    default:
        return cx_fail(error, CX_ERROR_INTERNAL, "rank %d sent a message of kind %d", from, (int)message->kind);
    }
}

static enum cx_status take_at_other(struct cx_ranks *ranks, int from, const struct message *message, struct cx_error *error) {
    ranks->heard = cx_monotonic_seconds();
    switch (message->kind) {
    case MESSAGE_HERE:
        return CX_OK;
    case MESSAGE_TEXT:
        return ranks->text ? CX_OK : cx_copy_text(message->text, strlen(message->text), &ranks->text, error);
    case MESSAGE_GIVE:
    case MESSAGE_NONE:
        ranks->answered = true;
        ranks->no_more = message->kind == MESSAGE_NONE;
        ranks->answer = message->number;
        return CX_OK;
    case MESSAGE_SUM:
        ranks->sums_called++;
        return CX_OK;
    case MESSAGE_LEFT:
        ranks->sums_ended = true;
        return CX_OK;
    case MESSAGE_STOP:
        ranks->stopped = true;
        return CX_OK;
    case MESSAGE_BYE:
        ranks->dismissed = ranks->stopped = true;
        ranks->lost = message->number != 0;
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
    const struct message head = {.kind = (int32_t)kind, .status = (int32_t)job, .number = ranks->lost};
    for (int rank = 1; rank < ranks->place.size && status == CX_OK; rank++)
        if (!ranks->others[rank].lost)
            status = send_message(ranks, rank, &head, text, error);
    return status;
}

/* The call for a sum goes before the answer to who wants no further one: what arrives before that answer is all that there are. */
static enum cx_status send_sums(struct cx_ranks *ranks, struct cx_error *error) {
    enum cx_status status = ranks->sum_wanted ? send_to_all(ranks, MESSAGE_SUM, CX_OK, NULL, error) : CX_OK;
    ranks->sum_wanted = false;
    for (int rank = 1; rank < ranks->place.size && status == CX_OK; rank++) {
        if (ranks->others[rank].leaves_sums)
            status = send_plain(ranks, rank, MESSAGE_LEFT, error);
        ranks->others[rank].leaves_sums = false;
    }
    return status;
}

static void look_for_lost(struct cx_ranks *ranks) {
    for (int rank = 1; rank < ranks->place.size; rank++) {
        struct peer *peer = &ranks->others[rank];
        if (peer->lost || cx_monotonic_seconds() - peer->heard < ranks->patience)
            continue;
        char sentence[256];
        peer->lost = ranks->lost = true;
        snprintf(sentence, sizeof sentence, "rank %d has given no sign of life for %.0f s; the job ends; the same command goes on from the finished shards",
                 rank, ranks->patience);
        ranks_note_failure(ranks, CX_ERROR_INTERRUPTED, sentence);
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
    if (status == CX_OK)
        status = send_sums(ranks, error);
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
    if (status == CX_OK && ranks->line_to_send) {
        status = send_message(ranks, 0, &(struct message){.kind = MESSAGE_LINE}, ranks->line_to_send, error);
        free(ranks->line_to_send);
        ranks->line_to_send = NULL;
    }
    if (status == CX_OK && ranks->leave_wanted && !ranks->left) {
        ranks->left = true;
        status = send_plain(ranks, 0, MESSAGE_LEAVE, error);
    }
    if (status == CX_OK && tell)
        status = send_message(ranks, 0, &(struct message){.kind = MESSAGE_ALIVE, .progress = ranks->own}, NULL, error);
    if (status == CX_OK && ranks->end_wanted && !ranks->ended) {
        ranks->ended = true;
        status = send_message(ranks, 0, &(struct message){.kind = MESSAGE_END, .status = (int32_t)ranks->end_status}, ranks->end_sentence, error);
    }
    if (!ranks->dismissed && cx_monotonic_seconds() - ranks->heard >= ranks->patience && !ranks->lost) {
        ranks->lost = ranks->stopped = true;
        pthread_cond_broadcast(&ranks->changed);
    }
    return status;
}

/* Quick enough that nobody waits for a shard, and slow enough that a core does not notice. */
void *post_office_run(void *argument) {
    struct cx_ranks *ranks = argument;
    const double sign_pause = ranks->patience / 8 < 2 ? ranks->patience / 8 : 2;
    const unsigned alarm_seconds = (unsigned)(1.5 * ranks->patience) + 1;
    pthread_mutex_lock(&ranks->mutex);
    for (bool done = false; !done;) {
        bool busy = false, tell = cx_monotonic_seconds() - ranks->told >= sign_pause;
        struct cx_error error = {0};
        (void)alarm(alarm_seconds);
        if (tell)
            ranks->told = cx_monotonic_seconds();
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
