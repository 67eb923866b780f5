#include "contexture/decompose.h"

double cx_layer_operations(const struct cx_model_config *config, size_t tokens, size_t sources) {
    const double n = (double)tokens, d = (double)config->hidden_size, f = (double)config->intermediate_size, H = (double)config->heads;
    const double pairs = (double)cx_attended_pairs(config, tokens * tokens, tokens), map = (double)cx_attended_pairs(config, tokens * sources, tokens);
    const double forward = 8 * n * d * d + 4 * pairs * d + 4 * n * d * f;
    const double attention_maps = 2 * n * d * d + 4 * n * H * H * d + 2 * pairs * H * d + 6 * pairs * H * H;
    const double ff_sources = 4 * n * d * f + 2 * pairs * H * (f + d);
    const double bias_part = 2 * n * d * f;
    const double pair_product = 2 * map * f * d;
    return forward + attention_maps + ff_sources + bias_part + pair_product;
}
