/*
 * The parts themselves of one target i, straight from the definitions of DESIGN.md, section 1: this is also the independent check of the norms, so it uses
 * neither Gram matrices nor the product behind ff_pair_norms. For every source j of the sequence, in a causal model for j <= i:
 *
 *     a = Σ_h α^h_ij F_jh;  r = a + δ_ij x_i;  t = γ1 ⊙ (r - mean r) / σ1_i                [n, d]
 *     u = t W1;  o = (ρ_i ⊙ u) W2;  v = o + t;  w = γ2 ⊙ (v - mean v) / σ2_i               [n, f], [n, d]
 */
#include "cuda_backend.cuh"
#include "cuda_reduce.cuh"

#include "contexture/stage.h"

enum { row_warps = 4, row_threads = row_warps * CUDA_WARP, element_threads = 256 };

/* What the kernels read and write of one target; parts that are not wanted are NULL. */
struct target_job {
    unsigned heads, width, neurons, n, attended;                                               /* attended: sources */
    unsigned target;                                                                           /* within the sequence */
    const float *weights;                                                                      /* α^0_i0, heads n² apart */
    const float *sources;                                                                      /* F of the sequence's first token */
    const float *residual, *scale1, *inverse_deviation1, *ratio, *scale2, *inverse_deviation2; /* of the target, or of all */
    float *normed, *hidden, *vectors;                                                          /* scratch: t, u, o */
    float *parts[CX_STAGES];
};

static __device__ __forceinline__ void put(float *part, size_t at, float value) {
    if (part)
        part[at] = value;
}

/* scale ⊙ (x - mean x) * factor of a row, one warp; x is float64 so far, `normed` may be NULL twice. */
static __device__ void norm_row(const float *x, unsigned width, unsigned lane, const float *scale, float factor, float *first, float *second) {
    double sum = 0.0;
    for (unsigned k = lane; k < width; k += CUDA_WARP)
        sum += static_cast<double>(x[k]);
    const double mean = warp_sum(sum) / width;
    for (unsigned k = lane; k < width; k += CUDA_WARP) {
        const float value = scale[k] * static_cast<float>(static_cast<double>(x[k]) - mean) * factor;
        put(first, k, value);
        put(second, k, value);
    }
}

static __device__ __forceinline__ float *row_of(float *part, size_t at) {
    return part ? part + at : NULL;
}

/* One warp a source. */
static __global__ void __launch_bounds__(row_threads) attention_parts_kernel(struct target_job job) {
    const unsigned source = blockIdx.x * row_warps + threadIdx.x / CUDA_WARP, lane = threadIdx.x % CUDA_WARP;
    if (source >= job.attended)
        return;
    const size_t at = static_cast<size_t>(source) * job.width, head_stride = static_cast<size_t>(job.n) * job.n;
    float *row = job.vectors + at;
    for (unsigned k = lane; k < job.width; k += CUDA_WARP) {
        float sum = 0.0f;
        for (unsigned head = 0; head < job.heads; head++)
            sum += job.weights[head * head_stride + source] * job.sources[(static_cast<size_t>(source) * job.heads + head) * job.width + k];
        put(job.parts[CX_STAGE_ATTN], at + k, sum);
        if (source == job.target)
            sum += job.residual[k];
        put(job.parts[CX_STAGE_ATTN_RES], at + k, sum);
        row[k] = sum;
    }
    /* Every lane reads in norm_row() what it wrote itself. */
    norm_row(row, job.width, lane, job.scale1, *job.inverse_deviation1, job.normed + at, row_of(job.parts[CX_STAGE_ATTN_RES_LN], at));
}

static __global__ void scale_neurons_kernel(struct target_job job, size_t count) {
    const size_t k = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k < count)
        job.hidden[k] *= job.ratio[k % job.neurons];
}

/* One warp a source. */
static __global__ void __launch_bounds__(row_threads) ff_parts_kernel(struct target_job job) {
    const unsigned source = blockIdx.x * row_warps + threadIdx.x / CUDA_WARP, lane = threadIdx.x % CUDA_WARP;
    if (source >= job.attended)
        return;
    const size_t at = static_cast<size_t>(source) * job.width;
    float *row = job.vectors + at;
    for (unsigned k = lane; k < job.width; k += CUDA_WARP) {
        const float output = row[k], joined = output + job.normed[at + k];
        put(job.parts[CX_STAGE_FF], at + k, output);
        put(job.parts[CX_STAGE_FF_RES], at + k, joined);
        row[k] = joined;
    }
    norm_row(row, job.width, lane, job.scale2, *job.inverse_deviation2, row_of(job.parts[CX_STAGE_FF_RES_LN], at), NULL);
}

/* y [rows, out] = x [rows, in] W^T */
static enum cx_status multiply(struct cuda_backend *cuda, size_t rows, const float *x, const struct cx_matrix *matrix, float *y, struct cx_error *error) {
    struct cuda_product product = {};
    product.operation = "part_vectors";
    product.rows = rows;
    product.in = matrix->in;
    product.out = matrix->out;
    product.batches = 1;
    product.transposed = true;
    product.x = x;
    product.weight = matrix->weight;
    product.x_stride = product.weight_stride = matrix->in;
    product.y_stride = matrix->out;
    product.y = y;
    return cuda_multiply(cuda, &product, error);
}

