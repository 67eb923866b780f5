/*
 * The attention block's maps from the Gram matrices of its sources (identity 1), and the sums of its parts:
 *
 *     attention_norms   map_ij = sqrt(c^T G_j c) * inverse_deviation_i, c = [α^1_ij … α^H_ij, with_residual and i = j ? 1 : 0]
 *     head_norms        map^h_ij = α^h_ij sqrt(G_j[h][h])
 *     attention_parts   own [T, d] = Σ_h α^h_ii F_ih;  sum [T, d] = Σ_j Σ_h α^h_ij F_jh
 *
 * The quadratic form is taken in float64, since it cancels. The Gram matrices of a few sources lie in shared memory while all targets of a tile use them.
 * In a batch with words, tokens that are words by themselves have their word's column; those of the others are cuda_words.cu's.
 */
#include "cuda_backend.cuh"
#include "cuda_tile.cuh"

constexpr unsigned form_threads = 128, form_blocks = 12, form_sources = 16, form_shared = 48 << 10, element_threads = 256;
/* form_blocks: as many a multiprocessor as leave a thread the 40 registers that it needs. norm_rows: targets of a tile that a block takes. blocks_each: that a
   multiprocessor should have of a product. */
constexpr unsigned norm_rows = 8, blocks_each = 6;

/* c^T G c over the heads, from the upper triangle; `weights` has one number per head, `stride` apart. */
static __device__ double quadratic_form(unsigned heads, const double *gram, const float *weights, unsigned stride) {
    const unsigned rows = heads + 1;
    double form = 0.0;
    for (unsigned h = 0; h < heads; h++) {
        const double *entries = gram + h * rows;
        double sum = 0.0;
        for (unsigned k = h + 1; k < heads; k++)
            sum += entries[k] * static_cast<double>(weights[k * stride]);
        const double weight = static_cast<double>(weights[h * stride]);
        form += weight * (entries[h] * weight + 2.0 * sum);
    }
    return form;
}

/* What x_j adds to the form of its own target: 2 Σ_h c_h G_h,H + G_H,H. */
static __device__ double residual_form(unsigned heads, const double *gram, const float *weights, unsigned stride) {
    const unsigned rows = heads + 1;
    double sum = 0.0;
    for (unsigned h = 0; h < heads; h++)
        sum += gram[h * rows + heads] * static_cast<double>(weights[h * stride]);
    return 2.0 * sum + gram[heads * rows + heads];
}

/*
 * Grid: tiles × groups of `sources` sources. Thread t has source t % sources and targets t / sources, + threads / sources, …; its c lies in shared memory,
 * a column of [H, threads]. Where not even one Gram matrix fits (`in_shared` false) it is read from memory.
 */
static __global__ void __launch_bounds__(form_threads, form_blocks)
    attention_norms_kernel(const struct cuda_tile *tiles, const struct cuda_token *tokens, unsigned heads, unsigned sources, bool in_shared, bool causal,
                           bool with_residual, const float *attention, const double *gram, const float *inverse_deviation, float *map) {
    DYNAMIC_SHARED(shared, 16);
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned n = tile.length, entries = (heads + 1) * (heads + 1), first = blockIdx.y * sources;
    const unsigned present = first >= n ? 0 : n - first < sources ? n - first : sources, place = threadIdx.x % sources;
    const double *global = gram + (tile.first + static_cast<size_t>(first)) * entries;
    double *copies = reinterpret_cast<double *>(shared);
    float *weights = reinterpret_cast<float *>(shared + (in_shared ? static_cast<size_t>(sources) * entries * sizeof(double) : 0)) + threadIdx.x;
    for (unsigned k = threadIdx.x; in_shared && first < tile.sources && k < present * entries; k += form_threads)
        copies[k] = global[k];
    __syncthreads();
    if (place >= present)
        return;
    const double *own_gram = (in_shared ? copies : global) + static_cast<size_t>(place) * entries;
    const unsigned source = first + place, column = tokens[tile.first + source].column;
    if (column == CUDA_NO_COLUMN)
        return;
    map += tile.map + static_cast<size_t>(tile.target) * tile.columns + column;
    unsigned t = threadIdx.x / sources;
    for (; causal && t < tile.targets && tile.target + t < source; t += form_threads / sources)
        map[static_cast<size_t>(t) * tile.columns] = 0.0f;
    for (; t < tile.targets; t += form_threads / sources) {
        const unsigned target = tile.target + t;
        const size_t pair = static_cast<size_t>(target) * n + source;
        for (unsigned h = 0; h < heads; h++)
            weights[h * form_threads] = attention[heads * tile.pairs + static_cast<size_t>(h) * n * n + pair];
        double form = quadratic_form(heads, own_gram, weights, form_threads);
        if (with_residual && target == source)
            form += residual_form(heads, own_gram, weights, form_threads);
        /* Rounding may leave a zero form negative. NaN passes. */
        const double norm = sqrt(form < 0.0 ? 0.0 : form);
        map[static_cast<size_t>(t) * tile.columns] =
            static_cast<float>(norm * (inverse_deviation ? static_cast<double>(inverse_deviation[tile.first + target]) : 1.0));
    }
}

