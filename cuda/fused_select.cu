/* Which kernel computes the feed-forward maps, and its three steps. (fused_pairs.cuh) */
#include "fused_pairs.cuh"

#include <climits>
#include <cstdio>
#include <cstdlib>

/*
 * Which kernel, by device and model: the first row that fits; where none does, the chunked way (cuda_feedforward.cu), which takes everything.
 *
 *     wgmma           sm_90 alone, whose instructions these are: no later device has them
 *     wgmma-cluster   the same in clusters of two blocks, which read W2c once for both; with the same bytes. It reads less of L2 (DESIGN.md), but has run on
 *                     no GPU yet, so it stands behind wgmma: taken where it is asked for by name
 *     mma             every other device (sm_80, 86, 89, 100 and later, the latter until there is a kernel with their own instructions); half of wgmma's
 *                     peak on sm_90
 *
 * All take the same shapes: heads and the residual are at most two steps of 16 of the first product, and the copies are of 64 numbers of d or f. Neither a
 * sequence's length nor causality is a column, since every kernel takes all of them and none is better at some: tiles of short sequences hold several sources,
 * so a kernel does a whole batch, whatever lengths it mixes; and what a causal model leaves out is left out of the work list (fused_work.cu), in whole tiles,
 * and by the rows of a tile on the diagonal (fused_tile.cuh).
 */
static const struct fused_kernel kernels[] = {
    {CX_PAIR_KERNEL_WGMMA, 90, 90, FUSED_ROWS_MOST - 1, FUSED_DEPTH, fused_wgmma_plan, fused_wgmma},
    {CX_PAIR_KERNEL_WGMMA_CLUSTER, 90, 90, FUSED_ROWS_MOST - 1, FUSED_DEPTH, fused_wgmma_cluster_plan, fused_wgmma},
    {CX_PAIR_KERNEL_MMA, 80, INT_MAX, FUSED_ROWS_MOST - 1, FUSED_DEPTH, fused_mma_plan, fused_mma},
};

static bool fits(const struct cuda_backend *cuda, const struct fused_kernel *kernel, struct fused_plan *plan, char *reason, size_t size) {
    const struct cx_model_config *config = &cuda->base.config;
    if (cuda->pair_precision != CX_PAIR_F16)
        snprintf(reason, size, "it computes in --pair-precision f16");
    else if (cuda->capability < kernel->least_capability || cuda->capability > kernel->most_capability)
        snprintf(reason, size, "it is written for compute capability %d.%d, and the device has %d.%d", kernel->least_capability / 10,
                 kernel->least_capability % 10, cuda->capability / 10, cuda->capability % 10);
    else if (config->heads > kernel->most_heads)
        snprintf(reason, size, "it takes up to %u heads, and the model has %zu", kernel->most_heads, config->heads);
    else if (config->hidden_size % kernel->unit != 0 || config->intermediate_size % kernel->unit != 0)
        snprintf(reason, size, "it takes widths that are multiples of %u, and the model has %zu and %zu", kernel->unit, config->hidden_size,
                 config->intermediate_size);
    else
        return kernel->plan(cuda, plan, reason, size);
    return false;
}

void fused_list(int capability, char *text, size_t size) {
    size_t used = 0;
    for (const struct fused_kernel &kernel : kernels) {
        if (capability >= kernel.least_capability && capability <= kernel.most_capability && used < size)
            used += static_cast<size_t>(snprintf(text + used, size - used, "%s, ", cx_pair_kernel_name(kernel.kind)));
    }
    if (used < size)
        snprintf(text + used, size - used, "chunked");
}

