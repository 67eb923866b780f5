/* Malformed tokenizer files: each class gives its status and one sentence that says where and what; and no mutation crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contexture/tokenizer.h"
#include "tokenizer_folder.h"

/* `file` with `find` (NULL: everything) replaced by `replacement`, and what is expected of opening the folder. */
struct damage {
    const char *find, *replacement;
    enum cx_status status;
    const char *piece; /* of the message */
};

#define INPUT       CX_ERROR_INPUT
#define UNSUPPORTED CX_ERROR_UNSUPPORTED

static const struct damage json_damages[] = {
    /* the file */
    {NULL, "", INPUT, "tokenizer.json"},
    {NULL, "[1, 2]", INPUT, "tokenizer.json: expected a JSON object, found an array"},
    {"{\"version\"", "{'version'", INPUT, "not valid JSON"},
    {"20}}}", "20}}", INPUT, "not valid JSON"},
    {"20}}}", "20}}} x", INPUT, "not valid JSON"},
    {"\"decoder\"", "\"version\"", INPUT, "duplicate"},
    {"\"thesis\"", "\"the\xFFsis\"", INPUT, "not valid JSON"},
    {"\"thesis\"", "\"the\\u0000sis\"", INPUT, "not valid JSON"},
    {"\"thesis\"", "\"\\ud800\"", INPUT, "not valid JSON"},
    {"\"version\": \"1.0\"", "\"version\": \"2.0\"", UNSUPPORTED, "version \"2.0\""},
    {"\"version\": \"1.0\"", "\"version\": 1", INPUT, "key \"version\": expected a string, found an integer"},
    /* normalizer */
    {"{\"type\": \"BertNormalizer\"", "[{\"type\": \"BertNormalizer\"", INPUT, "not valid JSON"},
    {"\"BertNormalizer\"", "\"NFKC\"", UNSUPPORTED, "normalizer: type \"NFKC\""},
    {"\"type\": \"BertNormalizer\", ", "", INPUT, "normalizer: key \"type\": expected a string, found nothing"},
    {"\"clean_text\": true", "\"clean_text\": 1", INPUT, "normalizer: key \"clean_text\": expected true or false, found an integer"},
    {"\"clean_text\": true, ", "", INPUT, "key \"clean_text\": expected true or false, found nothing"},
    {"\"handle_chinese_chars\": true", "\"handle_chinese_chars\": null", INPUT, "key \"handle_chinese_chars\": expected true or false, found null"},
    {"\"strip_accents\": null", "\"strip_accents\": \"yes\"", INPUT, "key \"strip_accents\": expected true or false, found a string"},
    {", \"lowercase\": true", "", INPUT, "key \"lowercase\": expected true or false, found nothing"},
    {"\"lowercase\": true", "\"lowercase\": true, \"fold\": true", UNSUPPORTED, "normalizer: key \"fold\" is not supported"},
    {"{\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true, \"strip_accents\": null, \"lowercase\": true}", "\"BertNormalizer\"",
     INPUT, "key \"normalizer\": expected an object, found a string"},
    {"{\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true, \"strip_accents\": null, \"lowercase\": true}",
     "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFD\"}, {\"type\": \"Lowercase\"}]}", UNSUPPORTED, "a Sequence of 2 normalizers"},
    {"{\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true, \"strip_accents\": null, \"lowercase\": true}",
     "{\"type\": \"Sequence\", \"normalizers\": [7]}", INPUT, "normalizer: expected an object in the Sequence, found an integer"},
    /* pre-tokenizer */
    {"{\"type\": \"BertPreTokenizer\"}", "null", UNSUPPORTED, "pre_tokenizer: null is not supported"},
    {"\"BertPreTokenizer\"", "\"Whitespace\"", UNSUPPORTED, "pre_tokenizer: type \"Whitespace\" is not supported"},
    {"\"BertPreTokenizer\"", "\"BertPreTokenizer\", \"behavior\": \"Isolated\"", UNSUPPORTED, "pre_tokenizer: key \"behavior\""},
    {"{\"type\": \"BertPreTokenizer\"}", "{}", INPUT, "pre_tokenizer: key \"type\""},
    /* model */
    {"\"model\"", "\"modell\"", INPUT, "key \"model\": expected an object, found nothing"},
    {"{\"type\": \"WordPiece\", \"unk", "{\"type\": \"BPE\", \"unk", UNSUPPORTED, "model: type \"BPE\" is not supported"},
    {"{\"type\": \"WordPiece\", \"unk", "{\"merges\": [], \"unk", UNSUPPORTED, "model: type \"BPE\" is not supported"},
    {"\"unk_token\": \"[UNK]\", ", "", INPUT, "model: key \"unk_token\": expected a string, found nothing"},
    {"\"unk_token\": \"[UNK]\"", "\"unk_token\": \"<unk>\"", INPUT, "model: the unk_token \"<unk>\" is not in the vocabulary"},
    {"\"continuing_subword_prefix\": \"##\"", "\"continuing_subword_prefix\": 2", INPUT, "key \"continuing_subword_prefix\": expected a string"},
    {"\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": -1", INPUT, "key \"max_input_chars_per_word\": expected an integer from 0"},
    {"\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": 1.5", INPUT, "key \"max_input_chars_per_word\": expected an integer, found a real"},
    {"\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": 100, \"dropout\": 0.1", UNSUPPORTED, "model: key \"dropout\""},
    {"\"vocab\": {", "\"vocab\": [], \"vocabulary\": {", UNSUPPORTED, "model: key \"vocabulary\""},
    {"\"the\": 8", "\"the\": \"8\"", INPUT, "vocab: token \"the\": expected an integer, found a string"},
    {"\"the\": 8", "\"the\": -8", INPUT, "vocab: token \"the\": expected an id from 0 to 16777215, found -8"},
    {"\"the\": 8", "\"the\": 99999999999", INPUT, "found 99999999999"},
    {"\"the\": 8", "\"the\": 7", INPUT, "vocab: tokens \"##able\" and \"the\" both have the id 7"},
    {"\"the\": 8", "\"the\": 8, \"the\": 30", INPUT, "duplicate"},
    /* added tokens */
    {"\"added_tokens\": [", "\"added_tokens\": {}, \"other\": [", INPUT, "key \"added_tokens\": expected an array, found an object"},
    {"\"added_tokens\": [", "\"added_tokens\": [\"[PAD]\", ", INPUT, "added_tokens[0]: expected an object, found a string"},
    {"\"content\": \"[MASK]\", ", "", INPUT, "added_tokens[0]: key \"content\": expected a string, found nothing"},
    {"\"content\": \"[MASK]\"", "\"content\": 4", INPUT, "key \"content\": expected a string, found an integer"},
    {"\"content\": \"[MASK]\"", "\"content\": \"a\\u0000b\"", INPUT, "without the character U+0000"},
    {"\"lstrip\": false, ", "", INPUT, "key \"lstrip\": expected true or false, found nothing"},
    {"\"normalized\": false", "\"normalized\": \"false\"", INPUT, "key \"normalized\": expected true or false, found a string"},
    {"\"id\": 4, ", "", INPUT, "key \"id\": expected an integer, found nothing"},
    {"\"id\": 4, ", "\"id\": 4, \"fuzzy\": true, ", UNSUPPORTED, "added_tokens[0]: key \"fuzzy\""},
    /* post-processor */
    {"\"TemplateProcessing\"", "\"RobertaProcessing\"", UNSUPPORTED, "post_processor: type \"RobertaProcessing\" is not supported"},
    {"\"TemplateProcessing\"", "\"BertProcessing\"", UNSUPPORTED, "post_processor: key \"single\" is not supported"},
    {"\"type\": \"TemplateProcessing\",", "", INPUT, "post_processor: key \"type\""},
    {"\"post_processor\": {", "\"post_processor\": 5, \"decode\": {", INPUT, "post_processor: expected an object or null, found an integer"},
    {"\"single\": [", "\"single\": [{\"Word\": {\"id\": \"A\", \"type_id\": 0}}, ", INPUT, "post_processor: single: expected {\"Sequence\""},
    {"\"single\": [", "\"single\": [7, ", INPUT, "post_processor: single: expected {\"Sequence\""},
    {"\"single\": [", "\"single\": [{\"Sequence\": {\"id\": \"C\", \"type_id\": 0}}, ", INPUT, "a Sequence's id must be \"A\" or \"B\", found \"C\""},
    {"\"single\": [", "\"single\": [{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, ", UNSUPPORTED, "found A 2 times and B 0 times"},
    {"\"pair\": [", "\"pair\": [{\"Sequence\": {\"id\": \"B\", \"type_id\": 0}}, ", UNSUPPORTED, "pair: expected sequence A once and sequence B once"},
    {"\"single\": [", "\"single\": [{\"SpecialToken\": {\"id\": \"[X]\", \"type_id\": 0}}, ", INPUT, "expected an object \"[X]\", which the template uses"},
    {"\"single\": [", "\"single\": [{\"SpecialToken\": {\"id\": \"[CLS]\", \"type_id\": -1}}, ", INPUT, "single: key \"type_id\": expected an integer from 0"},
    {"\"pair\": [", "\"double\": [", UNSUPPORTED, "post_processor: key \"double\""},
    {"\"ids\": [2]", "\"ids\": [2, 3]", INPUT, "special_tokens: [CLS]: expected as many ids as tokens, found 2 ids and 1 tokens"},
    {"\"ids\": [2]", "\"ids\": [21]", INPUT, "special_tokens: [CLS]: ids: expected integers from 0 to 20, found an integer outside"},
    {"\"ids\": [2]", "\"ids\": [\"2\"]", INPUT, "found a string"},
    {"\"ids\": [2], ", "", INPUT, "special_tokens: [CLS]: key \"ids\""},
    {"{\"type\": \"TemplateProcessing\",", "{\"type\": \"Sequence\", \"processors\": [], \"rest\": {", INPUT, "not valid JSON"},
};

