/* tokenizer.json, as `tokenizers` writes it. */
#include <string.h>

#include "json_parts.h"

/* The member's "type"; a component that is null or missing has the type "". */
static enum cx_status component(json_t *file, const char *key, const char *path, json_t **object, const char **type, struct cx_error *error) {
    json_t *found;
    *type = "";
    enum cx_status status = cx_json_object_member(file, key, path, false, &found, error);
    *object = found;
    if (status != CX_OK || !found)
        return status;
    struct cx_place place = cx_place_of("%s: %s", path, key);
    return cx_json_text(found, "type", place.text, true, type, error);
}

static enum cx_status read_bert_normalizer(struct cx_normalizer *normalizer, json_t *object, const char *where, struct cx_error *error) {
    static const char *const known[] = {"type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase", NULL};
    enum cx_status status = cx_refuse_unknown_keys(object, known, where, error);
    if (status == CX_OK)
        status = cx_json_flag(object, "clean_text", where, true, &normalizer->clean_text, error);
    if (status == CX_OK)
        status = cx_json_flag(object, "handle_chinese_chars", where, true, &normalizer->handle_chinese_chars, error);
    if (status == CX_OK)
        status = cx_json_flag(object, "lowercase", where, true, &normalizer->lowercase, error);
    normalizer->strip_accents = normalizer->lowercase; /* what null means */
    return status == CX_OK ? cx_json_flag(object, "strip_accents", where, false, &normalizer->strip_accents, error) : status;
}

static enum cx_status read_normalizer(struct cx_normalizer *normalizer, json_t *file, const char *path, struct cx_error *error) {
    json_t *object;
    const char *type;
    struct cx_place place = cx_place_of("%s: normalizer", path);
    enum cx_status status = component(file, "normalizer", path, &object, &type, error);
    if (status != CX_OK || !object)
        return status;
    if (strcmp(type, "Sequence") == 0) {
        json_t *list;
        status = cx_json_array_member(object, "normalizers", place.text, true, &list, error);
        if (status != CX_OK || json_array_size(list) == 0)
            return status;
        object = json_array_get(list, 0);
        if (json_array_size(list) > 1)
            return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: a Sequence of %zu normalizers is not supported, only of one BertNormalizer", place.text,
                           json_array_size(list));
        if (!json_is_object(object))
            return cx_fail(error, CX_ERROR_INPUT, "%s: expected an object in the Sequence, found %s", place.text, cx_json_type(object));
        status = cx_json_text(object, "type", place.text, true, &type, error);
        if (status != CX_OK)
            return status;
    }
    if (strcmp(type, "BertNormalizer") != 0)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: type \"%s\" is not supported; contexture knows BertNormalizer and null", place.text, type);
    return read_bert_normalizer(normalizer, object, place.text, error);
}

static enum cx_status read_pre_tokenizer(json_t *file, const char *path, struct cx_error *error) {
    static const char *const known[] = {"type", NULL};
    json_t *object;
    const char *type;
    enum cx_status status = component(file, "pre_tokenizer", path, &object, &type, error);
    if (status != CX_OK)
        return status;
    if (strcmp(type, "BertPreTokenizer") != 0)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: pre_tokenizer: %s%s%s is not supported; contexture knows BertPreTokenizer", path,
                       object ? "type \"" : "", object ? type : "null", object ? "\"" : "");
    struct cx_place place = cx_place_of("%s: pre_tokenizer", path);
    return cx_refuse_unknown_keys(object, known, place.text, error);
}

static enum cx_status read_vocabulary(struct cx_vocabulary *vocabulary, json_t *model, const char *where, struct cx_error *error) {
    json_t *object, *value;
    const char *token;
    enum cx_status status = cx_json_object_member(model, "vocab", where, true, &object, error);
    if (status != CX_OK)
        return status;
    if (json_object_size(object) == 0)
        return cx_fail(error, CX_ERROR_INPUT, "%s: vocab: expected at least one token, found none", where);
    json_object_foreach(object, token, value) {
        if (!json_is_integer(value))
            return cx_fail(error, CX_ERROR_INPUT, "%s: vocab: token \"%s\": expected an integer, found %s", where, token, cx_json_type(value));
        json_int_t id = json_integer_value(value);
        if (id < 0 || id > CX_HIGHEST_ID)
            return cx_fail(error, CX_ERROR_INPUT, "%s: vocab: token \"%s\": expected an id from 0 to %d, found %" JSON_INTEGER_FORMAT, where, token,
                           CX_HIGHEST_ID, id);
        const char *other = cx_vocabulary_text(vocabulary, (int32_t)id);
        if (other)
            return cx_fail(error, CX_ERROR_INPUT, "%s: vocab: tokens \"%s\" and \"%s\" both have the id %" JSON_INTEGER_FORMAT, where, other, token, id);
        status = cx_vocabulary_add(vocabulary, token, strlen(token), (int32_t)id, error);
        if (status != CX_OK)
            return status;
    }
    return CX_OK;
}

/* Files of 2020 have no "type" in the model; WordPiece is then known by its keys. */
static enum cx_status check_model_type(json_t *model, const char *where, struct cx_error *error) {
    const char *type = json_object_get(model, "merges") ? "BPE" : "WordPiece";
    enum cx_status status = cx_json_text(model, "type", where, false, &type, error);
    if (status == CX_OK && strcmp(type, "WordPiece") != 0)
        status = cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: type \"%s\" is not supported; contexture knows WordPiece", where, type);
    return status;
}

