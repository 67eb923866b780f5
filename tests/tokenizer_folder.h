/* A temporary folder with a tokenizer's files, and a small tokenizer.json, for the tests of the tokenizer. */
#ifndef CONTEXTURE_TESTS_TOKENIZER_FOLDER_H
#define CONTEXTURE_TESTS_TOKENIZER_FOLDER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tokenizer_folder {
    char path[192];
};

static const char *const tokenizer_file_names[] = {"tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"};
enum { tokenizer_file_count = sizeof tokenizer_file_names / sizeof tokenizer_file_names[0] };

static inline struct tokenizer_folder make_tokenizer_folder(void) {
    struct tokenizer_folder folder;
    const char *temporary = getenv("TMPDIR");
    snprintf(folder.path, sizeof folder.path, "%s/contexture-tokenizer-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(folder.path)) {
        perror("mkdtemp");
        abort();
    }
    return folder;
}

static inline void write_tokenizer_file(const struct tokenizer_folder *folder, const char *name, const char *content, size_t length) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    unlink(path); /* some file systems write a file out at once when it is truncated and written again: slow in thousands */
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(content, 1, length, file) != length || fclose(file) != 0) {
        perror(path);
        abort();
    }
}

static inline void clear_tokenizer_folder(const struct tokenizer_folder *folder) {
    char path[256];
    for (size_t i = 0; i < tokenizer_file_count; i++) {
        snprintf(path, sizeof path, "%s/%s", folder->path, tokenizer_file_names[i]);
        unlink(path);
    }
}

static inline void remove_tokenizer_folder(const struct tokenizer_folder *folder) {
    clear_tokenizer_folder(folder);
    rmdir(folder->path);
}

/* Ids: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, then in the order of the text. */
static const char small_tokenizer[] =
    "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n"
    "\"added_tokens\": [{\"id\": 4, \"content\": \"[MASK]\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
    "\"special\": true}],\n"
    "\"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true, \"strip_accents\": null, \"lowercase\": true},\n"
    "\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"},\n"
    "\"post_processor\": {\"type\": \"TemplateProcessing\",\n"
    "  \"single\": [{\"SpecialToken\": {\"id\": \"[CLS]\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, "
    "{\"SpecialToken\": {\"id\": \"[SEP]\", \"type_id\": 0}}],\n"
    "  \"pair\": [{\"SpecialToken\": {\"id\": \"[CLS]\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, "
    "{\"SpecialToken\": {\"id\": \"[SEP]\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}, "
    "{\"SpecialToken\": {\"id\": \"[SEP]\", \"type_id\": 1}}],\n"
    "  \"special_tokens\": {\"[CLS]\": {\"id\": \"[CLS]\", \"ids\": [2], \"tokens\": [\"[CLS]\"]}, "
    "\"[SEP]\": {\"id\": \"[SEP]\", \"ids\": [3], \"tokens\": [\"[SEP]\"]}}},\n"
    "\"decoder\": {\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true},\n"
    "\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\", \"continuing_subword_prefix\": \"##\", \"max_input_chars_per_word\": 100,\n"
    "  \"vocab\": {\"[PAD]\": 0, \"[UNK]\": 1, \"[CLS]\": 2, \"[SEP]\": 3, \"[MASK]\": 4, \"un\": 5, \"##aff\": 6, \"##able\": 7, \"the\": 8, \"cafe\": 9, "
    "\"!\": 10, \"\\u4e2d\": 11, \"a\": 12, \"##a\": 13, \"i\": 14, \"\\ua8e0\": 15, \"##\\ua8e0\": 16, \"thesis\": 17, \"##sis\": 18, \"[\": 19, \"]\": "
    "20}}}\n";

/* What tests/test_tokenizer_files.c damages, too. */
static const char small_vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\nthe\ncafe\n!\n";
static const char small_config[] = "{\"do_lower_case\": true, \"strip_accents\": null, \"tokenize_chinese_chars\": true, \"unk_token\": \"[UNK]\",\n"
                                   "\"cls_token\": \"[CLS]\", \"sep_token\": \"[SEP]\", \"pad_token\": \"[PAD]\", \"mask_token\": {\"__type\": \"AddedToken\", "
                                   "\"content\": \"[MASK]\", \"lstrip\": true, \"normalized\": false, \"rstrip\": false, \"single_word\": false},\n"
                                   "\"tokenizer_class\": \"BertTokenizer\", \"model_max_length\": 512}\n";

#endif
