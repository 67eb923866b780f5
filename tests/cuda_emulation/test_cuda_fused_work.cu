/*
 * The work list of the fused kernels (cuda/fused_work.cu), read back from the device for batches of random lengths, causal and not: every pair is in one step
 * of each slice, no tile above a causal model's diagonal is in any, blocks have the same number of steps but for one, and every slot has one segment. Of a
 * kernel with clusters (cuda/fused_clusters.cu) every segment is in one round, with such as go through the same stages.
 */
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "fused_pairs.cuh"

namespace {

[[noreturn]] void fail(const char *what, unsigned long found, unsigned long expected) {
    fprintf(stderr, "FAIL %s: found %lu, expected %lu\n", what, found, expected);
    exit(1);
}

void expect(const char *what, size_t found, size_t expected) {
    if (found != expected)
        fail(what, found, expected);
}

uint32_t next_random() {
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<uint32_t>(state >> 16);
}

struct bench {
    struct cx_backend *backend;
    struct cuda_backend *cuda;
    struct cx_error error;

    void expect_ok(enum cx_status status) {
        if (status != CX_OK) {
            fprintf(stderr, "FAIL a call: %s\n", error.message);
            exit(1);
        }
    }
    bench(enum cx_pair_kernel kernel, bool causal) : error() {
        struct cx_backend_options options = {};
        options.kind = CX_BACKEND_CUDA;
        options.pair_precision = CX_PAIR_F16;
        options.pair_kernel = kernel;
        struct cx_model_config config = {};
        config.layers = 1;
        config.heads = 4;
        config.head_size = 96;
        config.hidden_size = 384;
        config.intermediate_size = 64;
        config.vocabulary_size = config.token_types = config.max_positions = 1;
        config.causal = causal;
        expect_ok(cx_backend_open(&options, &config, &backend, &error));
        cuda = reinterpret_cast<struct cuda_backend *>(backend);
    }
    ~bench() {
        cx_backend_close(backend);
    }
    bench(const bench &) = delete;
    bench &operator=(const bench &) = delete;

    template <typename Element> std::vector<Element> read(const Element *from, size_t count) {
        std::vector<Element> values(count);
        if (cudaMemcpy(values.data(), from, count * sizeof(Element), cudaMemcpyDeviceToHost) != cudaSuccess)
            fail("a copy", 1, 0);
        return values;
    }
};

struct batch {
    std::vector<size_t> tokens, pairs;
    std::vector<int32_t> zeros; /* for whatever names a row of an embedding */
    struct cx_batch view;

