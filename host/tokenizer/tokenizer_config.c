/*
 * A folder without tokenizer.json: vocab.txt, with tokenizer_config.json, special_tokens_map.json and added_tokens.json where they are
 * there. The result equals what `transformers` 5 builds for BertTokenizerFast, in particular the order in which tokens that vocab.txt
 * does not have get their ids: those of added_tokens_decoder by index, the named ones, others called "…_token", and the extra ones.
 */
#include <stdlib.h>
#include <string.h>

#include "contexture/file.h"
#include "json_parts.h"

static const char *const named_keys[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
static const char *const named_defaults[] = {NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};
enum { named_count = sizeof named_keys / sizeof named_keys[0] };

/* What the files say; everything is borrowed from the JSON values. */
struct configuration {
    const char *path;       /* of tokenizer_config.json, for messages */
    const char *added_path; /* of added_tokens.json */
    json_t *settings;       /* its object, updated with special_tokens_map.json */
    json_t *legacy_added;   /* added_tokens.json, or NULL */
    json_t *added;          /* added_tokens_decoder, or NULL */
    struct cx_tokenizer *tokenizer;
    struct cx_error *error;
};

/* A token with its index, of added_tokens_decoder or added_tokens.json. */
struct indexed_token {
    long index;
    const char *content;
    json_t *object; /* NULL: flags by default */
};

static int named_index(const char *key) {
    for (int i = 0; i < named_count; i++) {
        if (strcmp(named_keys[i], key) == 0)
            return i;
    }
    return -1;
}

/* The text of a token that is given as a string or as an object; NULL for null and for anything else. */
static const char *content_of(json_t *value) {
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

/* The text of a named token, or NULL if the model has none. */
static const char *named_content(const struct configuration *configuration, int named) {
    json_t *value = json_object_get(configuration->settings, named_keys[named]);
    return value ? content_of(value) : named_defaults[named];
}

static json_t *extra_list(const struct configuration *configuration) {
    json_t *extra = json_object_get(configuration->settings, "extra_special_tokens");
    if (!extra || json_is_null(extra))
        extra = json_object_get(configuration->settings, "additional_special_tokens");
    return extra;
}

static bool is_special_content(const struct configuration *configuration, const char *content, bool with_extra) {
    for (int i = 0; i < named_count; i++) {
        const char *named = named_content(configuration, i);
        if (named && strcmp(named, content) == 0)
            return true;
    }
    json_t *extra = with_extra ? extra_list(configuration) : NULL;
    for (size_t i = 0; i < json_array_size(extra); i++) {
        const char *other = content_of(json_array_get(extra, i));
        if (other && strcmp(other, content) == 0)
            return true;
    }
    return false;
}

static bool is_added(const struct configuration *configuration, const char *content) {
    const struct cx_added_tokens *added = &configuration->tokenizer->added;
    for (size_t i = 0; i < added->count; i++) {
        if (strcmp(added->tokens[i].content, content) == 0)
            return true;
    }
    return false;
}

/* Adds a token given as a string or an object. `special` is what it is by default; a token that is not special is normalized by default. */
static enum cx_status add_token(struct configuration *configuration, json_t *value, const char *where, bool special) {
    struct cx_added_token token = {.special = special};
    int32_t id;
    enum cx_status status = CX_OK;
    if (json_is_object(value)) {
        bool normalized_default = !special;
        status = cx_json_flag(value, "special", where, false, &token.special, configuration->error);
        if (!special)
            normalized_default = !token.special;
        token.normalized = normalized_default;
        if (status == CX_OK)
            status = cx_read_added_token(value, where, false, &token, configuration->error);
        token.special |= special;
    } else if (json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value)) {
        token.content = json_string_value(value);
        token.length = json_string_length(value);
        token.normalized = !special;
    } else {
        return cx_fail(configuration->error, CX_ERROR_INPUT, "%s: expected a token as a string or an object, found %s", where, cx_json_type(value));
    }
    return status == CX_OK ? cx_added_tokens_add(&configuration->tokenizer->added, &token, &configuration->tokenizer->vocabulary, &id, configuration->error)
                           : status;
}

static int compare_indexes(const void *a, const void *b) {
    const struct indexed_token *first = a, *second = b;
    return (first->index > second->index) - (first->index < second->index);
}

/* {"0": {"content": …}, …} of added_tokens_decoder, or {"token": 0, …} of added_tokens.json. */
static enum cx_status read_indexed(struct configuration *configuration, json_t *object, bool is_decoder, struct indexed_token *tokens) {
    const char *key, *where = is_decoder ? configuration->path : configuration->added_path;
    json_t *value;
    size_t count = 0;
    json_object_foreach(object, key, value) {
        char *end = NULL;
        struct indexed_token *token = &tokens[count++];
        *token = (struct indexed_token){.index = is_decoder ? strtol(key, &end, 10) : (long)json_integer_value(value)};
        token->content = is_decoder ? content_of(value) : key;
        token->object = is_decoder ? value : NULL;
        bool is_right = is_decoder ? end && end != key && *end == '\0' && json_is_object(value) && token->content : json_is_integer(value);
        if (!is_right || token->index < 0)
            return cx_fail(configuration->error, CX_ERROR_INPUT, "%s: key \"%s\": expected %s, found %s", where, key,
                           is_decoder ? "an index with a token's object" : "a token's index", cx_json_type(value));
    }
    qsort(tokens, count, sizeof *tokens, compare_indexes);
    return CX_OK;
}

static enum cx_status add_indexed(struct configuration *configuration) {
    bool is_decoder = configuration->added != NULL;
    json_t *object = is_decoder ? configuration->added : configuration->legacy_added;
    size_t count = json_object_size(object);
    if (count == 0)
        return CX_OK;
    struct indexed_token *tokens = calloc(count, sizeof *tokens);
    if (!tokens)
        return cx_fail_memory(configuration->error, "added tokens", count * sizeof *tokens);
    enum cx_status status = read_indexed(configuration, object, is_decoder, tokens);
    for (size_t i = 0; status == CX_OK && i < count; i++) {
        struct cx_place place = cx_place_of("%s: token \"%s\"", is_decoder ? configuration->path : configuration->added_path, tokens[i].content);
        json_t *text = is_decoder ? NULL : json_string(tokens[i].content);
        if (is_decoder || text)
            status =
                add_token(configuration, is_decoder ? tokens[i].object : text, place.text, is_special_content(configuration, tokens[i].content, !is_decoder));
        else
            status = cx_fail_memory(configuration->error, "an added token", strlen(tokens[i].content));
        json_decref(text);
    }
    free(tokens);
    return status;
}

static enum cx_status add_named(struct configuration *configuration) {
    enum cx_status status = CX_OK;
    for (int i = 0; status == CX_OK && i < named_count; i++) {
        struct cx_place place = cx_place_of("%s: %s", configuration->path, named_keys[i]);
        json_t *value = json_object_get(configuration->settings, named_keys[i]);
        const char *content = named_content(configuration, i);
        if (content && is_added(configuration, content))
            continue;
        if (!value && named_defaults[i]) {
            struct cx_added_token token = {.content = named_defaults[i], .length = strlen(named_defaults[i]), .special = true};
            int32_t id;
            status = cx_added_tokens_add(&configuration->tokenizer->added, &token, &configuration->tokenizer->vocabulary, &id, configuration->error);
        } else if (value && !json_is_null(value)) {
            status = add_token(configuration, value, place.text, true);
        }
    }
    return status;
}

/* Tokens under names of the user's own, and the list of extra ones. */
static enum cx_status add_others(struct configuration *configuration) {
    static const char suffix[] = "_token";
    const char *key;
    json_t *value;
    enum cx_status status = CX_OK;
    json_object_foreach(configuration->settings, key, value) {
        size_t length = strlen(key);
        bool is_token = length >= sizeof suffix - 1 && strcmp(key + length - (sizeof suffix - 1), suffix) == 0;
        if (status != CX_OK || !is_token || named_index(key) >= 0 || !json_is_string(value) || is_added(configuration, json_string_value(value)))
            continue;
        struct cx_place place = cx_place_of("%s: %s", configuration->path, key);
        status = add_token(configuration, value, place.text, true);
    }
    json_t *extra = extra_list(configuration);
    if (status == CX_OK && extra && !json_is_null(extra) && !json_is_array(extra))
        return cx_fail(configuration->error, CX_ERROR_UNSUPPORTED, "%s: extra_special_tokens: only a list is supported, found %s", configuration->path,
                       cx_json_type(extra));
    for (size_t i = 0; status == CX_OK && i < json_array_size(extra); i++) {
        json_t *token = json_array_get(extra, i);
        const char *content = content_of(token);
        struct cx_place place = cx_place_of("%s: extra_special_tokens[%zu]", configuration->path, i);
        if (!content || !is_added(configuration, content))
            status = add_token(configuration, token, place.text, !json_is_object(token));
    }
    return status;
}

/* The tokenizer's class, where it is named, must be one that does what BertTokenizerFast does. */
static enum cx_status check_class(const struct configuration *configuration) {
    static const char *const known[] = {"Bert", "DistilBert", "Electra", "MobileBert", "ConvBert", "LayoutLM", "Lxmert", "RetriBert"};
    const char *class = NULL;
    enum cx_status status = cx_json_text(configuration->settings, "tokenizer_class", configuration->path, false, &class, configuration->error);
    if (status != CX_OK || !class)
        return status;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t length = strlen(known[i]);
        if (strncmp(class, known[i], length) == 0 && (strcmp(class + length, "Tokenizer") == 0 || strcmp(class + length, "TokenizerFast") == 0))
            return CX_OK;
    }
    return cx_fail(configuration->error, CX_ERROR_UNSUPPORTED,
                   "%s: tokenizer_class \"%s\" with vocab.txt is not supported; contexture knows BertTokenizer and its like. Save it once with the "
                   "package transformers, which writes tokenizer.json",
                   configuration->path, class);
}

