/* Stands in for cuda_nccl.cu in a build without NCCL: every process reads the weights itself, and nobody asks for more than find(). */
#include "cuda_backend.cuh"

#include <cstdio>

bool cuda_team_usable(char *text, size_t size) {
    snprintf(text, size, "this build has no NCCL");
    return false;
}

static bool cuda_team_find(struct cx_backend *, char *text, size_t size) {
    return cuda_team_usable(text, size);
}

enum cx_status cuda_team_share_device(struct cuda_backend *, void *, size_t, struct cx_error *) {
    return CX_OK;
}

enum cx_status cuda_team_share(struct cuda_backend *, const char *, void *, size_t, struct cx_error *) {
    return CX_OK;
}

void cuda_team_close(struct cuda_backend *) {}

const struct cx_team_operations cuda_team_operations = {cuda_team_find, NULL, NULL, NULL, NULL, NULL};
