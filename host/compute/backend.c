/* Which backend a run gets. Every build has the CPU backend; whether it has CUDA's is decided by CMake, which links one of two files of cuda/. */
#include "contexture/backend.h"

#include <stdio.h>

#include "cpu_open.h"
#include "cuda_open.h"

enum cx_status cx_backend_open(const struct cx_backend_options *options, const struct cx_model_config *config, struct cx_backend **backend,
                               struct cx_error *error) {
    char reason[512];
    *backend = NULL;
    switch (options->kind) {
    case CX_BACKEND_AUTO:
        if (cuda_backend_usable(reason, sizeof reason))
            return cuda_backend_open(options, config, backend, error);
        return cpu_backend_open(options, config, backend, error);
    case CX_BACKEND_CPU:
        return cpu_backend_open(options, config, backend, error);
    case CX_BACKEND_CUDA:
        return cuda_backend_open(options, config, backend, error);
    }
    return cx_fail(error, CX_ERROR_INTERNAL, "unknown kind of backend: %d", (int)options->kind);
}

const char *cx_pair_precision_name(enum cx_pair_precision precision) {
    static const char *const names[] = {[CX_PAIR_F32] = "f32", [CX_PAIR_BF16] = "bf16", [CX_PAIR_F16] = "f16"};
    return names[precision];
}

const char *cx_forward_precision_name(enum cx_forward_precision precision) {
    static const char *const names[] = {[CX_FORWARD_F32] = "f32", [CX_FORWARD_TF32] = "tf32", [CX_FORWARD_F16] = "f16"};
    return names[precision];
}

const char *cx_pair_kernel_name(enum cx_pair_kernel kernel) {
    static const char *const names[] = {[CX_PAIR_KERNEL_AUTO] = "auto",
                                        [CX_PAIR_KERNEL_CHUNKED] = "chunked",
                                        [CX_PAIR_KERNEL_WGMMA] = "wgmma",
                                        [CX_PAIR_KERNEL_WGMMA_CLUSTER] = "wgmma-cluster",
                                        [CX_PAIR_KERNEL_MMA] = "mma"};
    return names[kernel];
}

void cx_backend_close(struct cx_backend *backend) {
    if (backend)
        backend->operations->close(backend);
}

bool cx_backend_report(char *text, size_t size) {
    char processor[192], reason[512];
    if (cuda_backend_usable(reason, sizeof reason)) {
        snprintf(text, size, "auto takes the CUDA backend (%s)", reason);
        return true;
    }
    cpu_backend_describe(0, processor, sizeof processor);
    snprintf(text, size, "auto takes the CPU backend (%s), because %s", processor, reason);
    return !cuda_backend_built();
}

bool cx_team_report(char *text, size_t size) {
    return cuda_team_usable(text, size);
}
