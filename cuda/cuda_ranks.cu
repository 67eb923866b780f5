/*
 * Statistics of maps: shares of a row, ranks, and how much the ranks of one map differ from those of another (contexture/rank_sums.h).
 *
 *     keys_kernel    key of (i, j) = first token of the sequence, then the number's own (contexture/rank_key.h); its place in the map
 *     cuda_sort      all sequences at once
 *     ranks_kernel   the first and the last place of equal keys give a pair's rank, which goes where the pair stands
 *     rows_kernel    a row's integer sums
 *     change_kernel  one thread a sequence adds its rows
 */
#include "cuda_backend.cuh"
#include "cuda_reduce.cuh"
#include "cuda_sort.cuh"

extern "C" {
#include "contexture/rank_key.h"
#include "contexture/rank_sums.h"
}

constexpr unsigned row_warps = 4, row_threads = row_warps * CUDA_WARP, pair_threads = 256, sum_kinds = 6;
constexpr unsigned long long none = 1ull << 40; /* as a count: more than there are */

/* One warp a row. */
static __global__ void __launch_bounds__(row_threads) row_shares_kernel(unsigned rows, const struct cuda_token *tokens, const float *map, float *shares) {
    const unsigned row = blockIdx.x * row_warps + threadIdx.x / CUDA_WARP, lane = threadIdx.x % CUDA_WARP;
    if (row >= rows)
        return;
    const struct cuda_token token = tokens[row];
    const size_t at = token.pairs + static_cast<size_t>(row - token.first) * token.length;
    double sum = 0.0;
    for (unsigned source = lane; source < token.length; source += CUDA_WARP)
        sum += static_cast<double>(map[at + source]);
    sum = warp_sum(sum);
    for (unsigned source = lane; source < token.length; source += CUDA_WARP)
        shares[at + source] = sum == 0.0 ? 0.0f : static_cast<float>(static_cast<double>(map[at + source]) / sum);
}

/* Grid: targets. */
static __global__ void __launch_bounds__(pair_threads)
    keys_kernel(const struct cuda_token *tokens, const float *map, const float *keep, bool diagonal, uint64_t *keys, uint32_t *places) {
    const unsigned target = blockIdx.x;
    const struct cuda_token token = tokens[target];
    const size_t at = token.pairs + static_cast<size_t>(target - token.first) * token.length;
    for (unsigned source = threadIdx.x; source < token.length; source += pair_threads) {
        const bool kept = !keep || (keep[target] != 0.0f && keep[token.first + source] != 0.0f);
        const uint32_t key = kept && (diagonal || token.first + source != target) ? cx_rank_key(map[at + source]) : CX_RANK_KEY_LEFTOUT;
        keys[at + source] = static_cast<uint64_t>(token.first) << 32 | key;
        places[at + source] = static_cast<uint32_t>(at + source);
    }
}