static enum cx_status read_settings(struct configuration *configuration) {
    struct cx_normalizer *normalizer = &configuration->tokenizer->normalizer;
    struct cx_error *error = configuration->error;
    const char *path = configuration->path;
    bool basic = true;
    normalizer->clean_text = normalizer->handle_chinese_chars = normalizer->lowercase = true;
    enum cx_status status = check_class(configuration);
    if (status == CX_OK)
        status = cx_json_flag(configuration->settings, "do_lower_case", path, false, &normalizer->lowercase, error);
    if (status == CX_OK)
        status = cx_json_flag(configuration->settings, "tokenize_chinese_chars", path, false, &normalizer->handle_chinese_chars, error);
    normalizer->strip_accents = normalizer->lowercase;
    if (status == CX_OK)
        status = cx_json_flag(configuration->settings, "strip_accents", path, false, &normalizer->strip_accents, error);
    if (status == CX_OK)
        status = cx_json_flag(configuration->settings, "do_basic_tokenize", path, false, &basic, error);
    if (status == CX_OK && !basic)
        status = cx_tokenizer_note(configuration->tokenizer, error, "%s: do_basic_tokenize false is ignored, as by BertTokenizerFast.", path);
    json_t *never = json_object_get(configuration->settings, "never_split");
    if (status == CX_OK && never && !json_is_null(never))
        status = cx_tokenizer_note(configuration->tokenizer, error, "%s: never_split is ignored, as by BertTokenizerFast.", path);
    return status;
}

