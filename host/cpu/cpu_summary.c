/* What is kept of a stage for every token: mixing ratio, bias norm, completeness error. */
#include "cpu_backend.h"

#include <math.h>

enum { least_rows = 16 };

struct token_summary {
    float mixing_ratio, bias_norm, completeness_error;
};

/* NaN fails the comparison with 0 and so stays NaN. */
static double ratio_or_zero(double part, double whole) {
    return whole == 0.0 && part == 0.0 ? 0.0 : part / whole;
}

static struct token_summary summarise(size_t width, const float *state, const float *bias, const float *own, const float *sum) {
    double others = 0.0, owns = 0.0, biases = 0.0, errors = 0.0, states = 0.0;
#pragma omp simd reduction(+ : others, owns, biases, errors, states)
    for (size_t k = 0; k < width; k++) {
        double whole = (double)state[k], constant = (double)bias[k], self = (double)own[k];
        double other = whole - constant - self, missing = (double)sum[k] + constant - whole;
        others += other * other;
        owns += self * self;
        biases += constant * constant;
        errors += missing * missing;
        states += whole * whole;
    }
    double other_norm = sqrt(others), own_norm = sqrt(owns);
    return (struct token_summary){.mixing_ratio = (float)ratio_or_zero(other_norm, other_norm + own_norm),
                                  .bias_norm = (float)sqrt(biases),
                                  .completeness_error = (float)ratio_or_zero(sqrt(errors), sqrt(states))};
}

enum cx_status cpu_stage_summary(struct cx_backend *backend, const struct cx_tensor *state, const struct cx_tensor *bias, const struct cx_tensor *own,
                                 const struct cx_tensor *sum, struct cx_tensor *mixing_ratio, struct cx_tensor *bias_norm, struct cx_tensor *completeness_error,
                                 struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t width = cpu->base.config.hidden_size;
    enum cx_status status = cpu_check_batch(cpu, "stage_summary", error);
    if (status != CX_OK)
        return status;
    size_t rows = cpu->batch->tokens;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(state, rows * width), CPU_FLOATS(bias, rows * width), CPU_FLOATS(own, rows * width),        CPU_FLOATS(sum, rows * width),
        CPU_FLOATS(mixing_ratio, rows),  CPU_FLOATS(bias_norm, rows),    CPU_FLOATS(completeness_error, rows),
    };
    status = CPU_CHECK_ALL("stage_summary", arguments, error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(static) num_threads(cpu->threads) if (rows > least_rows)
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * width;
        struct token_summary summary = summarise(width, state->values + at, bias->values + at, own->values + at, sum->values + at);
        mixing_ratio->values[row] = summary.mixing_ratio;
        bias_norm->values[row] = summary.bias_norm;
        completeness_error->values[row] = summary.completeness_error;
    }
    return CX_OK;
}
