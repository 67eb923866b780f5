#include "identity.h"

#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "contexture/tokenizer.h"

static const char *const too_long_names[] = {[CX_TOO_LONG_TRUNCATE] = "truncate", [CX_TOO_LONG_WINDOW] = "window", [CX_TOO_LONG_SKIP] = "skip"};
static const char *const format_names[] = {[CX_CORPUS_AUTO] = "auto", [CX_CORPUS_TEXT] = "text", [CX_CORPUS_JSONL] = "jsonl"};

static const char *const bad_annotations_names[] = {
    [CX_BAD_ANNOTATIONS_STRIP] = "strip", [CX_BAD_ANNOTATIONS_SKIP] = "skip", [CX_BAD_ANNOTATIONS_FAIL] = "fail"};

static json_t *names_of(unsigned set) {
    json_t *names = json_array();
    for (unsigned map = 0; map < CX_MAPS; map++)
        if (set & CX_STAGE_BIT(map) && json_array_append_new(names, json_string(cx_map_name(map))) != 0) {
            json_decref(names);
            return NULL;
        }
    return names;
}

/* The analyses by name, each with the options that its values depend on. */
static json_t *analyses_of(const struct setup *setup) {
    const struct cx_run_settings *settings = setup->settings;
    json_t *analyses = json_object();
    int failed = analyses == NULL;
    for (unsigned analysis = 0; analysis < CX_ANALYSES; analysis++)
        if (settings->analyses & CX_ANALYSIS_BIT(analysis))
            failed |= json_object_set_new(analyses, cx_analysis_name(analysis), json_true());
    if (settings->analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_CATEGORIES))
        failed |= json_object_set_new(analyses, "bootstrap", json_integer((json_int_t)settings->bootstrap));
    if (settings->analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_PAIRS)) {
        failed |= json_object_set_new(analyses, "min_count", json_integer((json_int_t)settings->min_count));
        failed |= json_object_set_new(analyses, "top_pairs", json_integer((json_int_t)settings->top_pairs));
    }
    if (settings->analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_NORMS)) {
        failed |= json_object_set_new(analyses, "mask_dims", json_string(settings->mask_dims));
        failed |= json_object_set_new(analyses, "masked_dimensions", mask_dims_json(&setup->mask, setup->layer_count));
    }
    if (setup->mask.choice == CX_MASK_ACTIVATION)
        failed |= json_object_set_new(analyses, "mask_sequences", json_integer(calibration_sequences));
    if (settings->analyses != 0)
        failed |= json_object_set_new(analyses, "raw_maps", json_boolean(settings->raw_maps));
    if (failed) {
        json_decref(analyses);
        return NULL;
    }
    return analyses;
}

static json_t *numbers_of(const size_t *numbers, size_t count) {
    json_t *list = json_array();
    for (size_t k = 0; k < count; k++)
        if (json_array_append_new(list, json_integer((json_int_t)numbers[k])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

enum cx_status identity_create(const struct setup *setup, const char *model_fingerprint, const char *corpus_fingerprint, const char *backend, json_t **identity,
                               struct cx_error *error) {
    const struct cx_run_settings *settings = setup->settings;
    const bool masked = settings->mask_rate > 0;
    const struct {
        const char *key;
        json_t *value;
    } members[] = {
        {"analyses", analyses_of(setup)},
        {"annotations", json_boolean(setup->labels != NULL)},
        {"backend", json_string(backend)},
        {"bad_annotations", json_string(bad_annotations_names[settings->bad_annotations])},
        {"batch_tokens", json_integer((json_int_t)settings->batch_tokens)},
        {"corpus", json_string(corpus_fingerprint)},
        {"corpus_format", json_string(format_names[settings->corpus.format])},
        {"forward_precision", json_string(cx_forward_precision_name(settings->forward_precision))},
        {"hidden_states", json_boolean(settings->hidden_states)},
        {"id_field", json_string(settings->corpus.id_field)},
        {"layers", numbers_of(setup->layer_numbers, setup->layer_count)},
        {"limit", json_integer((json_int_t)settings->corpus.limit)},
        {"mantissa_bits", json_integer((json_int_t)settings->mantissa_bits)},
        {"map_type", json_string(settings->map_type == CX_MAP_FLOAT16 ? "float16" : "float32")},
        {"mask_rate", json_real(settings->mask_rate)},
        {"mask_token", masked ? json_integer(cx_tokenizer_mask_id(setup->tokenizer)) : json_null()},
        {"max_tokens", json_integer((json_int_t)setup->sequence_options.longest)},
        {"model", json_string(model_fingerprint)},
        {"pair_field", settings->corpus.pair_field ? json_string(settings->corpus.pair_field) : json_null()},
        {"pair_precision", json_string(cx_pair_precision_name(settings->pair_precision))},
        {"per_head", json_boolean(settings->per_head)},
        {"program_version", json_string(CX_VERSION)},
        {"seed", masked ? json_integer((json_int_t)settings->seed) : json_null()},
        {"shard_size", json_integer((json_int_t)settings->shard_size)},
        {"shard_work", json_integer((json_int_t)settings->shard_work)},
        {"skip", json_integer((json_int_t)settings->corpus.skip)},
        {"stages", names_of(settings->maps)},
        {"text_field", json_string(settings->corpus.text_field)},
        {"too_long", json_string(too_long_names[settings->too_long])},
        {"vector_layers", numbers_of(setup->vector_layer_numbers, setup->vector_layer_count)},
        {"vector_stages", names_of(setup->vector_stages)},
        {"window_memory", json_integer((json_int_t)settings->window_memory)},
        {"window_stride", json_integer((json_int_t)settings->window_stride)},
        {"words_field", json_string(settings->corpus.words_field ? settings->corpus.words_field : "words")},
    };
    bool whole = (*identity = json_object()) != NULL;
    for (size_t k = 0; k < sizeof members / sizeof *members; k++)
        whole = json_object_set_new(*identity, members[k].key, members[k].value) == 0 && whole;
    if (whole)
        return CX_OK;
    json_decref(*identity);
    *identity = NULL;
    return cx_fail(error, CX_ERROR_INPUT, "the configuration cannot be written as JSON: a field name is not valid UTF-8, or there is not enough memory");
}

const char *cx_library_versions(void) {
    return CX_LIBRARIES;
}

enum cx_status libraries_create(json_t **libraries, struct cx_error *error) {
    *libraries = json_object();
    for (const char *place = cx_library_versions(); *place;) {
        size_t length = strcspn(place, ","), name = strcspn(place, " ");
        char text[64];
        if (name < length && name < sizeof text) {
            memcpy(text, place, name);
            text[name] = '\0';
            if (json_object_set_new(*libraries, text, json_stringn(place + name + 1, length - name - 1)) != 0) {
                json_decref(*libraries);
                *libraries = NULL;
                return cx_fail_memory(error, "the list of libraries", 0);
            }
        }
        place += length;
        place += strspn(place, ", ");
    }
    return CX_OK;
}
