/* Maps by words of the CUDA backend against the CPU backend's, in float32: the cases' inputs, what the operations give of them, and how far it is apart. */
#ifndef CONTEXTURE_TESTS_CUDA_WORD_CASES_H
#define CONTEXTURE_TESTS_CUDA_WORD_CASES_H

#include "op_cases.h"

enum { WORD_LENGTHS = 8 };

struct word_case {
    struct op_case shape;
    size_t words[WORD_LENGTHS]; /* tokens of the words, in turn, ended by 0; but the second sequence is one word, and the third has one for every token */
    size_t pair_chunk;          /* 0: the backend's choice */
};

/* α's mean, attn, attn_res, attn_res_ln; ff, ff_res, ff_res_ln; own and sum. */
enum { WORD_ATTENTION_MAPS = 4, WORD_MAPS = 7, WORD_OUTPUTS = 9 };

struct word_data {
    struct op_data data;
    struct cx_batch_words words;
    size_t *offsets;
};

struct word_result {
    float *values[WORD_OUTPUTS];
    size_t counts[WORD_OUTPUTS];
};

void word_data_create(const struct word_case *of, struct word_data *created);
void word_data_free(struct word_data *freed);

/* Runs the operations, with words or, for comparison, by token. What fails, a checksum too, fails the test. Release with word_result_free(). */
void word_result_compute(struct word_data *of, const struct cx_backend_options *options, bool by_words, struct word_result *result);
void word_result_compute_on(struct word_data *of, struct cx_backend *backend, bool by_words, struct word_result *result);
void word_result_free(struct word_result *freed);

/* The largest difference, over the largest number. */
double word_error(const float *found, const float *expected, size_t count);

/* The test fails if an output is further from the CPU backend's: maps and vectors of float32 pairs by 1e-5 of their largest number, those of the feed-forward
   block of float16 pairs by 1e-3. */
void expect_words_as_on_cpu(const struct word_case *of, enum cx_pair_precision precision, enum cx_pair_kernel kernel);

#endif
