/* What host/compute/backend.c, which chooses the backend, sees of this folder. */
#ifndef CONTEXTURE_CPU_OPEN_H
#define CONTEXTURE_CPU_OPEN_H

#include "contexture/backend.h"

/* The CPU backend, always usable. */
CX_MUST_USE enum cx_status cpu_backend_open(const struct cx_backend_options *options, const struct cx_model_config *config, struct cx_backend **backend,
                                            struct cx_error *error);

/* "AMD EPYC 9654, 2 threads, AVX-512 kernels"; `threads` 0: without them. */
void cpu_backend_describe(int threads, char *text, size_t size);

#endif