enum cx_status fused_open(struct cuda_backend *cuda, enum cx_pair_kernel wanted, struct cx_error *error) {
    struct fused_plan plan = {};
    char reason[256] = "this program does not have it";
    const struct fused_kernel *kernel = NULL;
    cuda->fused = NULL;
    if (wanted == CX_PAIR_KERNEL_CHUNKED)
        return CX_OK;
    for (const struct fused_kernel &row : kernels) {
        if (!kernel && (wanted == CX_PAIR_KERNEL_AUTO || row.kind == wanted) && fits(cuda, &row, &plan, reason, sizeof reason))
            kernel = &row;
    }
    if (!kernel && wanted != CX_PAIR_KERNEL_AUTO)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "the pair kernel %s cannot be used, because %s", cx_pair_kernel_name(wanted), reason);
    if (!kernel)
        return CX_OK;
    enum cx_status status = cx_allocate(1, sizeof *cuda->fused, "the state of the fused kernels", &cuda->fused, error);
    if (status != CX_OK)
        return status;
    cuda->fused->kernel = kernel;
    cuda->fused->plan = plan;
    cuda->fused->is_named = wanted != CX_PAIR_KERNEL_AUTO;
    cuda->fused->causal = cuda->base.config.causal;
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

static size_t lay_out(const struct fused_state *fused, struct fused_problem *problem, void *scratch) {
    unsigned char *memory = static_cast<unsigned char *>(scratch);
    const size_t tokens = problem->tokens, rows = tokens * problem->rows, pairs = problem->pair_count;
    size_t used = 0;
    fused_take(memory, &used, rows * problem->pairs.depth, &problem->sources);
    fused_take(memory, &used, rows * problem->pairs.width, &problem->norms);
    fused_take(memory, &used, tokens * problem->pairs.depth, &problem->ratios);
    fused_take(memory, &used, pairs * problem->rows, &problem->coefficients);
    fused_take(memory, &used, pairs * problem->rows, &problem->joiners);
    fused_take(memory, &used, pairs, &problem->factors);
    fused_take(memory, &used, pairs, &problem->part_means);
    fused_take(memory, &used, pairs, &problem->limits);
    fused_take(memory, &used, rows, &problem->source_exponents);
    fused_take(memory, &used, rows, &problem->norm_exponents);
    fused_take(memory, &used, tokens, &problem->ratio_exponents);
    fused_take(memory, &used, rows, &problem->source_sizes);
    fused_take(memory, &used, tokens, &problem->ratio_sizes);
    fused_take(memory, &used, rows, &problem->norm_means);
    fused_take(memory, &used, 3 * pairs * fused->slices * fused->plan.parts, &problem->partials);
    fused_take(memory, &used, pairs, &problem->means);
    fused_take(memory, &used, problem->pairs.check ? pairs * fused->slices * fused->plan.parts : 0, &problem->check_partials);
    fused_take(memory, &used, problem->pairs.check ? pairs : 0, &problem->check_sums);
    fused_take(memory, &used, fused->slots * FUSED_TARGETS * fused->plan.slice_columns, &problem->slots);
    return used;
}

enum cx_status fused_pair_norms(struct cuda_backend *cuda, const struct pair_problem *pairs, const struct cx_pair_matrix *matrix, struct cx_error *error) {
    const struct fused_state *fused = cuda->fused;
    struct fused_problem problem = {};
    problem.pairs = *pairs;
    /* The kernels take z w̄ in the first slice of d and z·(W2c s) in the second: of one slice nothing is checked but the completeness. */
    if (fused->slices < 2)
        problem.pairs.check = NULL;
    problem.tokens = static_cast<unsigned>(cuda->batch->tokens);
    problem.rows = fused_rows(pairs->heads);
    problem.causal = fused->causal;
    problem.pair_count = cuda->batch->pairs;
    problem.slices = fused->slices;
    problem.slice_columns = fused->plan.slice_columns;
    problem.parts = fused->plan.parts;
    problem.groups = fused->groups;
    problem.group_count = fused->group_count;
    problem.segments = fused->segments;
    problem.block_segments = fused->block_segments;
    problem.blocks = fused->blocks;
    problem.rounds = fused->rounds;
    problem.cluster_rounds = fused->cluster_rounds;
    problem.clusters = fused->clusters;
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
