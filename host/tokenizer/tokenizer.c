#include "contexture/tokenizer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/file.h"
#include "contexture/memory.h"
#include "tokenizer_parts.h"

enum cx_status cx_tokenizer_open(const char *directory, struct cx_tokenizer **tokenizer, struct cx_error *error) {
    struct cx_tokenizer *opened = NULL;
    char *json_path = NULL, *vocab_path = NULL;
    *tokenizer = NULL;
    enum cx_status status = cx_path_join(directory, "tokenizer.json", &json_path, error);
    if (status == CX_OK)
        status = cx_path_join(directory, "vocab.txt", &vocab_path, error);
    if (status == CX_OK)
        status = cx_allocate(1, sizeof *opened, "the tokenizer", &opened, error);
    if (status != CX_OK)
        goto cleanup;
    if (cx_file_exists(json_path))
        status = cx_tokenizer_read_json(opened, json_path, error);
    else if (cx_file_exists(vocab_path))
        status = cx_tokenizer_read_vocab(opened, directory, vocab_path, error);
    else
        status = cx_fail(error, CX_ERROR_INPUT, "%s: there is no tokenizer: expected tokenizer.json, or vocab.txt with tokenizer_config.json", directory);
    if (status == CX_OK)
        status = cx_added_tokens_finish(&opened->added, &opened->normalizer, error);
    if (status == CX_OK) {
        opened->mask_id = cx_find_mask(opened, directory);
        *tokenizer = opened;
        opened = NULL;
    }
cleanup:
    cx_tokenizer_close(opened);
    free(vocab_path);
    free(json_path);
    return status;
}

void cx_tokenizer_close(struct cx_tokenizer *tokenizer) {
    if (!tokenizer)
        return;
    free(tokenizer->notice);
    free(tokenizer->pair.parts);
    free(tokenizer->single.parts);
    cx_added_tokens_free(&tokenizer->added);
    cx_vocabulary_free(&tokenizer->vocabulary);
    free(tokenizer);
}

enum cx_status cx_tokenizer_note(struct cx_tokenizer *tokenizer, struct cx_error *error, const char *format, ...) {
    char sentence[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    if (length < 0)
        return cx_fail(error, CX_ERROR_INTERNAL, "cannot format a notice about the tokenizer");
    size_t before = tokenizer->notice ? strlen(tokenizer->notice) : 0, size = before + strlen(sentence) + 2;
    if (before > 0 && size > 1 << 16) /* a file with thousands of oddities need not list them all */
        return CX_OK;
    char *notice = realloc(tokenizer->notice, size);
    if (!notice)
        return cx_fail_memory(error, "a notice about the tokenizer", size);
    tokenizer->notice = notice;
    snprintf(notice + before, size - before, "%s%s", before ? " " : "", sentence);
    return CX_OK;
}

const char *cx_tokenizer_notice(const struct cx_tokenizer *tokenizer) {
    return tokenizer->notice;
}

size_t cx_tokenizer_vocabulary_size(const struct cx_tokenizer *tokenizer) {
    return tokenizer->vocabulary.id_count;
}

const char *cx_tokenizer_token(const struct cx_tokenizer *tokenizer, int32_t id) {
    return cx_vocabulary_text(&tokenizer->vocabulary, id);
}

int32_t cx_tokenizer_id(const struct cx_tokenizer *tokenizer, const char *token) {
    size_t length = strlen(token);
    int32_t id = cx_vocabulary_id(&tokenizer->vocabulary, token, length);
    for (size_t i = 0; id < 0 && i < tokenizer->added.count; i++) {
        const struct cx_added_token *added = &tokenizer->added.tokens[i];
        if (added->length == length && memcmp(added->content, token, length) == 0)
            id = added->id;
    }
    return id;
}

size_t cx_tokenizer_special_count(const struct cx_tokenizer *tokenizer, bool pair) {
    const struct cx_template *template = pair ? &tokenizer->pair : &tokenizer->single;
    size_t count = 0;
    for (size_t i = 0; i < template->count; i++)
        count += template->parts[i].sequence < 0;
    return count;
}
