/* Which kernel computes the feed-forward maps, and its three steps. (fused_pairs.cuh) */
#include "fused_pairs.cuh"

#include <cstdio>
#include <cstdlib>

/* The fastest first. A kernel that AUTO must not take yet stands here, too. */
static const struct {
    struct fused_kernel kernel;
    bool automatic;
} kernels[] = {
    {{CX_PAIR_KERNEL_WGMMA, "wgmma", fused_wgmma_plan, fused_wgmma, true}, true},
};
enum { kernel_count = sizeof kernels / sizeof *kernels };

static const char *name_of(enum cx_pair_kernel kind) {
    static const char *const names[] = {"auto", "chunked", "wgmma"};
    return names[kind];
}

/* What every fused kernel needs. */
static bool fits(const struct cuda_backend *cuda, char *reason, size_t size) {
    const struct cx_model_config *config = &cuda->base.config;
    if (cuda->pair_precision != CX_PAIR_F16)
        snprintf(reason, size, "it computes in --pair-precision f16");
    else if (config->heads >= FUSED_ROWS_MOST)
        snprintf(reason, size, "it takes up to %d heads, and the model has %zu", FUSED_ROWS_MOST - 1, config->heads);
    else if (config->hidden_size % FUSED_DEPTH != 0 || config->intermediate_size % FUSED_DEPTH != 0)
        snprintf(reason, size, "it takes widths that are multiples of %d, and the model has %zu and %zu", FUSED_DEPTH, config->hidden_size,
                 config->intermediate_size);
    else
        return true;
    return false;
}

enum cx_status fused_open(struct cuda_backend *cuda, enum cx_pair_kernel wanted, struct cx_error *error) {
    struct fused_plan plan = {};
    char reason[256] = "this program does not have it";
    const struct fused_kernel *kernel = NULL;
    cuda->fused = NULL;
    if (wanted == CX_PAIR_KERNEL_CHUNKED)
        return CX_OK;
    for (size_t k = 0; k < kernel_count && !kernel; k++) {
        const bool considered = wanted == CX_PAIR_KERNEL_AUTO ? kernels[k].automatic : kernels[k].kernel.kind == wanted;
        if (considered && fits(cuda, reason, sizeof reason) && kernels[k].kernel.plan(cuda, &plan, reason, sizeof reason))
            kernel = &kernels[k].kernel;
    }
    if (!kernel && wanted != CX_PAIR_KERNEL_AUTO)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "the pair kernel %s cannot be used, because %s", name_of(wanted), reason);
    if (!kernel)
        return CX_OK;
    enum cx_status status = cx_allocate(1, sizeof *cuda->fused, "the state of the fused kernels", &cuda->fused, error);
    if (status != CX_OK)
        return status;
    cuda->fused->kernel = kernel;
    cuda->fused->plan = plan;
    cuda->fused->slices = cuda_blocks(cuda->base.config.hidden_size, plan.slice_columns);
    return CX_OK;
}

void fused_close(struct cuda_backend *cuda) {
    if (!cuda->fused)
        return;
    for (int k = 0; k < CUDA_BATCHES; k++) {
        cuda_forget(cudaFree(cuda->fused->memory[k].memory));
        cuda_forget(cudaFreeHost(cuda->fused->pinned[k].memory));
    }
    free(cuda->fused);
    cuda->fused = NULL;
}

/* Gives the next `count` elements of scratch to *pointer if there is memory, and counts their bytes in any case. */
template <typename Element> static void take(unsigned char *memory, size_t *used, size_t count, Element **pointer) {
    *pointer = memory ? reinterpret_cast<Element *>(memory + *used) : NULL;
    *used += (count * sizeof(Element) + 255) / 256 * 256;
}

static size_t lay_out(const struct fused_state *fused, struct fused_problem *problem, void *scratch) {
    unsigned char *memory = static_cast<unsigned char *>(scratch);
    const size_t tokens = problem->tokens, rows = tokens * problem->rows, pairs = problem->pair_count;
    size_t used = 0;
    take(memory, &used, rows * problem->pairs.depth, &problem->sources);
    take(memory, &used, rows * problem->pairs.width, &problem->norms);
    take(memory, &used, tokens * problem->pairs.depth, &problem->ratios);
    take(memory, &used, pairs * problem->rows, &problem->coefficients);
    take(memory, &used, pairs * problem->rows, &problem->joiners);
    take(memory, &used, pairs, &problem->factors);
    take(memory, &used, pairs, &problem->part_means);
    take(memory, &used, pairs, &problem->limits);
    take(memory, &used, rows, &problem->source_exponents);
    take(memory, &used, rows, &problem->norm_exponents);
    take(memory, &used, tokens, &problem->ratio_exponents);
    take(memory, &used, rows, &problem->source_sizes);
    take(memory, &used, tokens, &problem->ratio_sizes);
    take(memory, &used, rows, &problem->norm_means);
    take(memory, &used, 3 * pairs * fused->slices, &problem->partials);
    take(memory, &used, pairs, &problem->means);
    take(memory, &used, problem->pairs.check ? pairs * fused->slices : 0, &problem->check_partials);
    take(memory, &used, problem->pairs.check ? pairs : 0, &problem->check_sums);
    take(memory, &used, fused->slots * FUSED_TARGETS * fused->plan.slice_columns, &problem->slots);
    return used;
}

enum cx_status fused_pair_norms(struct cuda_backend *cuda, const struct pair_problem *pairs, const struct cx_pair_matrix *matrix, struct cx_error *error) {
    const struct fused_state *fused = cuda->fused;
    struct fused_problem problem = {};
    problem.pairs = *pairs;
    /* The kernels take z w̄ in the first slice of d and z·(W2c s) in the second. */
    if (!fused->kernel->has_checks || fused->slices < 2)
        problem.pairs.check = NULL;
    problem.tokens = static_cast<unsigned>(cuda->batch->tokens);
    problem.rows = fused_rows(pairs->heads);
    problem.pair_count = cuda->batch->pairs;
    problem.slices = fused->slices;
    problem.slice_columns = fused->plan.slice_columns;
    problem.groups = fused->groups;
    problem.group_count = fused->group_count;
    problem.segments = fused->segments;
    problem.block_segments = fused->block_segments;
    problem.blocks = fused->blocks;
    problem.packed = fused->packed;
    enum cx_status status = cuda_list_fit(cuda, &cuda->scratch, lay_out(fused, &problem, NULL), "the operands of the feed-forward maps", error);
    if (status != CX_OK)
        return status;
    lay_out(fused, &problem, cuda->scratch.memory);
    status = fused_prepare(cuda, &problem, error);
    if (status == CX_OK)
        status = fused->kernel->run(cuda, &problem, matrix, error);
    return status == CX_OK ? fused_finish(cuda, &problem, error) : status;
}
