/*
 * The feed-forward maps of every pair: 95 % of the program's time. (DESIGN.md, identities 2 and 3.)
 *
 *     z_ij = ρ_i ⊙ (Σ_h α^h_ij P_jh + [i=j] Px_j) / σ1_i     [f]        cuda_pair_build.cu
 *     oc_ij = z_ij W2c, m_ij = z_ij · w̄                       [d], [1]   cuBLASLt; m beside z
 *     ‖o‖, ‖v‖, ‖w‖ of every pair, o_ii, Σ_j o_ij                        cuda_pair_finish.cu
 *
 * in chunks of pairs, so neither [n, n, f] nor [n, n, d] ever exists. W2c depends neither on the source nor on the sequence: a chunk takes tiles of any
 * sequences, and short ones fill it as well as long ones. This is the portable way, and the reference for kernels that keep z and the product on chip
 * (fused_pairs.cuh).
 *
 * In a batch with words j is a word J, and the sums over h are over its tokens, too: as many additions as for the tokens, and fewer rows of the product. o_ii,
 * which is asked of every token by itself, is a row more where a token's word has others. This way alone does so.
 *
 * Where the time goes is derived in DESIGN.md, section 6.
 */
#include "fused_pairs.cuh"

/*
 * A chunk is a multiple of what gives every multiprocessor one of the largest tiles, product_tile, of cuBLASLt's kernels, and so large that starting its
 * kernels and their last blocks cost little: z and oc pass through the device's memory, of which a chunk takes at most a 32nd.
 */
constexpr size_t product_tile = 128 * 256, chunk_rows = 45056, memory_share = 32, least_rows = 1024, waves = 2;

static size_t operand_bytes(const struct cuda_backend *cuda) {
    return cuda->pair_precision == CX_PAIR_F16 ? sizeof(__half) : sizeof(float);
}

void cuda_pair_sizes(struct cuda_backend *cuda) {
    const size_t d = cuda->base.config.hidden_size, f = cuda->base.config.intermediate_size;
    const size_t row_bytes = cuda_padded(f) * operand_bytes(cuda) + cuda_padded(d) * sizeof(float), least = CUDA_PAIR_TARGETS * CUDA_PAIR_SOURCES;
    const size_t wave = static_cast<size_t>(cuda->multiprocessors) * product_tile / d, most = cuda->memory_bytes / memory_share / row_bytes;
    size_t rows = most < chunk_rows ? most : chunk_rows;
    rows = rows > wave ? rows / wave * wave : rows;
    if (cuda->pair_rows > 0)
        rows = cuda->pair_rows;
    else if (rows < least_rows)
        rows = least_rows;
    rows = rows < least ? least : rows > UINT32_MAX / 2 ? UINT32_MAX / 2 : rows;
    cuda->pair_rows = (static_cast<unsigned>(rows) + CUDA_PAIR_UNIT - 1) / CUDA_PAIR_UNIT * CUDA_PAIR_UNIT;
}

unsigned cuda_pair_sources_of(const struct cuda_backend *cuda, size_t pairs) {
    const size_t slices = cuda_blocks(cuda->base.config.intermediate_size, BUILD_WARPS * PAIR_COLUMNS);
    unsigned sources = CUDA_PAIR_SOURCES;
    while (sources > 4 && pairs / (CUDA_PAIR_TARGETS * sources) * slices < waves * static_cast<size_t>(cuda->multiprocessors))
        sources /= 2;
    return sources;
}

/* Gives the next `count` elements of scratch to *pointer if there is memory, and counts their bytes in any case. */
static void take(unsigned char *memory, size_t *used, size_t count, size_t size, void *pointer) {
    void *place = memory ? memory + *used : NULL;
    *static_cast<void **>(pointer) = place;
    *used += (count * size + 255) / 256 * 256;
}

static void take_sources(const struct cuda_backend *cuda, unsigned char *memory, size_t *used, unsigned steps, struct pair_sources *sources, float **means) {
    const size_t tokens = cuda->batch->tokens, rows = cuda->base.config.heads + 1;
    take(memory, used, tokens * rows, sizeof(float), &sources->largest);
    if (means)
        take(memory, used, tokens * rows, sizeof(float), means);
    take(memory, used, tokens * sources->blocks * steps * SOURCE_FRAGMENT, sizeof(uint4), &sources->fragments);
    take(memory, used, static_cast<size_t>(cuda->chunk_units) * steps * COEFFICIENT_FRAGMENT, sizeof(uint4), &sources->coefficients);
}

