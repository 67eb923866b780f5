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
    size_t ids, types, positions, tokens, words, tiles, pair_tiles, pair_groups, bytes;
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

/* Tokens of a word of the batch. */
static size_t word_length(const struct cx_batch_words *words, size_t word) {
    return words->first_token[word + 1] - words->first_token[word];
}

static struct counts count_tiles(const struct cx_batch *batch, unsigned sources) {
    struct counts counts = {};
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        const size_t n = length_of(batch, sequence);
        counts.tiles += parts(n, CUDA_TILE_TARGETS);
        counts.pair_tiles += parts(n, CUDA_PAIR_TARGETS) * parts(cx_batch_sources(batch, sequence), sources);
    }
    for (size_t word = 0; batch->words && word < batch->words->count; word++)
        counts.pair_tiles += word_length(batch->words, word) > 1 ? parts(word_length(batch->words, word), CUDA_PAIR_TARGETS) : 0;
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
    layout.words = take(&layout, batch->words ? batch->words->count + 1 : 0, sizeof(unsigned));
    layout.tiles = take(&layout, counts.tiles, sizeof(struct cuda_tile));
    layout.pair_tiles = take(&layout, counts.pair_tiles, sizeof(struct cuda_pair_tile));
    layout.pair_groups = take(&layout, counts.pair_tiles, sizeof(struct cuda_pair_group));
    return layout;
}

static void fill_words(const struct cx_batch_words *words, unsigned *first_token) {
    for (size_t word = 0; words && word <= words->count; word++)
        first_token[word] = static_cast<unsigned>(words->first_token[word]);
}

/* Tokens begin as if none were in a word with others. */
static void fill_tokens(const struct cx_batch *batch, struct cuda_token *tokens) {
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        const size_t first = batch->token_offset[sequence], n = length_of(batch, sequence);
        for (size_t token = 0; token < n; token++)
            tokens[first + token] = {batch->pair_offset[sequence], static_cast<unsigned>(first), static_cast<unsigned>(n), static_cast<unsigned>(sequence),
                                     static_cast<unsigned>(token)};
        for (size_t word = cx_batch_first_source(batch, sequence); batch->words && word < cx_batch_first_source(batch, sequence + 1); word++) {
            const unsigned column = static_cast<unsigned>(word - cx_batch_first_source(batch, sequence));
            for (size_t token = batch->words->first_token[word]; token < batch->words->first_token[word + 1]; token++)
                tokens[token].column = word_length(batch->words, word) > 1 ? CUDA_NO_COLUMN : column;
        }
    }
}

