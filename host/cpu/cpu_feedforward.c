/*
 * The feed-forward maps of every pair: 95 % of the program's time. (DESIGN.md, identities 2 and 3.)
 *
 *     z_ij = ρ_i ⊙ (Σ_h α^h_ij P_jh + [i=j] Px_j) / σ1_i     [f]
 *     oc_ij = z_ij W2c, m_ij = z_ij · w̄                       [d], [1]
 *     tc_ij + mt_ij = (Σ_h α^h_ij F̂_jh + [i=j] x̂_j) / σ1_i   [d], mt the mean over d
 *     ‖o‖² = ‖oc‖² + d m²;  vc = oc + tc;  ‖v‖² = ‖vc‖² + d (m + mt)²;  ‖w‖² = Σ γ2² vc² / σ2_i²
 *
 * 2 d f floating-point operations a pair; building z and the norms add H/d + H/f of that, the checksum 2/d. In a causal model the pairs with j > i are no
 * rows of the product, and their norms are 0.
 */
#include <omp.h>
#include <string.h>

#include "contexture/memory.h"
#include "cpu_backend.h"
#include "pair_kernel.h"

/*
 * An item is a run of consecutive targets, with all their sources, so that sum_i is taken by one thread in the order of the sources. The partition
 * follows the number of threads, to give all the same work; the numbers do not, since those of a pair depend on the pair alone (pair_kernel.h).
 *
 *   item_targets  targets of an item in a long sequence: P_jh is read from memory once for all of them, at 2 / targets bytes a cycle.
 *   item_rows     rows of an item of short sequences, at least: enough to fill tiles.
 *   item_share    items per thread that are wanted, to even out what the threads get; for their sake items may have half as many targets.
 */
enum { item_targets = 16, item_rows = 384, item_share = 4 };

static size_t count_items(const struct cpu_backend *cpu) {
    const struct cx_batch *batch = cpu->batch;
    const size_t threads = (size_t)cpu->threads, rows = cx_attended_pairs(&cpu->base.config, batch->pairs, batch->tokens);
    size_t wanted = (batch->tokens + item_targets - 1) / item_targets, fitting = rows / item_rows + 1;
    if (wanted < threads * item_share)
        wanted = 2 * wanted < threads * item_share ? 2 * wanted : threads * item_share;
    if (wanted > fitting)
        wanted = fitting;
    return (wanted + threads - 1) / threads * threads;
}