static const struct damage vocabulary_damages[] = {
    {NULL, "", INPUT, "vocab.txt: expected one token a line, found an empty file"},
    {"un\n", "u\xC3\n", INPUT, "vocab.txt: line 6: expected UTF-8, found the byte 0xC3"},
    {"cafe", "caf\xE9", INPUT, "vocab.txt: line 10: expected UTF-8, found the byte 0xE9"},
    {"[UNK]\n", "", INPUT, "the unk_token \"[UNK]\" is not in vocab.txt"},
    {"[UNK]", " [UNK]", INPUT, "the unk_token \"[UNK]\" is not in vocab.txt"},
    {"[UNK]", "\xEF\xBB\xBF[UNK]", INPUT, "the unk_token \"[UNK]\" is not in vocab.txt"},
};

static const struct damage config_damages[] = {
    {NULL, "", INPUT, "tokenizer_config.json"},
    {NULL, "null", INPUT, "tokenizer_config.json: expected a JSON object, found null"},
    {"512}", "512", INPUT, "not valid JSON"},
    {"\"do_lower_case\": true", "\"do_lower_case\": \"true\"", INPUT, "key \"do_lower_case\": expected true or false, found a string"},
    {"\"strip_accents\": null", "\"strip_accents\": 0", INPUT, "key \"strip_accents\": expected true or false, found an integer"},
    {"\"tokenize_chinese_chars\": true", "\"tokenize_chinese_chars\": []", INPUT, "key \"tokenize_chinese_chars\""},
    {"\"unk_token\": \"[UNK]\"", "\"unk_token\": \"<unk>\"", INPUT, "the unk_token \"<unk>\" is not in vocab.txt"},
    {"\"unk_token\": \"[UNK]\"", "\"unk_token\": null", INPUT, "key \"unk_token\": expected a token, found null"},
    {"\"unk_token\": \"[UNK]\"", "\"unk_token\": 1", INPUT, "unk_token: expected a token as a string or an object, found an integer"},
    {"\"cls_token\": \"[CLS]\"", "\"cls_token\": null", INPUT, "key \"cls_token\": expected a token, found null"},
    {"\"cls_token\": \"[CLS]\"", "\"cls_token\": \"\"", INPUT, "key \"cls_token\": expected a token, found an empty one"},
    {"\"cls_token\": \"[CLS]\"", "\"cls_token\": \"a\\u0000\"", INPUT, "cls_token"},
    {"\"sep_token\": \"[SEP]\"", "\"sep_token\": [\"[SEP]\"]", INPUT, "sep_token: expected a token as a string or an object, found an array"},
    {"\"content\": \"[MASK]\", ", "", INPUT, "mask_token: key \"content\": expected a string, found nothing"},
    {"\"lstrip\": true", "\"lstrip\": 1", INPUT, "mask_token: key \"lstrip\": expected true or false, found an integer"},
    {"\"lstrip\": true", "\"strip\": true", UNSUPPORTED, "mask_token: key \"strip\""},
    {"\"BertTokenizer\"", "\"BertJapaneseTokenizer\"", UNSUPPORTED, "tokenizer_class \"BertJapaneseTokenizer\" with vocab.txt is not supported"},
    {"\"BertTokenizer\"", "\"T5Tokenizer\"", UNSUPPORTED, "tokenizer_class \"T5Tokenizer\""},
    {"\"BertTokenizer\"", "3", INPUT, "key \"tokenizer_class\": expected a string, found an integer"},
    {"\"model_max_length\"", "\"added_tokens_decoder\": [], \"m\"", INPUT, "key \"added_tokens_decoder\": expected an object, found an array"},
    {"\"model_max_length\"", "\"added_tokens_decoder\": {\"x\": {\"content\": \"y\"}}, \"m\"", INPUT, "key \"x\": expected an index with a token's object"},
    {"\"model_max_length\"", "\"added_tokens_decoder\": {\"5\": \"y\"}, \"m\"", INPUT, "key \"5\": expected an index with a token's object, found a string"},
    {"\"model_max_length\"", "\"added_tokens_decoder\": {\"5\": {\"contents\": \"y\"}}, \"m\"", INPUT, "key \"5\": expected an index"},
    {"\"model_max_length\"", "\"additional_special_tokens\": \"<x>\", \"m\"", UNSUPPORTED, "extra_special_tokens: only a list is supported, found a string"},
    {"\"model_max_length\"", "\"extra_special_tokens\": {\"a\": \"<x>\"}, \"m\"", UNSUPPORTED, "extra_special_tokens: only a list"},
    {"\"model_max_length\"", "\"extra_special_tokens\": [5], \"m\"", INPUT, "extra_special_tokens[0]: expected a token"},
};