static size_t lay_out(const struct cuda_backend *cuda, struct pair_problem *problem, void *scratch) {
    unsigned char *memory = static_cast<unsigned char *>(scratch);
    const size_t rows = cuda->chunk_rows;
    size_t used = 0;
    take(memory, &used, rows * cuda_padded(problem->depth), operand_bytes(cuda), &problem->operand);
    take(memory, &used, rows * cuda_padded(problem->width), sizeof(float), &problem->product);
    take(memory, &used, rows, sizeof(float2), &problem->factors);
    take(memory, &used, rows, sizeof(float), &problem->part_mean);
    take(memory, &used, rows, sizeof(float), &problem->product_mean);
    take(memory, &used, rows * cuda_blocks(problem->inner.blocks, BUILD_WARPS), sizeof(float), &problem->mean_partials);
    take(memory, &used, rows * cuda_blocks(problem->inner.blocks, BUILD_WARPS), sizeof(float2), &problem->check_partials);
    take(memory, &used, rows * cuda_blocks(problem->outer.blocks, FINISH_WARPS) * PAIR_SUMS, sizeof(float), &problem->norm_partials);
    take(memory, &used, cuda->batch->tokens, sizeof(float), &problem->largest_ratio);
    take_sources(cuda, memory, &used, problem->steps, &problem->inner, NULL);
    take_sources(cuda, memory, &used, problem->steps, &problem->outer, &problem->outer.means);
    return used;
}

/* What lies between a chunk's last row and the rows of its product is computed, too, and looked at by nobody: it must have been written once. */
static enum cx_status fit_scratch(struct cuda_backend *cuda, struct pair_problem *problem, struct cx_error *error) {
    const size_t needed = lay_out(cuda, problem, NULL), before = cuda->scratch.bytes;
    enum cx_status status = cuda_list_fit(cuda, &cuda->scratch, needed, "a chunk of pairs", error);
    if (status == CX_OK && cuda->scratch.bytes != before)
        status = cuda_result(cuda, "ff_pair_norms", "clearing a chunk of pairs", cudaMemsetAsync(cuda->scratch.memory, 0, needed, cuda->stream), error);
    lay_out(cuda, problem, cuda->scratch.memory);
    return status;
}

static enum cx_status multiply(struct cuda_backend *cuda, const struct pair_problem *problem, const struct cx_pair_matrix *matrix, unsigned rows,
                               struct cx_error *error) {
    struct cuda_product product = {};
    product.operation = "ff_pair_norms";
    product.rows = cuda_pair_rounded(cuda, rows);
    product.in = cuda_padded(matrix->depth);
    product.out = matrix->width;
    product.batches = 1;
    product.is_half = cuda->pair_precision == CX_PAIR_F16;
    product.transposed = true;
    product.x = problem->operand;
    product.weight = matrix->centred;
    product.x_stride = product.weight_stride = product.in;
    product.y_stride = cuda_padded(matrix->width);
    product.y = problem->product;
    return cuda_multiply(cuda, &product, error);
}

static enum cx_status run_chunks(struct cuda_backend *cuda, const struct pair_problem *problem, const struct cx_pair_matrix *matrix, struct cx_error *error) {
    enum cx_status status = cuda_pair_measure(cuda, problem, error);
    if (status == CX_OK)
        status = cuda_pair_pack(cuda, problem, error);
    for (size_t k = 0; k < cuda->chunk_count && status == CX_OK; k++) {
        status = cuda_pair_coefficients(cuda, problem, &cuda->chunks[k], error);
        if (status == CX_OK)
            status = cuda_pair_build(cuda, problem, &cuda->chunks[k], error);
        if (status == CX_OK)
            status = multiply(cuda, problem, matrix, cuda->chunks[k].rows, error);
        if (status == CX_OK)
            status = cuda_pair_finish(cuda, problem, &cuda->chunks[k], error);
    }
    return status;
}

static enum cx_status check(const struct cuda_backend *cuda, const struct cx_ff_pairs *pairs, struct cx_error *error) {
    const struct cx_model_config *config = &cuda->base.config;
    const size_t tokens = cuda->batch->tokens, count = cx_batch_map_elements(cuda->batch), heads = config->heads, d = config->hidden_size,
                 f = config->intermediate_size;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(pairs->attention, heads * cuda->batch->pairs),
        CUDA_FLOATS(pairs->inverse_deviation1, tokens),
        CUDA_FLOATS(pairs->ratio, tokens * f),
        CUDA_FLOATS(pairs->head_ff_sources, tokens * heads * f),
        CUDA_FLOATS(pairs->residual_ff_sources, tokens * f),
        CUDA_FLOATS(pairs->head_norm_sources, tokens * heads * d),
        CUDA_FLOATS(pairs->residual_norm_sources, tokens * d),
        CUDA_FLOATS(pairs->norm2_scale, d),
        CUDA_FLOATS(pairs->inverse_deviation2, tokens),
        CUDA_OPTIONAL(pairs->ff, count),
        CUDA_OPTIONAL(pairs->ff_res, count),
        CUDA_OPTIONAL(pairs->ff_res_ln, count),
        CUDA_OPTIONAL(pairs->own, tokens * d),
        CUDA_OPTIONAL(pairs->sum, tokens * d),
        CUDA_OPTIONAL(pairs->check, tokens),
    };
    enum cx_status status = CUDA_CHECK_ALL("ff_pair_norms", arguments, error);
    if (status != CX_OK)
        return status;
    if (!pairs->output || pairs->output->width != d || pairs->output->depth != f)
        return cx_fail(error, CX_ERROR_INTERNAL, "ff_pair_norms: argument output is not a pair matrix [%zu, %zu]", d, f);
    return CX_OK;
}

