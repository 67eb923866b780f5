/*
 * The batch's index arrays: what a kernel must know of a token, of a tile of targets and of a tile of pairs. They are written into one pinned block and
 * copied at once, in the stream's order. There are two blocks that take turns: the copy of a batch begins when the batch before is computed, and the next one
 * shall be begun meanwhile; a block is written again only when its last copy is done.
 */
#include "fused_pairs.cuh"

#include <cstring>

enum { list_alignment = 256 };

/* Where the arrays lie in the block, in bytes. */
struct layout {
    size_t ids, types, positions, tokens, tiles, pair_tiles, pair_groups, bytes;
};

struct counts {
    size_t tiles, pair_tiles;
};

static size_t parts(size_t whole, size_t part) {
    return (whole + part - 1) / part;
}

static size_t length_of(const struct cx_batch *batch, size_t sequence) {
    return batch->token_offset[sequence + 1] - batch->token_offset[sequence];
}

static struct counts count_tiles(const struct cx_batch *batch, unsigned sources) {
    struct counts counts = {};
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        const size_t n = length_of(batch, sequence);
        counts.tiles += parts(n, CUDA_TILE_TARGETS);
        counts.pair_tiles += parts(n, CUDA_PAIR_TARGETS) * parts(n, sources);
    }
    return counts;
}

static size_t take(struct layout *layout, size_t count, size_t size) {
    const size_t at = layout->bytes;
    layout->bytes += (count * size + list_alignment - 1) / list_alignment * list_alignment;
    return at;
}

static struct layout lay_out(const struct cx_batch *batch, struct counts counts) {
    struct layout layout = {};
    layout.ids = take(&layout, batch->tokens, sizeof(int32_t));
    layout.types = take(&layout, batch->tokens, sizeof(int32_t));
    layout.positions = take(&layout, batch->tokens, sizeof(int32_t));
    layout.tokens = take(&layout, batch->tokens, sizeof(struct cuda_token));
    layout.tiles = take(&layout, counts.tiles, sizeof(struct cuda_tile));
    layout.pair_tiles = take(&layout, counts.pair_tiles, sizeof(struct cuda_pair_tile));
    layout.pair_groups = take(&layout, counts.pair_tiles, sizeof(struct cuda_pair_group));
    return layout;
}

static void fill_tokens(const struct cx_batch *batch, bool causal, struct cuda_token *tokens, struct cuda_tile *tiles) {
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        const size_t first = batch->token_offset[sequence], n = length_of(batch, sequence);
        const unsigned long long pairs = batch->pair_offset[sequence];
        for (size_t token = 0; token < n; token++)
            tokens[first + token] = {pairs, static_cast<unsigned>(first), static_cast<unsigned>(n), static_cast<unsigned>(sequence), 0};
        for (size_t target = 0; target < n; target += CUDA_TILE_TARGETS) {
            const size_t targets = n - target < CUDA_TILE_TARGETS ? n - target : static_cast<size_t>(CUDA_TILE_TARGETS);
            *tiles++ = {pairs,
                        static_cast<unsigned>(first),
                        static_cast<unsigned>(n),
                        static_cast<unsigned>(target),
                        static_cast<unsigned>(targets),
                        static_cast<unsigned>(causal ? target + targets : n),
                        0};
        }
    }
}

/* What is written while the tiles are dealt out to chunks. */
struct dealer {
    struct cuda_backend *cuda;
    struct cuda_pair_tile *tiles;
    struct cuda_pair_group *groups;
    size_t tile_count, group_count;
    unsigned run; /* tiles of the current sequence in the current chunk */
};

/* What a causal model leaves of a tile: targets that attend to its first source at least. */
static struct cuda_pair_tile attended_part(struct cuda_pair_tile tile) {
    const unsigned before = tile.source > tile.target ? tile.source - tile.target : 0;
    if (before >= tile.targets) {
        tile.sources = 0;
        return tile;
    }
    tile.target += before;
    tile.targets -= before;
    return tile;
}