/* The first place in keys[low .. high) whose key is not below `key`; high if there is none. */
static __device__ __forceinline__ unsigned place_of(const uint64_t *keys, unsigned low, unsigned high, uint64_t key) {
    while (low < high) {
        const unsigned middle = low + (high - low) / 2;
        if (keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* One thread a place of the sorted list. Where a number is alone, as nearly all are, its neighbours tell. */
static __global__ void __launch_bounds__(pair_threads)
    ranks_kernel(const struct cuda_token *tokens, unsigned count, const uint64_t *keys, const uint32_t *places, double *ranks) {
    const unsigned at = blockIdx.x * pair_threads + threadIdx.x;
    if (at >= count)
        return;
    const uint64_t key = keys[at];
    const uint32_t number = static_cast<uint32_t>(key);
    const struct cuda_token token = tokens[key >> 32];
    const unsigned begin = static_cast<unsigned>(token.pairs), size = token.length * token.length;
    unsigned first = at, last = at;
    if (at > begin && keys[at - 1] == key)
        first = place_of(keys, begin, at, key);
    if (at + 1 < begin + size && keys[at + 1] == key)
        last = place_of(keys, at, begin + size, key + 1) - 1;
    double rank = 0.5 * (static_cast<double>(first - begin + 1) + static_cast<double>(last - begin + 1));
    if (number == CX_RANK_KEY_LEFTOUT)
        rank = 0.0;
    else if (number == CX_RANK_KEY_NAN)
        rank = static_cast<double>(NAN);
    ranks[places[at]] = rank;
}

/* Grid: targets. Integers: in whichever order, the sums are the same. */
static __global__ void __launch_bounds__(row_threads)
    rows_kernel(const struct cuda_token *tokens, const double *before, const double *after, struct cx_rank_sums *rows) {
    SHARED_ARRAY(unsigned long long, partials, [row_warps][sum_kinds]);
    const unsigned target = blockIdx.x, warp = threadIdx.x / CUDA_WARP;
    const struct cuda_token token = tokens[target];
    const size_t at = token.pairs + static_cast<size_t>(target - token.first) * token.length;
    struct cx_rank_sums sums = {};
    for (unsigned source = threadIdx.x; source < token.length; source += row_threads)
        cx_rank_add(&sums, before[at + source], after[at + source]);
    unsigned long long kinds[sum_kinds] = {
        sums.count == CX_RANK_NONE ? none : sums.count, sums.before, sums.after, sums.before_squares, sums.after_squares, sums.products};
#pragma unroll
    for (unsigned kind = 0; kind < sum_kinds; kind++) {
        kinds[kind] = warp_sum(kinds[kind]);
        if (threadIdx.x % CUDA_WARP == 0)
            partials[warp][kind] = kinds[kind];
    }
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (unsigned w = 1; w < row_warps; w++) {
#pragma unroll
        for (unsigned kind = 0; kind < sum_kinds; kind++)
            kinds[kind] += partials[w][kind];
    }
    rows[target] = {kinds[0] >= none ? CX_RANK_NONE : kinds[0], kinds[1], kinds[2], kinds[3], kinds[4], kinds[5]};
}

/* One thread a token; the first of a sequence adds its rows. */
static __global__ void __launch_bounds__(row_threads)
    change_kernel(unsigned token_count, const struct cuda_token *tokens, const struct cx_rank_sums *rows, double *change) {
    const unsigned token = blockIdx.x * row_threads + threadIdx.x;
    if (token < token_count && tokens[token].first == token)
        change[tokens[token].sequence] = cx_rank_change(rows + token, tokens[token].length);
}

static enum cx_status check_size(const struct cx_batch *batch, const char *operation, struct cx_error *error) {
    if (batch->longest > CX_RANKED_TOKENS_MOST)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: ranks are counted exactly for sequences of up to %d tokens; this one has %zu", operation,
                       CX_RANKED_TOKENS_MOST, batch->longest);
    if (batch->pairs > INT32_MAX)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: a batch of %zu pairs is more than can be sorted at a time; use --batch-tokens to make batches smaller",
                       operation, batch->pairs);
    return CX_OK;
}

enum cx_status cuda_row_shares(struct cx_backend *backend, const struct cx_tensor *map, struct cx_tensor *shares, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    enum cx_status status = cuda_enter(cuda, "row_shares", true, error);
    if (status != CX_OK)
        return status;
    const size_t rows = cuda->batch->tokens;
    const struct cuda_argument arguments[] = {CUDA_FLOATS(map, cuda->batch->pairs), CUDA_FLOATS(shares, cuda->batch->pairs)};
    status = CUDA_CHECK_ALL("row_shares", arguments, error);
    if (status != CX_OK || rows == 0)
        return status;
    return CUDA_LAUNCH(cuda, "row_shares", error, row_shares_kernel, cuda_blocks(rows, row_warps), row_threads, 0, static_cast<unsigned>(rows), cuda->tokens,
                       map->values, shares->values);
}

/* What map_ranks has in scratch: keys and places, and the same sorted, then what CUB wants. */
struct sorting {
    uint64_t *keys, *sorted_keys;
    uint32_t *places, *sorted_places;
    void *scratch;
    size_t scratch_bytes, bytes;
};

static struct sorting lay_out(size_t pairs, size_t scratch_bytes, void *memory) {
    const size_t keys = (pairs * sizeof(uint64_t) + 255) / 256 * 256, places = (pairs * sizeof(uint32_t) + 255) / 256 * 256;
    unsigned char *at = static_cast<unsigned char *>(memory);
    struct sorting sorting = {};
    sorting.scratch_bytes = scratch_bytes;
    sorting.bytes = 2 * keys + 2 * places + scratch_bytes;
    if (!memory)
        return sorting;
    sorting.keys = reinterpret_cast<uint64_t *>(at);
    sorting.sorted_keys = reinterpret_cast<uint64_t *>(at + keys);
    sorting.places = reinterpret_cast<uint32_t *>(at + 2 * keys);
    sorting.sorted_places = reinterpret_cast<uint32_t *>(at + 2 * keys + places);
    sorting.scratch = at + 2 * keys + 2 * places;
    return sorting;
}

/* Bits of the largest key: those of the last sequence's first token above those of a number. */
static int key_bits(const struct cx_batch *batch) {
    int bits = 32;
    for (size_t first = batch->token_offset[batch->sequences - 1]; first > 0; first /= 2)
        bits++;
    return bits;
}

static enum cx_status sort(struct cuda_backend *cuda, const struct sorting *sorting, struct cx_error *error) {
    size_t bytes = sorting->scratch_bytes;
    return cuda_result(cuda, "map_ranks", "sorting",
                       cuda_sort_pairs(sorting->scratch, &bytes, sorting->keys, sorting->sorted_keys, sorting->places, sorting->sorted_places,
                                       static_cast<unsigned>(cuda->batch->pairs), key_bits(cuda->batch), cuda->stream),
                       error);
}

enum cx_status cuda_map_ranks(struct cx_backend *backend, const struct cx_tensor *map, const struct cx_tensor *keep, bool diagonal, struct cx_tensor *ranks,
                              struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    enum cx_status status = cuda_enter(cuda, "map_ranks", true, error);
    if (status != CX_OK)
        return status;
    const struct cx_batch *batch = cuda->batch;
    const unsigned pairs = static_cast<unsigned>(batch->pairs);
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(map, batch->pairs),
        CUDA_OPTIONAL(keep, batch->tokens),
        CUDA_DOUBLES(ranks, batch->pairs),
    };
    size_t scratch_bytes = 0;
    status = CUDA_CHECK_ALL("map_ranks", arguments, error);
    if (status == CX_OK)
        status = check_size(batch, "map_ranks", error);
    if (status != CX_OK || batch->pairs == 0)
        return status;
    status = cuda_result(cuda, "map_ranks", "asking how much memory sorting takes",
                         cuda_sort_pairs(NULL, &scratch_bytes, NULL, NULL, NULL, NULL, pairs, key_bits(batch), cuda->stream), error);
    if (status == CX_OK)
        status = cuda_list_fit(cuda, &cuda->scratch, lay_out(batch->pairs, scratch_bytes, NULL).bytes, "sorting a map", error);
    if (status != CX_OK)
        return status;
    const struct sorting sorting = lay_out(batch->pairs, scratch_bytes, cuda->scratch.memory);
    status = CUDA_LAUNCH(cuda, "map_ranks", error, keys_kernel, static_cast<unsigned>(batch->tokens), pair_threads, 0, cuda->tokens, map->values,
                         keep ? keep->values : NULL, diagonal, sorting.keys, sorting.places);
    if (status == CX_OK)
        status = sort(cuda, &sorting, error);
    if (status != CX_OK)
        return status;
    return CUDA_LAUNCH(cuda, "map_ranks", error, ranks_kernel, cuda_blocks(pairs, pair_threads), pair_threads, 0, cuda->tokens, pairs, sorting.sorted_keys,
                       sorting.sorted_places, ranks->doubles);
}

