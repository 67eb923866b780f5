/*
 * The parts themselves of one target, straight from the definitions of DESIGN.md, section 1: this is also the independent check of
 * the norms, so it uses neither Gram matrices nor the product behind ff_pair_norms.
 */
#include "cpu_backend.h"

#include <omp.h>
#include <string.h>

#include "contexture/stage.h"
#include "cpu_blas.h"

enum { source_block = 32 };

struct vectors_job {
    const struct cpu_backend *cpu;
    const struct cx_part_inputs *in;
    struct cx_tensor *const *parts;
    size_t sequence, first_token, n;
    size_t target; /* within the sequence */
};

static void copy_part(const struct vectors_job *job, enum cx_stage stage, size_t first, size_t count, const float *vectors) {
    size_t width = job->cpu->base.config.hidden_size;
    if (job->parts[stage])
        memcpy(job->parts[stage]->values + first * width, vectors, count * width * sizeof *vectors);
}

/* a_ij = Σ_h α^h_ij F_jh, then r_ij = a_ij + δ_ij x_i, which replaces it. */
static void attention_part(const struct vectors_job *job, size_t first, size_t count, float *vectors) {
    size_t heads = job->cpu->base.config.heads, width = job->cpu->base.config.hidden_size, n = job->n;
    const float *attention = job->in->attention->values + heads * job->cpu->batch->pair_offset[job->sequence] + job->target * n;
    for (size_t row = 0; row < count; row++) {
        const float *source = job->in->head_sources->values + (job->first_token + first + row) * heads * width;
        float *part = vectors + row * width;
        memset(part, 0, width * sizeof *part);
        for (size_t head = 0; head < heads; head++) {
            float weight = attention[head * n * n + first + row];
            for (size_t k = 0; k < width; k++)
                part[k] += weight * source[head * width + k];
        }
    }
    copy_part(job, CX_STAGE_ATTN, first, count, vectors);
    if (job->target >= first && job->target < first + count) {
        const float *residual = job->in->residual->values + (job->first_token + job->target) * width;
        for (size_t k = 0; k < width; k++)
            vectors[(job->target - first) * width + k] += residual[k];
    }
    copy_part(job, CX_STAGE_ATTN_RES, first, count, vectors);
}

/* o_ij = (ρ_i ⊙ (t_ij W1)) W2 of `count` sources. */
static void feed_forward_part(const struct vectors_job *job, size_t count, const float *normed, float *hidden, float *vectors) {
    size_t width = job->cpu->base.config.hidden_size, neurons = job->cpu->base.config.intermediate_size;
    const float *ratio = job->in->ratio->values + (job->first_token + job->target) * neurons;
    cpu_sgemm(true, count, neurons, width, normed, width, job->in->intermediate->weight, width, 0.0f, hidden, neurons);
    for (size_t row = 0; row < count; row++) {
        for (size_t k = 0; k < neurons; k++)
            hidden[row * neurons + k] *= ratio[k];
    }
    cpu_sgemm(true, count, width, neurons, hidden, neurons, job->in->output->weight, neurons, 0.0f, vectors, width);
}

static void parts_of_sources(const struct vectors_job *job, size_t first, size_t count) {
    const struct cpu_backend *cpu = job->cpu;
    size_t width = cpu->base.config.hidden_size, token = job->first_token + job->target;
    float *vectors = cpu_scratch(cpu, omp_get_thread_num()), *normed = vectors + source_block * width, *hidden = normed + source_block * width;
    attention_part(job, first, count, vectors);
    for (size_t row = 0; row < count; row++)
        cpu->kernels->norm_linear(width, vectors + row * width, job->in->norm1_scale->values, job->in->inverse_deviation1->values[token], NULL,
                                  normed + row * width);
    copy_part(job, CX_STAGE_ATTN_RES_LN, first, count, normed);
    if (!job->parts[CX_STAGE_FF] && !job->parts[CX_STAGE_FF_RES] && !job->parts[CX_STAGE_FF_RES_LN])
        return;
    feed_forward_part(job, count, normed, hidden, vectors);
    copy_part(job, CX_STAGE_FF, first, count, vectors);
    for (size_t k = 0; k < count * width; k++)
        vectors[k] += normed[k];
    copy_part(job, CX_STAGE_FF_RES, first, count, vectors);
    for (size_t row = 0; row < count; row++)
        cpu->kernels->norm_linear(width, vectors + row * width, job->in->norm2_scale->values, job->in->inverse_deviation2->values[token], NULL,
                                  vectors + row * width);
    copy_part(job, CX_STAGE_FF_RES_LN, first, count, vectors);
}

