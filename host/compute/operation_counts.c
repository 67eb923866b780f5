#include "contexture/decompose.h"

double cx_layer_operations(const struct cx_model_config *config, size_t tokens, size_t sources) {
    const double n = (double)tokens, d = (double)config->hidden_size, f = (double)config->intermediate_size, H = (double)config->heads;
    const double forward = 8 * n * d * d + 4 * n * n * d + 4 * n * d * f;
    const double attention_maps = 2 * n * d * d + 4 * n * H * H * d + 2 * n * n * H * d + 6 * n * n * H * H;
    const double ff_sources = 4 * n * d * f + 2 * n * n * H * (f + d);
    const double bias_part = 2 * n * d * f;
    const double pair_product = 2 * n * (double)sources * f * d;
    return forward + attention_maps + ff_sources + bias_part + pair_product;
}
