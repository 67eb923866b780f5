/* The pipeline: order, bounds, reuse of slots, first error, stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "contexture/pipeline.h"

enum { most_slots = 4 };

struct item {
    int number, squared;
};

struct fixture {
    int count;                       /* items the first step makes */
    int made, next_to_end;           /* of the first and the last step */
    _Atomic int begun_second, ended; /* for the bound of the second step */
    int largest_lead;                /* of the second step before the last */
    int fail_at;                     /* the second step fails at this item; -1: never */
    int sleep_step;                  /* which step is slow */
    _Atomic bool stop;
    _Atomic int ticks;
};

static void pause_if(const struct fixture *fixture, int step) {
    if (fixture->sleep_step == step)
        usleep(2000);
}

static enum cx_status make(void *context, void *slot, struct cx_error *error) {
    struct fixture *fixture = context;
    (void)error;
    if (fixture->made == fixture->count)
        return CX_END;
    pause_if(fixture, 0);
    ((struct item *)slot)->number = fixture->made++;
    return CX_OK;
}

static enum cx_status square(void *context, void *slot, struct cx_error *error) {
    struct fixture *fixture = context;
    struct item *item = slot;
    int lead = atomic_fetch_add(&fixture->begun_second, 1) + 1 - atomic_load(&fixture->ended);
    if (lead > fixture->largest_lead)
        fixture->largest_lead = lead;
    pause_if(fixture, 1);
    if (item->number == fixture->fail_at)
        return cx_fail(error, CX_ERROR_INPUT, "item %d is bad", item->number);
    item->squared = item->number * item->number;
    return CX_OK;
}

static enum cx_status end(void *context, void *slot, struct cx_error *error) {
    struct fixture *fixture = context;
    const struct item *item = slot;
    pause_if(fixture, 2);
    if (item->number != fixture->next_to_end || item->squared != item->number * item->number)
        return cx_fail(error, CX_ERROR_INTERNAL, "expected item %d, found %d with %d", fixture->next_to_end, item->number, item->squared);
    fixture->next_to_end++;
    atomic_fetch_add(&fixture->ended, 1);
    return CX_OK;
}

/* Every fifth item is large: it begins only when nothing else is under way. */
static bool is_large(const void *slot) {
    return ((const struct item *)slot)->number % 5 == 0;
}

static enum cx_status square_alone(void *context, void *slot, struct cx_error *error) {
    struct fixture *fixture = context;
    const struct item *item = slot;
    if (is_large(item) && atomic_load(&fixture->ended) != item->number)
        return cx_fail(error, CX_ERROR_INTERNAL, "large item %d begins when %d are ended", item->number, atomic_load(&fixture->ended));
    return square(context, slot, error);
}

static bool wants_stop(void *context) {
    return atomic_load(&((struct fixture *)context)->stop);
}

static void count_tick(void *context) {
    struct fixture *fixture = context;
    if (atomic_fetch_add(&fixture->ticks, 1) == 1 && fixture->count > 1000000)
        atomic_store(&fixture->stop, true);
}

static enum cx_status run(struct fixture *fixture, size_t slot_count, size_t ahead, struct cx_error *error) {
    struct item items[most_slots];
    void *slots[most_slots];
    for (size_t k = 0; k < slot_count; k++)
        slots[k] = &items[k];
    struct cx_pipeline_step steps[] = {
        {.name = "make", .work = make, .context = fixture},
        {.name = "square", .work = square, .context = fixture, .ahead = ahead},
        {.name = "end", .work = end, .context = fixture},
    };
    const struct cx_pipeline_options options = {.slots = slots, .slot_count = slot_count, .context = fixture, .stop = wants_stop, .tick = count_tick};
    return cx_pipeline_run(steps, 3, &options, error);
}

static void all_items_pass_in_order(void **state) {
    (void)state;
    for (size_t slots = 1; slots <= most_slots; slots++) {
        for (int slow = -1; slow < 3; slow++) {
            struct fixture fixture = {.count = slow < 0 ? 2000 : 30, .fail_at = -1, .sleep_step = slow};
            struct cx_error error = {0};
            assert_int_equal(run(&fixture, slots, 0, &error), CX_OK);
            assert_string_equal(error.message, "");
            assert_int_equal(fixture.next_to_end, fixture.count);
        }
    }
}

static void a_large_item_waits_for_the_others(void **state) {
    (void)state;
    struct fixture fixture = {.count = 60, .fail_at = -1, .sleep_step = 2};
    struct item items[3];
    void *slots[3] = {&items[0], &items[1], &items[2]};
    struct cx_error error = {0};
    struct cx_pipeline_step steps[] = {
        {.name = "make", .work = make, .context = &fixture},
        {.name = "square", .work = square_alone, .context = &fixture, .ahead = 2},
        {.name = "end", .work = end, .context = &fixture},
    };
    const struct cx_pipeline_options options = {.slots = slots, .slot_count = 3, .context = &fixture, .is_large = is_large};
    assert_int_equal(cx_pipeline_run(steps, 3, &options, &error), CX_OK);
    assert_string_equal(error.message, "");
    assert_int_equal(fixture.next_to_end, 60);
    assert_int_equal(fixture.largest_lead, 2);
}

static void no_items_is_no_error(void **state) {
    (void)state;
    struct fixture fixture = {.count = 0, .fail_at = -1, .sleep_step = -1};
    struct cx_error error = {0};
    assert_int_equal(run(&fixture, 2, 0, &error), CX_OK);
    assert_int_equal(fixture.next_to_end, 0);
}