static void fill_tiles(const struct cx_batch *batch, bool causal, struct cuda_tile *tiles) {
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        const unsigned n = static_cast<unsigned>(length_of(batch, sequence));
        struct cuda_tile tile = {};
        tile.pairs = batch->pair_offset[sequence];
        tile.map = cx_batch_map_offset(batch, sequence);
        tile.first = static_cast<unsigned>(batch->token_offset[sequence]);
        tile.length = n;
        tile.columns = static_cast<unsigned>(cx_batch_sources(batch, sequence));
        tile.word = static_cast<unsigned>(cx_batch_first_source(batch, sequence));
        for (tile.target = 0; tile.target < n; tile.target += CUDA_TILE_TARGETS) {
            tile.targets = n - tile.target < CUDA_TILE_TARGETS ? n - tile.target : static_cast<unsigned>(CUDA_TILE_TARGETS);
            tile.sources = causal ? tile.target + tile.targets : n;
            *tiles++ = tile;
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

static unsigned rows_of(const struct cuda_pair_tile &tile) {
    return tile.targets * tile.sources;
}

static unsigned units_of(const struct cuda_pair_tile &tile) {
    return tile.tokens * static_cast<unsigned>(parts(tile.targets, PAIR_ROWS));
}

/* What a causal model leaves of a tile: targets that attend to its first source at least. */
static struct cuda_pair_tile attended_part(struct cuda_pair_tile tile) {
    const unsigned before = tile.token > tile.target ? tile.token - tile.target : 0;
    if (before >= tile.targets) {
        tile.sources = tile.tokens = 0;
        return tile;
    }
    tile.target += before;
    tile.targets -= before;
    return tile;
}

/*
 * The chunk that takes one tile more: a new one if the current one is full. Of tokens a chunk has no more units than rows; it may have as many of words, so
 * that its coefficients take no more memory, but for a single tile with more.
 */
static struct cuda_pair_chunk *chunk_for(struct dealer *dealer, const struct cuda_pair_tile &tile) {
    struct cuda_backend *cuda = dealer->cuda;
    struct cuda_pair_chunk *chunk = cuda->chunk_count > 0 ? &cuda->chunks[cuda->chunk_count - 1] : NULL;
    if (!chunk || chunk->rows + rows_of(tile) > cuda->pair_rows || (chunk->units > 0 && chunk->units + units_of(tile) > cuda->pair_rows)) {
        chunk = &cuda->chunks[cuda->chunk_count++];
        *chunk = {static_cast<unsigned>(dealer->tile_count), 0, static_cast<unsigned>(dealer->group_count), 0, 0, 0};
        dealer->run = 0;
    }
    return chunk;
}

static void append(struct dealer *dealer, struct cuda_pair_chunk *chunk, struct cuda_pair_tile tile) {
    struct cuda_backend *cuda = dealer->cuda;
    tile.row = chunk->rows;
    tile.unit = chunk->units;
    dealer->tiles[dealer->tile_count++] = tile;
    chunk->tiles++;
    chunk->rows += rows_of(tile);
    chunk->units += units_of(tile);
    if (cuda_pair_rounded(cuda, chunk->rows) > cuda->chunk_rows)
        cuda->chunk_rows = cuda_pair_rounded(cuda, chunk->rows);
    if (chunk->units > cuda->chunk_units)
        cuda->chunk_units = chunk->units;
}

/* A tile of a map. */
static void deal(struct dealer *dealer, const struct cuda_pair_tile &whole) {
    const struct cuda_pair_tile tile = dealer->cuda->base.config.causal ? attended_part(whole) : whole;
    struct cuda_pair_chunk *chunk = chunk_for(dealer, tile);
    const unsigned targets = static_cast<unsigned>(parts(tile.length, CUDA_PAIR_TARGETS));
    /* All targets of a sequence follow each other, then they come again with the next sources: the first round in a chunk begins the groups. */
    if (dealer->run < targets) {
        dealer->groups[dealer->group_count++] = {
            static_cast<unsigned>(dealer->tile_count), 0, targets, whole.first + whole.target, whole.targets, whole.source > 0};
        chunk->groups++;
    }
    dealer->groups[dealer->group_count - (dealer->run < targets ? 1 : targets - dealer->run % targets)].tiles++;
    dealer->run++;
    append(dealer, chunk, tile);
}

/* `tile` with the sources source .. source + sources - 1 of its sequence. */
static struct cuda_pair_tile with_sources(const struct cx_batch *batch, size_t sequence, struct cuda_pair_tile tile, unsigned source, unsigned sources) {
    const struct cx_batch_words *words = batch->words;
    tile.source = tile.token = source;
    tile.sources = tile.tokens = sources;
    if (words) {
        const size_t word = words->offset[sequence] + source;
        tile.word = static_cast<unsigned>(word);
        tile.token = static_cast<unsigned>(words->first_token[word]) - tile.first;
        tile.tokens = static_cast<unsigned>(words->first_token[word + sources] - words->first_token[word]);
    }
    return tile;
}

/* `tile` with the targets from `target` on that it has room for, of those before `end`. */
static struct cuda_pair_tile with_targets(struct cuda_pair_tile tile, unsigned target, unsigned end) {
    tile.target = target;
    tile.targets = end - target < CUDA_PAIR_TARGETS ? end - target : static_cast<unsigned>(CUDA_PAIR_TARGETS);
    return tile;
}

/* The own tiles of a sequence: of the words of several tokens, each tile with those tokens of its source alone that are its targets. */
static void deal_own(struct dealer *dealer, const struct cx_batch *batch, size_t sequence, const struct cuda_pair_tile &blank) {
    for (unsigned source = 0; batch->words && source < blank.columns; source++) {
        struct cuda_pair_tile tile = with_sources(batch, sequence, blank, source, 1);
        const unsigned begin = tile.token, end = tile.token + tile.tokens;
        tile.is_own = 1;
        for (unsigned target = begin; end - begin > 1 && target < end; target += CUDA_PAIR_TARGETS) {
            tile = with_targets(tile, target, end);
            tile.token = tile.target;
            tile.tokens = tile.targets;
            append(dealer, chunk_for(dealer, tile), tile);
        }
    }
}

static void fill_pairs(struct dealer *dealer, const struct cx_batch *batch, unsigned most) {
    dealer->cuda->chunk_count = 0;
    dealer->cuda->chunk_rows = 0;
    dealer->cuda->chunk_units = 0;
    for (size_t sequence = 0; sequence < batch->sequences; sequence++) {
        struct cuda_pair_tile blank = {};
        blank.pairs = batch->pair_offset[sequence];
        blank.map = cx_batch_map_offset(batch, sequence);
        blank.first = static_cast<unsigned>(batch->token_offset[sequence]);
        blank.length = static_cast<unsigned>(length_of(batch, sequence));
        blank.columns = static_cast<unsigned>(cx_batch_sources(batch, sequence));
        dealer->run = 0;
        for (unsigned source = 0; source < blank.columns; source += most) {
            const unsigned sources = blank.columns - source < most ? blank.columns - source : most;
            const struct cuda_pair_tile tile = with_sources(batch, sequence, blank, source, sources);
            for (unsigned target = 0; target < tile.length; target += CUDA_PAIR_TARGETS)
                deal(dealer, with_targets(tile, target, tile.length));
        }
        deal_own(dealer, batch, sequence, blank);
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

/* All arrays, in the pinned block in use, and the chunks. */
static void fill(struct cuda_backend *cuda, const struct cx_batch *batch, const struct layout *layout, unsigned sources) {
    unsigned char *memory = static_cast<unsigned char *>(cuda->batch_blocks[cuda->batch_block].pinned.memory);
    struct dealer dealer = {};
    dealer.cuda = cuda;
    dealer.tiles = reinterpret_cast<struct cuda_pair_tile *>(memory + layout->pair_tiles);
    dealer.groups = reinterpret_cast<struct cuda_pair_group *>(memory + layout->pair_groups);
    copy_ids(memory + layout->ids, batch->input_ids, batch->tokens);
    copy_ids(memory + layout->types, batch->token_type_ids, batch->tokens);
    copy_ids(memory + layout->positions, batch->position_ids, batch->tokens);
    fill_tokens(batch, reinterpret_cast<struct cuda_token *>(memory + layout->tokens));
    fill_words(batch->words, reinterpret_cast<unsigned *>(memory + layout->words));
    fill_tiles(batch, cuda->base.config.causal, reinterpret_cast<struct cuda_tile *>(memory + layout->tiles));
    fill_pairs(&dealer, batch, sources);
}

static void set_pointers(struct cuda_backend *cuda, const struct layout *layout, bool by_words) {
    const unsigned char *memory = static_cast<const unsigned char *>(cuda->batch_blocks[cuda->batch_block].memory.memory);
    cuda->input_ids = reinterpret_cast<const int32_t *>(memory + layout->ids);
    cuda->token_type_ids = reinterpret_cast<const int32_t *>(memory + layout->types);
    cuda->position_ids = reinterpret_cast<const int32_t *>(memory + layout->positions);
    cuda->tokens = reinterpret_cast<const struct cuda_token *>(memory + layout->tokens);
    cuda->first_token = by_words ? reinterpret_cast<const unsigned *>(memory + layout->words) : NULL;
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
    if (batch->words && cuda->fused && cuda->fused->is_named)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "batch_begin: the pair kernel %s has no maps by words: use chunked, or auto",
                       cx_pair_kernel_name(cuda->fused->kernel->kind));
    const unsigned sources = cuda_pair_sources_of(cuda, cx_attended_pairs(&cuda->base.config, cx_batch_map_elements(batch), batch->tokens));
    const struct counts counts = count_tiles(batch, sources);
    const struct layout layout = lay_out(batch, counts);
    if ((status = check_ids(batch, &cuda->base.config, error)) != CX_OK ||
        (status = cuda_result(cuda, "batch_begin", "waiting for the copy before", cudaEventSynchronize(block->copied), error)) != CX_OK ||
        (status = fit_blocks(cuda, layout.bytes, error)) != CX_OK ||
        (status = cx_reserve(&cuda->chunks, &cuda->chunk_capacity, counts.pair_tiles, sizeof *cuda->chunks, "a batch's chunks", error)) != CX_OK)
        return status;
    fill(cuda, batch, &layout, sources);
    if (layout.bytes > 0)
        status = cuda_result(cuda, "batch_begin", "copying a batch's indices",
                             cudaMemcpyAsync(block->memory.memory, block->pinned.memory, layout.bytes, cudaMemcpyHostToDevice, cuda->stream), error);
    if (status == CX_OK && cuda->fused && !batch->words)
        status = fused_work_begin(cuda, batch, error);
    if (status == CX_OK)
        status = cuda_result(cuda, "batch_begin", "marking a copy", cudaEventRecord(block->copied, cuda->stream), error);
    if (status != CX_OK)
        return status;
    set_pointers(cuda, &layout, batch->words != NULL);
    cuda->tile_count = counts.tiles;
    cuda->batch = batch;
    return CX_OK;
}
