#include "cpu_backend.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "contexture/memory.h"
#include "cpu_blas.h"
#include "pair_kernel.h"

enum { vector_alignment = 64, huge_page = 2 << 20 };

static const struct cx_backend_operations cpu_operations = {
    .name = "cpu",
    .close = cpu_close,
    .describe = cpu_describe,
    .tensor_create = cpu_tensor_create,
    .tensor_destroy = cpu_tensor_destroy,
    .write = cpu_write,
    .read = cpu_read,
    .tensor_part = cpu_tensor_part,
    .read_begin = cpu_read_begin,
    .read_wait = cpu_read_wait,
    .matrix_create = cpu_matrix_create,
    .matrix_destroy = cpu_matrix_destroy,
    .pair_matrix_create = cpu_pair_matrix_create,
    .pair_matrix_destroy = cpu_pair_matrix_destroy,
    .batch_begin = cpu_batch_begin,
    .embed_open = cpu_embed_open,
    .embed = cpu_embed,
    .norm = cpu_norm,
    .linear = cpu_linear,
    .attend = cpu_attend,
    .activate = cpu_activate,
    .add = cpu_add,
    .broadcast = cpu_broadcast,
    .norm_linear = cpu_norm_linear,
    .scale_columns = cpu_scale_columns,
    .ff_bias = cpu_ff_bias,
    .head_sources = cpu_head_sources,
    .gram = cpu_gram,
    .attention_norms = cpu_attention_norms,
    .attention_word_norms = cpu_attention_word_norms,
    .attention_parts = cpu_attention_parts,
    .attention_mean = cpu_attention_mean,
    .head_norms = cpu_head_norms,
    .ff_sources = cpu_ff_sources,
    .ff_pair_norms = cpu_ff_pair_norms,
    .stage_summary = cpu_stage_summary,
    .part_vectors = cpu_part_vectors,
    .row_shares = cpu_row_shares,
    .map_ranks = cpu_map_ranks,
    .rank_change = cpu_rank_change,
    .time_begin = cpu_time_begin,
    .time_end = cpu_time_end,
    .times_read = cpu_times_read,
    .product_rate = cpu_product_rate,
};

enum cx_status cpu_allocate(size_t count, size_t size, const char *purpose, void *memory_pointer, struct cx_error *error) {
    void *memory = NULL;
    size_t bytes, padded;
    memcpy(memory_pointer, &memory, sizeof memory);
    if (!cx_multiply(count, size, &bytes) || !cx_add(bytes, huge_page, &padded))
        return cx_fail_memory(error, purpose, SIZE_MAX);
    bool large = bytes >= 2 * (size_t)huge_page;
    if (posix_memalign(&memory, large ? huge_page : vector_alignment, bytes + vector_alignment) != 0)
        return cx_fail_memory(error, purpose, bytes);
#ifdef MADV_HUGEPAGE
    /* Advice only: without huge pages everything works, with more TLB misses. Whole pages only, so that no neighbour is touched. */
    if (large && madvise(memory, bytes / huge_page * huge_page, MADV_HUGEPAGE) != 0)
        large = false;
#endif
    memset(memory, 0, bytes);
    memcpy(memory_pointer, &memory, sizeof memory);
    return CX_OK;
}

enum cx_status cpu_scratch_reserve(struct cpu_backend *backend, size_t bytes, struct cx_error *error) {
    if (bytes <= backend->scratch_bytes)
        return CX_OK;
    size_t rounded;
    if (!cx_add(bytes, vector_alignment - 1, &rounded))
        return cx_fail_memory(error, "the threads' working memory", SIZE_MAX);
    rounded -= rounded % vector_alignment;
    free(backend->scratch);
    backend->scratch_bytes = 0;
    enum cx_status status = cpu_allocate((size_t)backend->threads, rounded, "the threads' working memory", &backend->scratch, error);
    if (status == CX_OK)
        backend->scratch_bytes = rounded;
    return status;
}

enum cx_status cpu_check(const struct cx_tensor *tensor, enum cx_element element, size_t count, const char *operation, const char *argument,
                         struct cx_error *error) {
    if (!tensor)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: argument %s is missing", operation, argument);
    if (tensor->element != element)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: argument %s has the wrong element type", operation, argument);
    if (tensor->count < count)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: argument %s: expected at least %zu elements, found %zu", operation, argument, count, tensor->count);
    return CX_OK;
}

enum cx_status cpu_check_all(const char *operation, const struct cpu_argument *arguments, size_t count, struct cx_error *error) {
    for (size_t k = 0; k < count; k++) {
        const struct cpu_argument *argument = &arguments[k];
        if (!argument->tensor && argument->optional)
            continue;
        enum cx_status status = cpu_check(argument->tensor, argument->element, argument->count, operation, argument->name, error);
        if (status != CX_OK)
            return status;
    }
    return CX_OK;
}

