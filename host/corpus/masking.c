#include "masking.h"

#include <math.h>
#include <xxhash.h>

/* Numbers as 8 bytes each, the lowest first, so that the hash is the same on every machine. */
static void put_number(unsigned char *bytes, uint64_t number) {
    for (int k = 0; k < 8; k++)
        bytes[k] = (unsigned char)(number >> (8 * k));
}

/* 0 to 1, without 1: a multiple of 2^-53. */
static double draw(uint64_t seed, uint64_t document, uint64_t token) {
    unsigned char bytes[24];
    put_number(bytes, seed);
    put_number(bytes + 8, document);
    put_number(bytes + 16, token);
    return ldexp((double)(XXH3_64bits(bytes, sizeof bytes) >> 11), -53);
}

enum cx_status cx_mask_tokens(const struct cx_token_view *view, uint64_t document, const struct cx_tokenizer *tokenizer,
                              const struct cx_sequence_options *options, int32_t *ids, struct cx_error *error) {
    const int32_t mask_id = tokenizer ? cx_tokenizer_mask_id(tokenizer) : -1;
    if (mask_id < 0 || mask_id >= options->vocabulary_size)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "--mask-rate: the model's tokenizer has no mask token that the model knows; leave the option out");
    for (size_t k = 0; k < view->count; k++) {
        bool chosen = draw(options->mask_seed, document, k) < options->mask_rate;
        bool ordinary = chosen && !(view->special && view->special[k]) && !cx_tokenizer_is_special(tokenizer, view->ids[k]);
        ids[k] = ordinary ? mask_id : view->ids[k];
    }
    return CX_OK;
}
