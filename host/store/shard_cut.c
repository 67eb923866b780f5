/* Where one shard ends and the next begins. */
#include <stdint.h>

#include "contexture/shard_plan.h"

enum { bytes_per_token = 4, special_tokens = 2 };

static uint64_t square(uint64_t n) {
    return n < UINT32_MAX ? n * n : UINT64_MAX / 2;
}

uint64_t cx_estimate_pairs(const struct cx_sequence_options *options, uint64_t text_bytes) {
    const uint64_t tokens = special_tokens + text_bytes / bytes_per_token + (text_bytes % bytes_per_token != 0), longest = options->longest;
    if (tokens <= longest || longest == 0)
        return square(tokens);
    if (options->too_long == CX_TOO_LONG_SKIP)
        return 0;
    if (options->too_long == CX_TOO_LONG_TRUNCATE)
        return square(longest);
    const uint64_t overlap = options->window_stride > 0 ? options->window_stride : longest / 4, step = longest > overlap ? longest - overlap : 1;
    const uint64_t windows = 1 + (tokens - longest + step - 1) / step;
    return windows < UINT32_MAX && longest < UINT16_MAX ? windows * square(longest) : UINT64_MAX / 2;
}

/* A chain, so that the order counts: the finisher of splitmix64 over the sum so far and the next line's hash. */
static uint64_t hash_line(uint64_t sum, uint64_t line_hash) {
    uint64_t mixed = (sum ^ line_hash) + 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

bool cx_shard_cut_add(struct cx_shard_cut *cut, const struct cx_shard_rule *rule, const struct cx_document *document) {
    const uint64_t pairs = cx_estimate_pairs(&rule->sequences, document->text_bytes);
    cut->documents++;
    cut->pairs = pairs < UINT64_MAX - cut->pairs ? cut->pairs + pairs : UINT64_MAX;
    cut->content_hash = hash_line(cut->content_hash, document->content_hash);
    return cut->documents >= rule->documents || (rule->work > 0 && cut->pairs >= rule->work);
}