enum cx_status cpu_check_batch(const struct cpu_backend *backend, const char *operation, struct cx_error *error) {
    if (!backend->batch)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: no batch was begun", operation);
    return CX_OK;
}

enum cx_status cpu_backend_open(const struct cx_backend_options *options, const struct cx_model_config *config, struct cx_backend **backend,
                                struct cx_error *error) {
    struct cpu_backend *cpu;
    *backend = NULL;
    if (options->threads < 0)
        return cx_fail(error, CX_ERROR_USAGE, "the number of threads must be 0 (all cores) or more, not %d", options->threads);
    if (options->forward_precision != CX_FORWARD_F32)
        return cx_fail(error, CX_ERROR_USAGE,
                       "--forward-precision %s: the CPU backend has f32 alone; leave the option out, or use --backend cuda on a machine with a GPU",
                       cx_forward_precision_name(options->forward_precision));
    if (options->pair_precision == CX_PAIR_BF16 && !pair_kernel_has_bf16())
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "pair precision bf16 needs a processor with AVX512-BF16, which this one does not have: use f32");
    if (options->pair_precision == CX_PAIR_F16)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "the CPU backend has no pair precision f16; use f32, or bf16 where the processor has it");
    enum cx_status status = cx_allocate(1, sizeof *cpu, "the CPU backend", &cpu, error);
    if (status != CX_OK)
        return status;
    cpu->base.operations = &cpu_operations;
    cpu->base.config = *config;
    cpu->threads = options->threads > 0 ? options->threads : omp_get_num_procs();
    cpu->pair_precision = options->pair_precision;
    cpu->kernels = cpu_kernels_select();
    cpu_blas_use_one_thread();
    *backend = &cpu->base;
    return CX_OK;
}

void cpu_close(struct cx_backend *backend) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    free(cpu->scratch);
    free(cpu->tiles);
    free(cpu);
}

void cpu_describe(const struct cx_backend *backend, char *text, size_t size) {
    cpu_backend_describe(((const struct cpu_backend *)backend)->threads, text, size);
}

enum cx_status cpu_tensor_create(struct cx_backend *backend, enum cx_element element, size_t count, struct cx_tensor **tensor, struct cx_error *error) {
    struct cx_tensor *created = NULL;
    (void)backend;
    *tensor = NULL;
    enum cx_status status = cx_allocate(1, sizeof *created, "a tensor", &created, error);
    if (status != CX_OK)
        return status;
    created->element = element;
    created->count = count;
    if (element == CX_ELEMENT_FLOAT)
        status = cpu_allocate(count, sizeof(float), "a tensor's numbers", &created->values, error);
    else
        status = cpu_allocate(count, sizeof(double), "a tensor's numbers", &created->doubles, error);
    if (status != CX_OK) {
        free(created);
        return status;
    }
    *tensor = created;
    return CX_OK;
}

void cpu_tensor_destroy(struct cx_backend *backend, struct cx_tensor *tensor) {
    (void)backend;
    if (!tensor)
        return;
    if (!tensor->is_part) {
        free(tensor->values);
        free(tensor->doubles);
    }
    free(tensor);
}

enum cx_status cpu_tensor_part(struct cx_backend *backend, const struct cx_tensor *whole, size_t first, size_t count, struct cx_tensor **part,
                               struct cx_error *error) {
    (void)backend;
    if (first > whole->count || count > whole->count - first)
        return cx_fail(error, CX_ERROR_INTERNAL, "tensor_part: elements %zu to %zu of a tensor of %zu", first, first + count, whole->count);
    enum cx_status status = *part ? CX_OK : cx_allocate(1, sizeof **part, "a part of a tensor", part, error);
    if (status == CX_OK)
        **part = (struct cx_tensor){.element = whole->element,
                                    .is_part = true,
                                    .count = count,
                                    .values = whole->values ? whole->values + first : NULL,
                                    .doubles = whole->doubles ? whole->doubles + first : NULL};
    return status;
}

enum cx_status cpu_write(struct cx_backend *backend, struct cx_tensor *tensor, size_t count, const float *values, struct cx_error *error) {
    (void)backend;
    enum cx_status status = cpu_check(tensor, CX_ELEMENT_FLOAT, count, "write", "tensor", error);
    if (status == CX_OK && count > 0)
        memcpy(tensor->values, values, count * sizeof *values);
    return status;
}