/* One tile more, in a new chunk if the current one is full. */
static void deal(struct dealer *dealer, const struct cuda_pair_tile &whole) {
    struct cuda_backend *cuda = dealer->cuda;
    struct cuda_pair_chunk *chunk = cuda->chunk_count > 0 ? &cuda->chunks[cuda->chunk_count - 1] : NULL;
    struct cuda_pair_tile tile = cuda->base.config.causal ? attended_part(whole) : whole;
    const unsigned rows = tile.targets * tile.sources;
    const unsigned targets = static_cast<unsigned>(parts(tile.length, CUDA_PAIR_TARGETS));
    if (!chunk || chunk->rows + rows > cuda->pair_rows) {
        chunk = &cuda->chunks[cuda->chunk_count++];
        *chunk = {static_cast<unsigned>(dealer->tile_count), 0, static_cast<unsigned>(dealer->group_count), 0, 0, 0};
        dealer->run = 0;
    }
    /* All targets of a sequence follow each other, then they come again with the next sources: the first round in a chunk begins the groups. */
    if (dealer->run < targets) {
        dealer->groups[dealer->group_count++] = {
            static_cast<unsigned>(dealer->tile_count), 0, targets, whole.first + whole.target, whole.targets, whole.source > 0};
        chunk->groups++;
    }
    dealer->groups[dealer->group_count - (dealer->run < targets ? 1 : targets - dealer->run % targets)].tiles++;
    dealer->run++;
    tile.row = chunk->rows;
    tile.unit = chunk->units;
    dealer->tiles[dealer->tile_count++] = tile;
    chunk->tiles++;
    chunk->rows += rows;
    chunk->units += tile.sources * static_cast<unsigned>(parts(tile.targets, 16));
    if (cuda_pair_rounded(cuda, chunk->rows) > cuda->chunk_rows)
        cuda->chunk_rows = cuda_pair_rounded(cuda, chunk->rows);
    if (chunk->units > cuda->chunk_units)
        cuda->chunk_units = chunk->units;
}

static void fill_pairs(struct dealer *dealer, const struct cx_batch *batch, unsigned most) {
    dealer->cuda->chunk_count = 0;
    dealer->cuda->chunk_rows = 0;
    dealer->cuda->chunk_units = 0;
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        const unsigned n = static_cast<unsigned>(length_of(batch, sequence));
        struct cuda_pair_tile tile = {};
        tile.pairs = batch->pair_offset[sequence];
        tile.first = static_cast<unsigned>(batch->token_offset[sequence]);
        tile.length = n;
        dealer->run = 0;
        for (tile.source = 0; tile.source < n; tile.source += most) {
            tile.sources = n - tile.source < most ? n - tile.source : most;
            for (tile.target = 0; tile.target < n; tile.target += CUDA_PAIR_TARGETS) {
                tile.targets = n - tile.target < CUDA_PAIR_TARGETS ? n - tile.target : static_cast<unsigned>(CUDA_PAIR_TARGETS);
                deal(dealer, tile);
            }
        }
    }
}

static enum cx_status check_ids(const struct cx_batch *batch, const struct cx_model_config *config, struct cx_error *error) {
    const struct {
        const char *name;
        const int32_t *ids;
        size_t limit;
    } lists[] = {{"input_id", batch->input_ids, config->vocabulary_size},
                 {"token_type_id", batch->token_type_ids, config->token_types},
                 {"position_id", batch->position_ids, config->max_positions}};
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        for (size_t token = 0; lists[k].ids && token < batch->tokens; token++) {
            if (lists[k].ids[token] < 0 || static_cast<size_t>(lists[k].ids[token]) >= lists[k].limit)
                return cx_fail(error, CX_ERROR_INTERNAL, "batch_begin: %s %d of token %zu is outside 0 .. %zu", lists[k].name,
                               static_cast<int>(lists[k].ids[token]), token, lists[k].limit - 1);
        }
    }
    return CX_OK;
}

static void copy_ids(unsigned char *target, const int32_t *ids, size_t count) {
    if (ids)
        memcpy(target, ids, count * sizeof *ids);
    else
        memset(target, 0, count * sizeof *ids);
}

