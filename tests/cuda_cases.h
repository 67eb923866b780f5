/* What the tests of the CUDA backend's own operations share: finding an operation, the outputs of ff_pair_norms, and how far they are from the definition. */
#ifndef CONTEXTURE_TESTS_CUDA_CASES_H
#define CONTEXTURE_TESTS_CUDA_CASES_H

#include "op_cases.h"

/* Whether the backend opens here; else the reason is printed. */
bool cuda_is_here(void);

/* Fails the test if the table has none of this name. */
const struct op *op_named(const char *name);

enum { PAIR_OUTPUTS = 5, PAIR_MAPS = 3 }; /* of ff_pair_norms: three maps, own, sum; and check */

struct pair_result {
    double *values[PAIR_OUTPUTS];
    size_t counts[PAIR_OUTPUTS];
};

/*
 * Reads what ff_pair_norms gave; the status is that of the first reading that failed. If none did, no row may miss its checksum by more than rounding makes.
 * Release with pair_result_free() in either case.
 */
CX_MUST_USE enum cx_status pair_result_read(struct op_data *data, struct pair_result *result, struct cx_error *error);
void pair_result_free(struct pair_result *result);

/* Of a map's elements relative to themselves; parts that nearly cancel are held against a thousandth of the largest. */
void norm_errors(size_t count, const double *found, const double *expected, double *largest, double *root_mean_square);
/* Of own and sum, relative to the root mean square of all elements: the largest finds one that is missing. */
void vector_errors(size_t count, const double *found, const double *expected, double *largest, double *root_mean_square);

#endif
