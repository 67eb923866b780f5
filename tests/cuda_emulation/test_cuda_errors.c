/*
 * What the CUDA backend does when a call of the runtime fails: it returns one sentence, releases everything, and never ends the process. Some calls,
 * evenly over a short run, are made to fail once each, by short memory and by an error after which the device is lost: found by the call, or by a later one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "emulation.h"
#include "op_cases.h"

/* cudaErrorMemoryAllocation, cudaErrorIllegalAddress */
enum { short_memory = 2, lost_device = 700 };

static const struct op_case shape = {"small", OP_RANDOM, 2, 4, 12, CX_GELU, {3, 18}};
static struct cx_error error;

/* Everything a run does; the first failure, with all that was created destroyed. */
static enum cx_status run(struct op_data *data, struct cx_backend **left_open) {
    const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA, .pair_precision = CX_PAIR_F16, .pair_chunk = 300};
    struct cx_backend *backend = NULL;
    float value;
    error = (struct cx_error){0};
    *left_open = NULL;
    enum cx_status status = cx_backend_open(&options, &data->config, &backend, &error);
    if (status != CX_OK)
        return status;
    status = op_data_upload(data, backend, &error);
    for (size_t k = 0; k < op_table_count && status == CX_OK; k++) {
        status = op_outputs_create(data, &op_table[k], &error);
        if (status == CX_OK)
            status = op_table[k].run(data, &error);
        if (status == CX_OK && op_output_element(op_table[k].outputs[2]) == CX_ELEMENT_FLOAT && data->out[2])
            status = backend->operations->read(backend, data->out[2], 0, 1, &value, &error);
        op_outputs_destroy(data);
    }
    op_data_release(data);
    *left_open = backend;
    return status;
}

static unsigned long calls_of_a_run(struct op_data *data) {
    struct cx_backend *backend;
    unsigned long before = emulation_call_count();
    if (run(data, &backend) != CX_OK)
        fail_msg("without any failure: %s", error.message);
    cx_backend_close(backend);
    return emulation_call_count() - before;
}

/* `expected`: of the failures but those that come before the device is chosen, or from cuBLASLt, which has codes of its own. */
static void fail_calls(int code, unsigned long failures, enum cx_status expected) {
    struct op_data data;
    unsigned long reported = 0;
    op_data_create(&shape, &data);
    unsigned long calls = calls_of_a_run(&data), step = calls / failures + 1;
    for (unsigned long k = 1; k <= calls; k += step) {
        struct cx_backend *backend;
        emulation_fail_call("any", k, code);
        enum cx_status status = run(&data, &backend);
        emulation_fail_call("any", 0, 0);
        reported += status == expected;
        if (status != CX_OK && (error.message[0] == '\0' || (status != expected && status != CX_ERROR_DEVICE)))
            fail_msg("call %lu of %lu: %s, \"%s\"", k, calls, cx_status_name(status), error.message);
        cx_backend_close(backend);
        emulation_reset_errors();
    }
    /* Calls of closing and releasing have nobody to report to. */
    if (reported < calls / step / 3)
        fail_msg("only %lu failures reported, of %lu", reported, calls / step);
    assert_true(calls_of_a_run(&data) > 0);
    op_data_free(&data);
}

static void short_memory_is_reported(void **state) {
    (void)state;
    fail_calls(short_memory, 100, CX_ERROR_MEMORY);
}

static void a_lost_device_is_reported(void **state) {
    (void)state;
    fail_calls(lost_device, 100, CX_ERROR_DEVICE_LOST);
    fail_calls(-lost_device, 15, CX_ERROR_DEVICE_LOST);
}

/* After a sticky error the first sentence is what every later call says. */
static void a_lost_device_stays_lost(void **state) {
    struct op_data data;
    const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA};
    struct cx_backend *backend;
    struct cx_tensor *tensor = NULL;
    (void)state;
    op_data_create(&shape, &data);
    assert_int_equal(cx_backend_open(&options, &data.config, &backend, &error), CX_OK);
    assert_int_equal(op_data_upload(&data, backend, &error), CX_OK);
    assert_int_equal(op_outputs_create(&data, &op_table[0], &error), CX_OK);
    emulation_fail_call("cudaLaunchKernel", 1, lost_device);
    assert_int_equal(op_table[0].run(&data, &error), CX_ERROR_DEVICE_LOST);
    assert_non_null(strstr(error.message, "embed"));
    assert_non_null(strstr(error.message, "cudaErrorIllegalAddress"));
    for (int again = 0; again < 2; again++) {
        assert_int_equal(backend->operations->tensor_create(backend, CX_ELEMENT_FLOAT, 1, &tensor, &error), CX_ERROR_DEVICE_LOST);
        assert_null(tensor);
        assert_non_null(strstr(error.message, "embed"));
        assert_non_null(strstr(error.message, "earlier failure"));
    }
    emulation_fail_call("any", 0, 0);
    op_data_release(&data);
    cx_backend_close(backend);
    emulation_reset_errors();
    op_data_free(&data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_memory_is_reported),
        cmocka_unit_test(a_lost_device_is_reported),
        cmocka_unit_test(a_lost_device_stays_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
