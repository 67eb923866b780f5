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
 *
 * In a batch with words j is a word J, and the sums over h are over its tokens, too: as many additions as for the tokens, and fewer rows of the product. What
 * is asked of every token by itself, o_ii, is a row more where a token's word has others.
 */
#include <omp.h>
#include <stdlib.h>
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

/* How many sources of its sequence a target attends to: all, or in a causal model those up to its own. */
static size_t attended_sources(const struct cpu_backend *cpu, size_t sequence, size_t target) {
    const struct cx_batch *batch = cpu->batch;
    if (!cpu->base.config.causal)
        return cx_batch_sources(batch, sequence);
    const size_t own = batch->words ? cx_batch_word_of(batch->words, target) : target;
    return own - cx_batch_first_source(batch, sequence) + 1;
}

/* Whether a token is in a word with others. */
static bool shares_word(const struct cx_batch *batch, size_t token) {
    const struct cx_batch_words *words = batch->words;
    if (!words || words->longest == 1)
        return false;
    size_t word = cx_batch_word_of(words, token);
    return words->first_token[word + 1] - words->first_token[word] > 1;
}

/* What is computed: the rows of the batch's targets 0 .. target - 1, for every target and the end. */
struct row_counts {
    const struct cpu_backend *cpu;
    size_t *before; /* [T + 1] */
};

static enum cx_status count_rows(struct row_counts *rows, struct cx_error *error) {
    const struct cx_batch *batch = rows->cpu->batch;
    enum cx_status status = cx_allocate(batch->tokens + 1, sizeof *rows->before, "the rows of a batch", &rows->before, error);
    for (size_t sequence = 0; status == CX_OK && sequence < batch->sequences; sequence++)
        for (size_t target = batch->token_offset[sequence]; target < batch->token_offset[sequence + 1]; target++)
            rows->before[target + 1] = rows->before[target] + attended_sources(rows->cpu, sequence, target) + shares_word(batch, target);
    return status;
}

static size_t count_items(const struct row_counts *rows) {
    const size_t tokens = rows->cpu->batch->tokens, threads = (size_t)rows->cpu->threads;
    size_t wanted = (tokens + item_targets - 1) / item_targets, fitting = rows->before[tokens] / item_rows + 1;
    if (wanted < threads * item_share)
        wanted = 2 * wanted < threads * item_share ? 2 * wanted : threads * item_share;
    if (wanted > fitting)
        wanted = fitting;
    return (wanted + threads - 1) / threads * threads;
}

/* The first target of item `item` of `items`: targets are counted over the batch, and items have about the same number of rows. */
static size_t first_target(const struct row_counts *rows, size_t item, size_t items) {
    const size_t tokens = rows->cpu->batch->tokens, share = rows->before[tokens] / items, rest = rows->before[tokens] % items;
    return cx_first_at_least(rows->before, tokens, item * share + (item < rest ? item : rest));
}

/* Rows of a tile, if the rows of targets begin .. end - 1 are to be spread evenly over as few tiles as can hold them. */
static size_t fair_rows(const struct row_counts *rows, size_t capacity, size_t begin, size_t end) {
    size_t count = rows->before[end] - rows->before[begin], tiles = (count + capacity - 1) / capacity;
    return tiles > 0 ? (count + tiles - 1) / tiles : 1;
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
 * Appends the pairs of the segment's targets with the sources that they attend to, in the sources' order: those that all of them attend to, which may be all
 * there are, and then what the second target has beyond the first, and so on, each with the targets that are left.
 */
static void append_targets(const struct cpu_backend *cpu, struct pair_tile *tile, size_t sequence, struct pair_segment segment, size_t soft) {
    for (size_t done = 0; segment.targets > 0; segment.target++, segment.targets--) {
        const size_t sources = attended_sources(cpu, sequence, segment.target);
        segment.source = segment.first_source + done;
        segment.sources = sources - done;
        append_block(tile, segment, soft);
        done = sources;
    }
}

/* Appends the own parts of those of the segment's targets that are in a word with others, which stand in no map. */
static void append_own(const struct cx_batch *batch, struct pair_tile *tile, struct pair_segment segment, size_t soft) {
    const size_t begin = segment.target, end = begin + segment.targets;
    segment.targets = segment.sources = 1;
    segment.only_own = true;
    for (size_t token = begin; token < end; token++) {
        segment.target = segment.source = token;
        if (shares_word(batch, token))
            append_block(tile, segment, soft);
    }
}

/* The pairs of targets begin .. end - 1 of the batch. */
static void run_item(const struct row_counts *rows, struct pair_tile *tile, size_t begin, size_t end) {
    const struct cx_batch *batch = rows->cpu->batch;
    const size_t most = tile->row_capacity < PAIR_TARGETS ? tile->row_capacity : PAIR_TARGETS, soft = fair_rows(rows, tile->row_capacity, begin, end);
    size_t sequence = cx_batch_sequence_of(batch, begin);
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
            .first_source = cx_batch_first_source(batch, sequence),
            .source_count = cx_batch_sources(batch, sequence),
            .pair_offset = batch->pair_offset[sequence],
            .map_offset = cx_batch_map_offset(batch, sequence),
        };
        append_targets(rows->cpu, tile, sequence, segment, soft);
        append_own(batch, tile, segment, soft);
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
        const size_t sequence = cx_batch_sequence_of(batch, target), sources = cx_batch_sources(batch, sequence);
        const size_t attended = attended_sources(cpu, sequence, target), row = (target - batch->token_offset[sequence]) * sources;
        for (size_t map = 0; map < sizeof maps / sizeof *maps; map++) {
            if (maps[map])
                memset(maps[map] + cx_batch_map_offset(batch, sequence) + row + attended, 0, (sources - attended) * sizeof(float));
        }
    }
}

static void run_items(const struct row_counts *rows, const struct pair_problem *problem) {
    const struct cpu_backend *cpu = rows->cpu;
    const size_t items = count_items(rows);
#pragma omp parallel num_threads(cpu->threads)
    {
        struct pair_tile tile;
        pair_tile_place(&tile, problem, cpu_scratch(cpu, omp_get_thread_num()));
#pragma omp for schedule(dynamic)
        for (size_t item = 0; item < items; item++) {
            size_t begin = first_target(rows, item, items), end = first_target(rows, item + 1, items);
            clear_outputs(cpu, problem, begin, end);
            if (begin < end)
                run_item(rows, &tile, begin, end);
        }
    }
}

static enum cx_status check(const struct cpu_backend *cpu, const struct cx_ff_pairs *pairs, struct cx_error *error) {
    const struct cx_model_config *config = &cpu->base.config;
    const size_t tokens = cpu->batch->tokens, count = cx_batch_map_elements(cpu->batch), heads = config->heads, d = config->hidden_size,
                 f = config->intermediate_size;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(pairs->attention, heads * cpu->batch->pairs),
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
        .first_token = cpu->batch->words ? cpu->batch->words->first_token : NULL,
        .longest_source = cpu->batch->words ? cpu->batch->words->longest : 1,
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
    if (!pair_tile_bytes(problem.output, problem.heads, problem.longest_source, &bytes))
        return cx_fail_memory(error, "a tile of pairs", SIZE_MAX);
    status = cpu_scratch_reserve(cpu, bytes, error);
    if (status != CX_OK || cpu->batch->pairs == 0)
        return status;
    struct row_counts rows = {.cpu = cpu};
    status = count_rows(&rows, error);
    if (status == CX_OK)
        run_items(&rows, &problem);
    free(rows.before);
    return status;
}