enum cx_status cuda_rank_change(struct cx_backend *backend, const struct cx_tensor *ranks_before, const struct cx_tensor *ranks_after, struct cx_tensor *change,
                                struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    enum cx_status status = cuda_enter(cuda, "rank_change", true, error);
    if (status != CX_OK)
        return status;
    const struct cx_batch *batch = cuda->batch;
    const unsigned tokens = static_cast<unsigned>(batch->tokens);
    const struct cuda_argument arguments[] = {
        CUDA_DOUBLES(ranks_before, batch->pairs),
        CUDA_DOUBLES(ranks_after, batch->pairs),
        CUDA_DOUBLES(change, batch->sequences),
    };
    status = CUDA_CHECK_ALL("rank_change", arguments, error);
    if (status == CX_OK)
        status = check_size(batch, "rank_change", error);
    if (status != CX_OK || batch->sequences == 0)
        return status;
    /* All bits set are a NaN: what sequences of no tokens keep. */
    status =
        cuda_result(cuda, "rank_change", "clearing the result", cudaMemsetAsync(change->doubles, 0xff, batch->sequences * sizeof(double), cuda->stream), error);
    if (status == CX_OK)
        status = cuda_list_fit(cuda, &cuda->scratch, batch->tokens * sizeof(struct cx_rank_sums), "sums of ranks", error);
    if (status != CX_OK || tokens == 0)
        return status;
    struct cx_rank_sums *rows = static_cast<struct cx_rank_sums *>(cuda->scratch.memory);
    status = CUDA_LAUNCH(cuda, "rank_change", error, rows_kernel, tokens, row_threads, 0, cuda->tokens, ranks_before->doubles, ranks_after->doubles, rows);
    if (status != CX_OK)
        return status;
    return CUDA_LAUNCH(cuda, "rank_change", error, change_kernel, cuda_blocks(tokens, row_threads), row_threads, 0, tokens, cuda->tokens, rows,
                       change->doubles);
}