/* --- the table --- */

static char *damaged(const char *content, const struct damage *damage, size_t *length) {
    const char *place = damage->find ? strstr(content, damage->find) : content;
    if (!place)
        fail_msg("the sound file has no %s", damage->find);
    size_t skipped = damage->find ? strlen(damage->find) : strlen(content), size = strlen(content) + strlen(damage->replacement) + 1;
    char *text = malloc(size);
    assert_non_null(text);
    *length = (size_t)snprintf(text, size, "%.*s%s%s", (int)(place - content), content, damage->replacement, place + skipped);
    return text;
}

static void check_damages(const char *name, const char *content, const struct damage *damages, size_t count) {
    struct tokenizer_folder folder = make_tokenizer_folder();
    for (size_t i = 0; i < count; i++) {
        struct cx_tokenizer *tokenizer = NULL;
        struct cx_error error = {0};
        size_t length;
        char *text = damaged(content, &damages[i], &length);
        if (strcmp(name, "tokenizer.json") != 0)
            write_tokenizer_file(&folder, "vocab.txt", small_vocabulary, strlen(small_vocabulary));
        write_tokenizer_file(&folder, name, text, length);
        enum cx_status status = cx_tokenizer_open(folder.path, &tokenizer, &error);
        if (status != damages[i].status || !strstr(error.message, damages[i].piece))
            fail_msg("%s, case %zu (%s):\n  found    %s: %s\n  expected %s: …%s…", name, i, damages[i].replacement, cx_status_name(status), error.message,
                     cx_status_name(damages[i].status), damages[i].piece);
        if (strncmp(error.message, folder.path, strlen(folder.path)) != 0)
            fail_msg("%s, case %zu: the message does not begin with the file's path: %s", name, i, error.message);
        assert_null(tokenizer);
        free(text);
    }
    remove_tokenizer_folder(&folder);
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void damaged_tokenizer_json(void **state) {
    (void)state;
    check_damages("tokenizer.json", small_tokenizer, json_damages, COUNT(json_damages));
}

static void damaged_vocabulary(void **state) {
    (void)state;
    check_damages("vocab.txt", small_vocabulary, vocabulary_damages, COUNT(vocabulary_damages));
}

static void damaged_config(void **state) {
    (void)state;
    check_damages("tokenizer_config.json", small_config, config_damages, COUNT(config_damages));
}

static void expect_failure(const struct tokenizer_folder *folder, enum cx_status expected, const char *piece) {
    struct cx_tokenizer *tokenizer;
    struct cx_error error = {0};
    enum cx_status status = cx_tokenizer_open(folder->path, &tokenizer, &error);
    if (status != expected || !strstr(error.message, piece))
        fail_msg("found %s: %s\n  expected %s: …%s…", cx_status_name(status), error.message, cx_status_name(expected), piece);
    assert_null(tokenizer);
}

static void missing_and_other_files(void **state) {
    (void)state;
    struct tokenizer_folder folder = make_tokenizer_folder();
    expect_failure(&folder, CX_ERROR_INPUT, "there is no tokenizer: expected tokenizer.json, or vocab.txt");
    write_tokenizer_file(&folder, "vocab.txt", "[UNK]\n[CLS]\0\n[SEP]\n", 19);
    expect_failure(&folder, CX_ERROR_INPUT, "vocab.txt: line 2: expected text, found a zero byte");
    write_tokenizer_file(&folder, "vocab.txt", small_vocabulary, strlen(small_vocabulary));
    write_tokenizer_file(&folder, "special_tokens_map.json", "{\"cls_token\": 5}", 16);
    expect_failure(&folder, CX_ERROR_INPUT, "cls_token: expected a token as a string or an object, found an integer");
    write_tokenizer_file(&folder, "special_tokens_map.json", "{", 1);
    expect_failure(&folder, CX_ERROR_INPUT, "special_tokens_map.json");
    write_tokenizer_file(&folder, "special_tokens_map.json", "{}", 2);
    write_tokenizer_file(&folder, "added_tokens.json", "{\"<x>\": \"5\"}", 12);
    expect_failure(&folder, CX_ERROR_INPUT, "added_tokens.json: key \"<x>\": expected a token's index, found a string");
    write_tokenizer_file(&folder, "added_tokens.json", "{\"<x>\": -5}", 11);
    expect_failure(&folder, CX_ERROR_INPUT, "added_tokens.json: key \"<x>\": expected a token's index");
    remove_tokenizer_folder(&folder);
    expect_failure(&folder, CX_ERROR_INPUT, "there is no tokenizer");
}

/* --- mutations --- */

static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Copies `content` with one to four changes: a byte replaced, a span removed, a span repeated elsewhere, or a number or word put in. */
static size_t mutate(const char *content, size_t length, char *text, size_t size, uint32_t *random) {
    static const char *const words[] = {"null", "true", "{}", "[]", "-1", "1e9", "\"\"", "##", "\xC3\x28", "\\u0000", "99999999999999999999", "\n", "\xCC\x81"};
    memcpy(text, content, length);
    for (uint32_t changes = 1 + next_random(random) % 4; changes > 0; changes--) {
        size_t at = length ? next_random(random) % length : 0, span = next_random(random) % 40;
        span = span < length - at ? span : length - at;
        switch (next_random(random) % 4) {
        case 0:
            if (length > 0)
                text[at] = (char)next_random(random);
            break;
        case 1:
            memmove(text + at, text + at + span, length - at - span);
            length -= span;
            break;
        case 2:
            if (length + span <= size) {
                size_t to = length ? next_random(random) % length : 0;
                char copy[40];
                memcpy(copy, text + at, span);
                memmove(text + to + span, text + to, length - to);
                memcpy(text + to, copy, span);
                length += span;
            }
            break;
        default: {
            const char *word = words[next_random(random) % COUNT(words)];
            if (length + strlen(word) <= size) {
                memmove(text + at + strlen(word), text + at, length - at);
                memcpy(text + at, word, strlen(word));
                length += strlen(word);
            }
        }
        }
    }
    return length;
}

/* True if every token has an id of the vocabulary and a span inside the text. */
static bool is_sound(const struct cx_tokenizer *tokenizer, const struct cx_encoding *encoding, size_t length) {
    for (size_t i = 0; i < encoding->count; i++) {
        const struct cx_span *span = &encoding->spans[i];
        if (encoding->ids[i] < 0 || (size_t)encoding->ids[i] >= cx_tokenizer_vocabulary_size(tokenizer) || span->byte_start > span->byte_end ||
            span->byte_end > length || span->char_start > span->char_end || span->char_end > span->byte_end)
            return false;
    }
    return true;
}

/* Every mutation is refused with a sentence, or encodes texts soundly. */
static void check_mutation(const struct tokenizer_folder *folder, const char *file, size_t file_length) {
    static const char text[] = "The unaffable [MASK] cafe\xCC\x81 \xE4\xB8\xAD!! caf\xC3\xA9 \xEA\xB0\x81 ##able";
    struct cx_tokenizer *tokenizer;
    struct cx_error error = {0};
    struct cx_encoding encoding = {0};
    enum cx_status status = cx_tokenizer_open(folder->path, &tokenizer, &error);
    if (status != CX_OK) {
        assert_null(tokenizer);
        assert_true(strlen(error.message) > 10);
        return;
    }
    status = cx_tokenizer_encode(tokenizer, text, sizeof text - 1, text, 9, true, &encoding, &error);
    if (status != CX_OK || !is_sound(tokenizer, &encoding, sizeof text - 1))
        fail_msg("%s: %s; with the file\n%.*s", cx_status_name(status), error.message, (int)file_length, file);
    cx_encoding_free(&encoding);
    cx_tokenizer_close(tokenizer);
}

static void mutations_do_no_harm(void **state) {
    (void)state;
    static const struct {
        const char *name, *content;
    } files[] = {{"tokenizer.json", small_tokenizer}, {"vocab.txt", small_vocabulary}, {"tokenizer_config.json", small_config}};
    char text[8192];
    uint32_t random = 20240229;
    for (size_t file = 0; file < COUNT(files); file++) {
        struct tokenizer_folder folder = make_tokenizer_folder();
        if (file > 0)
            write_tokenizer_file(&folder, "vocab.txt", small_vocabulary, strlen(small_vocabulary));
        for (size_t round = 0; round < 2000; round++) {
            size_t length = mutate(files[file].content, strlen(files[file].content), text, sizeof text, &random);
            write_tokenizer_file(&folder, files[file].name, text, length);
            check_mutation(&folder, text, length);
        }
        remove_tokenizer_folder(&folder);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_tokenizer_json),  cmocka_unit_test(damaged_vocabulary),   cmocka_unit_test(damaged_config),
        cmocka_unit_test(missing_and_other_files), cmocka_unit_test(mutations_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
