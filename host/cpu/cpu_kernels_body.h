/*
 * The kernels of cpu_kernels.h, as the set CPU_KERNEL_SET. Included by cpu_kernels_<set>.c, each compiled for its instruction set.
 *
 * Loops marked `omp simd` are vectorised by the compiler. Where a small block must stay in registers, vectors are written out: GCC
 * and Clang turn the vector types into whatever the instruction set has.
 */
#include "cpu_kernels.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "cpu_kernel_math.h"

/* Vectors as wide as a register: wider ones would live in memory. */
#if defined(__AVX512F__)
enum { lanes = 8 };
#elif defined(__AVX2__)
enum { lanes = 4 };
#else
enum { lanes = 2 };
#endif

typedef float float_lanes __attribute__((vector_size(lanes * sizeof(float))));
typedef double double_lanes __attribute__((vector_size(lanes * sizeof(double))));

static void activate_gelu(size_t count, const float *restrict u, float *restrict activated, float *restrict ratio) {
#pragma omp simd
    for (size_t k = 0; k < count; k++) {
        float x = u[k], rho = normal_distribution(x);
        ratio[k] = rho;
        activated[k] = x * rho;
    }
}

/* gelu_new: u/2 (1 + tanh z), z = sqrt(2/π) (u + 0.044715 u³); and (1 + tanh z)/2 = sigmoid(2z), which does not cancel. */
static void activate_gelu_tanh(size_t count, const float *restrict u, float *restrict activated, float *restrict ratio) {
#pragma omp simd
    for (size_t k = 0; k < count; k++) {
        float x = u[k], rho = sigmoid(1.59576912f * x * (1.0f + 0.044715f * (x * x)));
        ratio[k] = rho;
        activated[k] = x * rho;
    }
}

static void activate_silu(size_t count, const float *restrict u, float *restrict activated, float *restrict ratio) {
#pragma omp simd
    for (size_t k = 0; k < count; k++) {
        float x = u[k], rho = sigmoid(x);
        ratio[k] = rho;
        activated[k] = x * rho;
    }
}

/* x - x is 0, but NaN for a NaN: relu must not hide one. */
static void activate_relu(size_t count, const float *restrict u, float *restrict activated, float *restrict ratio) {
#pragma omp simd
    for (size_t k = 0; k < count; k++) {
        float x = u[k], rest = x == x ? 0.0f : x;
        ratio[k] = x > 0.0f ? 1.0f : rest;
        activated[k] = x > 0.0f ? x : rest;
    }
}

static void activate(enum cx_activation activation, size_t count, const float *u, float *activated, float *ratio) {
    switch (activation) {
    case CX_GELU:
        activate_gelu(count, u, activated, ratio);
        break;
    case CX_GELU_TANH:
        activate_gelu_tanh(count, u, activated, ratio);
        break;
    case CX_RELU:
        activate_relu(count, u, activated, ratio);
        break;
    case CX_SILU:
        activate_silu(count, u, activated, ratio);
        break;
    }
}

static void softmax(size_t n, float scale, float *restrict row) {
    float largest = row[0];
#pragma omp simd reduction(max : largest)
    for (size_t j = 0; j < n; j++)
        largest = row[j] > largest ? row[j] : largest;
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < n; j++) {
        float power = exp_nonpositive(scale * (row[j] - largest));
        row[j] = power;
        sum += (double)power;
    }
    float factor = (float)(1.0 / sum);
#pragma omp simd
    for (size_t j = 0; j < n; j++)
        row[j] *= factor;
}

static double mean_of(size_t width, const float *x) {
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (size_t k = 0; k < width; k++)
        sum += (double)x[k];
    return sum / (double)width;
}

static void shift_and_scale(size_t width, const float *x, double mean, const float *scale, float factor, const float *shift, float *y) {
    if (shift) {
#pragma omp simd
        for (size_t k = 0; k < width; k++)
            y[k] = (float)((double)x[k] - mean) * factor * scale[k] + shift[k];
    } else {
#pragma omp simd
        for (size_t k = 0; k < width; k++)
            y[k] = (float)((double)x[k] - mean) * factor * scale[k];
    }
}

/* The variance is taken about the mean in a second pass: E[x²] - mean² would cancel. */
static float norm(size_t width, const float *x, const float *scale, const float *shift, double epsilon, float *y) {
    double mean = mean_of(width, x), squares = 0.0;
#pragma omp simd reduction(+ : squares)
    for (size_t k = 0; k < width; k++) {
        double centred = (double)x[k] - mean;
        squares += centred * centred;
    }
    float factor = (float)(1.0 / sqrt(squares / (double)width + epsilon));
    shift_and_scale(width, x, mean, scale, factor, shift, y);
    return factor;
}

static void norm_linear(size_t width, const float *x, const float *scale, float factor, const float *shift, float *y) {
    shift_and_scale(width, x, mean_of(width, x), scale, factor, shift, y);
}

/* Loads `count` of a vector's lanes and zero into the others. */
#define LOAD_LANES(vector, address, count)                                                                                                                     \
    do {                                                                                                                                                       \
        float_lanes loaded = {0};                                                                                                                              \
        if ((count) >= lanes)                                                                                                                                  \
            memcpy(&loaded, (address), sizeof loaded);                                                                                                         \
        else                                                                                                                                                   \
            memcpy(&loaded, (address), (count) * sizeof(float));                                                                                               \
        (vector) = __builtin_convertvector(loaded, double_lanes);                                                                                              \
    } while (0)

