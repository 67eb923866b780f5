/* The post_processor of tokenizer.json: null, BertProcessing, TemplateProcessing, or a Sequence of one of them. */
#include <string.h>

#include "json_parts.h"

/* ["[CLS]", 101] */
static enum cx_status read_token_pair(json_t *object, const char *key, const char *where, size_t id_count, int32_t *id, struct cx_error *error) {
    json_t *pair;
    enum cx_status status = cx_json_array_member(object, key, where, true, &pair, error);
    if (status != CX_OK)
        return status;
    json_t *name = json_array_get(pair, 0), *number = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_string(name) || !json_is_integer(number))
        return cx_fail(error, CX_ERROR_INPUT, "%s: key \"%s\": expected [token, id], found an array of %zu values, the first %s, the second %s", where, key,
                       json_array_size(pair), cx_json_type(name), cx_json_type(number));
    json_int_t value = json_integer_value(number);
    if (value < 0 || (size_t)value >= id_count)
        return cx_fail(error, CX_ERROR_INPUT, "%s: key \"%s\": expected an id from 0 to %zu, found %" JSON_INTEGER_FORMAT, where, key, id_count - 1, value);
    *id = (int32_t)value;
    return CX_OK;
}

static enum cx_status read_bert(struct cx_tokenizer *tokenizer, json_t *object, const char *where, struct cx_error *error) {
    static const char *const known[] = {"type", "sep", "cls", NULL};
    int32_t cls_id = 0, sep_id = 0;
    enum cx_status status = cx_refuse_unknown_keys(object, known, where, error);
    if (status == CX_OK)
        status = read_token_pair(object, "cls", where, tokenizer->vocabulary.id_count, &cls_id, error);
    if (status == CX_OK)
        status = read_token_pair(object, "sep", where, tokenizer->vocabulary.id_count, &sep_id, error);
    return status == CX_OK ? cx_template_bert(&tokenizer->single, &tokenizer->pair, cls_id, sep_id, error) : status;
}

/* {"id": "[CLS]", "type_id": 0}: the inside of a template's piece. */
static enum cx_status read_piece_inside(json_t *inside, const char *where, const char **id, int32_t *type_id, struct cx_error *error) {
    static const char *const known[] = {"id", "type_id", NULL};
    int64_t number = 0;
    enum cx_status status = cx_refuse_unknown_keys(inside, known, where, error);
    if (status == CX_OK)
        status = cx_json_text(inside, "id", where, true, id, error);
    if (status == CX_OK)
        status = cx_json_integer(inside, "type_id", where, true, 0, INT32_MAX, &number, error);
    *type_id = (int32_t)number;
    return status;
}

/* The ids that a special token of the template stands for. */
static enum cx_status add_special_token(struct cx_template *template, json_t *special_tokens, const char *name, int32_t type_id, size_t id_count,
                                        const char *where, struct cx_error *error) {
    json_t *token = json_object_get(special_tokens, name);
    json_t *ids = NULL, *tokens = NULL;
    if (!json_is_object(token))
        return cx_fail(error, CX_ERROR_INPUT, "%s: special_tokens: expected an object \"%s\", which the template uses, found %s", where, name,
                       cx_json_type(token));
    struct cx_place place = cx_place_of("%s: special_tokens: %s", where, name);
    enum cx_status status = cx_json_array_member(token, "ids", place.text, true, &ids, error);
    if (status == CX_OK)
        status = cx_json_array_member(token, "tokens", place.text, true, &tokens, error);
    if (status != CX_OK)
        return status;
    if (json_array_size(ids) != json_array_size(tokens))
        return cx_fail(error, CX_ERROR_INPUT, "%s: expected as many ids as tokens, found %zu ids and %zu tokens", place.text, json_array_size(ids),
                       json_array_size(tokens));
    for (size_t i = 0; status == CX_OK && i < json_array_size(ids); i++) {
        json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || (size_t)json_integer_value(id) >= id_count)
            return cx_fail(error, CX_ERROR_INPUT, "%s: ids: expected integers from 0 to %zu, found %s%s", place.text, id_count - 1, cx_json_type(id),
                           json_is_integer(id) ? " outside" : "");
        status = cx_template_add(template, -1, (int32_t)json_integer_value(id), type_id, error);
    }
    return status;
}