static float *values_of(const struct cx_tensor *tensor) {
    return tensor ? tensor->values : NULL;
}

static struct pair_sources sources_of(unsigned width, const struct cx_tensor *heads, const struct cx_tensor *residual) {
    struct pair_sources sources = {};
    sources.width = width;
    sources.blocks = cuda_blocks(width, PAIR_COLUMNS);
    sources.heads = heads->values;
    sources.residual = residual->values;
    return sources;
}

static struct pair_problem problem_of(const struct cuda_backend *cuda, const struct cx_ff_pairs *pairs) {
    struct pair_problem problem = {};
    problem.width = static_cast<unsigned>(cuda->base.config.hidden_size);
    problem.depth = static_cast<unsigned>(cuda->base.config.intermediate_size);
    problem.heads = static_cast<unsigned>(cuda->base.config.heads);
    problem.steps = cuda_blocks(problem.heads + 1, PAIR_STEP);
    problem.row_capacity = cuda->chunk_rows;
    problem.first_token = cuda->first_token;
    problem.attention = pairs->attention->values;
    problem.inverse_deviation1 = pairs->inverse_deviation1->values;
    problem.ratio = pairs->ratio->values;
    problem.inner = sources_of(problem.depth, pairs->head_ff_sources, pairs->residual_ff_sources);
    problem.outer = sources_of(problem.width, pairs->head_norm_sources, pairs->residual_norm_sources);
    problem.norm2_scale = pairs->norm2_scale->values;
    problem.inverse_deviation2 = pairs->inverse_deviation2->values;
    problem.row_means = pairs->output->row_means;
    problem.checks = pairs->output->checks;
    problem.ff = values_of(pairs->ff);
    problem.ff_res = values_of(pairs->ff_res);
    problem.ff_res_ln = values_of(pairs->ff_res_ln);
    problem.own = values_of(pairs->own);
    problem.sum = values_of(pairs->sum);
    problem.check = values_of(pairs->check);
    problem.weight_exponent = pairs->output->scale_exponent;
    problem.weight_norm = pairs->output->scaled_norm;
    problem.small_pairs = &cuda->counts->small_pairs;
    return problem;
}

/* In a causal model: pairs above the diagonal, and words behind the target, are computed by nobody. */
static enum cx_status clear_maps(struct cuda_backend *cuda, const struct pair_problem *problem, struct cx_error *error) {
    float *const maps[] = {problem->ff, problem->ff_res, problem->ff_res_ln};
    enum cx_status status = CX_OK;
    for (size_t map = 0; map < sizeof maps / sizeof *maps && status == CX_OK; map++) {
        if (maps[map])
            status = cuda_result(cuda, "ff_pair_norms", "clearing maps",
                                 cudaMemsetAsync(maps[map], 0, cx_batch_map_elements(cuda->batch) * sizeof(float), cuda->stream), error);
    }
    return status;
}

enum cx_status cuda_ff_pair_norms(struct cx_backend *backend, const struct cx_ff_pairs *pairs, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    enum cx_status status = cuda_enter(cuda, "ff_pair_norms", true, error);
    if (status == CX_OK)
        status = check(cuda, pairs, error);
    if (status != CX_OK || cuda->batch->pairs == 0)
        return status;
    struct pair_problem problem = problem_of(cuda, pairs);
    /* Zero is the smallest of what atomicMax() takes the largest of. */
    if (problem.check)
        status =
            cuda_result(cuda, "ff_pair_norms", "clearing checks", cudaMemsetAsync(problem.check, 0, cuda->batch->tokens * sizeof(float), cuda->stream), error);
    if (status == CX_OK && cuda->base.config.causal)
        status = clear_maps(cuda, &problem, error);
    if (status != CX_OK)
        return status;
    if (cuda->fused && !cuda->batch->words)
        status = fused_pair_norms(cuda, &problem, pairs->output, error);
    else if ((status = fit_scratch(cuda, &problem, error)) == CX_OK)
        status = run_chunks(cuda, &problem, pairs->output, error);
    cuda->has_counted |= cuda->pair_precision == CX_PAIR_F16;
    return status;
}
