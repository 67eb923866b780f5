#include "work_ring.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "contexture/memory.h"

/* To wake a thread costs as much as a short task. Tasks that nobody was woken for are done by the owner, when it waits, if by no one else before. */
enum { worth_waking = 3 };

struct helper {
    struct cx_ring *ring;
    pthread_t thread;
    int number;
};

/* Tasks are numbered from 0; task k lies in slot k mod slots. released <= taken <= begun. */
struct cx_ring {
    struct cx_ring_options options;
    pthread_mutex_t mutex;
    pthread_cond_t task_there, oldest_ended;
    uint64_t begun, released; /* changed by the owner alone, under the mutex */
    uint64_t taken;           /* to be worked on */
    bool *ended;              /* [slots] */
    bool stopping;
    struct helper *helpers; /* [threads - 1] */
    int helper_count;       /* of them started */
    int helper_limit;
};

/* Works on the next task that nobody has taken. The mutex is locked before and after. */
static void work_on_next(struct cx_ring *ring, int thread) {
    const uint64_t task = ring->taken++;
    const size_t slot = (size_t)(task % ring->options.slots);
    pthread_mutex_unlock(&ring->mutex);
    ring->options.work(ring->options.context, slot, thread);
    pthread_mutex_lock(&ring->mutex);
    ring->ended[slot] = true;
    if (task == ring->released)
        pthread_cond_signal(&ring->oldest_ended);
}

static void *help(void *argument) {
    const struct helper *helper = argument;
    struct cx_ring *ring = helper->ring;
    pthread_mutex_lock(&ring->mutex);
    while (!ring->stopping) {
        if (ring->taken < ring->begun)
            work_on_next(ring, helper->number);
        else
            pthread_cond_wait(&ring->task_there, &ring->mutex);
    }
    pthread_mutex_unlock(&ring->mutex);
    return NULL;
}

enum cx_status cx_ring_create(const struct cx_ring_options *options, struct cx_ring **ring_pointer, struct cx_error *error) {
    struct cx_ring *ring = NULL;
    *ring_pointer = NULL;
    enum cx_status status = cx_allocate(1, sizeof *ring, "a ring of tasks", &ring, error);
    if (status != CX_OK)
        return status;
    ring->options = *options;
    ring->helper_limit = options->threads > 1 ? options->threads - 1 : 0;
    pthread_mutex_init(&ring->mutex, NULL);
    pthread_cond_init(&ring->task_there, NULL);
    pthread_cond_init(&ring->oldest_ended, NULL);
    status = cx_allocate(options->slots, sizeof *ring->ended, "a ring of tasks", &ring->ended, error);
    if (status == CX_OK)
        status = cx_allocate((size_t)ring->helper_limit, sizeof *ring->helpers, "a ring of tasks", &ring->helpers, error);
    if (status != CX_OK) {
        cx_ring_destroy(ring);
        return status;
    }
    *ring_pointer = ring;
    return CX_OK;
}

void cx_ring_destroy(struct cx_ring *ring) {
    if (!ring)
        return;
    pthread_mutex_lock(&ring->mutex);
    ring->stopping = true;
    pthread_cond_broadcast(&ring->task_there);
    pthread_mutex_unlock(&ring->mutex);
    for (int k = 0; k < ring->helper_count; k++)
        pthread_join(ring->helpers[k].thread, NULL);
    pthread_cond_destroy(&ring->oldest_ended);
    pthread_cond_destroy(&ring->task_there);
    pthread_mutex_destroy(&ring->mutex);
    free(ring->helpers);
    free(ring->ended);
    free(ring);
}

bool cx_ring_is_empty(const struct cx_ring *ring) {
    return ring->begun == ring->released;
}

bool cx_ring_is_full(const struct cx_ring *ring) {
    return ring->begun - ring->released == ring->options.slots;
}

size_t cx_ring_next(const struct cx_ring *ring) {
    return (size_t)(ring->begun % ring->options.slots);
}

/* A small part needs no threads: one is started whenever a task finds others waiting. Where none can be had, those that are there do the work. */
static void start_helper(struct cx_ring *ring) {
    struct helper *helper = &ring->helpers[ring->helper_count];
    *helper = (struct helper){.ring = ring, .number = ring->helper_count + 1};
    if (pthread_create(&helper->thread, NULL, help, helper) == 0)
        ring->helper_count++;
    else
        ring->helper_limit = ring->helper_count;
}

void cx_ring_begin(struct cx_ring *ring) {
    pthread_mutex_lock(&ring->mutex);
    ring->ended[ring->begun % ring->options.slots] = false;
    ring->begun++;
    const uint64_t waiting = ring->begun - ring->taken;
    if (waiting >= worth_waking)
        pthread_cond_signal(&ring->task_there);
    pthread_mutex_unlock(&ring->mutex);
    if (waiting > 1 && ring->helper_count < ring->helper_limit)
        start_helper(ring);
}

bool cx_ring_has_ended(struct cx_ring *ring) {
    pthread_mutex_lock(&ring->mutex);
    const bool ended = ring->released < ring->begun && ring->ended[ring->released % ring->options.slots];
    pthread_mutex_unlock(&ring->mutex);
    return ended;
}

size_t cx_ring_wait(struct cx_ring *ring) {
    const size_t slot = (size_t)(ring->released % ring->options.slots);
    pthread_mutex_lock(&ring->mutex);
    while (!ring->ended[slot]) {
        if (ring->taken < ring->begun)
            work_on_next(ring, 0);
        else
            pthread_cond_wait(&ring->oldest_ended, &ring->mutex);
    }
    pthread_mutex_unlock(&ring->mutex);
    return slot;
}

void cx_ring_release(struct cx_ring *ring) {
    pthread_mutex_lock(&ring->mutex);
    ring->released++;
    pthread_mutex_unlock(&ring->mutex);
}
