#include "setup.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/checkpoint.h"
#include "contexture/file.h"
#include "contexture/memory.h"
#include "contexture/tokenizer.h"

/* Cores that this process may use: a Slurm task or a container has fewer than the machine. */
static int usable_cores(void) {
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) != 0)
        return 1;
    int count = CPU_COUNT(&cores);
    return count > 0 ? count : 1;
}

static enum cx_status list_layers(const char *option, const char *text, size_t layers, bool **marked, size_t **numbers, size_t *count, struct cx_error *error) {
    enum cx_status status = cx_allocate(layers, sizeof **marked, "the list of layers", marked, error);
    if (status == CX_OK)
        status = cx_allocate(layers, sizeof **numbers, "the list of layers", numbers, error);
    if (status == CX_OK)
        status = cx_layers_parse(option, text, layers, *marked, count, error);
    if (status != CX_OK)
        return status;
    for (size_t layer = 0, place = 0; layer < layers; layer++)
        if ((*marked)[layer])
            (*numbers)[place++] = layer;
    return CX_OK;
}

static bool has_file(const char *directory, const char *name) {
    char *path = NULL;
    bool found = cx_path_join(directory, name, &path, NULL) == CX_OK && cx_file_exists(path);
    free(path);
    return found;
}

/* A corpus of ready ids needs no tokenizer; so only its absence is forgiven, never a broken one. */
static enum cx_status open_tokenizer(struct setup *setup, const struct cx_run_observer *observer, struct cx_error *error) {
    const char *model = setup->settings->model;
    bool may_be_absent = setup->settings->corpus.format != CX_CORPUS_TEXT;
    if (may_be_absent && !has_file(model, "tokenizer.json") && !has_file(model, "vocab.txt"))
        return CX_OK;
    enum cx_status status = cx_tokenizer_open(model, &setup->tokenizer, error);
    if (status == CX_OK && observer && observer->notice && cx_tokenizer_notice(setup->tokenizer))
        observer->notice(observer->context, cx_tokenizer_notice(setup->tokenizer));
    return status;
}

static enum cx_status choose_sequences(struct setup *setup, struct cx_error *error) {
    const struct cx_run_settings *settings = setup->settings;
    const struct cx_model_config *config = &setup->config;
    if (settings->max_tokens > config->max_positions)
        return cx_fail(error, CX_ERROR_USAGE, "--max-tokens %llu: %s has only %zu positions; give at most so many, or leave the option out",
                       (unsigned long long)settings->max_tokens, settings->model, config->max_positions);
    setup->sequence_options = (struct cx_sequence_options){
        .longest = settings->max_tokens > 0 ? (size_t)settings->max_tokens : config->max_positions,
        .too_long = settings->too_long,
        .window_stride = (size_t)settings->window_stride,
        .vocabulary_size = config->vocabulary_size > INT32_MAX ? INT32_MAX : (int32_t)config->vocabulary_size,
        .token_types = config->token_types > INT32_MAX ? INT32_MAX : (int32_t)config->token_types,
        .mask_rate = settings->mask_rate,
        .mask_seed = settings->seed,
    };
    if (settings->mask_rate > 0 && (!setup->tokenizer || cx_tokenizer_mask_id(setup->tokenizer) < 0))
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "--mask-rate: %s has no %s; leave the option out", settings->model,
                       setup->tokenizer ? "mask token that its tokenizer knows" : "tokenizer, which would know the mask token");
    size_t special = setup->tokenizer ? cx_tokenizer_special_count(setup->tokenizer, settings->corpus.pair_field != NULL) : 0;
    if (setup->sequence_options.longest <= special)
        return cx_fail(error, CX_ERROR_USAGE, "--max-tokens %zu: the tokenizer's %zu special tokens alone fill a sequence; give at least %zu",
                       setup->sequence_options.longest, special, special + 1);
    if (settings->too_long == CX_TOO_LONG_WINDOW && settings->window_stride + special >= setup->sequence_options.longest)
        return cx_fail(error, CX_ERROR_USAGE, "--window-stride %llu: windows of %zu tokens, %zu of them special, must overlap by less than %zu",
                       (unsigned long long)settings->window_stride, setup->sequence_options.longest, special, setup->sequence_options.longest - special);
    return CX_OK;
}

/* What is asked for with --granularity word, and there is not. */
static enum cx_status check_granularity(const struct cx_run_settings *settings, struct cx_error *error) {
    const unsigned refused = settings->analyses & CX_ANALYSES_BY_TOKEN;
    if (settings->granularity != CX_GRANULARITY_WORD)
        return CX_OK;
    if (settings->per_head)
        return cx_fail(error, CX_ERROR_USAGE, "--granularity word: maps per head are by token; leave out --per-head, or --granularity");
    if (refused)
        return cx_fail(error, CX_ERROR_USAGE,
                       "--granularity word: the analysis %s is of pairs of tokens; name those that are not with --analyses, as contextualization_change",
                       cx_analysis_name((unsigned)__builtin_ctz(refused)));
    return CX_OK;
}

static enum cx_status read_mask(struct setup *setup, struct cx_error *error) {
    const struct cx_run_settings *settings = setup->settings;
    const bool is_analysed = settings->analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_NORMS);
    enum cx_status status = mask_dims_parse(settings->mask_dims, setup->config.hidden_size, &setup->mask, error);
    if (status == CX_OK && is_analysed && setup->mask.choice == CX_MASK_NONE)
        return cx_fail(error, CX_ERROR_USAGE, "--analyses norm_dimensions: which dimensions? Say so, as --mask-dims gamma:3");
    if (status == CX_OK && !is_analysed && setup->mask.choice != CX_MASK_NONE)
        return cx_fail(error, CX_ERROR_USAGE,
                       "--mask-dims %s: only the analysis norm_dimensions masks dimensions; add it to --analyses, or leave the option out",
                       settings->mask_dims);
    return status;
}