/* The ids of [CLS] and [SEP] for the template, and of [UNK] for WordPiece. */
static enum cx_status use_named(struct configuration *configuration) {
    struct cx_tokenizer *tokenizer = configuration->tokenizer;
    int32_t ids[named_count] = {0};
    for (int i = 0; i < named_count; i++) {
        const char *content = named_content(configuration, i);
        bool is_needed = strcmp(named_keys[i], "unk_token") == 0 || strcmp(named_keys[i], "cls_token") == 0 || strcmp(named_keys[i], "sep_token") == 0;
        if (is_needed && (!content || !*content))
            return cx_fail(configuration->error, CX_ERROR_INPUT, "%s: key \"%s\": expected a token, found %s", configuration->path, named_keys[i],
                           content ? "an empty one" : cx_json_type(json_object_get(configuration->settings, named_keys[i])));
        ids[i] = content ? cx_tokenizer_id(tokenizer, content) : -1;
    }
    const char *unknown = named_content(configuration, named_index("unk_token"));
    tokenizer->wordpiece = (struct cx_wordpiece){.most_characters = 100, .unknown_id = cx_vocabulary_id(&tokenizer->vocabulary, unknown, strlen(unknown))};
    if (tokenizer->wordpiece.unknown_id < 0)
        return cx_fail(configuration->error, CX_ERROR_INPUT, "%s: the unk_token \"%s\" is not in vocab.txt", configuration->path, unknown);
    return cx_template_bert(&tokenizer->single, &tokenizer->pair, ids[named_index("cls_token")], ids[named_index("sep_token")], configuration->error);
}

