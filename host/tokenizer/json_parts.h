/* What the files that read tokenizer.json, the companions of vocab.txt and the templates share. */
#ifndef CONTEXTURE_TOKENIZER_JSON_PARTS_H
#define CONTEXTURE_TOKENIZER_JSON_PARTS_H

#include "contexture/json.h"
#include "tokenizer_parts.h"

/* "path: model": what begins every sentence about that part of the file. */
struct cx_place {
    char text[512];
};
CX_PRINTF(1, 2) struct cx_place cx_place_of(const char *format, ...);

/* CX_ERROR_UNSUPPORTED if the object has a key that is not among `known`, whose last element is NULL: it might change the tokens. */
CX_MUST_USE enum cx_status cx_refuse_unknown_keys(json_t *object, const char *const *known, const char *where, struct cx_error *error);

/* The flags of an added token; missing ones keep what `token` holds, unless `required`. The content is borrowed from the object. */
CX_MUST_USE enum cx_status cx_read_added_token(json_t *object, const char *where, bool required, struct cx_added_token *token, struct cx_error *error);

/* post_processor_json.c: the member "post_processor", which may be null. */
CX_MUST_USE enum cx_status cx_read_post_processor(struct cx_tokenizer *tokenizer, json_t *value, const char *where, struct cx_error *error);

#endif
