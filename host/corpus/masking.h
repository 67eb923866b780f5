/* Which tokens of a document the mask token takes the place of. */
#ifndef CONTEXTURE_CORPUS_MASKING_H
#define CONTEXTURE_CORPUS_MASKING_H

#include "contexture/sequence.h"
#include "token_layout.h"

/*
 * Fills ids[0 .. view->count) with the tokens' ids, masked as the options say. The decision is a hash of the seed, the document's number and the token's place
 * in the view, so a token that lies in two windows is masked in both or in neither. CX_ERROR_UNSUPPORTED if there is no mask token.
 */
CX_MUST_USE enum cx_status cx_mask_tokens(const struct cx_token_view *view, uint64_t document, const struct cx_tokenizer *tokenizer,
                                          const struct cx_sequence_options *options, int32_t *ids, struct cx_error *error);

#endif
