/* Stands in for the CUDA backend in a build without it. */
#include "cuda_open.h"

#include <stdio.h>

bool cuda_backend_built(void) {
    return false;
}

bool cuda_backend_usable(char *text, size_t size) {
    snprintf(text, size, "this build has no CUDA backend");
    return false;
}

bool cuda_team_usable(char *text, size_t size) {
    return cuda_backend_usable(text, size);
}

enum cx_status cuda_backend_product_rate(struct cx_backend *backend, bool is_half, size_t rows, int repeats, double *rate, struct cx_error *error) {
    (void)backend;
    (void)is_half;
    (void)rows;
    (void)repeats;
    *rate = 0.0;
    return cx_fail(error, CX_ERROR_DEVICE, "the rate of a GPU cannot be measured: this build has no CUDA backend");
}

enum cx_status cuda_backend_copy_rate(struct cx_backend *backend, size_t bytes, int repeats, double *rate, struct cx_error *error) {
    (void)backend;
    (void)bytes;
    (void)repeats;
    *rate = 0.0;
    return cx_fail(error, CX_ERROR_DEVICE, "the rate of a GPU cannot be measured: this build has no CUDA backend");
}

enum cx_status cuda_backend_open(const struct cx_backend_options *options, const struct cx_model_config *config, struct cx_backend **backend,
                                 struct cx_error *error) {
    (void)options;
    (void)config;
    *backend = NULL;
    return cx_fail(error, CX_ERROR_DEVICE, "the CUDA backend cannot be used, because this build has none: use --backend cpu or auto");
}