static enum cx_status read_piece(struct cx_template *template, json_t *piece, json_t *special_tokens, size_t id_count, const char *where,
                                 struct cx_error *error) {
    json_t *sequence = json_object_get(piece, "Sequence"), *special = json_object_get(piece, "SpecialToken");
    json_t *inside = sequence ? sequence : special;
    if (!json_is_object(inside) || json_object_size(piece) != 1)
        return cx_fail(error, CX_ERROR_INPUT, "%s: expected {\"Sequence\": {…}} or {\"SpecialToken\": {…}}, found %s", where, cx_json_type(piece));
    const char *id = "";
    int32_t type_id;
    enum cx_status status = read_piece_inside(inside, where, &id, &type_id, error);
    if (status != CX_OK)
        return status;
    if (special)
        return add_special_token(template, special_tokens, id, type_id, id_count, where, error);
    if (strcmp(id, "A") != 0 && strcmp(id, "B") != 0)
        return cx_fail(error, CX_ERROR_INPUT, "%s: a Sequence's id must be \"A\" or \"B\", found \"%s\"", where, id);
    return cx_template_add(template, id[0] - 'A', 0, type_id, error);
}

/* `texts`: 1 for the template of one text, 2 for that of a pair. Each must stand in it once; `tokenizers` can repeat one or leave it out. */
static enum cx_status read_template(struct cx_template *template, json_t *object, const char *key, size_t texts, json_t *special_tokens, size_t id_count,
                                    const char *where, struct cx_error *error) {
    json_t *pieces;
    enum cx_status status = cx_json_array_member(object, key, where, true, &pieces, error);
    if (status != CX_OK)
        return status;
    struct cx_place place = cx_place_of("%s: %s", where, key);
    for (size_t i = 0; status == CX_OK && i < json_array_size(pieces); i++)
        status = read_piece(template, json_array_get(pieces, i), special_tokens, id_count, place.text, error);
    if (status != CX_OK)
        return status;
    size_t found[2] = {0};
    for (size_t i = 0; i < template->count; i++) {
        if (template->parts[i].sequence >= 0)
            found[template->parts[i].sequence]++;
    }
    if (found[0] != 1 || found[1] != texts - 1)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: expected sequence A once and sequence B %s, found A %zu times and B %zu times", place.text,
                       texts == 2 ? "once" : "not at all", found[0], found[1]);
    return CX_OK;
}

static enum cx_status read_template_processing(struct cx_tokenizer *tokenizer, json_t *object, const char *where, struct cx_error *error) {
    static const char *const known[] = {"type", "single", "pair", "special_tokens", NULL};
    json_t *special_tokens = NULL;
    size_t id_count = tokenizer->vocabulary.id_count;
    enum cx_status status = cx_refuse_unknown_keys(object, known, where, error);
    if (status == CX_OK)
        status = cx_json_object_member(object, "special_tokens", where, true, &special_tokens, error);
    if (status == CX_OK)
        status = read_template(&tokenizer->single, object, "single", 1, special_tokens, id_count, where, error);
    return status == CX_OK ? read_template(&tokenizer->pair, object, "pair", 2, special_tokens, id_count, where, error) : status;
}

enum cx_status cx_read_post_processor(struct cx_tokenizer *tokenizer, json_t *value, const char *where, struct cx_error *error) {
    const char *type = "";
    if (!value || json_is_null(value))
        return cx_template_plain(&tokenizer->single, &tokenizer->pair, error);
    if (!json_is_object(value))
        return cx_fail(error, CX_ERROR_INPUT, "%s: expected an object or null, found %s", where, cx_json_type(value));
    enum cx_status status = cx_json_text(value, "type", where, true, &type, error);
    if (status != CX_OK)
        return status;
    if (strcmp(type, "BertProcessing") == 0)
        return read_bert(tokenizer, value, where, error);
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template_processing(tokenizer, value, where, error);
    if (strcmp(type, "Sequence") == 0) {
        json_t *processors;
        status = cx_json_array_member(value, "processors", where, true, &processors, error);
        if (status != CX_OK)
            return status;
        json_t *only = json_array_get(processors, 0);
        const char *inner = json_string_value(json_object_get(only, "type"));
        if (json_array_size(processors) == 1 && inner && strcmp(inner, "Sequence") != 0)
            return cx_read_post_processor(tokenizer, only, where, error);
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: a Sequence of %zu processors is not supported, only of one", where, json_array_size(processors));
    }
    return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: type \"%s\" is not supported; contexture knows TemplateProcessing and BertProcessing", where, type);
}
