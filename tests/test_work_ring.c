/* A ring gives tasks back in order, each worked on once, with any number of threads and slots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <time.h>

#include "work_ring.h"

enum { most_slots = 64, most_threads = 8 };

struct bench {
    uint64_t given[most_slots], result[most_slots];
    _Atomic uint64_t worked;
    _Atomic int busy[most_threads]; /* a thread number is one thread's at a time */
    _Atomic int clashes;
};

static void work(void *context, size_t slot, int thread) {
    struct bench *bench = context;
    if (thread < 0 || thread >= most_threads || atomic_fetch_add(&bench->busy[thread], 1) != 0)
        atomic_fetch_add(&bench->clashes, 1);
    if (bench->given[slot] % 37 == 0)
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    bench->result[slot] = bench->given[slot] * 3 + 1;
    atomic_fetch_add(&bench->worked, 1);
    atomic_fetch_sub(&bench->busy[thread], 1);
}

static uint64_t take(struct cx_ring *ring, struct bench *bench, uint64_t expected) {
    size_t slot = cx_ring_wait(ring);
    assert_int_equal(bench->given[slot], expected);
    assert_int_equal(bench->result[slot], expected * 3 + 1);
    cx_ring_release(ring);
    return expected + 1;
}

static void tasks_come_back_in_order(void **state) {
    static const struct {
        int threads;
        size_t slots;
    } cases[] = {{1, 1}, {1, 7}, {2, 1}, {2, 2}, {2, 33}, {5, 3}, {8, 64}};
    const uint64_t tasks = 2000;
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct bench bench = {.worked = 0};
        struct cx_error error = {0};
        struct cx_ring *ring = NULL;
        const struct cx_ring_options options = {.threads = cases[c].threads, .slots = cases[c].slots, .work = work, .context = &bench};
        uint64_t taken = 0;
        assert_int_equal(cx_ring_create(&options, &ring, &error), CX_OK);
        assert_true(cx_ring_is_empty(ring));
        assert_false(cx_ring_has_ended(ring));
        for (uint64_t task = 0; task < tasks; task++) {
            if (cx_ring_is_full(ring))
                taken = take(ring, &bench, taken);
            while (task % 3 == 0 && cx_ring_has_ended(ring))
                taken = take(ring, &bench, taken);
            bench.given[cx_ring_next(ring)] = task;
            cx_ring_begin(ring);
        }
        while (!cx_ring_is_empty(ring))
            taken = take(ring, &bench, taken);
        assert_int_equal(taken, tasks);
        assert_int_equal(atomic_load(&bench.worked), tasks);
        assert_int_equal(atomic_load(&bench.clashes), 0);
        cx_ring_destroy(ring);
    }
}

static void a_ring_may_be_given_up(void **state) {
    (void)state;
    for (int turn = 0; turn < 50; turn++) {
        struct bench bench = {.worked = 0};
        struct cx_error error = {0};
        struct cx_ring *ring = NULL;
        const struct cx_ring_options options = {.threads = 4, .slots = most_slots, .work = work, .context = &bench};
        assert_int_equal(cx_ring_create(&options, &ring, &error), CX_OK);
        for (uint64_t task = 0; task < (uint64_t)turn; task++) {
            bench.given[cx_ring_next(ring)] = task * 37;
            cx_ring_begin(ring);
        }
        cx_ring_destroy(ring);
        const uint64_t worked = atomic_load(&bench.worked);
        assert_true(worked <= (uint64_t)turn);
        assert_int_equal(atomic_load(&bench.busy[1]), 0);
    }
    cx_ring_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_come_back_in_order),
        cmocka_unit_test(a_ring_may_be_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
