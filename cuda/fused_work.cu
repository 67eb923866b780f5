/*
 * The work list of the fused kernels: what each block does, so that all of them end at the same time.
 *
 * The steps of a batch stand in one row: sequence by sequence, its target tiles, of each the slices of d, of each the sources in steps. In a causal model a
 * tile has the sources up to its last target, so tiles above the diagonal are no work. Block b of B takes steps b S / B .. (b + 1) S / B - 1. So every block
 * has the same number of steps but for one, whatever the lengths, and blocks that run at the same time read the same sequence's sources from the L2 cache.
 * Where a block's share begins or ends inside a group, the group's sum over the sources falls into several slots. A kernel with clusters does the same
 * segments in another order (fused_clusters.cu), and so leaves the same bytes.
 *
 * A sequence of up to 32 tokens would leave half of a tile's rows empty, one of up to 16 three quarters: their tiles hold two or four sources.
 */
#include "fused_pairs.cuh"

#include <cstring>

static unsigned packed_of(size_t length, unsigned most) {
    const unsigned packed = length <= FUSED_TARGETS / 4 ? 4 : length <= FUSED_TARGETS / 2 ? 2 : 1;
    return packed < most ? packed : most;
}

static size_t length_of(const struct cx_batch *batch, size_t sequence) {
    return batch->token_offset[sequence + 1] - batch->token_offset[sequence];
}

/* Calls visit(group) for every group of a batch, in the order of the steps; its slots are not known yet. */
template <typename Visit> static void for_each_group(const struct fused_state *fused, const struct cx_batch *batch, Visit visit) {
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        struct fused_group group = {};
        group.pairs = batch->pair_offset[sequence];
        group.first = static_cast<unsigned>(batch->token_offset[sequence]);
        group.length = static_cast<unsigned>(length_of(batch, sequence));
        group.packed = packed_of(group.length, fused->plan.packed);
        const unsigned rows = FUSED_TARGETS / group.packed;
        for (group.target = 0; group.target < group.length; group.target += rows) {
            group.targets = group.length - group.target < rows ? group.length - group.target : rows;
            group.reach = fused->causal ? group.target : group.length;
            group.sources = fused->causal ? group.target + group.targets : group.length;
            for (group.slice = 0; group.slice < fused->slices; group.slice++) {
                group.column = group.slice * fused->plan.slice_columns;
                visit(group);
            }
        }
    }
}

/* Sources that a group's steps take at a time, and its steps. */
static unsigned stride_of(const struct fused_state *fused, const struct fused_group &group) {
    return fused->plan.sources * group.packed;
}

static size_t steps_of(const struct fused_state *fused, const struct fused_group &group) {
    return cuda_blocks(group.sources, stride_of(fused, group));
}

struct totals {
    size_t groups, steps, blocks;
    unsigned packed; /* largest */
};

static struct totals count_work(const struct fused_state *fused, const struct cx_batch *batch) {
    struct totals totals = {};
    for_each_group(fused, batch, [&](const struct fused_group &group) {
        totals.groups++;
        totals.steps += steps_of(fused, group);
        totals.packed = group.packed > totals.packed ? group.packed : totals.packed;
    });
    totals.blocks = totals.steps < fused->plan.blocks ? totals.steps : fused->plan.blocks;
    return totals;
}

/* As fused_problem has it. */
struct work_list {
    struct fused_group *groups;
    struct fused_segment *segments;
    unsigned *block_segments;
    struct fused_round *rounds;
    unsigned *cluster_rounds;
};

/* Where a batch's list lies in memory, or only, without any, how many bytes it takes. */
static size_t lay_out(const struct fused_plan *plan, const struct totals &totals, size_t most_segments, unsigned char *memory, struct work_list *list) {
    size_t used = 0;
    fused_take(memory, &used, totals.groups, &list->groups);
    fused_take(memory, &used, most_segments, &list->segments);
    fused_take(memory, &used, totals.blocks + 1, &list->block_segments);
    fused_take(memory, &used, plan->clusters > 0 ? most_segments : 0, &list->rounds);
    fused_take(memory, &used, plan->clusters + 1, &list->cluster_rounds);
    return used;
}

