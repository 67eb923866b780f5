#include "annotation_json.h"

#include <inttypes.h>
#include <string.h>

#include "contexture/json.h"
#include "contexture/memory.h"

/* The word that is being read. */
struct word_reader {
    const struct cx_annotation_place *at;
    size_t number;     /* of the word, from 0 */
    size_t characters; /* of the text */
    struct cx_error *error;
};

#define FAIL_WORD(reader, format, ...)                                                                                                                         \
    cx_fail((reader)->error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": field \"%s\", word %zu: " format, (reader)->at->path, (reader)->at->line,                     \
            (reader)->at->field, (reader)->number, __VA_ARGS__)

static size_t count_characters(const char *text, size_t length) {
    size_t count = 0;
    for (size_t k = 0; k < length; k++)
        count += ((unsigned char)text[k] & 0xc0) != 0x80;
    return count;
}

static enum cx_status read_place(const struct word_reader *reader, const json_t *word, const char *key, uint32_t *place) {
    const json_t *value = json_object_get(word, key);
    if (!json_is_integer(value))
        return FAIL_WORD(reader, "\"%s\": expected an integer, found %s", key, cx_json_type(value));
    const json_int_t number = json_integer_value(value);
    if (number < 0 || (uint64_t)number > reader->characters)
        return FAIL_WORD(reader, "\"%s\" is %" JSON_INTEGER_FORMAT ", outside of the text's %zu characters", key, number, reader->characters);
    *place = (uint32_t)number;
    return CX_OK;
}

static enum cx_status read_label(const struct word_reader *reader, const json_t *word, const char *key, const char **label) {
    const json_t *value = json_object_get(word, key);
    if (!value || json_is_null(value))
        return CX_OK;
    if (!json_is_string(value))
        return FAIL_WORD(reader, "\"%s\": expected a string, found %s", key, cx_json_type(value));
    const size_t length = json_string_length(value);
    if (length == 0 || length > CX_LONGEST_LABEL)
        return FAIL_WORD(reader, "\"%s\": expected 1 to %d bytes, found %zu; leave out a label that there is not", key, CX_LONGEST_LABEL, length);
    if (memchr(json_string_value(value), '\0', length))
        return FAIL_WORD(reader, "\"%s\": a label may not hold U+0000", key);
    *label = json_string_value(value);
    return CX_OK;
}

static enum cx_status check_keys(const struct word_reader *reader, const json_t *word) {
    static const char *const known[] = {"start", "end", "pos", "ner", "label"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)word, key, value) {
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            found = found || strcmp(key, known[k]) == 0;
        if (!found)
            return FAIL_WORD(reader, "unknown key \"%.100s\": a word has start, end, and perhaps pos, ner and label", key);
    }
    return CX_OK;
}

static enum cx_status read_word(const struct word_reader *reader, const json_t *value, struct cx_word_annotation *word) {
    if (!json_is_object(value))
        return FAIL_WORD(reader, "expected an object with start and end, found %s", cx_json_type(value));
    struct cx_entity_tag tag;
    *word = (struct cx_word_annotation){0};
    enum cx_status status = check_keys(reader, value);
    if (status == CX_OK)
        status = read_place(reader, value, "start", &word->start);
    if (status == CX_OK)
        status = read_place(reader, value, "end", &word->end);
    if (status == CX_OK && word->start >= word->end)
        status = FAIL_WORD(reader, "it starts at %" PRIu32 " and ends at %" PRIu32 ": expected an end behind the start", word->start, word->end);
    if (status == CX_OK)
        status = read_label(reader, value, "pos", &word->pos);
    if (status == CX_OK)
        status = read_label(reader, value, "ner", &word->ner);
    if (status == CX_OK)
        status = read_label(reader, value, "label", &word->label);
    cx_entity_tag_read(word->ner, &tag);
    if (status == CX_OK && tag.label && tag.label[0] == '\0')
        status = FAIL_WORD(reader, "\"ner\" is \"%s\", which names no label", word->ner);
    return status;
}

/* Words stand in the text's order and share no character. */
static enum cx_status check_order(const struct word_reader *reader, const struct cx_word_annotation *before, const struct cx_word_annotation *word) {
    if (word->start >= before->end)
        return CX_OK;
    if (word->start < before->start)
        return FAIL_WORD(reader, "it starts at %" PRIu32 ", before the word in front of it, which starts at %" PRIu32 ": expected words sorted by start",
                         word->start, before->start);
    return FAIL_WORD(reader, "it starts at %" PRIu32 ", inside of the word in front of it, which ends at %" PRIu32 ": expected words that do not overlap",
                     word->start, before->end);
}

enum cx_status cx_annotation_parse(const json_t *value, const char *text, size_t length, const struct cx_annotation_place *at, struct cx_word_memory *memory,
                                   struct cx_annotation *annotation, struct cx_error *error) {
    struct word_reader reader = {.at = at, .characters = count_characters(text, length), .error = error};
    const size_t count = json_array_size(value);
    if (!json_is_array(value))
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": field \"%s\": expected an array of words, found %s", at->path, at->line, at->field,
                       cx_json_type(value));
    if (reader.characters > UINT32_MAX || count > INT32_MAX)
        return cx_fail(error, CX_ERROR_DOCUMENT, "%s:%" PRIu64 ": field \"%s\": %zu characters and %zu words are more than can be counted", at->path, at->line,
                       at->field, reader.characters, count);
    enum cx_status status = cx_reserve(&memory->words, &memory->capacity, count, sizeof *memory->words, "the words of a document", error);
    for (; status == CX_OK && reader.number < count; reader.number++) {
        struct cx_word_annotation *word = &memory->words[reader.number];
        status = read_word(&reader, json_array_get(value, reader.number), word);
        if (status == CX_OK && reader.number > 0)
            status = check_order(&reader, word - 1, word);
    }
    if (status == CX_OK)
        *annotation = (struct cx_annotation){.present = true, .words = memory->words, .count = count};
    return status;
}
