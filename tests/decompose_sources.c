/* Maps by words, and maps without some dimensions, against the vectors that they are norms of. */
#include "decompose_tests.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "contexture/memory.h"
#include "decompose_case.h"

enum { masked_of_norm = 2 };

/* Room for the maps without dimensions, of `count` elements each. */
static void add_maps_without(struct cx_sequence_result *result, size_t count) {
    for (unsigned norm = 0; norm < CX_NORMS; norm++)
        for (unsigned side = 0; side < CX_NORM_SIDES; side++)
            expect_ok(cx_allocate(count, sizeof(float), "a map", &result->maps_without[norm][side], &case_error));
}

/* What a map by words holds, [m, m]: ‖Σ_{j∈J} part_ij‖ without the masked dimensions (NULL: all), mean over i∈I, from the parts [n, n, d] of a sequence. */
static void norms_of_words(const struct packed *packed, size_t sequence, const float *parts, const size_t *masked, float *norms) {
    const size_t start = packed->token_offset[sequence], n = packed->token_offset[sequence + 1] - start;
    const size_t *first = packed->first_token + packed->word_offset[sequence], m = packed->word_offset[sequence + 1] - packed->word_offset[sequence];
    for (size_t k = 0; k < m * m; k++) {
        const size_t *target = first + k / m, *source = first + k % m;
        double mean = 0;
        for (size_t i = target[0] - start; i < target[1] - start; i++) {
            double squares = 0;
            for (size_t dimension = 0; dimension < width; dimension++) {
                double sum = 0;
                for (size_t j = source[0] - start; j < source[1] - start; j++)
                    sum += parts[(i * n + j) * width + dimension];
                squares += masked && (masked[0] == dimension || masked[1] == dimension) ? 0 : sum * sum;
            }
            mean += sqrt(squares) / (double)(target[1] - target[0]);
        }
        norms[k] = (float)mean;
    }
}

/* The same of α [n, n]: the sum over j∈J. */
static void weights_of_words(const struct packed *packed, size_t sequence, const float *weights, float *sums) {
    const size_t start = packed->token_offset[sequence], n = packed->token_offset[sequence + 1] - start;
    const size_t *first = packed->first_token + packed->word_offset[sequence], m = packed->word_offset[sequence + 1] - packed->word_offset[sequence];
    for (size_t k = 0; k < m * m; k++) {
        const size_t *target = first + k / m, *source = first + k % m;
        double sum = 0;
        for (size_t i = target[0] - start; i < target[1] - start; i++)
            for (size_t j = source[0] - start; j < source[1] - start; j++)
                sum += weights[i * n + j] / (double)(target[1] - target[0]);
        sums[k] = (float)sum;
    }
}

/* A sequence's maps by words, against the vectors of a run by tokens; `masked` [layers, CX_NORMS, masked_of_norm]. */
static void expect_maps_of_words(const struct packed *packed, size_t sequence, const struct cx_sequence_result *found,
                                 const struct cx_sequence_result *by_tokens, const size_t *masked) {
    const size_t n = packed->token_offset[sequence + 1] - packed->token_offset[sequence];
    const size_t m = packed->word_offset[sequence + 1] - packed->word_offset[sequence];
    float expected[32 * 32];
    for (size_t layer = 0; layer < layers; layer++) {
        for (unsigned stage = 0; stage < CX_STAGES; stage++) {
            norms_of_words(packed, sequence, by_tokens->vectors[stage] + layer * n * n * width, NULL, expected);
            expect_close(cx_map_name(stage), found->maps[stage] + layer * m * m, expected, m * m, 2e-6f);
        }
        weights_of_words(packed, sequence, by_tokens->maps[CX_MAP_ATTN_WEIGHT] + layer * n * n, expected);
        expect_close("attn_weight", found->maps[CX_MAP_ATTN_WEIGHT] + layer * m * m, expected, m * m, 1e-6f);
        for (size_t k = 0; k < (size_t)CX_NORMS * CX_NORM_SIDES; k++) {
            const size_t norm = k / CX_NORM_SIDES, side = k % CX_NORM_SIDES;
            const float *parts = by_tokens->vectors[cx_norm_stages[norm][side]] + layer * n * n * width;
            norms_of_words(packed, sequence, parts, masked + (layer * CX_NORMS + norm) * masked_of_norm, expected);
            expect_close("a map without dimensions", found->maps_without[norm][side] + layer * m * m, expected, m * m, 2e-6f);
        }
    }
}

