/*
 * Which segments of the work list the blocks of a cluster do side by side (fused_work.cu has the segments).
 *
 * Blocks that share the tiles of W2c need them in the same order, so the segments of a round are of one slice of d, and their tiles hold equally many sources;
 * then their steps have equally many stages, too. Segments of one group share the tiles of ρ besides, and are put together first where one is at most a step
 * longer; those left over go with another of about their length, whatever the targets, and the last one alone.
 *
 *     group     a a a a a  b b b b  c …         of one slice; steps: 46 47 46 46 12 | 34 46 47 46 | …
 *     rounds    a a  a a  b b                   steps differ by 1 at most
 *               b a  …                          what is left, longest first
 *
 * The rounds go to the clusters longest first, each to the one that has least to do. A segment has a slot of its own for its sums, so who does it, and when, is
 * not seen in the results.
 */
#include "fused_pairs.cuh"

#include <cstdlib>
#include <cstring>

struct share {
    unsigned slice, packed, group, steps, segment;
};

struct dealt_round {
    struct fused_round round;
    unsigned cluster;
};

/* Numbers where the smaller comes first. */
static int compare(unsigned a, unsigned b) {
    return (a > b) - (a < b);
}

static int compare_kinds(const struct share *a, const struct share *b) {
    const int slice = compare(a->slice, b->slice);
    return slice != 0 ? slice : compare(a->packed, b->packed);
}

static int compare_lengths(const struct share *a, const struct share *b) {
    const int steps = compare(b->steps, a->steps);
    return steps != 0 ? steps : compare(a->segment, b->segment);
}

static int by_group(const void *first, const void *second) {
    const struct share *a = static_cast<const struct share *>(first), *b = static_cast<const struct share *>(second);
    const int kind = compare_kinds(a, b), group = compare(a->group, b->group);
    return kind != 0 ? kind : group != 0 ? group : compare_lengths(a, b);
}

static int by_length(const void *first, const void *second) {
    const struct share *a = static_cast<const struct share *>(first), *b = static_cast<const struct share *>(second);
    const int kind = compare_kinds(a, b);
    return kind != 0 ? kind : compare_lengths(a, b);
}

static int longest_first(const void *first, const void *second) {
    const struct fused_round *a = &static_cast<const struct dealt_round *>(first)->round, *b = &static_cast<const struct dealt_round *>(second)->round;
    const int steps = compare(b->steps, a->steps);
    return steps != 0 ? steps : compare(a->segments[0], b->segments[0]);
}

static struct fused_round round_of(const struct share *shares, size_t count) {
    struct fused_round round = {{}, shares->steps, true};
    for (size_t k = 0; k < FUSED_CLUSTER; k++) {
        round.segments[k] = k < count ? shares[k].segment : FUSED_NOTHING;
        round.shares_ratios = round.shares_ratios && (k >= count || shares[k].group == shares->group);
    }
    return round;
}

/* How many of the shares, the longest first, make a round: none where a group's should better go with others'. */
static size_t round_size(const struct share *shares, size_t count, bool within_group) {
    size_t size = 1;
    while (size < count && size < FUSED_CLUSTER && compare_kinds(shares, shares + size) == 0 &&
           (!within_group || (shares[size].group == shares->group && shares->steps - shares[size].steps <= 1)))
        size++;
    return within_group && size < FUSED_CLUSTER ? 0 : size;
}

/* Rounds of the first `count` shares, at the end of `rounds`; those of none are left, and their number is the result. */
static size_t pair_shares(struct share *shares, size_t count, bool within_group, struct dealt_round *rounds, size_t *round_count) {
    size_t left = 0;
    qsort(shares, count, sizeof *shares, within_group ? by_group : by_length);
    for (size_t k = 0; k < count;) {
        const size_t size = round_size(shares + k, count - k, within_group);
        if (size > 0)
            rounds[(*round_count)++].round = round_of(shares + k, size);
        else
            shares[left++] = shares[k];
        k += size > 0 ? size : 1;
    }
    return left;
}

/* Whose each round is: cluster_rounds [cluster + 1] counts the steps of a cluster, then its rounds. */
static void deal_rounds(struct dealt_round *rounds, size_t count, unsigned *cluster_rounds, unsigned clusters) {
    unsigned *loads = cluster_rounds + 1;
    qsort(rounds, count, sizeof *rounds, longest_first);
    memset(cluster_rounds, 0, (clusters + 1) * sizeof *cluster_rounds);
    for (size_t k = 0; k < count; k++) {
        unsigned least = 0;
        for (unsigned cluster = 1; cluster < clusters; cluster++)
            least = loads[cluster] < loads[least] ? cluster : least;
        rounds[k].cluster = least;
        loads[least] += rounds[k].round.steps;
    }
    memset(cluster_rounds, 0, (clusters + 1) * sizeof *cluster_rounds);
    for (size_t k = 0; k < count; k++)
        loads[rounds[k].cluster]++;
    for (unsigned cluster = 0; cluster < clusters; cluster++)
        cluster_rounds[cluster + 1] += cluster_rounds[cluster];
}

enum cx_status fused_clusters_deal(const struct fused_group *groups, const struct fused_segment *segments, size_t count, unsigned sources,
                                   struct fused_round *rounds, unsigned *cluster_rounds, unsigned *clusters, struct cx_error *error) {
    struct share *shares = NULL;
    struct dealt_round *dealt = NULL;
    unsigned *next = NULL;
    size_t round_count = 0;
    enum cx_status status;
    if ((status = cx_allocate(count, sizeof *shares, "a batch's work list", &shares, error)) != CX_OK ||
        (status = cx_allocate(count, sizeof *dealt, "a batch's work list", &dealt, error)) != CX_OK ||
        (status = cx_allocate(*clusters, sizeof *next, "a batch's work list", &next, error)) != CX_OK)
        goto cleanup;
    for (size_t k = 0; k < count; k++) {
        const struct fused_group *group = &groups[segments[k].group];
        shares[k] = {group->slice, group->packed, segments[k].group, cuda_blocks(segments[k].sources, static_cast<size_t>(sources) * group->packed),
                     static_cast<unsigned>(k)};
    }
    pair_shares(shares, pair_shares(shares, count, true, dealt, &round_count), false, dealt, &round_count);
    if (round_count < *clusters)
        *clusters = static_cast<unsigned>(round_count);
    deal_rounds(dealt, round_count, cluster_rounds, *clusters);
    memcpy(next, cluster_rounds, *clusters * sizeof *next);
    for (size_t k = 0; k < round_count; k++)
        rounds[next[dealt[k].cluster]++] = dealt[k].round;
cleanup:
    free(shares);
    free(dealt);
    free(next);
    return status;
}