/* Grid: tiles × heads × groups of norm_rows targets. */
static __global__ void __launch_bounds__(element_threads)
    head_norms_kernel(const struct cuda_tile *tiles, unsigned heads, const float *attention, const double *gram, float *map) {
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned head = blockIdx.y, rows = heads + 1, n = tile.length, first = blockIdx.z * norm_rows;
    const unsigned end = first + norm_rows < tile.targets ? first + norm_rows : tile.targets;
    const size_t at = heads * tile.pairs + (static_cast<size_t>(head) * n + tile.target) * n;
    for (unsigned source = threadIdx.x; source < n; source += element_threads) {
        const float norm = static_cast<float>(sqrt(gram[(static_cast<size_t>(tile.first + source) * rows + head) * rows + head]));
        for (unsigned target = first; target < end; target++) {
            const size_t pair = at + static_cast<size_t>(target) * n + source;
            map[pair] = attention[pair] * norm;
        }
    }
}

/* own, and the sum of what the blocks of sum_parts_kernel have left, split after split. `partials` NULL: the sum is there already. */
static __global__ void __launch_bounds__(element_threads)
    own_parts_kernel(size_t count, const struct cuda_token *tokens, unsigned heads, unsigned width, const float *attention, const float *sources,
                     const float *partials, unsigned splits, float *own, float *sum) {
    const size_t k = static_cast<size_t>(blockIdx.x) * element_threads + threadIdx.x;
    if (k >= count)
        return;
    const unsigned index = static_cast<unsigned>(k / width), column = static_cast<unsigned>(k % width);
    const struct cuda_token token = tokens[index];
    const size_t n = token.length, diagonal = (index - token.first) * (n + 1);
    float part = 0.0f, total = 0.0f;
#pragma unroll 4
    for (unsigned head = 0; head < heads; head++)
        part += attention[heads * token.pairs + head * n * n + diagonal] * sources[(static_cast<size_t>(index) * heads + head) * width + column];
    own[k] = part;
    if (!partials)
        return;
#pragma unroll 4
    for (unsigned split = 0; split < splits; split++)
        total += partials[split * count + k];
    sum[k] = total;
}

/* Grid: tiles × blocks of columns × splits of the heads. sum: [splits, T, d]. */
static __global__ void __launch_bounds__(TILE_THREADS) sum_parts_kernel(const struct cuda_tile *tiles, unsigned heads, unsigned heads_each, unsigned width,
                                                                        size_t count, const float *attention, const float *sources, float *sum) {
    SHARED_ARRAY(struct tile_slice, slices, [TILE_SLICES]);
    const struct tile_group group = tile_group_of(slices);
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned n = tile.length, first = blockIdx.y * TILE_COLUMNS, row = group.thread / 16 * 4, column = group.thread % 16 * 4;
    const unsigned head_end = (blockIdx.z + 1) * heads_each < heads ? (blockIdx.z + 1) * heads_each : heads;
    float parts[4][4] = {};
    for (unsigned head = blockIdx.z * heads_each; head < head_end; head++) {
        const float *weights = attention + heads * tile.pairs + (static_cast<size_t>(head) * n + tile.target) * n;
        const float *from = sources + (static_cast<size_t>(tile.first) * heads + head) * width + first;
        auto load_weight = [&](unsigned r, unsigned k) { return r < tile.targets ? weights[static_cast<size_t>(r) * n + k] : 0.0f; };
        auto load_source = [&](unsigned k, unsigned c) { return first + c < width ? from[static_cast<size_t>(k) * heads * width + c] : 0.0f; };
        tile_product<false>(group, 0, tile.sources, load_weight, load_source, parts);
    }
    float *target = sum + blockIdx.z * count + static_cast<size_t>(tile.first + tile.target) * width + first;
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (row + i < tile.targets && first + column + j < width)
                target[static_cast<size_t>(row + i) * width + column + j] = parts[i][j];
        }
    }
}