/* A word's part is the sum of its tokens' parts; what is said of tokens stays as it is. */
void words_are_sums_of_vectors(void **state) {
    static const size_t lengths[] = {13, 1, 7, 18}, masked[layers][CX_NORMS][masked_of_norm] = {{{0, 5}, {1, 47}}, {{2, 3}, {8, 9}}, {{1, 4}, {6, 30}}};
    enum { sequences = sizeof lengths / sizeof *lengths };
    const bool chosen[layers] = {true, true, true};
    struct cx_decompose_options options = {.maps = CX_ALL_MAPS, .vector_layers = chosen};
    struct packed packed;
    struct cx_sequence_result by_tokens[sequences], by_words[sequences];
    pack_batch(&packed, lengths, (uint32_t[]){5, 6, 7, 8}, sequences);
    for (size_t s = 0; s < sequences; s++) {
        by_tokens[s] = make_result(lengths[s], layers, layers);
        by_words[s] = make_result(lengths[s], layers, layers);
        add_maps_without(&by_words[s], layers * lengths[s] * lengths[s]);
    }
    decompose_batch(*state, &options, &packed.batch, by_tokens);
    group_words(&packed, (size_t[]){2, 1, 1, 3, 1, 4, 1}, 7);
    options.masked = &masked[0][0][0];
    options.masked_count = masked_of_norm;
    decompose_batch(*state, &options, &packed.batch, by_words);
    for (size_t s = 0; s < sequences; s++) {
        const size_t n = lengths[s];
        expect_maps_of_words(&packed, s, &by_words[s], &by_tokens[s], options.masked);
        for (unsigned stage = 0; stage < CX_STAGES; stage++) {
            expect_close("mixing ratio", by_words[s].mixing_ratio[stage], by_tokens[s].mixing_ratio[stage], layers * n, 1e-6f);
            assert_memory_equal(by_words[s].bias_norm[stage], by_tokens[s].bias_norm[stage], layers * n * sizeof(float));
            assert_memory_equal(by_words[s].vectors[stage], by_tokens[s].vectors[stage], layers * n * n * width * sizeof(float));
        }
        for (size_t layer = 0; layer < layers; layer++)
            assert_true(by_words[s].completeness_error[layer] > 0 && by_words[s].completeness_error[layer] < 1e-5f);
    }
    for (size_t s = 0; s < sequences; s++) {
        free_result(&by_tokens[s]);
        free_result(&by_words[s]);
    }
}

/* ‖vectors‖ [count] without some of the dimensions, straight from the vectors. */
static void norms_without(const float *vectors, size_t count, const size_t *masked, size_t masked_count, float *norms) {
    for (size_t k = 0; k < count; k++) {
        double sum = 0;
        for (size_t dimension = 0; dimension < width; dimension++) {
            bool is_masked = false;
            for (size_t m = 0; m < masked_count; m++)
                is_masked |= masked[m] == dimension;
            sum += is_masked ? 0 : (double)vectors[k * width + dimension] * (double)vectors[k * width + dimension];
        }
        norms[k] = (float)sqrt(sum);
    }
}

/*
 * Maps without dimensions are norms of the same vectors without them, also where these dimensions hold nearly all of a vector: γ of one masked dimension is
 * large here, and so is a row of W2. All other results stay what they are without the wish.
 */
void maps_without_dimensions_are_norms_of_vectors(void **state) {
    enum { n = 11, masked_count = 2, L = 2 };
    static const size_t masked[L][CX_NORMS][masked_count] = {{{3, 40}, {0, 7}}, {{3, 47}, {7, 21}}};
    struct fixture fixture = {.backend = ((struct fixture *)*state)->backend};
    const bool chosen[layers] = {true, false, true};
    struct packed packed;
    pack_batch(&packed, (size_t[]){n, 5}, (uint32_t[]){51, 52}, 2);
    case_model_create(&fixture.model);
    for (size_t layer = 0; layer < layers; layer++) {
        ((float *)fixture.model.layer_weights[layer].attention_norm_scale.data)[3] = 60;
        for (size_t neuron = 0; neuron < neurons; neuron++)
            ((float *)fixture.model.layer_weights[layer].output.data)[7 * neurons + neuron] *= 50;
    }
    struct cx_decompose_options options = case_everything;
    options.layers = options.vector_layers = chosen;
    struct cx_sequence_result plain[] = {make_result(n, L, L), make_result(5, L, L)}, found[] = {make_result(n, L, L), make_result(5, L, L)};
    decompose_batch(&fixture, &options, &packed.batch, plain);
    options.masked = &masked[0][0][0];
    options.masked_count = masked_count;
    add_maps_without(&found[0], (size_t)L * n * n);
    decompose_batch(&fixture, &options, &packed.batch, found);

    for (unsigned map = 0; map < CX_MAPS; map++)
        assert_memory_equal(found[0].maps[map], plain[0].maps[map], L * n * n * sizeof(float));
    for (unsigned stage = 0; stage < CX_STAGES; stage++)
        assert_memory_equal(found[0].mixing_ratio[stage], plain[0].mixing_ratio[stage], L * n * sizeof(float));
    for (size_t k = 0; k < (size_t)L * CX_NORMS * CX_NORM_SIDES; k++) {
        const size_t layer = k / CX_NORM_SIDES / CX_NORMS, norm = k / CX_NORM_SIDES % CX_NORMS, side = k % CX_NORM_SIDES;
        const unsigned stage = cx_norm_stages[norm][side];
        float norms[n * n];
        norms_without(found[0].vectors[stage] + layer * n * n * width, (size_t)n * n, masked[layer][norm], masked_count, norms);
        expect_close(cx_map_name(stage), found[0].maps_without[norm][side] + layer * n * n, norms, (size_t)n * n, 2e-6f);
    }
    for (size_t sequence = 0; sequence < 2; sequence++) {
        free_result(&plain[sequence]);
        free_result(&found[sequence]);
    }
    free(fixture.model.memory);
}

/* The same bits, on the CPU: it is the same code. */
void words_of_one_token_are_tokens(void **state) {
    enum { n = 12 };
    struct packed packed;
    struct cx_sequence_result by_tokens = make_result(n, layers, 0), by_words = make_result(n, layers, 0);
    pack_batch(&packed, (size_t[]){n}, (uint32_t[]){22}, 1);
    decompose_batch(*state, &case_everything, &packed.batch, &by_tokens);
    group_words(&packed, (size_t[]){1}, 1);
    decompose_batch(*state, &case_everything, &packed.batch, &by_words);
    expect_same_result(&by_words, &by_tokens, n);
    free_result(&by_tokens);
    free_result(&by_words);
}
