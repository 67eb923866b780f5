/*
 * sequence_driver MODEL CORPUS LONGEST truncate|window|skip OVERLAP: prints every sequence of a JSONL corpus as one line of JSON, for
 * tests/python/test_truncation_parity.py. The pair field is "pair" if --pair follows.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/sequence.h"

static enum cx_too_long too_long_by_name(const char *name) {
    return strcmp(name, "window") == 0 ? CX_TOO_LONG_WINDOW : strcmp(name, "skip") == 0 ? CX_TOO_LONG_SKIP : CX_TOO_LONG_TRUNCATE;
}

static void print_sequence(const struct cx_sequence *sequence) {
    json_t *tokens = json_array(), *text = json_stringn(sequence->text, sequence->text_length);
    for (size_t k = 0; k < sequence->tokens; k++)
        (void)json_array_append_new(tokens, json_pack("[iiiiiiii]", sequence->input_ids[k], sequence->token_type_ids[k], sequence->position_ids[k],
                                                      (int)sequence->char_start[k], (int)sequence->char_end[k], sequence->special[k], sequence->word_ids[k],
                                                      sequence->text_index[k]));
    json_t *line = json_pack("{s:s, s:i, s:o, s:I, s:o, s:I}", "id", sequence->id, "flags", (int)sequence->flags, "text", text, "text_start", (json_int_t)sequence->text_start,
                             "tokens", tokens, "pair_start", (json_int_t)sequence->pair_start);
    (void)json_dumpf(line, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(line);
}

int main(int count, char **arguments) {
    struct cx_tokenizer *tokenizer = NULL;
    struct cx_corpus *corpus = NULL;
    struct cx_encoding scratch = {0};
    struct cx_sequence_list list = {0};
    struct cx_error error = {0};
    struct cx_document document;
    if (count < 6)
        return 2;
    struct cx_corpus_options from = {
        .paths = (const char *const *)&arguments[2], .path_count = 1, .format = CX_CORPUS_JSONL, .pair_field = count > 6 ? "pair" : NULL};
    struct cx_sequence_options options = {.longest = strtoull(arguments[3], NULL, 10),
                                          .too_long = too_long_by_name(arguments[4]),
                                          .window_stride = strtoull(arguments[5], NULL, 10),
                                          .vocabulary_size = INT32_MAX,
                                          .token_types = 2};
    enum cx_status status = cx_tokenizer_open(arguments[1], &tokenizer, &error);
    if (status == CX_OK)
        status = cx_corpus_open(&from, &corpus, &error);
    while (status == CX_OK && (status = cx_corpus_next(corpus, &document, &error)) == CX_OK) {
        cx_sequence_list_clear(&list);
        status = cx_sequence_append(&document, tokenizer, &options, &scratch, &list, &error);
        for (size_t k = 0; k < list.count; k++)
            print_sequence(&list.items[k]);
        if (status == CX_ERROR_DOCUMENT)
            printf("{\"refused\": %" PRIu64 "}\n", document.number);
        status = status == CX_ERROR_DOCUMENT ? CX_OK : status;
    }
    if (status != CX_END)
        (void)fprintf(stderr, "%s\n", error.message);
    cx_sequence_list_free(&list);
    cx_encoding_free(&scratch);
    cx_corpus_close(corpus);
    cx_tokenizer_close(tokenizer);
    return status == CX_END ? 0 : cx_status_exit_code(status);
}