static void set_pointers(struct cuda_backend *cuda, const struct layout *layout) {
    const unsigned char *memory = static_cast<const unsigned char *>(cuda->batch_blocks[cuda->batch_block].memory.memory);
    cuda->input_ids = reinterpret_cast<const int32_t *>(memory + layout->ids);
    cuda->token_type_ids = reinterpret_cast<const int32_t *>(memory + layout->types);
    cuda->position_ids = reinterpret_cast<const int32_t *>(memory + layout->positions);
    cuda->tokens = reinterpret_cast<const struct cuda_token *>(memory + layout->tokens);
    cuda->tiles = reinterpret_cast<const struct cuda_tile *>(memory + layout->tiles);
    cuda->pair_tiles = reinterpret_cast<const struct cuda_pair_tile *>(memory + layout->pair_tiles);
    cuda->pair_groups = reinterpret_cast<const struct cuda_pair_group *>(memory + layout->pair_groups);
}

/* All of them at once, for making room waits for the device. */
static enum cx_status fit_blocks(struct cuda_backend *cuda, size_t bytes, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < CUDA_BATCHES && status == CX_OK; k++) {
        status = cuda_pinned_fit(cuda, &cuda->batch_blocks[k].pinned, bytes, "a batch's indices", error);
        if (status == CX_OK)
            status = cuda_list_fit(cuda, &cuda->batch_blocks[k].memory, bytes, "a batch's indices", error);
    }
    return status;
}

enum cx_status cuda_batch_begin(struct cx_backend *backend, const struct cx_batch *batch, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    enum cx_status status = cuda_enter(cuda, "batch_begin", false, error);
    if (status != CX_OK)
        return status;
    struct cuda_batch_block *block = &cuda->batch_blocks[cuda->batch_block = (cuda->batch_block + 1) % CUDA_BATCHES];
    cuda->batch = NULL;
    if (batch->sequences > UINT32_MAX / 2 || batch->tokens > UINT32_MAX / 2)
        return cx_fail(error, CX_ERROR_INTERNAL, "batch_begin: %zu sequences of %zu tokens in one batch", batch->sequences, batch->tokens);
    const unsigned sources = cuda_pair_sources_of(cuda, cx_attended_pairs(&cuda->base.config, batch->pairs, batch->tokens));
    const struct counts counts = count_tiles(batch, sources);
    const struct layout layout = lay_out(batch, counts);
    if ((status = check_ids(batch, &cuda->base.config, error)) != CX_OK ||
        (status = cuda_result(cuda, "batch_begin", "waiting for the copy before", cudaEventSynchronize(block->copied), error)) != CX_OK ||
        (status = fit_blocks(cuda, layout.bytes, error)) != CX_OK ||
        (status = cx_reserve(&cuda->chunks, &cuda->chunk_capacity, counts.pair_tiles, sizeof *cuda->chunks, "a batch's chunks", error)) != CX_OK)
        return status;
    unsigned char *memory = static_cast<unsigned char *>(block->pinned.memory);
    struct dealer dealer = {cuda,
                            reinterpret_cast<struct cuda_pair_tile *>(memory + layout.pair_tiles),
                            reinterpret_cast<struct cuda_pair_group *>(memory + layout.pair_groups),
                            0,
                            0,
                            0};
    copy_ids(memory + layout.ids, batch->input_ids, batch->tokens);
    copy_ids(memory + layout.types, batch->token_type_ids, batch->tokens);
    copy_ids(memory + layout.positions, batch->position_ids, batch->tokens);
    fill_tokens(batch, cuda->base.config.causal, reinterpret_cast<struct cuda_token *>(memory + layout.tokens),
                reinterpret_cast<struct cuda_tile *>(memory + layout.tiles));
    fill_pairs(&dealer, batch, sources);
    if (layout.bytes > 0)
        status = cuda_result(cuda, "batch_begin", "copying a batch's indices",
                             cudaMemcpyAsync(block->memory.memory, memory, layout.bytes, cudaMemcpyHostToDevice, cuda->stream), error);
    if (status == CX_OK && cuda->fused)
        status = fused_work_begin(cuda, batch, error);
    if (status == CX_OK)
        status = cuda_result(cuda, "batch_begin", "marking a copy", cudaEventRecord(block->copied, cuda->stream), error);
    if (status != CX_OK)
        return status;
    set_pointers(cuda, &layout);
    cuda->tile_count = counts.tiles;
    cuda->batch = batch;
    return CX_OK;
}
