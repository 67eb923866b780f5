/*
 * Sequences and results to fill a store with: made from a counter, so that every run gives the same, and shaped like real ones
 * (norms spread like a log-normal variable, attention rows that sum to 1).
 */
#ifndef STORE_SAMPLES_H
#define STORE_SAMPLES_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/store.h"

enum { sample_layers = 3, sample_heads = 2, sample_width = 8 };

struct sample {
    struct cx_sequence sequence;
    struct cx_sequence_result result;
};

static inline uint64_t sample_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline float sample_unit(uint64_t *state) {
    return (float)(sample_random(state) >> 40) * 0x1p-24f;
}

/* Sum of four uniform numbers is near enough to a normal variable. */
static inline float sample_norm(uint64_t *state) {
    float sum = sample_unit(state) + sample_unit(state) + sample_unit(state) + sample_unit(state) - 2.0f;
    return expf(2.0f * sum);
}

static inline void *sample_memory(size_t count, size_t size) {
    void *memory = calloc(count > 0 ? count : 1, size);
    if (!memory)
        abort();
    return memory;
}

static inline float *sample_norms(uint64_t *state, size_t count) {
    float *values = sample_memory(count, sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = sample_norm(state);
    return values;
}

static inline float *sample_weights(uint64_t *state, size_t rows, size_t n) {
    float *values = sample_norms(state, rows * n);
    for (size_t row = 0; row < rows; row++) {
        float sum = 0;
        for (size_t j = 0; j < n; j++)
            sum += values[row * n + j];
        for (size_t j = 0; j < n; j++)
            values[row * n + j] /= sum;
    }
    return values;
}

/* All results that the options ask for. */
static inline void sample_results(const struct cx_store_options *options, uint64_t *state, const struct cx_sequence *sequence,
                                  struct cx_sequence_result *result) {
    const size_t n = sequence->tokens, side = cx_sequence_map_side(sequence, options->by_words);
    size_t stored = options->stored_layer_count, width = options->hidden_size;
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        result->mixing_ratio[stage] = sample_memory(n * stored, sizeof(float));
        for (size_t i = 0; i < n * stored; i++)
            result->mixing_ratio[stage][i] = sample_unit(state);
        result->bias_norm[stage] = sample_norms(state, n * stored);
        if (options->maps & CX_STAGE_BIT(stage))
            result->maps[stage] = sample_norms(state, stored * side * side);
        if (options->vector_layer_count > 0 && options->vector_stages & CX_STAGE_BIT(stage))
            result->vectors[stage] = sample_norms(state, options->vector_layer_count * n * n * width);
    }
    if (options->maps & CX_STAGE_BIT(CX_MAP_ATTN_WEIGHT))
        result->maps[CX_MAP_ATTN_WEIGHT] = sample_weights(state, stored * side, side);
    if (options->per_head) {
        result->head_attention_weight = sample_weights(state, stored * options->heads * n, n);
        result->head_attention_norm = sample_norms(state, stored * options->heads * n * n);
    }
    if (options->hidden_states)
        result->hidden_states = sample_norms(state, (options->layers + 1) * n * width);
    result->completeness_error = sample_memory(stored, sizeof(float));
    for (size_t layer = 0; layer < stored; layer++)
        result->completeness_error[layer] = 1e-6f * sample_unit(state);
}

/* Sequence number `number` of n tokens, the same whatever was made before. */
static inline struct sample sample_make(const struct cx_store_options *options, uint64_t number, size_t n) {
    static const char text[] = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. ";
    uint64_t state = number * 1000003u + n;
    struct sample sample = {0};
    struct cx_sequence *sequence = &sample.sequence;
    sequence->id = sample_memory(64, 1);
    snprintf(sequence->id, 64, number % 7 == 3 ? "dökument-%llu#1" : "doc-%llu", (unsigned long long)number);
    sequence->document = number;
    sequence->source = (uint32_t)(number % 2);
    sequence->line = number + 1;
    sequence->window = number % 7 == 3;
    sequence->flags = number % 7 == 3 ? CX_SEQUENCE_WINDOW : number % 5 == 1 ? CX_SEQUENCE_PAIR : 0;
    sequence->tokens = n;
    sequence->input_ids = sample_memory(n, sizeof(int32_t));
    sequence->token_type_ids = sample_memory(n, sizeof(int32_t));
    sequence->position_ids = sample_memory(n, sizeof(int32_t));
    sequence->char_start = sample_memory(n, sizeof(uint32_t));
    sequence->char_end = sample_memory(n, sizeof(uint32_t));
    sequence->special = sample_memory(n, 1);
    sequence->word_ids = sample_memory(n, sizeof(int32_t));
    sequence->text_index = sample_memory(n, 1);
    for (size_t i = 0; i < n; i++) {
        bool special = i == 0 || i + 1 == n;
        sequence->input_ids[i] = special ? 101 + (i != 0) : (int32_t)(sample_random(&state) % 30000 + 1000);
        sequence->position_ids[i] = (int32_t)i;
        sequence->char_start[i] = special ? 0 : (uint32_t)(3 * i);
        sequence->char_end[i] = special ? 0 : (uint32_t)(3 * i + 2);
        sequence->special[i] = special;
        sequence->word_ids[i] = special ? -1 : (int32_t)i - 1;
        sequence->text_index[i] = special ? -1 : 0;
    }
    /* Special tokens by themselves, and between them words of up to three. */
    sequence->word_first = sample_memory(n + 1, sizeof(uint32_t));
    for (size_t i = 0; i < n; i++)
        if (i < 2 || i + 1 == n || i % (2 + number % 2) == 0)
            sequence->word_first[sequence->words++] = (uint32_t)i;
    sequence->word_first[sequence->words] = (uint32_t)n;
    sequence->text_length = (sizeof text - 1) * (1 + number % 3);
    sequence->text = sample_memory(sequence->text_length + 1, 1);
    for (size_t i = 0; i < sequence->text_length; i++)
        sequence->text[i] = text[i % (sizeof text - 1)];
    if (sequence->flags & CX_SEQUENCE_PAIR) {
        sequence->pair = sample_memory(sizeof text, 1);
        memcpy(sequence->pair, text, sizeof text);
        sequence->pair_length = sizeof text - 1;
    }
    sample_results(options, &state, sequence, &sample.result);
    return sample;
}