static enum cx_status read_model(struct cx_tokenizer *tokenizer, json_t *file, const char *path, struct cx_error *error) {
    static const char *const known[] = {"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab", NULL};
    json_t *model;
    const char *unknown = "", *prefix = "";
    int64_t most = 0;
    struct cx_place place = cx_place_of("%s: model", path);
    enum cx_status status = cx_json_object_member(file, "model", path, true, &model, error);
    if (status == CX_OK)
        status = check_model_type(model, place.text, error);
    if (status == CX_OK)
        status = cx_refuse_unknown_keys(model, known, place.text, error);
    if (status == CX_OK)
        status = cx_json_text(model, "unk_token", place.text, true, &unknown, error);
    if (status == CX_OK)
        status = cx_json_text(model, "continuing_subword_prefix", place.text, true, &prefix, error);
    if (status == CX_OK)
        status = cx_json_integer(model, "max_input_chars_per_word", place.text, true, 0, INT32_MAX, &most, error);
    if (status == CX_OK)
        status = read_vocabulary(&tokenizer->vocabulary, model, place.text, error);
    if (status == CX_OK)
        status = cx_vocabulary_finish(&tokenizer->vocabulary, prefix, error);
    if (status != CX_OK)
        return status;
    tokenizer->wordpiece =
        (struct cx_wordpiece){.most_characters = (size_t)most, .unknown_id = cx_vocabulary_id(&tokenizer->vocabulary, unknown, strlen(unknown))};
    if (tokenizer->wordpiece.unknown_id < 0)
        return cx_fail(error, CX_ERROR_INPUT, "%s: the unk_token \"%s\" is not in the vocabulary", place.text, unknown);
    return CX_OK;
}

static enum cx_status read_added_token(struct cx_tokenizer *tokenizer, json_t *item, const char *where, struct cx_error *error) {
    struct cx_added_token token = {0};
    int64_t wanted = 0;
    int32_t given = -1;
    if (!json_is_object(item))
        return cx_fail(error, CX_ERROR_INPUT, "%s: expected an object, found %s", where, cx_json_type(item));
    enum cx_status status = cx_read_added_token(item, where, true, &token, error);
    if (status == CX_OK)
        status = cx_json_integer(item, "id", where, true, 0, CX_HIGHEST_ID, &wanted, error);
    if (status == CX_OK)
        status = cx_added_tokens_add(&tokenizer->added, &token, &tokenizer->vocabulary, &given, error);
    if (status == CX_OK && given >= 0 && given != wanted)
        status = cx_tokenizer_note(tokenizer, error, "%s: token \"%s\" asks for the id %d, but has %d, as in the package tokenizers.", where, token.content,
                                   (int)wanted, (int)given);
    return status;
}

static enum cx_status read_added_tokens(struct cx_tokenizer *tokenizer, json_t *file, const char *path, struct cx_error *error) {
    json_t *list;
    enum cx_status status = cx_json_array_member(file, "added_tokens", path, false, &list, error);
    for (size_t i = 0; status == CX_OK && i < json_array_size(list); i++) {
        struct cx_place place = cx_place_of("%s: added_tokens[%zu]", path, i);
        status = read_added_token(tokenizer, json_array_get(list, i), place.text, error);
    }
    return status;
}

/* What the file asks for beyond tokens: lengths are chosen by the program, not here; decoding is not its business. */
static enum cx_status note_ignored(struct cx_tokenizer *tokenizer, json_t *file, const char *path, struct cx_error *error) {
    json_t *truncation = json_object_get(file, "truncation"), *padding = json_object_get(file, "padding");
    bool truncates = truncation && !json_is_null(truncation), pads = padding && !json_is_null(padding);
    if (!truncates && !pads)
        return CX_OK;
    return cx_tokenizer_note(tokenizer, error, "%s: %s%s%s ignored.", path, truncates ? "truncation" : "", truncates && pads ? " and " : "",
                             pads ? (truncates ? "padding are" : "padding is") : " is");
}

enum cx_status cx_tokenizer_read_json(struct cx_tokenizer *tokenizer, const char *path, struct cx_error *error) {
    json_t *file = NULL;
    const char *version = "1.0";
    enum cx_status status = cx_json_read(path, CX_TOKENIZER_FILE_LIMIT, &file, error);
    if (status == CX_OK)
        status = cx_json_text(file, "version", path, false, &version, error);
    if (status == CX_OK && strcmp(version, "1.0") != 0)
        status = cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: version \"%s\" is not supported; contexture knows \"1.0\"", path, version);
    if (status == CX_OK)
        status = read_normalizer(&tokenizer->normalizer, file, path, error);
    if (status == CX_OK)
        status = read_pre_tokenizer(file, path, error);
    if (status == CX_OK)
        status = read_model(tokenizer, file, path, error);
    if (status == CX_OK)
        status = read_added_tokens(tokenizer, file, path, error);
    struct cx_place place = cx_place_of("%s: post_processor", path);
    if (status == CX_OK)
        status = cx_read_post_processor(tokenizer, json_object_get(file, "post_processor"), place.text, error);
    if (status == CX_OK)
        status = note_ignored(tokenizer, file, path, error);
    json_decref(file);
    return status;
}