/* Reads directory/name if it is there; else *object is NULL. */
static enum cx_status read_optional(const char *directory, const char *name, json_t **object, char **path, struct cx_error *error) {
    *object = NULL;
    enum cx_status status = cx_path_join(directory, name, path, error);
    return status == CX_OK && cx_file_exists(*path) ? cx_json_read(*path, CX_TOKENIZER_FILE_LIMIT, object, error) : status;
}

enum cx_status cx_tokenizer_read_vocab(struct cx_tokenizer *tokenizer, const char *directory, const char *path, struct cx_error *error) {
    struct configuration configuration = {.tokenizer = tokenizer, .error = error};
    json_t *map = NULL, *added = NULL;
    char *config_path = NULL, *map_path = NULL, *added_path = NULL;
    enum cx_status status = cx_read_vocabulary_lines(&tokenizer->vocabulary, path, error);
    if (status == CX_OK)
        status = cx_vocabulary_finish(&tokenizer->vocabulary, "##", error);
    if (status == CX_OK)
        status = read_optional(directory, "tokenizer_config.json", &configuration.settings, &config_path, error);
    if (status == CX_OK && !configuration.settings && !(configuration.settings = json_object()))
        status = cx_fail_memory(error, "the tokenizer's settings", sizeof(json_t));
    if (status != CX_OK)
        goto cleanup;
    configuration.path = config_path;
    status = cx_json_object_member(configuration.settings, "added_tokens_decoder", config_path, false, &added, error);
    configuration.added = added;
    if (status == CX_OK && !added)
        status = read_optional(directory, "special_tokens_map.json", &map, &map_path, error);
    if (status == CX_OK && !added)
        status = read_optional(directory, "added_tokens.json", &configuration.legacy_added, &added_path, error);
    configuration.added_path = added_path;
    if (status == CX_OK && map && json_object_update(configuration.settings, map) != 0)
        status = cx_fail_memory(error, "the tokenizer's settings", sizeof(json_t));
    if (status == CX_OK)
        status = read_settings(&configuration);
    if (status == CX_OK)
        status = add_indexed(&configuration);
    if (status == CX_OK)
        status = add_named(&configuration);
    if (status == CX_OK)
        status = add_others(&configuration);
    if (status == CX_OK)
        status = use_named(&configuration);
cleanup:
    json_decref(configuration.legacy_added);
    json_decref(map);
    json_decref(configuration.settings);
    free(added_path);
    free(map_path);
    free(config_path);
    return status;
}
