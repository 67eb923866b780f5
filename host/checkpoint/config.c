#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_keys.h"
#include "contexture/json.h"

enum { file_limit = 16 << 20, text_size = 96 };

/* The value as JSON in ASCII, cut to text_size. */
static void value_text(const json_t *value, char text[text_size]) {
    char *dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    int length = snprintf(text, text_size, "%s", dumped ? dumped : cx_json_type(value));
    if (length >= text_size)
        memcpy(text + text_size - sizeof "…", "…", sizeof "…");
    free(dumped);
}

static bool is_off(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_NULL:
    case JSON_FALSE:
        return true;
    case JSON_INTEGER:
        return json_integer_value(value) == 0;
    case JSON_STRING:
        return json_string_length(value) == 0;
    case JSON_OBJECT:
        return json_object_size(value) == 0;
    case JSON_ARRAY:
        return json_array_size(value) == 0;
    default:
        return false;
    }
}

/* Refuses keys that ask for other mathematics, and all unknown keys in one sentence. */
static enum cx_status check_keys(const json_t *object, const char *path, struct cx_error *error) {
    char unknown[512] = "", text[text_size];
    size_t used = 0, count = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        enum cx_key_meaning meaning = cx_config_key_meaning(key);
        if (meaning == CX_KEY_OFF && !is_off(value)) {
            value_text(value, text);
            return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: \"%s\": %s asks for a model that contexture does not compute; it supports only a model without it",
                           path, key, text);
        }
        if (meaning != CX_KEY_UNKNOWN || json_is_null(value))
            continue;
        value_text(value, text);
        count++;
        if (used < sizeof unknown)
            used += (size_t)snprintf(unknown + used, sizeof unknown - used, "%s\"%.64s\": %s", used ? ", " : "", key, text);
    }
    if (count == 0)
        return CX_OK;
    return cx_fail(error, CX_ERROR_UNSUPPORTED,
                   "%s: %zu unknown key%s, which may change what the model computes: %s%s. If %s not, leave %s out of config.json in a copy of the folder "
                   "(links to the other files will do)",
                   path, count, count == 1 ? "" : "s", unknown, used >= sizeof unknown ? "…" : "", count == 1 ? "it does" : "they do",
                   count == 1 ? "it" : "them");
}

static enum cx_status read_activation(const char *name, const char *path, enum cx_activation *activation, struct cx_error *error) {
    static const struct {
        const char *name;
        enum cx_activation activation;
    } activations[] = {
        {"gelu", CX_GELU}, {"gelu_new", CX_GELU_TANH}, {"gelu_pytorch_tanh", CX_GELU_TANH}, {"relu", CX_RELU}, {"silu", CX_SILU}, {"swish", CX_SILU},
    };
    for (size_t k = 0; k < sizeof activations / sizeof *activations; k++)
        if (strcmp(activations[k].name, name) == 0) {
            *activation = activations[k].activation;
            return CX_OK;
        }
    return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: \"hidden_act\": expected gelu, gelu_new, gelu_pytorch_tanh, relu, silu or swish, found \"%.64s\"", path,
                   name);
}

static enum cx_status read_constants(const json_t *object, const char *path, const struct cx_family *family, struct cx_model_config *config,
                                     struct cx_error *error) {
    const char *activation = family->activation, *positions = "absolute";
    config->norm_epsilon = family->norm_epsilon;
    config->causal = false;
    enum cx_status status = cx_json_text(object, "hidden_act", path, false, &activation, error);
    if (status == CX_OK)
        status = read_activation(activation, path, &config->activation, error);
    if (status == CX_OK)
        status = cx_json_text(object, "position_embedding_type", path, false, &positions, error);
    if (status == CX_OK)
        status = cx_json_number(object, "layer_norm_eps", path, false, &config->norm_epsilon, error);
    /* Without cross attention, which is refused, a decoder is an encoder with a causal mask. */
    if (status == CX_OK)
        status = cx_json_flag(object, "is_decoder", path, false, &config->causal, error);
    if (status != CX_OK)
        return status;
    if (strcmp(positions, "absolute") != 0)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: \"position_embedding_type\": expected \"absolute\", found \"%.64s\"", path, positions);
    if (!(config->norm_epsilon > 0 && config->norm_epsilon <= 1))
        return cx_fail(error, CX_ERROR_INPUT, "%s: \"layer_norm_eps\": expected a number above 0 and at most 1, found %g", path, config->norm_epsilon);
    return CX_OK;
}

/* The upper bounds lie far beyond any model, and keep every product of a few sizes within 64 bits. */
static enum cx_status read_sizes(const json_t *object, const char *path, const struct cx_family *family, struct cx_model_config *config,
                                 struct cx_error *error) {
    const struct {
        const char *key;
        bool required;
        int64_t highest;
        size_t *size;
    } rows[] = {
        {"num_hidden_layers", true, 1024, &config->layers},        {"num_attention_heads", true, 1024, &config->heads},
        {"hidden_size", true, 65536, &config->hidden_size},        {"intermediate_size", true, 1 << 20, &config->intermediate_size},
        {"vocab_size", true, INT32_MAX, &config->vocabulary_size}, {"max_position_embeddings", true, 1 << 20, &config->max_positions},
        {"type_vocab_size", false, 65536, &config->token_types},
    };
    config->token_types = family->token_types;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        int64_t value = (int64_t)*rows[k].size;
        enum cx_status status = cx_json_integer(object, rows[k].key, path, rows[k].required, 1, rows[k].highest, &value, error);
        if (status != CX_OK)
            return status;
        *rows[k].size = (size_t)value;
    }
    if (config->hidden_size % config->heads != 0)
        return cx_fail(error, CX_ERROR_INPUT, "%s: expected a hidden_size that num_attention_heads divides, found %zu and %zu", path, config->hidden_size,
                       config->heads);
    config->head_size = config->hidden_size / config->heads;
    int64_t embedding_size = (int64_t)config->hidden_size;
    enum cx_status status = cx_json_integer(object, "embedding_size", path, false, 1, 65536, &embedding_size, error);
    if (status == CX_OK && (size_t)embedding_size != config->hidden_size)
        return cx_fail(error, CX_ERROR_UNSUPPORTED,
                       "%s: \"embedding_size\": expected hidden_size, %zu, found %lld: embeddings that are projected are not supported", path,
                       config->hidden_size, (long long)embedding_size);
    return status;
}

enum cx_status cx_config_read(const char *path, struct cx_model_config *config, const struct cx_family **family, struct cx_error *error) {
    struct cx_model_config found = {0};
    json_t *object = NULL;
    const char *model_type = NULL;
    *config = found;
    *family = NULL;
    enum cx_status status = cx_json_read(path, file_limit, &object, error);
    if (status == CX_OK)
        status = cx_json_text(object, "model_type", path, true, &model_type, error);
    if (status != CX_OK)
        goto cleanup;
    const struct cx_family *row = cx_family_find(model_type);
    if (!row) {
        char supported[256];
        cx_family_list(supported, sizeof supported);
        status = cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: \"model_type\": supported is %s, found \"%.64s\"", path, supported, model_type);
        goto cleanup;
    }
    status = check_keys(object, path, error);
    if (status == CX_OK)
        status = read_constants(object, path, row, &found, error);
    if (status == CX_OK)
        status = read_sizes(object, path, row, &found, error);
    if (status != CX_OK)
        goto cleanup;
    *config = found;
    *family = row;

cleanup:
    json_decref(object);
    return status;
}