/* The last sequence whose offset is at most `position`: the one that this token or pair belongs to. */
static size_t find_sequence(const size_t *offsets, size_t sequences, size_t position) {
    size_t low = 0, high = sequences;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (offsets[middle] <= position)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* The rows of the batch's targets 0 .. target - 1. */
static size_t rows_before(const struct cpu_backend *cpu, size_t target) {
    const struct cx_batch *batch = cpu->batch;
    const size_t sequence = find_sequence(batch->token_offset, batch->sequences, target), first = batch->token_offset[sequence], count = target - first;
    if (cpu->base.config.causal)
        return cx_attended_pairs(&cpu->base.config, batch->pair_offset[sequence] + count * count, target);
    return batch->pair_offset[sequence] + count * (batch->token_offset[sequence + 1] - first);
}

/* The first target of item `item` of `items`: targets are counted over the batch, and items have about the same number of rows. */
static size_t first_target(const struct cpu_backend *cpu, size_t item, size_t items) {
    const size_t rows = rows_before(cpu, cpu->batch->tokens), share = rows / items, rest = rows % items;
    const size_t row = item * share + (item < rest ? item : rest);
    size_t low = 0, high = cpu->batch->tokens;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rows_before(cpu, middle) < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Rows of a tile, if the rows of targets begin .. end - 1 are to be spread evenly over as few tiles as can hold them. */
static size_t fair_rows(const struct cpu_backend *cpu, size_t capacity, size_t begin, size_t end) {
    size_t rows = rows_before(cpu, end) - rows_before(cpu, begin), tiles = (rows + capacity - 1) / capacity;
    return tiles > 0 ? (rows + tiles - 1) / tiles : 1;
}

/* Appends the segment's pairs, and runs tiles as they fill up. `soft` rows make a tile full, so that an item's tiles are about equal. */
static void append_block(struct pair_tile *tile, struct pair_segment segment, size_t soft) {
    const size_t end = segment.source + segment.sources;
    for (; segment.source < end; segment.source += segment.sources) {
        if (tile->row_capacity - tile->rows < segment.targets)
            pair_tile_run(tile);
        size_t fitting = (tile->row_capacity - tile->rows) / segment.targets;
        size_t wanted = tile->rows < soft ? (soft - tile->rows + segment.targets - 1) / segment.targets : 1;
        segment.sources = end - segment.source;
        if (segment.sources > fitting)
            segment.sources = fitting;
        if (segment.sources > wanted)
            segment.sources = wanted;
        pair_tile_append(tile, &segment);
        if (tile->rows >= soft)
            pair_tile_run(tile);
    }
}

/*
 * Appends the pairs of the segment's targets with the sources that they attend to, in the sources' order: all, or in a causal model those that all of them
 * attend to, and then one source after the other, each with the targets that are left.
 */
static void append_targets(struct pair_tile *tile, struct pair_segment segment, bool causal, size_t soft) {
    segment.source = segment.sequence_start;
    segment.sources = causal ? segment.target + 1 - segment.sequence_start : segment.sequence_length;
    append_block(tile, segment, soft);
    while (causal && --segment.targets > 0) {
        segment.source = ++segment.target;
        segment.sources = 1;
        append_block(tile, segment, soft);
    }
}

/* The pairs of targets begin .. end - 1 of the batch. */
static void run_item(const struct cpu_backend *cpu, struct pair_tile *tile, size_t begin, size_t end) {
    const struct cx_batch *batch = cpu->batch;
    const size_t most = tile->row_capacity < PAIR_TARGETS ? tile->row_capacity : PAIR_TARGETS, soft = fair_rows(cpu, tile->row_capacity, begin, end);
    size_t sequence = find_sequence(batch->token_offset, batch->sequences, begin);
    for (size_t target = begin; target < end;) {
        size_t start = batch->token_offset[sequence], stop = batch->token_offset[sequence + 1];
        if (target >= stop) {
            sequence++;
            continue;
        }
        size_t left = (stop < end ? stop : end) - target, parts = (left + most - 1) / most;
        struct pair_segment segment = {
            .target = target,
            .targets = (left + parts - 1) / parts,
            .sequence_start = start,
            .sequence_length = stop - start,
            .pair_offset = batch->pair_offset[sequence],
        };
        append_targets(tile, segment, cpu->base.config.causal, soft);
        target += segment.targets;
    }
    pair_tile_run(tile);
}

/* The outputs of targets begin .. end - 1 as they are before the first row comes. */
static void clear_outputs(const struct cpu_backend *cpu, const struct pair_problem *problem, size_t begin, size_t end) {
    const struct cx_batch *batch = cpu->batch;
    if (problem->sum)
        memset(problem->sum + begin * problem->width, 0, (end - begin) * problem->width * sizeof *problem->sum);
    if (problem->check)
        memset(problem->check + begin, 0, (end - begin) * sizeof *problem->check);
    for (size_t target = begin; cpu->base.config.causal && target < end; target++) {
        float *const maps[] = {problem->ff, problem->ff_res, problem->ff_res_ln};
        const size_t sequence = find_sequence(batch->token_offset, batch->sequences, target), first = batch->token_offset[sequence];
        const size_t n = batch->token_offset[sequence + 1] - first, attended = target - first + 1;
        for (size_t map = 0; map < sizeof maps / sizeof *maps; map++) {
            if (maps[map])
                memset(maps[map] + batch->pair_offset[sequence] + (target - first) * n + attended, 0, (n - attended) * sizeof(float));
        }
    }
}

static void run_items(const struct cpu_backend *cpu, const struct pair_problem *problem) {
    const size_t items = count_items(cpu);
#pragma omp parallel num_threads(cpu->threads)
    {
        struct pair_tile tile;
        pair_tile_place(&tile, problem, cpu_scratch(cpu, omp_get_thread_num()));
#pragma omp for schedule(dynamic)
        for (size_t item = 0; item < items; item++) {
            size_t begin = first_target(cpu, item, items), end = first_target(cpu, item + 1, items);
            clear_outputs(cpu, problem, begin, end);
            if (begin < end)
                run_item(cpu, &tile, begin, end);
        }
    }
}

static enum cx_status check(const struct cpu_backend *cpu, const struct cx_ff_pairs *pairs, struct cx_error *error) {
    const struct cx_model_config *config = &cpu->base.config;
    const size_t tokens = cpu->batch->tokens, count = cpu->batch->pairs, heads = config->heads, d = config->hidden_size, f = config->intermediate_size;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(pairs->attention, heads * count),
        CPU_FLOATS(pairs->inverse_deviation1, tokens),
        CPU_FLOATS(pairs->ratio, tokens * f),
        CPU_FLOATS(pairs->head_ff_sources, tokens * heads * f),
        CPU_FLOATS(pairs->residual_ff_sources, tokens * f),
        CPU_FLOATS(pairs->head_norm_sources, tokens * heads * d),
        CPU_FLOATS(pairs->residual_norm_sources, tokens * d),
        CPU_FLOATS(pairs->norm2_scale, d),
        CPU_FLOATS(pairs->inverse_deviation2, tokens),
        CPU_OPTIONAL(pairs->ff, count),
        CPU_OPTIONAL(pairs->ff_res, count),
        CPU_OPTIONAL(pairs->ff_res_ln, count),
        CPU_OPTIONAL(pairs->own, tokens * d),
        CPU_OPTIONAL(pairs->sum, tokens * d),
        CPU_OPTIONAL(pairs->check, tokens),
    };
    enum cx_status status = CPU_CHECK_ALL("ff_pair_norms", arguments, error);
    if (status != CX_OK)
        return status;
    if (!pairs->output || pairs->output->width != d || pairs->output->depth != f)
        return cx_fail(error, CX_ERROR_INTERNAL, "ff_pair_norms: argument output is not a pair matrix [%zu, %zu]", d, f);
    return CX_OK;
}

static float *values_of(const struct cx_tensor *tensor) {
    return tensor ? tensor->values : NULL;
}

enum cx_status cpu_ff_pair_norms(struct cx_backend *backend, const struct cx_ff_pairs *pairs, struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    enum cx_status status = cpu_check_batch(cpu, "ff_pair_norms", error);
    if (status == CX_OK)
        status = check(cpu, pairs, error);
    if (status != CX_OK)
        return status;
    const struct pair_problem problem = {
        .width = backend->config.hidden_size,
        .depth = backend->config.intermediate_size,
        .heads = backend->config.heads,
        .attention = pairs->attention->values,
        .inverse_deviation1 = pairs->inverse_deviation1->values,
        .ratio = pairs->ratio->values,
        .head_ff_sources = pairs->head_ff_sources->values,
        .residual_ff_sources = pairs->residual_ff_sources->values,
        .head_norm_sources = pairs->head_norm_sources->values,
        .residual_norm_sources = pairs->residual_norm_sources->values,
        .norm2_scale = pairs->norm2_scale->values,
        .inverse_deviation2 = pairs->inverse_deviation2->values,
        .ff = values_of(pairs->ff),
        .ff_res = values_of(pairs->ff_res),
        .ff_res_ln = values_of(pairs->ff_res_ln),
        .own = values_of(pairs->own),
        .sum = values_of(pairs->sum),
        .check = values_of(pairs->check),
        .output = pairs->output,
    };
    size_t bytes;
    if (!pair_tile_bytes(problem.output, problem.heads, &bytes))
        return cx_fail_memory(error, "a tile of pairs", SIZE_MAX);
    status = cpu_scratch_reserve(cpu, bytes, error);
    if (status == CX_OK && cpu->batch->pairs > 0)
        run_items(cpu, &problem);
    return status;
}
