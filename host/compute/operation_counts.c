#include "contexture/decompose.h"

static double attended_pairs(const struct cx_model_config *config, size_t tokens) {
    return (double)cx_attended_pairs(config, tokens * tokens, tokens);
}

double cx_pair_product_operations(const struct cx_model_config *config, size_t tokens) {
    return 2.0 * attended_pairs(config, tokens) * (double)config->intermediate_size * (double)config->hidden_size;
}

double cx_layer_operations(const struct cx_model_config *config, size_t tokens) {
    const double n = (double)tokens, d = (double)config->hidden_size, f = (double)config->intermediate_size, H = (double)config->heads,
                 pairs = attended_pairs(config, tokens);
    const double forward = 8 * n * d * d + 4 * pairs * d + 4 * n * d * f;
    const double attention_maps = 2 * n * d * d + 4 * n * H * H * d + 2 * pairs * H * d + 6 * pairs * H * H;
    const double ff_sources = 4 * n * d * f + 2 * pairs * H * (f + d);
    const double bias_part = 2 * n * d * f;
    return forward + attention_maps + ff_sources + bias_part + cx_pair_product_operations(config, tokens);
}
