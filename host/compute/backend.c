/* Which backend a run gets. A build holds the CPU backend always; other devices join here. */
#include "contexture/backend.h"

#include <stdio.h>

#include "cpu_open.h"

static const char no_cuda[] = "this build has no CUDA backend: run with the CPU backend, or build with CUDA";

enum cx_status cx_backend_open(const struct cx_backend_options *options, const struct cx_model_config *config, struct cx_backend **backend,
                               struct cx_error *error) {
    *backend = NULL;
    switch (options->kind) {
    case CX_BACKEND_AUTO:
    case CX_BACKEND_CPU:
        return cpu_backend_open(options, config, backend, error);
    case CX_BACKEND_CUDA:
        return cx_fail(error, CX_ERROR_DEVICE, "%s", no_cuda);
    }
    return cx_fail(error, CX_ERROR_INTERNAL, "unknown kind of backend: %d", (int)options->kind);
}

void cx_backend_close(struct cx_backend *backend) {
    if (backend)
        backend->operations->close(backend);
}

void cx_backend_report(char *text, size_t size) {
    char processor[192];
    cpu_backend_describe(0, processor, sizeof processor);
    snprintf(text, size, "auto takes the CPU backend (%s), because this build has no CUDA backend", processor);
}