static enum cx_status run(struct cuda_backend *cuda, const struct target_job *job, const struct cx_part_inputs *in, struct cx_error *error) {
    const size_t hidden = static_cast<size_t>(job->attended) * job->neurons, first = static_cast<size_t>(job->attended) * job->width;
    const unsigned blocks = cuda_blocks(job->attended, row_warps);
    enum cx_status status = CX_OK;
    for (size_t stage = 0; stage < CX_STAGES && job->attended < job->n && status == CX_OK; stage++) {
        if (job->parts[stage])
            status = cuda_result(
                cuda, "part_vectors", "clearing parts",
                cudaMemsetAsync(job->parts[stage] + first, 0, (static_cast<size_t>(job->n) * job->width - first) * sizeof(float), cuda->stream), error);
    }
    if (status == CX_OK)
        status = CUDA_LAUNCH(cuda, "part_vectors", error, attention_parts_kernel, blocks, row_threads, 0, *job);
    if (status != CX_OK || (!job->parts[CX_STAGE_FF] && !job->parts[CX_STAGE_FF_RES] && !job->parts[CX_STAGE_FF_RES_LN]))
        return status;
    status = multiply(cuda, job->attended, job->normed, in->intermediate, job->hidden, error);
    if (status == CX_OK)
        status = CUDA_LAUNCH(cuda, "part_vectors", error, scale_neurons_kernel, cuda_blocks(hidden, element_threads), element_threads, 0, *job, hidden);
    if (status == CX_OK)
        status = multiply(cuda, job->attended, job->hidden, in->output, job->vectors, error);
    return status == CX_OK ? CUDA_LAUNCH(cuda, "part_vectors", error, ff_parts_kernel, blocks, row_threads, 0, *job) : status;
}

static enum cx_status check_inputs(const struct cuda_backend *cuda, const struct cx_part_inputs *in, struct cx_error *error) {
    const struct cx_model_config *config = &cuda->base.config;
    const size_t tokens = cuda->batch->tokens, width = config->hidden_size, neurons = config->intermediate_size;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(in->attention, config->heads * cuda->batch->pairs),
        CUDA_FLOATS(in->head_sources, tokens * config->heads * width),
        CUDA_FLOATS(in->residual, tokens * width),
        CUDA_FLOATS(in->norm1_scale, width),
        CUDA_FLOATS(in->inverse_deviation1, tokens),
        CUDA_FLOATS(in->ratio, tokens * neurons),
        CUDA_FLOATS(in->norm2_scale, width),
        CUDA_FLOATS(in->inverse_deviation2, tokens),
    };
    if (in->intermediate->out != neurons || in->intermediate->in != width || in->output->out != width || in->output->in != neurons)
        return cx_fail(error, CX_ERROR_INTERNAL, "part_vectors: expected matrices [%zu, %zu] and [%zu, %zu], found [%zu, %zu] and [%zu, %zu]", neurons, width,
                       width, neurons, in->intermediate->out, in->intermediate->in, in->output->out, in->output->in);
    return CUDA_CHECK_ALL("part_vectors", arguments, error);
}

static struct target_job job_of(const struct cuda_backend *cuda, const struct cx_part_inputs *in, size_t target, struct cx_tensor *const parts[CX_STAGES]) {
    const struct cx_model_config *config = &cuda->base.config;
    const struct cx_batch *batch = cuda->batch;
    const size_t sequence = cx_batch_sequence_of(batch, target), first = batch->token_offset[sequence], n = batch->token_offset[sequence + 1] - first;
    struct target_job job = {};
    job.heads = static_cast<unsigned>(config->heads);
    job.width = static_cast<unsigned>(config->hidden_size);
    job.neurons = static_cast<unsigned>(config->intermediate_size);
    job.n = static_cast<unsigned>(n);
    job.target = static_cast<unsigned>(target - first);
    job.attended = config->causal ? job.target + 1 : job.n;
    job.weights = in->attention->values + config->heads * batch->pair_offset[sequence] + (target - first) * n;
    job.sources = in->head_sources->values + first * config->heads * config->hidden_size;
    job.residual = in->residual->values + target * config->hidden_size;
    job.scale1 = in->norm1_scale->values;
    job.inverse_deviation1 = in->inverse_deviation1->values + target;
    job.ratio = in->ratio->values + target * config->intermediate_size;
    job.scale2 = in->norm2_scale->values;
    job.inverse_deviation2 = in->inverse_deviation2->values + target;
    for (size_t stage = 0; stage < CX_STAGES; stage++)
        job.parts[stage] = parts[stage] ? parts[stage]->values : NULL;
    return job;
}

enum cx_status cuda_part_vectors(struct cx_backend *backend, const struct cx_part_inputs *in, size_t target, struct cx_tensor *const parts[6],
                                 struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    enum cx_status status = cuda_enter(cuda, "part_vectors", true, error);
    if (status != CX_OK)
        return status;
    if (target >= cuda->batch->tokens)
        return cx_fail(error, CX_ERROR_INTERNAL, "part_vectors: target %zu of %zu tokens", target, cuda->batch->tokens);
    status = check_inputs(cuda, in, error);
    if (status != CX_OK)
        return status;
    struct target_job job = job_of(cuda, in, target, parts);
    const size_t vectors = cuda_padded(static_cast<size_t>(job.n) * job.width), hidden = static_cast<size_t>(job.n) * job.neurons;
    for (size_t stage = 0; stage < CX_STAGES && status == CX_OK; stage++) {
        const struct cuda_argument argument[] = {{"parts", parts[stage], static_cast<size_t>(job.n) * job.width, CX_ELEMENT_FLOAT, true}};
        status = CUDA_CHECK_ALL("part_vectors", argument, error);
    }
    if (status == CX_OK)
        status = cuda_list_fit(cuda, &cuda->scratch, (2 * vectors + hidden) * sizeof(float), "the vectors of a target", error);
    if (status != CX_OK)
        return status;
    job.vectors = static_cast<float *>(cuda->scratch.memory);
    job.normed = job.vectors + vectors;
    job.hidden = job.normed + vectors;
    return run(cuda, &job, in, error);
}