static enum cx_status check_inputs(const struct cpu_backend *cpu, const struct cx_part_inputs *in, struct cx_error *error) {
    const struct cx_model_config *config = &cpu->base.config;
    size_t tokens = cpu->batch->tokens, width = config->hidden_size, neurons = config->intermediate_size;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(in->attention, config->heads * cpu->batch->pairs),
        CPU_FLOATS(in->head_sources, tokens * config->heads * width),
        CPU_FLOATS(in->residual, tokens * width),
        CPU_FLOATS(in->norm1_scale, width),
        CPU_FLOATS(in->inverse_deviation1, tokens),
        CPU_FLOATS(in->ratio, tokens * neurons),
        CPU_FLOATS(in->norm2_scale, width),
        CPU_FLOATS(in->inverse_deviation2, tokens),
    };
    if (in->intermediate->out != neurons || in->intermediate->in != width || in->output->out != width || in->output->in != neurons)
        return cx_fail(error, CX_ERROR_INTERNAL, "part_vectors: expected matrices [%zu, %zu] and [%zu, %zu], found [%zu, %zu] and [%zu, %zu]", neurons, width,
                       width, neurons, in->intermediate->out, in->intermediate->in, in->output->out, in->output->in);
    return CPU_CHECK_ALL("part_vectors", arguments, error);
}

enum cx_status cpu_part_vectors(struct cx_backend *backend, const struct cx_part_inputs *in, size_t target, struct cx_tensor *const parts[6],
                                struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t width = cpu->base.config.hidden_size, neurons = cpu->base.config.intermediate_size;
    enum cx_status status = cpu_check_batch(cpu, "part_vectors", error);
    if (status != CX_OK)
        return status;
    const struct cx_batch *batch = cpu->batch;
    if (target >= batch->tokens)
        return cx_fail(error, CX_ERROR_INTERNAL, "part_vectors: target %zu of %zu tokens", target, batch->tokens);
    size_t sequence = cx_batch_sequence_of(batch, target), first_token = batch->token_offset[sequence], n = batch->token_offset[sequence + 1] - first_token;
    status = check_inputs(cpu, in, error);
    for (size_t stage = 0; stage < CX_STAGES && status == CX_OK; stage++) {
        if (parts[stage])
            status = cpu_check(parts[stage], CX_ELEMENT_FLOAT, n * width, "part_vectors", "parts", error);
    }
    if (status == CX_OK)
        status = cpu_scratch_reserve(cpu, source_block * (2 * width + neurons) * sizeof(float), error);
    if (status != CX_OK)
        return status;
    struct vectors_job job = {cpu, in, parts, sequence, first_token, n, target - first_token};
    const size_t attended = cpu->base.config.causal ? job.target + 1 : n;
#pragma omp parallel for schedule(dynamic) num_threads(cpu->threads) if (attended > source_block)
    for (size_t first = 0; first < attended; first += source_block)
        parts_of_sources(&job, first, attended - first < source_block ? attended - first : source_block);
    for (size_t stage = 0; stage < CX_STAGES; stage++) {
        if (parts[stage])
            memset(parts[stage]->values + attended * width, 0, (n - attended) * width * sizeof(float));
    }
    return CX_OK;
}