/* Blocks of rows whose products stay in registers: 16 accumulators of AVX-512, 4 x 2 registers otherwise. */
#if defined(__AVX512F__)
enum { gram_block = 4 };
#else
enum { gram_block = 2 };
#endif

static void gram_of_blocks(const float *const *left, const float *const *right, size_t width, double products[gram_block][gram_block]) {
    double_lanes sums[gram_block][gram_block] = {{{0}}}, a[gram_block], b[gram_block];
    size_t whole = width / lanes * lanes;
    for (size_t k = 0; k < whole; k += lanes) {
        for (size_t r = 0; r < gram_block; r++)
            LOAD_LANES(a[r], left[r] + k, lanes);
        for (size_t r = 0; r < gram_block; r++)
            LOAD_LANES(b[r], right[r] + k, lanes);
        for (size_t r = 0; r < gram_block; r++) {
            for (size_t c = 0; c < gram_block; c++)
                sums[r][c] += a[r] * b[c];
        }
    }
    for (size_t r = 0; r < gram_block && whole < width; r++) {
        LOAD_LANES(a[r], left[r] + whole, width - whole);
        for (size_t c = 0; c < gram_block; c++) {
            LOAD_LANES(b[c], right[c] + whole, width - whole);
            sums[r][c] += a[r] * b[c];
        }
    }
    for (size_t r = 0; r < gram_block; r++) {
        for (size_t c = 0; c < gram_block; c++) {
            double sum = 0.0;
            for (size_t lane = 0; lane < lanes; lane++)
                sum += sums[r][c][lane];
            products[r][c] = sum;
        }
    }
}

/* The last block repeats the last row instead of having a shorter form of its own. */
static void gram(size_t heads, size_t width, const float *sources, const float *residual, double *gram_matrix) {
    size_t rows = heads + 1;
    for (size_t first = 0; first < rows; first += gram_block) {
        for (size_t second = first; second < rows; second += gram_block) {
            const float *left[gram_block], *right[gram_block];
            double products[gram_block][gram_block];
            for (size_t r = 0; r < gram_block; r++) {
                left[r] = first + r < heads ? sources + (first + r) * width : residual;
                right[r] = second + r < heads ? sources + (second + r) * width : residual;
            }
            gram_of_blocks(left, right, width, products);
            for (size_t r = 0; r < gram_block && first + r < rows; r++) {
                for (size_t c = 0; c < gram_block && second + c < rows; c++) {
                    gram_matrix[(first + r) * rows + second + c] = products[r][c];
                    gram_matrix[(second + c) * rows + first + r] = products[r][c];
                }
            }
        }
    }
}

enum { target_block = 4 };

/* Identity 1. Every number of the Gram matrices that is loaded serves target_block targets. */
static void forms_of_lanes(size_t heads, size_t targets, size_t sources, const float *attention, size_t head_stride, size_t target_stride,
                           const double *gram_lanes, const float *factor, double *workspace, float *map, size_t map_stride) {
    for (size_t first = 0; first < targets; first += target_block) {
        double_lanes forms[target_block] = {{0}};
        const double *gram_entry = gram_lanes;
        for (size_t h = 0; h < heads; h++) {
            for (size_t t = 0; t < target_block; t++) {
                size_t target = first + t < targets ? first + t : targets - 1;
                double_lanes weights;
                LOAD_LANES(weights, attention + h * head_stride + target * target_stride, sources);
                memcpy(workspace + (h * target_block + t) * lanes, &weights, sizeof weights);
            }
        }
        for (size_t h = 0; h < heads; h++) {
            double_lanes partial[target_block] = {{0}}, entry, weights;
            for (size_t k = h; k < heads; k++) {
                memcpy(&entry, gram_entry, sizeof entry);
                gram_entry += CPU_SOURCE_LANES;
                for (size_t t = 0; t < target_block; t++) {
                    memcpy(&weights, workspace + (k * target_block + t) * lanes, sizeof weights);
                    partial[t] += entry * weights;
                }
            }
            for (size_t t = 0; t < target_block; t++) {
                memcpy(&weights, workspace + (h * target_block + t) * lanes, sizeof weights);
                forms[t] += partial[t] * weights;
            }
        }
        for (size_t t = 0; t < target_block && first + t < targets; t++) {
            double scale = factor ? (double)factor[first + t] : 1.0, norms[lanes];
            for (size_t lane = 0; lane < lanes; lane++)
                norms[lane] = sqrt(forms[t][lane] < 0.0 ? 0.0 : forms[t][lane]) * scale;
            for (size_t lane = 0; lane < sources && lane < lanes; lane++)
                map[(first + t) * map_stride + lane] = (float)norms[lane];
        }
    }
}

static void quadratic_forms(size_t heads, size_t targets, size_t sources, const float *attention, size_t head_stride, size_t target_stride,
                            const double *gram_lanes, const float *factor, double *workspace, float *map, size_t map_stride) {
    for (size_t lane = 0; lane < sources; lane += lanes)
        forms_of_lanes(heads, targets, sources - lane, attention + lane, head_stride, target_stride, gram_lanes + lane, factor, workspace, map + lane,
                       map_stride);
}

#include "cpu_product_body.h"

const struct cpu_kernels CPU_KERNEL_SET = {
    .name = CPU_KERNEL_NAME,
    .activate = activate,
    .softmax = softmax,
    .norm = norm,
    .norm_linear = norm_linear,
    .gram = gram,
    .quadratic_forms = quadratic_forms,
    .product = product,
    .pack_rows = pack_rows,
    .pack_columns = pack_columns,
    .dot_products = dot_products,
};
