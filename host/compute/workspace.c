#include "workspace.h"

#include <string.h>

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

static enum cx_status create(struct cx_backend *backend, enum cx_element element, size_t count, struct cx_tensor **tensor, struct cx_error *error) {
    return count > 0 ? backend->operations->tensor_create(backend, element, count, tensor, error) : CX_OK;
}

void workspace_destroy(struct cx_backend *backend, struct workspace *workspace) {
#define WORKSPACE_DESTROY(name, element, count)                                                                                                                \
    backend->operations->tensor_destroy(backend, workspace->name);                                                                                             \
    workspace->name = NULL;
    WORKSPACE_LIST(WORKSPACE_DESTROY)
#undef WORKSPACE_DESTROY
    for (size_t k = 0; k < workspace->result_count; k++)
        layer_results_destroy(backend, &workspace->results[k]);
    workspace->tokens = workspace->pairs = workspace->longest = 0;
}

bool workspace_fits(const struct workspace *workspace, const struct cx_batch *batch) {
    return batch->tokens <= workspace->tokens && batch->pairs <= workspace->pairs && batch->longest <= workspace->longest;
}

enum cx_status workspace_fit(struct cx_backend *backend, struct workspace *workspace, const struct cx_decompose_options *options, const struct cx_batch *batch,
                             struct cx_error *error) {
    if (workspace_fits(workspace, batch))
        return CX_OK;
    /* A little more than asked for: batches of a corpus differ slightly, and each new size would cost all the page faults again. */
    const size_t T = larger(batch->tokens, workspace->tokens), n = larger(batch->longest, workspace->longest);
    const size_t pairs = larger(batch->pairs > workspace->pairs && workspace->pairs > 0 ? batch->pairs + batch->pairs / 4 : batch->pairs, workspace->pairs);
    const size_t H = backend->config.heads, d = backend->config.hidden_size, f = backend->config.intermediate_size;
    const size_t parts_wanted = workspace->parts_wanted, maps_wanted = workspace->maps_wanted, ff_wanted = workspace->ff_wanted;
    const size_t heads_wanted = workspace->heads_wanted, vectors_wanted = workspace->vectors_wanted, masked_wanted = workspace->masked_wanted;
    enum cx_status status = CX_OK;

    workspace_destroy(backend, workspace);
#define WORKSPACE_CREATE(name, element, count)                                                                                                                 \
    if (status == CX_OK)                                                                                                                                       \
        status = create(backend, CX_ELEMENT_##element, count, &workspace->name, error);
    WORKSPACE_LIST(WORKSPACE_CREATE)
#undef WORKSPACE_CREATE
    for (size_t k = 0; k < workspace->result_count && status == CX_OK; k++)
        status = layer_results_create(backend, options, T, pairs, &workspace->results[k], error);
    if (status != CX_OK) {
        workspace_destroy(backend, workspace);
        return status;
    }
    workspace->tokens = T;
    workspace->pairs = pairs;
    workspace->longest = n;
    return CX_OK;
}
