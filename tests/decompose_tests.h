/* The tests of decompose_*.c, which test_decompose.c runs; each state is a struct fixture. */
#ifndef CONTEXTURE_DECOMPOSE_TESTS_H
#define CONTEXTURE_DECOMPOSE_TESTS_H

/* --- decompose_sources.c --- */
void words_are_sums_of_vectors(void **state);
void maps_without_dimensions_are_norms_of_vectors(void **state);
void words_of_one_token_are_tokens(void **state);

/* --- decompose_running.c --- */
void batches_under_way_do_not_mix(void **state);
void a_profile_counts_operations(void **state);
void overflow_is_an_error(void **state);
void wrong_results_are_found(void **state);

#endif