static void a_step_keeps_its_distance(void **state) {
    (void)state;
    for (size_t ahead = 1; ahead <= 3; ahead++) {
        struct fixture fixture = {.count = 40, .fail_at = -1, .sleep_step = 2};
        assert_int_equal(run(&fixture, 4, ahead, NULL), CX_OK);
        assert_int_equal(fixture.largest_lead, ahead);
    }
}

static void the_first_error_stops_all_steps(void **state) {
    (void)state;
    for (int bad = 0; bad < 20; bad += 3) {
        struct fixture fixture = {.count = 1000, .fail_at = bad, .sleep_step = 2};
        struct cx_error error = {0};
        char expected[64];
        (void)snprintf(expected, sizeof expected, "item %d is bad", bad);
        assert_int_equal(run(&fixture, 4, 0, &error), CX_ERROR_INPUT);
        assert_string_equal(error.message, expected);
        assert_in_range(fixture.next_to_end, 0, bad);
        assert_in_range(fixture.made, bad, bad + 5);
    }
}

static void a_wish_to_stop_ends_it(void **state) {
    (void)state;
    struct fixture fixture = {.count = 100000000, .fail_at = -1, .sleep_step = 1};
    struct cx_error error = {0};
    assert_int_equal(run(&fixture, 3, 0, &error), CX_ERROR_INTERRUPTED);
    assert_in_range(fixture.next_to_end, 1, 1000);
}

/* A step that has its items done by a device: item k is squared when advance() was called often enough. */
struct device {
    struct fixture *fixture;
    struct item *begun[most_slots];
    int begun_count, done_count, calls, most_begun;
    bool has_large;
};

static enum cx_status begin_square(void *context, void *slot, struct cx_error *error) {
    struct device *device = context;
    struct item *item = slot;
    if (device->begun_count - device->done_count >= most_slots)
        return cx_fail(error, CX_ERROR_INTERNAL, "more items than slots are begun");
    if (device->has_large && is_large(item) && item->number != atomic_load(&device->fixture->ended))
        return cx_fail(error, CX_ERROR_INTERNAL, "large item %d is begun beside others", item->number);
    device->begun[device->begun_count++ % most_slots] = item;
    if (device->begun_count - device->done_count > device->most_begun)
        device->most_begun = device->begun_count - device->done_count;
    return CX_OK;
}

static uint64_t squared(void *context) {
    return (uint64_t)((const struct device *)context)->done_count;
}

static enum cx_status advance_square(void *context, struct cx_error *error) {
    struct device *device = context;
    if (device->done_count == device->begun_count)
        return cx_fail(error, CX_ERROR_INTERNAL, "nothing is begun");
    if (++device->calls % 3 == 0) {
        struct item *item = device->begun[device->done_count % most_slots];
        if (item->number == device->fixture->fail_at)
            return cx_fail(error, CX_ERROR_INPUT, "item %d is bad", item->number);
        item->squared = item->number * item->number;
        device->done_count++;
    }
    return CX_OK;
}

static enum cx_status run_device(struct device *device, size_t ahead, struct cx_error *error) {
    struct item items[most_slots];
    void *slots[most_slots];
    for (size_t k = 0; k < most_slots; k++)
        slots[k] = &items[k];
    struct cx_pipeline_step steps[] = {
        {.name = "make", .work = make, .context = device->fixture},
        {.name = "square", .work = begin_square, .ended = squared, .advance = advance_square, .context = device, .ahead = ahead},
        {.name = "end", .work = end, .context = device->fixture},
    };
    const struct cx_pipeline_options options = {
        .slots = slots, .slot_count = most_slots, .context = device->fixture, .is_large = device->has_large ? is_large : NULL};
    return cx_pipeline_run(steps, 3, &options, error);
}

/* While a device has an item, the next one is begun; in the end all are ended, in order. */
static void a_device_is_given_the_next_item_in_time(void **state) {
    (void)state;
    for (size_t ahead = 1; ahead <= 3; ahead++) {
        struct fixture fixture = {.count = 300, .fail_at = -1, .sleep_step = -1};
        struct device device = {.fixture = &fixture};
        struct cx_error error = {0};
        assert_int_equal(run_device(&device, ahead, &error), CX_OK);
        assert_string_equal(error.message, "");
        assert_int_equal(fixture.next_to_end, 300);
        assert_in_range(device.most_begun, ahead > 1 ? 2 : 1, ahead);
    }
}

static void a_large_item_waits_for_the_device(void **state) {
    (void)state;
    struct fixture fixture = {.count = 60, .fail_at = -1, .sleep_step = 2};
    struct device device = {.fixture = &fixture, .has_large = true};
    struct cx_error error = {0};
    assert_int_equal(run_device(&device, 3, &error), CX_OK);
    assert_string_equal(error.message, "");
    assert_int_equal(fixture.next_to_end, 60);
}

static void an_item_that_fails_on_the_device_stops_all_steps(void **state) {
    (void)state;
    struct fixture fixture = {.count = 1000, .fail_at = 7, .sleep_step = -1};
    struct device device = {.fixture = &fixture};
    struct cx_error error = {0};
    assert_int_equal(run_device(&device, 3, &error), CX_ERROR_INPUT);
    assert_string_equal(error.message, "item 7 is bad");
    assert_in_range(fixture.next_to_end, 0, 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_items_pass_in_order),
        cmocka_unit_test(a_large_item_waits_for_the_others),
        cmocka_unit_test(no_items_is_no_error),
        cmocka_unit_test(a_step_keeps_its_distance),
        cmocka_unit_test(the_first_error_stops_all_steps),
        cmocka_unit_test(a_wish_to_stop_ends_it),
        cmocka_unit_test(a_device_is_given_the_next_item_in_time),
        cmocka_unit_test(a_large_item_waits_for_the_device),
        cmocka_unit_test(an_item_that_fails_on_the_device_stops_all_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
