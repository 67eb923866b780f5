/*
 * The attention block's maps from the Gram matrices of its sources (identity 1), and the sums of its parts:
 *
 *     attention_norms   map_ij = sqrt(c^T G_j c) * inverse_deviation_i, c = [α^1_ij … α^H_ij, with_residual and i = j ? 1 : 0]
 *     head_norms        map^h_ij = α^h_ij sqrt(G_j[h][h])
 *     attention_parts   own [T, d] = Σ_h α^h_ii F_ih;  sum [T, d] = Σ_j Σ_h α^h_ij F_jh
 *
 * The quadratic form is taken in float64, since it cancels. The Gram matrices of a few sources lie in shared memory while all targets of a tile use them.
 */
#include "cuda_backend.cuh"
#include "cuda_tile.cuh"

enum { form_threads = 128, form_sources = 16, form_shared = 48 << 10, element_threads = 256 };

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
static __global__ void __launch_bounds__(form_threads)
    attention_norms_kernel(const struct cuda_tile *tiles, unsigned heads, unsigned sources, bool in_shared, bool with_residual, const float *attention,
                           const double *gram, const float *inverse_deviation, float *map) {
    DYNAMIC_SHARED(shared, 16);
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned n = tile.length, entries = (heads + 1) * (heads + 1), first = blockIdx.y * sources;
    const unsigned present = first >= n ? 0 : n - first < sources ? n - first : sources, place = threadIdx.x % sources;
    const double *global = gram + (tile.first + static_cast<size_t>(first)) * entries;
    double *copies = reinterpret_cast<double *>(shared);
    float *weights = reinterpret_cast<float *>(shared + (in_shared ? static_cast<size_t>(sources) * entries * sizeof(double) : 0)) + threadIdx.x;
    for (unsigned k = threadIdx.x; in_shared && k < present * entries; k += form_threads)
        copies[k] = global[k];
    __syncthreads();
    if (place >= present)
        return;
    const double *own_gram = (in_shared ? copies : global) + static_cast<size_t>(place) * entries;
    const unsigned source = first + place;
    for (unsigned t = threadIdx.x / sources; t < tile.targets; t += form_threads / sources) {
        const unsigned target = tile.target + t;
        const size_t pair = static_cast<size_t>(target) * n + source;
        for (unsigned h = 0; h < heads; h++)
            weights[h * form_threads] = attention[heads * tile.pairs + static_cast<size_t>(h) * n * n + pair];
        double form = quadratic_form(heads, own_gram, weights, form_threads);
        if (with_residual && target == source)
            form += residual_form(heads, own_gram, weights, form_threads);
        /* Rounding may leave a zero form negative. NaN passes. */
        const double norm = sqrt(form < 0.0 ? 0.0 : form);
        map[tile.pairs + pair] = static_cast<float>(norm * (inverse_deviation ? static_cast<double>(inverse_deviation[tile.first + target]) : 1.0));
    }
}

/* Grid: tiles × heads. */
static __global__ void head_norms_kernel(const struct cuda_tile *tiles, unsigned heads, const float *attention, const double *gram, float *map) {
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned head = blockIdx.y, rows = heads + 1;
    const size_t n = tile.length, at = heads * tile.pairs + (head * n + tile.target) * n;
    for (size_t k = threadIdx.x; k < tile.targets * n; k += blockDim.x) {
        const double square = gram[((tile.first + k % n) * rows + head) * rows + head];
        map[at + k] = attention[at + k] * static_cast<float>(sqrt(square));
    }
}

static __global__ void own_parts_kernel(size_t count, const struct cuda_token *tokens, unsigned heads, unsigned width, const float *attention,
                                        const float *sources, float *own) {
    const size_t k = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= count)
        return;
    const size_t index = k / width, column = k % width;
    const struct cuda_token token = tokens[index];
    const size_t n = token.length, diagonal = (index - token.first) * (n + 1);
    float sum = 0.0f;
    for (unsigned head = 0; head < heads; head++)
        sum += attention[heads * token.pairs + head * n * n + diagonal] * sources[(index * heads + head) * width + column];
    own[k] = sum;
}

/* Grid: tiles × blocks of columns. The sum over (head, source) is one product of depth H n. */
static __global__ void __launch_bounds__(TILE_THREADS)
    sum_parts_kernel(const struct cuda_tile *tiles, unsigned heads, unsigned width, const float *attention, const float *sources, float *sum) {
    SHARED_ARRAY(struct tile_operands, shared, [1]);
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned n = tile.length, first = blockIdx.y * TILE_COLUMNS, depth = heads * n, row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
    const float *weights = attention + heads * tile.pairs + static_cast<size_t>(tile.target) * n;
    const float *from = sources + static_cast<size_t>(tile.first) * heads * width;
    float parts[4][4];
    auto load_weight = [&](unsigned r, unsigned k) { return r < tile.targets && k < depth ? weights[(static_cast<size_t>(k / n) * n + r) * n + k % n] : 0.0f; };
    auto load_source = [&](unsigned k, unsigned c) {
        return k < depth && first + c < width ? from[(static_cast<size_t>(k % n) * heads + k / n) * width + first + c] : 0.0f;
    };
    tile_product<false>(shared[0], depth, load_weight, load_source, parts);
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (row + i < tile.targets && first + column + j < width)
                sum[static_cast<size_t>(tile.first + tile.target + row + i) * width + first + column + j] = parts[i][j];
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
        CUDA_FLOATS(map, cuda->batch->pairs),
    };
    status = CUDA_CHECK_ALL("attention_norms", arguments, error);
    if (status != CX_OK || cuda->tile_count == 0)
        return status;
    unsigned sources = form_sources;
    while (sources > 1 && sources * matrix + weights > form_shared)
        sources /= 2;
    const bool in_shared = matrix + weights <= form_shared;
    sources = in_shared ? sources : static_cast<unsigned>(form_sources);
    const dim3 grid(static_cast<unsigned>(cuda->tile_count), cuda_blocks(cuda->batch->longest, sources));
    return CUDA_LAUNCH(cuda, "attention_norms", error, attention_norms_kernel, grid, form_threads, (in_shared ? sources * matrix : 0) + weights, cuda->tiles,
                       static_cast<unsigned>(heads), sources, in_shared, with_residual, attention->values, gram->doubles,
                       inverse_deviation ? inverse_deviation->values : NULL, map->values);
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
    const dim3 grid(static_cast<unsigned>(cuda->tile_count), static_cast<unsigned>(heads));
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
    status = CUDA_LAUNCH(cuda, "attention_parts", error, own_parts_kernel, cuda_blocks(count, element_threads), element_threads, 0, count, cuda->tokens,
                         static_cast<unsigned>(heads), static_cast<unsigned>(width), attention->values, sources->values, own->values);
    if (status != CX_OK)
        return status;
    const dim3 grid(static_cast<unsigned>(cuda->tile_count), cuda_blocks(width, TILE_COLUMNS));
    return CUDA_LAUNCH(cuda, "attention_parts", error, sum_parts_kernel, grid, TILE_THREADS, 0, cuda->tiles, static_cast<unsigned>(heads),
                       static_cast<unsigned>(width), attention->values, sources->values, sum->values);
}