    explicit batch(const std::vector<size_t> &lengths) : tokens{0}, pairs{0}, view() {
        for (size_t n : lengths) {
            tokens.push_back(tokens.back() + n);
            pairs.push_back(pairs.back() + n * n);
            view.longest = n > view.longest ? n : view.longest;
        }
        view.sequences = lengths.size();
        view.tokens = tokens.back();
        view.pairs = pairs.back();
        zeros.resize(tokens.back());
        view.input_ids = view.token_type_ids = view.position_ids = zeros.data();
        view.token_offset = tokens.data();
        view.pair_offset = pairs.data();
    }
    size_t length(size_t sequence) const {
        return tokens[sequence + 1] - tokens[sequence];
    }
};

/* What the steps of a batch must be: of every tile as many as its sources, in a causal model those up to its last target, need. */
size_t steps_expected(const struct batch &batch, const struct fused_state *fused, bool causal) {
    size_t steps = 0;
    for (size_t sequence = 0; sequence < batch.view.sequences; sequence++) {
        const size_t n = batch.length(sequence);
        size_t packed = fused->plan.packed;
        while (packed > 1 && n * packed > FUSED_TARGETS)
            packed /= 2;
        for (size_t target = 0; target < n; target += FUSED_TARGETS / packed) {
            const size_t end = target + FUSED_TARGETS / packed < n ? target + FUSED_TARGETS / packed : n, sources = causal ? end : n;
            const size_t stride = fused->plan.sources * packed;
            steps += fused->slices * ((sources + stride - 1) / stride);
        }
    }
    return steps;
}

/* Blocks of a cluster that differed in their stages would wait for each other for ever. */
void check_rounds(struct bench &bench, const std::vector<struct fused_group> &groups, const std::vector<struct fused_segment> &segments) {
    const struct fused_state *fused = bench.cuda->fused;
    const std::vector<unsigned> firsts = bench.read(fused->cluster_rounds, fused->clusters + 1);
    const std::vector<struct fused_round> rounds = bench.read(fused->rounds, firsts.back());
    std::vector<unsigned char> times(segments.size());
    expect("first round", firsts[0], 0);
    for (unsigned cluster = 0; cluster < fused->clusters; cluster++)
        expect("a cluster has a round", firsts[cluster] < firsts[cluster + 1], true);
    for (const struct fused_round &round : rounds) {
        const struct fused_group first = groups[segments.at(round.segments[0]).group];
        const unsigned stride = fused->plan.sources * first.packed;
        unsigned longest = 0, shared = 0, all = 0;
        for (unsigned index : round.segments) {
            if (index == FUSED_NOTHING)
                continue;
            const struct fused_segment segment = segments.at(index);
            const unsigned steps = (segment.sources + stride - 1) / stride;
            expect("slice of a round's segment", groups[segment.group].slice, first.slice);
            expect("sources in a tile of a round's segment", groups[segment.group].packed, first.packed);
            longest = steps > longest ? steps : longest;
            shared += segment.group == segments[round.segments[0]].group;
            all++;
            times[index]++;
        }
        expect("steps of a round", round.steps, longest);
        expect("a round shares ratios", round.shares_ratios, shared == all);
    }
    for (unsigned char found : times)
        expect("rounds of a segment", found, 1);
}

/* The steps of a batch's blocks. */
size_t check(struct bench &bench, const struct batch &batch, bool causal) {
    const struct fused_state *fused = bench.cuda->fused;
    bench.expect_ok(bench.backend->operations->batch_begin(bench.backend, &batch.view, &bench.error));
    if (cudaStreamSynchronize(bench.cuda->stream) != cudaSuccess)
        fail("waiting for the device", 1, 0);
    const std::vector<unsigned> firsts = bench.read(fused->block_segments, fused->blocks + 1);
    const std::vector<struct fused_group> groups = bench.read(fused->groups, fused->group_count);
    const std::vector<struct fused_segment> segments = bench.read(fused->segments, firsts.back());
    std::vector<unsigned char> pairs(batch.view.pairs * fused->slices), slots(fused->slots);
    const size_t expected = steps_expected(batch, fused, causal);
    size_t all_steps = 0;
    for (unsigned block = 0; block < fused->blocks; block++) {
        size_t steps = 0;
        for (unsigned index = firsts[block]; index < firsts[block + 1]; index++) {
            const struct fused_segment segment = segments[index];
            const struct fused_group group = groups[segment.group];
            const unsigned stride = fused->plan.sources * group.packed;
            steps += (segment.sources + stride - 1) / stride;
            for (unsigned slot = segment.slot; slot < segment.slot + fused->plan.slots; slot++)
                slots[slot]++;
            for (unsigned source = segment.source; source < segment.source + segment.sources; source++) {
                for (unsigned target = group.target; target < group.target + group.targets; target++)
                    pairs[group.slice * batch.view.pairs + group.pairs + static_cast<size_t>(target) * group.length + source]++;
            }
        }
        if (steps < expected / fused->blocks || steps > expected / fused->blocks + 1)
            fail("steps of a block", steps, expected / fused->blocks);
        all_steps += steps;
    }
    expect("steps", all_steps, expected);
    if (fused->clusters > 0)
        check_rounds(bench, groups, segments);
    for (unsigned char times : slots)
        expect("segments of a slot", times, 1);
    for (size_t sequence = 0; sequence < batch.view.sequences; sequence++) {
        const size_t n = batch.length(sequence);
        for (size_t k = 0; k < fused->slices * n * n; k++) {
            const size_t target = k % (n * n) / n, source = k % n;
            const unsigned char times = pairs[k / (n * n) * batch.view.pairs + batch.pairs[sequence] + k % (n * n)];
            if (!causal || source <= target)
                expect("times that a pair is computed", times, 1);
            else if (source / FUSED_TARGETS > target / FUSED_TARGETS)
                expect("times that a pair above the diagonal is", times, 0);
        }
    }
    return all_steps;
}

} /* namespace */

int main() {
    if (setenv("EMULATION_MULTIPROCESSORS", "7", 1) != 0) /* three clusters, and one left over */
        fail("setenv", 1, 0);
    for (enum cx_pair_kernel kernel : {CX_PAIR_KERNEL_WGMMA, CX_PAIR_KERNEL_WGMMA_CLUSTER, CX_PAIR_KERNEL_MMA}) {
        size_t steps[2] = {0, 0};
        for (bool causal : {false, true}) {
            struct bench bench(kernel, causal);
            for (int k = 0; k < 40; k++) {
                std::vector<size_t> lengths(1 + next_random() % 6);
                for (size_t &n : lengths)
                    n = 1 + next_random() % (next_random() % 2 ? 20 : 200);
                check(bench, batch(lengths), causal);
            }
            steps[causal] = check(bench, batch({1024}), causal);
        }
        /* 16 tiles in a row: 1 + 2 + … + 16 of 256. */
        expect("steps of a causal model's 1024 tokens", steps[true] * 256, steps[false] * 136);
    }
    printf("the work lists hold every pair once\n");
    return 0;
}
