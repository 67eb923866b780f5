#include "contexture/pipeline.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "contexture/clock.h"
#include "contexture/memory.h"

enum { tick_nanoseconds = 100 * 1000 * 1000 };

struct pipeline {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    const struct cx_pipeline_options *options;
    struct cx_pipeline_step *steps;
    size_t step_count;
    size_t running; /* threads that have not ended */
    uint64_t total; /* items there are; UINT64_MAX while not known */
    bool stopping;  /* a step failed, or the caller wants to stop */
    struct cx_error error;
    uint64_t *done; /* [step_count]: items each step has ended */
};

struct worker {
    struct pipeline *pipeline;
    size_t step;
};

/* Takes the mutex's protection for granted. The first failure is the one that is told. */
static void stop_with(struct pipeline *pipeline, const struct cx_error *error) {
    if (!pipeline->stopping)
        pipeline->error = *error;
    pipeline->stopping = true;
    pthread_cond_broadcast(&pipeline->changed);
}

static void stop_if_asked(struct pipeline *pipeline) {
    const struct cx_pipeline_options *options = pipeline->options;
    if (pipeline->stopping || !options->stop || !options->stop(options->context))
        return;
    struct cx_error error = {0};
    (void)cx_fail(&error, CX_ERROR_INTERRUPTED, "stopped by a signal");
    stop_with(pipeline, &error);
}

/* An item is ready for a step when the step before has ended it, its slot is free, and the step is not too far ahead of the last one. */
static bool item_is_ready(const struct pipeline *pipeline, size_t step, uint64_t item) {
    if (step > 0 && pipeline->done[step - 1] <= item)
        return false;
    const struct cx_pipeline_options *options = pipeline->options;
    size_t ahead = pipeline->steps[step].ahead;
    if (ahead == 0 || ahead > options->slot_count)
        ahead = options->slot_count;
    else if (step > 0 && options->is_large && options->is_large(options->slots[item % options->slot_count]))
        ahead = 1;
    return item < pipeline->done[pipeline->step_count - 1] + ahead;
}

/* What a step does next: begins the item, works on at those it has begun, or ends. */
enum turn { TURN_WORK, TURN_ADVANCE, TURN_END };

static enum turn wait_for_turn(struct pipeline *pipeline, size_t step, uint64_t item) {
    enum turn turn = TURN_END;
    pthread_mutex_lock(&pipeline->mutex);
    stop_if_asked(pipeline);
    while (!pipeline->stopping) {
        if (item < pipeline->total && item_is_ready(pipeline, step, item))
            turn = TURN_WORK;
        else if (item > pipeline->done[step])
            turn = TURN_ADVANCE;
        else if (item < pipeline->total) {
            pthread_cond_wait(&pipeline->changed, &pipeline->mutex);
            continue;
        }
        break;
    }
    pthread_mutex_unlock(&pipeline->mutex);
    return turn;
}

static void *run_step(void *argument) {
    const struct worker *worker = argument;
    struct pipeline *pipeline = worker->pipeline;
    struct cx_pipeline_step *step = &pipeline->steps[worker->step];
    uint64_t item = 0; /* the next to begin */
    for (enum turn turn; (turn = wait_for_turn(pipeline, worker->step, item)) != TURN_END;) {
        struct cx_error error = {0};
        double begin = cx_monotonic_seconds();
        enum cx_status status = turn == TURN_WORK ? step->work(step->context, pipeline->options->slots[item % pipeline->options->slot_count], &error)
                                                  : step->advance(step->context, &error);
        step->seconds += cx_monotonic_seconds() - begin;

        pthread_mutex_lock(&pipeline->mutex);
        if (status == CX_END && worker->step == 0) {
            pipeline->total = item;
        } else if (status != CX_OK) {
            error.status = status;
            stop_with(pipeline, &error);
        } else {
            item += turn == TURN_WORK;
            pipeline->done[worker->step] = step->ended ? step->ended(step->context) : item;
        }
        pthread_cond_broadcast(&pipeline->changed);
        pthread_mutex_unlock(&pipeline->mutex);
    }
    pthread_mutex_lock(&pipeline->mutex);
    pipeline->running--;
    pthread_cond_broadcast(&pipeline->changed);
    pthread_mutex_unlock(&pipeline->mutex);
    return NULL;
}

/* The calling thread's part: ticks and looks for a wish to stop until all steps have ended. */
static void watch(struct pipeline *pipeline) {
    const struct cx_pipeline_options *options = pipeline->options;
    pthread_mutex_lock(&pipeline->mutex);
    while (pipeline->running > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += tick_nanoseconds;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        int result = 0;
        while (pipeline->running > 0 && result == 0)
            result = pthread_cond_timedwait(&pipeline->changed, &pipeline->mutex, &until);
        stop_if_asked(pipeline);
        pthread_mutex_unlock(&pipeline->mutex);
        if (options->tick)
            options->tick(options->context);
        pthread_mutex_lock(&pipeline->mutex);
    }
    pthread_mutex_unlock(&pipeline->mutex);
}

enum cx_status cx_pipeline_run(struct cx_pipeline_step *steps, size_t step_count, const struct cx_pipeline_options *options, struct cx_error *error) {
    struct pipeline pipeline = {.options = options, .steps = steps, .step_count = step_count, .total = UINT64_MAX};
    struct worker *workers = NULL;
    pthread_t *threads = NULL;
    size_t started = 0;
    pthread_mutex_init(&pipeline.mutex, NULL);
    pthread_cond_init(&pipeline.changed, NULL);

    enum cx_status status = cx_allocate(step_count, sizeof *pipeline.done, "the pipeline", &pipeline.done, error);
    if (status == CX_OK)
        status = cx_allocate(step_count, sizeof *workers, "the pipeline", &workers, error);
    if (status == CX_OK)
        status = cx_allocate(step_count, sizeof *threads, "the pipeline", &threads, error);
    if (status != CX_OK)
        goto cleanup;

    for (; started < step_count; started++) {
        steps[started].seconds = 0;
        workers[started] = (struct worker){&pipeline, started};
        pthread_mutex_lock(&pipeline.mutex);
        int number = pthread_create(&threads[started], NULL, run_step, &workers[started]);
        if (number == 0) {
            pipeline.running++;
        } else {
            struct cx_error failure = {0};
            (void)cx_fail(&failure, CX_ERROR_MEMORY, "cannot start a thread for the step %s: %s", steps[started].name, strerror(number));
            stop_with(&pipeline, &failure);
        }
        pthread_mutex_unlock(&pipeline.mutex);
        if (number != 0)
            break;
    }
    watch(&pipeline);
    for (size_t k = 0; k < started; k++)
        pthread_join(threads[k], NULL);
    if (pipeline.stopping) {
        status = pipeline.error.status;
        if (error)
            *error = pipeline.error;
    }

cleanup:
    free(threads);
    free(workers);
    free(pipeline.done);
    pthread_cond_destroy(&pipeline.changed);
    pthread_mutex_destroy(&pipeline.mutex);
    return status;
}