unsigned setup_maps(const struct cx_run_settings *settings) {
    return settings->maps | cx_analyses_maps(settings->analyses);
}

/* A part's tables of statistics have the same size for many documents as for few, so where they are all there is, parts are few. */
static uint64_t shard_size(const struct setup *setup) {
    const struct cx_run_settings *settings = setup->settings;
    const bool statistics_alone = settings->maps == 0 && setup->vector_stages == 0 && !settings->per_head && !settings->hidden_states;
    if (settings->shard_size > 0)
        return settings->shard_size;
    return statistics_alone ? 4000 : 1000;
}

enum cx_status setup_open(struct setup *setup, const struct cx_run_settings *settings, const struct cx_run_observer *observer, struct cx_error *error) {
    *setup = (struct setup){.settings = settings};
    enum cx_status status = check_granularity(settings, error);
    if (status == CX_OK)
        status = cx_checkpoint_read_config(settings->model, &setup->config, error);
    if (status == CX_OK)
        status = list_layers("--layers", settings->layers, setup->config.layers, &setup->layers, &setup->layer_numbers, &setup->layer_count, error);
    if (status == CX_OK)
        status = list_layers("--vectors", settings->vectors, setup->config.layers, &setup->vector_layers, &setup->vector_layer_numbers,
                             &setup->vector_layer_count, error);
    if (status == CX_OK)
        status = read_mask(setup, error);
    if (status == CX_OK)
        status = open_tokenizer(setup, observer, error);
    if (status == CX_OK)
        status = choose_sequences(setup, error);
    if (status == CX_OK)
        status = cx_corpus_open(&settings->corpus, &setup->corpus, error);
    if (status == CX_OK && cx_corpus_may_be_annotated(setup->corpus))
        status = cx_label_table_create(&setup->labels, error);
    if (status != CX_OK) {
        setup_close(setup);
        return status;
    }
    setup->sequence_options.labels = setup->labels;
    setup->vector_stages = setup->vector_layer_count > 0 ? settings->vector_stages : 0;
    setup->rule = (struct cx_shard_rule){shard_size(setup), settings->shard_work, setup->sequence_options};
    setup->threads = settings->threads > 0 ? (int)settings->threads : usable_cores();
    setup->layout = (struct cx_result_layout){
        .model_layers = setup->config.layers,
        .hidden_size = setup->config.hidden_size,
        .heads = setup->config.heads,
        .maps = setup_maps(settings),
        .stored_layers = setup->layer_count,
        .vector_layers = setup->vector_layer_count,
        .vector_stages = setup->vector_stages,
        .per_head = settings->per_head,
        .hidden_states = settings->hidden_states,
        .by_words = settings->granularity == CX_GRANULARITY_WORD,
        .maps_without = setup->mask.choice != CX_MASK_NONE,
    };
    return CX_OK;
}

void setup_close(struct setup *setup) {
    cx_corpus_close(setup->corpus);
    cx_label_table_destroy(setup->labels);
    cx_tokenizer_close(setup->tokenizer);
    mask_dims_free(&setup->mask);
    free(setup->layers);
    free(setup->vector_layers);
    free(setup->layer_numbers);
    free(setup->vector_layer_numbers);
    memset(setup, 0, sizeof *setup);
}

enum cx_status setup_open_backend(const struct setup *setup, int device, struct cx_backend **backend, struct cx_error *error) {
    const struct cx_run_settings *settings = setup->settings;
    const struct cx_backend_options options = {
        .kind = settings->backend,
        .threads = setup->threads,
        .device = device,
        .forward_precision = settings->forward_precision,
        .pair_precision = settings->pair_precision,
    };
    return cx_backend_open(&options, &setup->config, backend, error);
}

struct cx_stats_options setup_stats_options(const struct setup *setup) {
    const struct cx_run_settings *settings = setup->settings;
    return (struct cx_stats_options){
        .analyses = settings->analyses,
        .layer_count = setup->layer_count,
        .layers = setup->layer_numbers,
        .bootstrap = settings->bootstrap,
        .min_count = settings->min_count,
        .top_pairs = settings->top_pairs,
        .by_words = setup->layout.by_words,
        .raw_maps = settings->raw_maps,
        .mask_choice = setup->mask.choice,
        .masked_count = setup->mask.count,
        .masked = setup->mask.dimensions,
    };
}

struct cx_store_options setup_store_options(const struct setup *setup) {
    const struct cx_run_settings *settings = setup->settings;
    return (struct cx_store_options){
        .directory = settings->output,
        .maps = settings->maps,
        .per_head = settings->per_head,
        .hidden_states = settings->hidden_states,
        .by_words = setup->layout.by_words,
        .annotations = setup->labels != NULL,
        .masked = settings->mask_rate > 0,
        .labels = setup->labels,
        .layers = setup->config.layers,
        .stored_layers = setup->layer_numbers,
        .stored_layer_count = setup->layer_count,
        .vector_layers = setup->vector_layer_numbers,
        .vector_layer_count = setup->vector_layer_count,
        .vector_stages = setup->vector_stages,
        .heads = setup->config.heads,
        .hidden_size = setup->config.hidden_size,
        .map_type = settings->map_type,
        .kept_mantissa_bits = (int)settings->mantissa_bits,
        .compression_level = (int)settings->compression,
        .threads = setup->threads,
        .forward_precision = cx_forward_precision_name(settings->forward_precision),
        .pair_precision = cx_pair_precision_name(settings->pair_precision),
        .program_version = CX_VERSION,
    };
}