static inline void sample_free(struct sample *sample) {
    struct cx_sequence *sequence = &sample->sequence;
    struct cx_sequence_result *result = &sample->result;
    void *const memory[] = {sequence->id,
                            sequence->input_ids,
                            sequence->token_type_ids,
                            sequence->position_ids,
                            sequence->char_start,
                            sequence->char_end,
                            sequence->special,
                            sequence->word_ids,
                            sequence->text_index,
                            sequence->text,
                            sequence->word_first,
                            sequence->pair,
                            result->completeness_error,
                            result->hidden_states,
                            result->head_attention_weight,
                            result->head_attention_norm};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        free(memory[i]);
    for (unsigned map = 0; map < CX_MAPS; map++)
        free(result->maps[map]);
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        free(result->mixing_ratio[stage]);
        free(result->bias_norm[stage]);
        free(result->vectors[stage]);
    }
    memset(sample, 0, sizeof *sample);
}

/* A small model with everything switched on. */
static inline struct cx_store_options sample_options(const char *directory) {
    static const size_t stored_layers[] = {0, 2}, vector_layers[] = {1};
    static const char *const sources[] = {"corpus/a.txt", "corpus/größer.jsonl"};
    return (struct cx_store_options){
        .directory = directory,
        .maps = CX_ALL_MAPS,
        .per_head = true,
        .hidden_states = true,
        .layers = sample_layers,
        .stored_layers = stored_layers,
        .stored_layer_count = 2,
        .vector_layers = vector_layers,
        .vector_layer_count = 1,
        .vector_stages = CX_STAGE_BIT(CX_STAGE_ATTN) | CX_STAGE_BIT(CX_STAGE_FF_RES_LN),
        .heads = sample_heads,
        .hidden_size = sample_width,
        .map_type = CX_MAP_FLOAT32,
        .kept_mantissa_bits = 23,
        .compression_level = 1,
        .threads = 2,
        .sources = sources,
        .source_count = 2,
        .model_fingerprint = "0123456789abcdef0123456789abcdef",
        .corpus_fingerprint = "fedcba9876543210fedcba9876543210",
        .forward_precision = "f32",
        .pair_precision = "float32",
        .backend = "cpu",
        .program_version = "test",
    };
}

/* Tokens of sequence `number`: short and long ones, so that maps end inside chunks and go over several. */
static inline size_t sample_tokens(uint64_t number) {
    return 3 + (size_t)(number * 37 % 61);
}

/* Writes shard `shard` of `count` sequences, numbered from shard * count on. */
static inline enum cx_status sample_write_part(const struct cx_store_options *options, uint64_t shard, size_t count, struct cx_part_summary *summary,
                                               struct cx_error *error) {
    struct cx_part *part = NULL;
    *summary = (struct cx_part_summary){.shard = shard, .first_document = shard * count, .documents = count, .content_hash = shard * 77 + 1};
    enum cx_status status = cx_part_create(options, shard, &part, error);
    for (size_t i = 0; status == CX_OK && i < count; i++) {
        uint64_t number = shard * count + i;
        struct sample sample = sample_make(options, number, sample_tokens(number));
        status = cx_part_append(part, &sample.sequence, &sample.result, 1, error);
        sample_free(&sample);
        if (status != CX_OK)
            cx_part_abandon(part);
    }
    return status == CX_OK ? cx_part_finish(part, summary, error) : status;
}

static const char sample_identity[] = "{\"layers\":3,\"model\":\"0123456789abcdef\",\"options\":{\"maps\":[\"attn\"],\"stride\":4}}";

/* A whole run: `shards` shards of `count` sequences, those that are there already left out, then joined and marked as complete. */
static inline enum cx_status sample_write_run(const struct cx_store_options *options, uint64_t shards, size_t count, struct cx_error *error) {
    struct cx_manifest *manifest = NULL;
    const struct cx_skipped_document skipped = {.document = 4, .line = 5, .source = "corpus/a.txt", .reason = "no \"text\" in it"};
    enum cx_status status = cx_manifest_open(options->directory, sample_identity, &manifest, error);
    for (uint64_t shard = 0; status == CX_OK && shard < shards; shard++) {
        struct cx_part_summary summary;
        if (cx_manifest_shard(manifest, shard))
            continue;
        status = sample_write_part(options, shard, count, &summary, error);
        summary.skipped = shard == 0;
        if (status == CX_OK)
            status = cx_manifest_add(manifest, &summary, &skipped, summary.skipped, error);
    }
    if (status == CX_OK)
        status = cx_store_join(options->directory, NULL, error);
    if (status == CX_OK)
        status = cx_manifest_complete(manifest, shards, error);
    cx_manifest_close(manifest);
    return status;
}

#endif