enum cx_status cuda_attention_norms(struct cx_backend *backend, const struct cx_tensor *attention, const struct cx_tensor *gram, bool with_residual,
                                    const struct cx_tensor *inverse_deviation, struct cx_tensor *map, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t heads = cuda->base.config.heads, matrix = (heads + 1) * (heads + 1) * sizeof(double), weights = heads * form_threads * sizeof(float);
    enum cx_status status = cuda_enter(cuda, "attention_norms", true, error);
    if (status != CX_OK)
        return status;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(attention, heads * cuda->batch->pairs),
        CUDA_DOUBLES(gram, cuda->batch->tokens * (heads + 1) * (heads + 1)),
        CUDA_OPTIONAL(inverse_deviation, cuda->batch->tokens),
        CUDA_FLOATS(map, cx_batch_map_elements(cuda->batch)),
    };
    status = CUDA_CHECK_ALL("attention_norms", arguments, error);
    if (status != CX_OK || cuda->tile_count == 0)
        return status;
    unsigned sources = form_sources;
    while (sources > 1 && sources * matrix + weights > form_shared)
        sources /= 2;
    const bool in_shared = matrix + weights <= form_shared;
    sources = in_shared ? sources : form_sources;
    const dim3 grid(static_cast<unsigned>(cuda->tile_count), cuda_blocks(cuda->batch->longest, sources));
    return CUDA_LAUNCH(cuda, "attention_norms", error, attention_norms_kernel, grid, form_threads, (in_shared ? sources * matrix : 0) + weights, cuda->tiles,
                       cuda->tokens, static_cast<unsigned>(heads), sources, in_shared, cuda->base.config.causal, with_residual, attention->values,
                       gram->doubles, inverse_deviation ? inverse_deviation->values : NULL, map->values);
}

enum cx_status cuda_head_norms(struct cx_backend *backend, const struct cx_tensor *attention, const struct cx_tensor *gram, struct cx_tensor *map,
                               struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t heads = cuda->base.config.heads;
    enum cx_status status = cuda_enter(cuda, "head_norms", true, error);
    if (status != CX_OK)
        return status;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(attention, heads * cuda->batch->pairs),
        CUDA_DOUBLES(gram, cuda->batch->tokens * (heads + 1) * (heads + 1)),
        CUDA_FLOATS(map, heads * cuda->batch->pairs),
    };
    status = CUDA_CHECK_ALL("head_norms", arguments, error);
    if (status != CX_OK || cuda->tile_count == 0)
        return status;
    const dim3 grid(static_cast<unsigned>(cuda->tile_count), static_cast<unsigned>(heads), CUDA_TILE_TARGETS / norm_rows);
    return CUDA_LAUNCH(cuda, "head_norms", error, head_norms_kernel, grid, element_threads, 0, cuda->tiles, static_cast<unsigned>(heads), attention->values,
                       gram->doubles, map->values);
}

enum cx_status cuda_attention_parts(struct cx_backend *backend, const struct cx_tensor *attention, const struct cx_tensor *sources, struct cx_tensor *own,
                                    struct cx_tensor *sum, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t heads = cuda->base.config.heads, width = cuda->base.config.hidden_size;
    enum cx_status status = cuda_enter(cuda, "attention_parts", true, error);
    if (status != CX_OK)
        return status;
    const size_t tokens = cuda->batch->tokens, count = tokens * width;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(attention, heads * cuda->batch->pairs),
        CUDA_FLOATS(sources, tokens * heads * width),
        CUDA_FLOATS(own, count),
        CUDA_FLOATS(sum, count),
    };
    status = CUDA_CHECK_ALL("attention_parts", arguments, error);
    if (status != CX_OK || count == 0)
        return status;
    /* Heads are split among blocks where the batch is too small to occupy the device. */
    const size_t blocks = cuda->tile_count * cuda_blocks(width, TILE_COLUMNS), wanted = blocks_each * static_cast<size_t>(cuda->multiprocessors);
    const size_t most = (wanted + blocks - 1) / blocks, heads_each = most < heads ? (heads + most - 1) / most : 1,
                 splits = (heads + heads_each - 1) / heads_each;
    float *partials = NULL;
    if (splits > 1) {
        status = cuda_list_fit(cuda, &cuda->scratch, splits * count * sizeof(float), "sums of attention parts", error);
        partials = static_cast<float *>(cuda->scratch.memory);
    }
    const dim3 grid(static_cast<unsigned>(cuda->tile_count), cuda_blocks(width, TILE_COLUMNS), static_cast<unsigned>(splits));
    if (status == CX_OK)
        status = CUDA_LAUNCH(cuda, "attention_parts", error, sum_parts_kernel, grid, TILE_THREADS, 0, cuda->tiles, static_cast<unsigned>(heads),
                             static_cast<unsigned>(heads_each), static_cast<unsigned>(width), count, attention->values, sources->values,
                             partials ? partials : sum->values);
    if (status == CX_OK)
        status = CUDA_LAUNCH(cuda, "attention_parts", error, own_parts_kernel, cuda_blocks(count, element_threads), element_threads, 0, count, cuda->tokens,
                             static_cast<unsigned>(heads), static_cast<unsigned>(width), attention->values, sources->values, partials,
                             static_cast<unsigned>(splits), own->values, sum->values);
    return status;
}