/* What is written while the steps are dealt out. */
struct dealer {
    const struct fused_state *fused;
    struct totals totals;
    struct work_list list;
    size_t group_count, segment_count, slot_count, step, block;
};

static size_t first_step(const struct dealer *dealer, size_t block) {
    return block * dealer->totals.steps / dealer->totals.blocks;
}

/* A group's steps, to the blocks whose turn it is. */
static void deal_group(struct dealer *dealer, struct fused_group group) {
    const unsigned stride = stride_of(dealer->fused, group);
    const size_t end = dealer->step + steps_of(dealer->fused, group), begin = dealer->step;
    group.slot = static_cast<unsigned>(dealer->slot_count);
    while (dealer->step < end) {
        if (dealer->step == first_step(dealer, dealer->block))
            dealer->list.block_segments[dealer->block++] = static_cast<unsigned>(dealer->segment_count);
        const size_t stop = first_step(dealer, dealer->block) < end ? first_step(dealer, dealer->block) : end;
        const unsigned source = static_cast<unsigned>(dealer->step - begin) * stride, after = static_cast<unsigned>(stop - begin) * stride;
        dealer->list.segments[dealer->segment_count++] = {static_cast<unsigned>(dealer->group_count), source,
                                                          (after < group.sources ? after : group.sources) - source, static_cast<unsigned>(dealer->slot_count)};
        dealer->slot_count += dealer->fused->plan.slots;
        dealer->step = stop;
    }
    group.slots = static_cast<unsigned>(dealer->slot_count) - group.slot;
    dealer->list.groups[dealer->group_count++] = group;
}

enum cx_status fused_work_begin(struct cuda_backend *cuda, const struct cx_batch *batch, struct cx_error *error) {
    struct fused_state *fused = cuda->fused;
    struct cuda_list *memory = &fused->memory[cuda->batch_block], *pinned = &fused->pinned[cuda->batch_block];
    const struct totals totals = count_work(fused, batch);
    fused->group_count = fused->blocks = 0;
    fused->slots = 0;
    if (totals.steps == 0)
        return CX_OK;
    /* A segment begins with a group or with a block. */
    const size_t most_segments = totals.groups + totals.blocks;
    if (most_segments * fused->plan.slots > UINT32_MAX)
        return cx_fail(error, CX_ERROR_INTERNAL, "batch_begin: %zu groups of pairs in one batch", totals.groups);
    struct work_list list;
    const size_t bytes = lay_out(&fused->plan, totals, most_segments, NULL, &list);
    enum cx_status status = cuda_pinned_fit(cuda, pinned, bytes, "a batch's work list", error);
    if (status == CX_OK)
        status = cuda_list_fit(cuda, memory, bytes, "a batch's work list", error);
    if (status != CX_OK)
        return status;
    struct dealer dealer = {};
    dealer.fused = fused;
    dealer.totals = totals;
    lay_out(&fused->plan, totals, most_segments, static_cast<unsigned char *>(pinned->memory), &dealer.list);
    memset(pinned->memory, 0, bytes);
    for_each_group(fused, batch, [&](const struct fused_group &group) { deal_group(&dealer, group); });
    dealer.list.block_segments[totals.blocks] = static_cast<unsigned>(dealer.segment_count);
    fused->clusters = fused->plan.clusters;
    if (fused->clusters > 0)
        status = fused_clusters_deal(dealer.list.groups, dealer.list.segments, dealer.segment_count, fused->plan.sources, dealer.list.rounds,
                                     dealer.list.cluster_rounds, &fused->clusters, error);
    if (status != CX_OK)
        return status;
    lay_out(&fused->plan, totals, most_segments, static_cast<unsigned char *>(memory->memory), &list);
    fused->groups = list.groups;
    fused->segments = list.segments;
    fused->block_segments = list.block_segments;
    fused->rounds = list.rounds;
    fused->cluster_rounds = list.cluster_rounds;
    fused->group_count = static_cast<unsigned>(totals.groups);
    fused->blocks = static_cast<unsigned>(totals.blocks);
    fused->slots = dealer.slot_count;
    fused->packed = totals.packed;
    return cuda_result(cuda, "batch_begin", "copying a batch's work list",
                       cudaMemcpyAsync(memory->memory, pinned->memory, bytes, cudaMemcpyHostToDevice, cuda->stream), error);
}