enum cx_status cpu_read(struct cx_backend *backend, const struct cx_tensor *tensor, size_t first, size_t count, void *values, struct cx_error *error) {
    (void)backend;
    if (first > tensor->count || count > tensor->count - first)
        return cx_fail(error, CX_ERROR_INTERNAL, "read: elements %zu to %zu of a tensor of %zu", first, first + count, tensor->count);
    if (count == 0)
        return CX_OK;
    if (tensor->element == CX_ELEMENT_FLOAT)
        memcpy(values, tensor->values + first, count * sizeof(float));
    else
        memcpy(values, tensor->doubles + first, count * sizeof(double));
    return CX_OK;
}

/* Operations are done when they return, and the tensor stays as it is: its own memory is as good as a copy. */
enum cx_status cpu_read_begin(struct cx_backend *backend, size_t slot, const struct cx_tensor *tensor, size_t first, size_t count, struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    if (slot >= CX_READ_SLOTS || tensor->element != CX_ELEMENT_FLOAT || first > tensor->count || count > tensor->count - first)
        return cx_fail(error, CX_ERROR_INTERNAL, "read_begin: slot %zu, elements %zu to %zu of a tensor of %zu", slot, first, first + count, tensor->count);
    cpu->reads[slot] = tensor->values + first;
    return CX_OK;
}

enum cx_status cpu_read_wait(struct cx_backend *backend, size_t slot, const float **values, struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    *values = slot < CX_READ_SLOTS ? cpu->reads[slot] : NULL;
    return *values ? CX_OK : cx_fail(error, CX_ERROR_INTERNAL, "read_wait: nothing was begun in slot %zu", slot);
}

enum cx_status cpu_matrix_create(struct cx_backend *backend, const struct cx_weight *weight, struct cx_matrix **matrix, struct cx_error *error) {
    struct cx_matrix *created = NULL;
    size_t count;
    (void)backend;
    *matrix = NULL;
    if (!cx_multiply(weight->rows, weight->columns, &count))
        return cx_fail_memory(error, "a dense layer's weight", SIZE_MAX);
    enum cx_status status = cx_allocate(1, sizeof *created, "a matrix", &created, error);
    if (status != CX_OK)
        return status;
    created->out = weight->rows;
    created->in = weight->columns;
    /* A view into a mapped file need not be aligned to its elements. */
    if (weight->dtype == CX_FLOAT32 && (uintptr_t)weight->data % sizeof(float) == 0) {
        created->weight = weight->data;
    } else {
        status = cpu_allocate(count, sizeof(float), "a dense layer's weight", &created->copy, error);
        if (status != CX_OK) {
            free(created);
            return status;
        }
        cx_weight_to_float(weight, created->copy);
        created->weight = created->copy;
    }
    *matrix = created;
    return CX_OK;
}

void cpu_matrix_destroy(struct cx_backend *backend, struct cx_matrix *matrix) {
    (void)backend;
    if (!matrix)
        return;
    free(matrix->copy);
    free(matrix);
}

/* Longer sequences first; ties in the batch's order. */
static int compare_tiles(const void *left, const void *right) {
    const struct cpu_tile *a = left, *b = right;
    if (a->length != b->length)
        return a->length > b->length ? -1 : 1;
    if (a->sequence != b->sequence)
        return a->sequence < b->sequence ? -1 : 1;
    return a->first < b->first ? -1 : a->first > b->first;
}

enum cx_status cpu_batch_begin(struct cx_backend *backend, const struct cx_batch *batch, struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t count = 0;
    cpu->batch = NULL;
    if (batch->sequences > UINT32_MAX || batch->tokens > UINT32_MAX)
        return cx_fail(error, CX_ERROR_INTERNAL, "batch_begin: %zu sequences of %zu tokens in one batch", batch->sequences, batch->tokens);
    enum cx_status status =
        cx_reserve(&cpu->tiles, &cpu->tile_capacity, batch->tokens / CPU_TILE_ROWS + batch->sequences, sizeof *cpu->tiles, "the batch's tiles", error);
    if (status != CX_OK)
        return status;
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        size_t length = batch->token_offset[sequence + 1] - batch->token_offset[sequence];
        for (size_t first = 0; first < length; first += CPU_TILE_ROWS) {
            size_t rows = length - first < CPU_TILE_ROWS ? length - first : CPU_TILE_ROWS;
            cpu->tiles[count++] = (struct cpu_tile){(uint32_t)sequence, (uint32_t)length, (uint32_t)first, (uint32_t)rows};
        }
    }
    qsort(cpu->tiles, count, sizeof *cpu->tiles, compare_tiles);
    cpu->tile_count = count;
    cpu->batch = batch;
    return CX_OK;
}
