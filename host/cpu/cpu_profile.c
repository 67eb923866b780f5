/* Times by the wall clock, for an operation is done when it returns; and the machine's rate, which they are compared with. */
#include <math.h>

#include "contexture/clock.h"
#include "contexture/memory.h"
#include "cpu_backend.h"

enum cx_status cpu_time_begin(struct cx_backend *backend, enum cx_operation operation, struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    (void)operation;
    (void)error;
    cpu->time_begun = cx_monotonic_seconds();
    if (cpu->time_ended > 0.0)
        cpu->times.idle_seconds += cpu->time_begun - cpu->time_ended;
    return CX_OK;
}

enum cx_status cpu_time_end(struct cx_backend *backend, enum cx_operation operation, struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    (void)error;
    cpu->time_ended = cx_monotonic_seconds();
    cpu->times.operations[operation].calls++;
    cpu->times.operations[operation].seconds += cpu->time_ended - cpu->time_begun;
    return CX_OK;
}

enum cx_status cpu_times_read(struct cx_backend *backend, struct cx_operation_times *times, struct cx_error *error) {
    (void)error;
    *times = cpu_backend_of(backend)->times;
    return CX_OK;
}

/* The best of a few products of a dense layer's shape. */
static enum cx_status measure(struct cx_backend *backend, struct cx_tensor *x, const struct cx_matrix *matrix, struct cx_tensor *y, double flop, double *rate,
                              struct cx_error *error) {
    enum { repeats = 5 };
    double best = INFINITY;
    for (int k = 0; k < repeats; k++) {
        const double begin = cx_monotonic_seconds();
        enum cx_status status = cpu_linear(backend, CX_LINEAR_PARTS, x->count / matrix->in, x, matrix, NULL, NULL, y, error);
        if (status != CX_OK)
            return status;
        best = fmin(best, cx_monotonic_seconds() - begin);
    }
    *rate = best > 0.0 ? flop / best : 0.0;
    return CX_OK;
}

enum cx_status cpu_product_rate(struct cx_backend *backend, bool is_half, double *rate, struct cx_error *error) {
    enum { rows = 1024, in = 1024, out = 1024 };
    struct cx_matrix *matrix = NULL;
    struct cx_tensor *x = NULL, *y = NULL;
    *rate = 0.0;
    if (is_half)
        return CX_OK;
    enum cx_status status = cpu_tensor_create(backend, CX_ELEMENT_FLOAT, (size_t)rows * in, &x, error);
    if (status == CX_OK)
        status = cpu_tensor_create(backend, CX_ELEMENT_FLOAT, (size_t)rows * out, &y, error);
    for (size_t k = 0; status == CX_OK && k < x->count; k++)
        x->values[k] = 0.01f * (float)(k % 97);
    const struct cx_weight weight = {.name = "a product to measure with", .data = x ? x->values : NULL, .dtype = CX_FLOAT32, .rows = out, .columns = in};
    if (status == CX_OK)
        status = cpu_matrix_create(backend, &weight, &matrix, error);
    if (status == CX_OK)
        status = measure(backend, x, matrix, y, 2.0 * rows * in * out, rate, error);
    cpu_matrix_destroy(backend, matrix);
    cpu_tensor_destroy(backend, y);
    cpu_tensor_destroy(backend, x);
    return status;
}
