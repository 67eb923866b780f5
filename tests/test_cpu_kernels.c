/* The CPU backend's elementary functions, in every instruction set that this processor has, against float64 over their whole range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_kernels.h"

enum { sample_count = 1 << 20 };

/* Units in the last place of float32 between x and the exact value; below the smallest normal number a unit is the smallest subnormal. */
static double ulps(float x, double exact) {
    int exponent;
    (void)frexp(exact, &exponent);
    double unit = ldexp(1.0, exponent - 24);
    return fabs((double)x - exact) / fmax(unit, 0x1p-149);
}

static double gelu_ratio(double u) {
    return 0.5 * erfc(-u / sqrt(2.0));
}
static double gelu_tanh_ratio(double u) {
    return 1.0 / (1.0 + exp(-2.0 * sqrt(2.0 / 3.14159265358979323846) * (u + 0.044715 * u * u * u)));
}
static double relu_ratio(double u) {
    return u > 0.0 ? 1.0 : 0.0;
}
static double silu_ratio(double u) {
    return 1.0 / (1.0 + exp(-u));
}

static const struct {
    const char *name;
    enum cx_activation activation;
    double (*ratio)(double);
    float range;    /* u from -range to range */
    double allowed; /* ulps of g(u)/u */
} functions[] = {
    /* 4: one each for the exponential, the polynomial, the quotient and the product. */
    {"gelu", CX_GELU, gelu_ratio, 15.0f, 4.0},
    /* The float32 exponent itself is off by up to 1.5 ulp of numbers up to 32, each of which is 2^-19: 1.5 * 32 ulps of the result. Where the result is not
       vanishingly small (exponent below 4), a few ulps. */
    {"gelu_tanh", CX_GELU_TANH, gelu_tanh_ratio, 5.0f, 64.0},
    {"gelu_tanh", CX_GELU_TANH, gelu_tanh_ratio, 1.5f, 8.0},
    {"relu", CX_RELU, relu_ratio, 100.0f, 0.0},
    {"silu", CX_SILU, silu_ratio, 100.0f, 4.0},
};

static void test_activations(void **state) {
    float *u = malloc(3 * sample_count * sizeof *u), *activated = u + sample_count, *ratio = activated + sample_count;
    (void)state;
    assert_non_null(u);
    for (const struct cpu_kernels *const *set = cpu_kernels_all(); *set; set++) {
        for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) {
            double worst = 0.0;
            for (size_t j = 0; j < sample_count; j++)
                u[j] = functions[k].range * (2.0f * (float)j / (float)(sample_count - 1) - 1.0f);
            (*set)->activate(functions[k].activation, sample_count, u, activated, ratio);
            for (size_t j = 0; j < sample_count; j++) {
                double distance = ulps(ratio[j], functions[k].ratio((double)u[j]));
                worst = distance > worst ? distance : worst;
                if (!(distance <= functions[k].allowed))
                    fail_msg("%s, %s: u = %.9g: ratio %.9g, expected %.9g, %.2f ulps", (*set)->name, functions[k].name, (double)u[j], (double)ratio[j],
                             functions[k].ratio((double)u[j]), distance);
                if (activated[j] != u[j] * ratio[j])
                    fail_msg("%s, %s: u = %.9g: g(u) %.9g is not u * ratio", (*set)->name, functions[k].name, (double)u[j], (double)activated[j]);
            }
            if (getenv("CONTEXTURE_TEST_VERBOSE"))
                print_message("%s, %s on ±%g: %.2f ulps\n", (*set)->name, functions[k].name, (double)functions[k].range, worst);
        }
    }
    free(u);
}

/* Limits: ρ(0) = g'(0), 1 far up and 0 far down, everything finite; and a NaN stays one. */
static void test_limits(void **state) {
    static const float magnitudes[] = {0.0f,  1e-45f, 1e-40f, 1e-30f, 1e-7f,  1e-3f, 1.0f, 5.5f,  10.0f, 13.0f,
                                       14.5f, 20.0f,  50.0f,  88.0f,  104.0f, 1e3f,  1e5f, 1e13f, 1e20f, 3.4028235e38f};
    static const float at_zero[] = {[CX_GELU] = 0.5f, [CX_GELU_TANH] = 0.5f, [CX_RELU] = 0.0f, [CX_SILU] = 0.5f};
    (void)state;
    for (const struct cpu_kernels *const *set = cpu_kernels_all(); *set; set++) {
        for (enum cx_activation activation = CX_GELU; activation <= CX_SILU; activation++) {
            for (size_t k = 0; k < sizeof magnitudes / sizeof *magnitudes; k++) {
                float u[2] = {magnitudes[k], -magnitudes[k]}, activated[2], ratio[2];
                (*set)->activate(activation, 2, u, activated, ratio);
                for (size_t j = 0; j < 2; j++) {
                    if (!isfinite(activated[j]) || !(ratio[j] >= 0.0f && ratio[j] <= 1.0f))
                        fail_msg("%s, activation %d, u = %g: g %g, ratio %g", (*set)->name, (int)activation, (double)u[j], (double)activated[j],
                                 (double)ratio[j]);
                }
                if (magnitudes[k] <= 1e-30f && activation != CX_RELU)
                    assert_true(ratio[0] == at_zero[activation] && ratio[1] == at_zero[activation]);
                if (magnitudes[k] == 0.0f)
                    assert_true(ratio[0] == at_zero[activation] && activated[0] == 0.0f && activated[1] == 0.0f);
                if (magnitudes[k] >= 1e3f)
                    assert_true(ratio[0] == 1.0f && activated[0] == u[0] && ratio[1] == 0.0f && activated[1] == 0.0f);
            }
            float nan = NAN, activated, ratio;
            (*set)->activate(activation, 1, &nan, &activated, &ratio);
            assert_true(isnan(activated) && isnan(ratio));
        }
    }
}

static void test_softmax(void **state) {
    static const float starts[][5] = {
        {0.0f, 0.0f, 0.0f, 0.0f, 0.0f},
        {1e30f, -1e30f, 0.0f, 1e30f, 5.0f},
        {-3e38f, -3e38f, -3e38f, -3e38f, -3e38f},
        {100.0f, 0.0f, -2.5f, 97.0f, 99.5f},
    };
    (void)state;
    for (const struct cpu_kernels *const *set = cpu_kernels_all(); *set; set++) {
        for (size_t k = 0; k < sizeof starts / sizeof *starts; k++) {
            float row[5];
            double largest = -INFINITY, total = 0.0;
            memcpy(row, starts[k], sizeof row);
            for (size_t j = 0; j < 5; j++)
                largest = fmax(largest, 0.25 * (double)row[j]);
            for (size_t j = 0; j < 5; j++)
                total += exp(0.25 * (double)row[j] - largest);
            (*set)->softmax(5, 0.25f, row);
            for (size_t j = 0; j < 5; j++) {
                double expected = exp(0.25 * (double)starts[k][j] - largest) / total;
                if (!(ulps(row[j], expected) <= 4.0))
                    fail_msg("%s, row %zu[%zu]: %.9g, expected %.9g", (*set)->name, k, j, (double)row[j], expected);
            }
        }
        float row[3] = {1.0f, NAN, 2.0f};
        (*set)->softmax(3, 1.0f, row);
        assert_true(isnan(row[0]) && isnan(row[1]) && isnan(row[2]));
    }
}

/* exp over its whole range: softmax of two numbers, the smaller of which is exp(-x) / (1 + exp(-x)). */
static void test_exponential(void **state) {
    (void)state;
    for (const struct cpu_kernels *const *set = cpu_kernels_all(); *set; set++) {
        for (size_t k = 0; k < 200000; k++) {
            float x = 110.0f * (float)k / 200000.0f, row[2] = {0.0f, -x};
            double power = exp(-(double)x), expected = power / (1.0 + power);
            (*set)->softmax(2, 1.0f, row);
            if (!(ulps(row[1], expected) <= 3.0))
                fail_msg("%s: exp(-%.9g): %.9g, expected %.9g", (*set)->name, (double)x, (double)row[1], expected);
        }
    }
}

/* A constant far from zero must not cost the variance its digits; a constant vector has deviation sqrt(epsilon). */
static void test_norm_is_two_pass(void **state) {
    enum { width = 40 };
    float x[width], y[width], scale[width], shift[width];
    (void)state;
    for (const struct cpu_kernels *const *set = cpu_kernels_all(); *set; set++) {
        for (size_t k = 0; k < width; k++) {
            x[k] = 65536.0f + (k % 2 ? 0.5f : -0.5f);
            scale[k] = 2.0f;
            shift[k] = 1.0f;
        }
        float factor = (*set)->norm(width, x, scale, shift, 0.0, y);
        assert_true(factor == 2.0f);
        for (size_t k = 0; k < width; k++)
            assert_true(y[k] == (k % 2 ? 3.0f : -1.0f));
        for (size_t k = 0; k < width; k++)
            x[k] = 7.0f;
        assert_true((*set)->norm(width, x, scale, shift, 0.25, y) == 2.0f);
        assert_true(y[0] == 1.0f && y[width - 1] == 1.0f);
    }
}

/* Every set gives the Gram matrix of integers exactly, for every remainder of rows and columns. */
static void test_gram_of_integers(void **state) {
    enum { most_heads = 9, most_width = 19 };
    float sources[most_heads * most_width], residual[most_width];
    double gram[(most_heads + 1) * (most_heads + 1)];
    (void)state;
    for (const struct cpu_kernels *const *set = cpu_kernels_all(); *set; set++) {
        for (size_t heads = 1; heads <= most_heads; heads++) {
            for (size_t width = 1; width <= most_width; width++) {
                for (size_t k = 0; k < heads * width; k++)
                    sources[k] = (float)((k * 7 + 3) % 11) - 5.0f;
                for (size_t k = 0; k < width; k++)
                    residual[k] = (float)(k % 5) - 2.0f;
                (*set)->gram(heads, width, sources, residual, gram);
                for (size_t r = 0; r <= heads; r++) {
                    for (size_t c = 0; c <= heads; c++) {
                        double sum = 0.0;
                        for (size_t k = 0; k < width; k++)
                            sum += (double)(r < heads ? sources[r * width + k] : residual[k]) * (double)(c < heads ? sources[c * width + k] : residual[k]);
                        if (gram[r * (heads + 1) + c] != sum)
                            fail_msg("%s, %zu heads, width %zu: gram[%zu][%zu] = %g, expected %g", (*set)->name, heads, width, r, c, gram[r * (heads + 1) + c],
                                     sum);
                    }
                }
            }
        }
    }
}

enum { most_rows = 18, most_inner = 801, x_stride = most_inner + 3, y_stride = CPU_STRIP + 5 };

/* Numbers whose sums of products are exact. */
static float small_integer(size_t k) {
    return (float)((k * 2654435761u >> 7) % 7) - 3.0f;
}

struct product_numbers {
    float x[most_rows * x_stride], by_columns[most_inner * CPU_STRIP], by_rows[CPU_STRIP * most_inner];
    float packed[most_inner * CPU_STRIP], packed_rows[most_inner * CPU_STRIP], y[most_rows * y_stride], start[most_rows * y_stride];
};

/* Where the sums start: at 0, at what y holds, at another matrix, at one row for all. */
enum start { AT_ZERO, AT_Y, AT_MATRIX, AT_ROW, STARTS };

static void check_product(const struct cpu_kernels *set, struct product_numbers *numbers, size_t rows, size_t columns, size_t inner, enum start start) {
    for (size_t k = 0; k < inner; k++) {
        for (size_t column = 0; column < columns; column++) {
            numbers->by_columns[k * columns + column] = small_integer(3 * k + 11 * column);
            numbers->by_rows[column * inner + k] = small_integer(3 * k + 11 * column);
        }
    }
    memset(numbers->packed, 0xFF, sizeof numbers->packed);
    memset(numbers->packed_rows, 0xFF, sizeof numbers->packed_rows);
    set->pack_columns(columns, inner, numbers->by_columns, columns, numbers->packed);
    set->pack_rows(columns, inner, numbers->by_rows, inner, numbers->packed_rows);
    if (memcmp(numbers->packed, numbers->packed_rows, inner * CPU_STRIP * sizeof(float)) != 0)
        fail_msg("%s: [%zu, %zu] packed by rows and by columns differ", set->name, inner, columns);
    memcpy(numbers->y, numbers->start, sizeof numbers->y);
    const float *const starts[STARTS] = {NULL, numbers->y, numbers->start + 1, numbers->start + 2};
    set->product(rows, columns, inner, starts[start], start == AT_ROW ? 0 : y_stride, numbers->x, x_stride, numbers->packed, numbers->y, y_stride);
    for (size_t row = 0; row < most_rows; row++) {
        for (size_t column = 0; column < y_stride; column++) {
            bool inside = row < rows && column < columns;
            size_t at = row * y_stride + column;
            float expected = numbers->start[at];
            if (inside && start != AT_Y)
                expected = start == AT_ZERO ? 0.0f : numbers->start[start == AT_MATRIX ? at + 1 : column + 2];
            for (size_t k = 0; inside && k < inner; k++)
                expected += numbers->x[row * x_stride + k] * numbers->by_columns[k * columns + column];
            if (numbers->y[row * y_stride + column] != expected)
                fail_msg("%s: [%zu, %zu] x [%zu, %zu], start %d: y[%zu][%zu] = %g, expected %g", set->name, rows, inner, inner, columns, (int)start, row,
                         column, (double)numbers->y[row * y_stride + column], (double)expected);
        }
    }
    memcpy(numbers->y, numbers->start, sizeof numbers->y);
    set->dot_products(rows, inner, numbers->x, x_stride, numbers->by_rows, numbers->y, y_stride);
    for (size_t row = 0; row < rows; row++) {
        float expected = numbers->start[row * y_stride];
        for (size_t k = 0; k < inner; k++)
            expected += numbers->x[row * x_stride + k] * numbers->by_rows[k];
        assert_true(numbers->y[row * y_stride] == expected);
    }
}

/* Every remainder of rows, columns and depth; what lies beside the result is not touched. */
static void test_products_of_integers(void **state) {
    static const size_t inners[] = {1, 2, 3, 4, 5, 63, 64, 67, 384, 385, most_inner};
    struct product_numbers *numbers = malloc(sizeof *numbers);
    (void)state;
    assert_non_null(numbers);
    for (size_t k = 0; k < most_rows * x_stride; k++)
        numbers->x[k] = small_integer(k + 5);
    for (size_t k = 0; k < most_rows * y_stride; k++)
        numbers->start[k] = small_integer(k + 17);
    for (const struct cpu_kernels *const *set = cpu_kernels_all(); *set; set++) {
        for (size_t i = 0; i < sizeof inners / sizeof *inners; i++) {
            for (size_t rows = 1; rows <= most_rows; rows += inners[i] < 8 ? 1 : 5)
                check_product(*set, numbers, rows, 1 + (rows * 5 + i) % CPU_STRIP, inners[i], (enum start)(rows % STARTS));
            for (size_t columns = 1; columns <= CPU_STRIP; columns += inners[i] < 8 ? 1 : 23)
                check_product(*set, numbers, 1 + columns % 9, columns, inners[i], (enum start)((columns + i) % STARTS));
            for (enum start start = AT_ZERO; start < STARTS; start++)
                check_product(*set, numbers, most_rows, CPU_STRIP, inners[i], start);
        }
    }
    free(numbers);
}

/* Quadratic forms of integers: the root of an exact number. A negative form, which only rounding can make, is 0. */
static void test_quadratic_forms(void **state) {
    enum { most_heads = 6, most_targets = 9, n = 11 };
    float attention[most_heads * most_targets * n], map[most_targets * n], factor[most_targets];
    double gram_lanes[most_heads * (most_heads + 1) / 2 * CPU_SOURCE_LANES], workspace[CPU_QUADRATIC_WORKSPACE(most_heads)];
    (void)state;
    for (size_t k = 0; k < sizeof attention / sizeof *attention; k++)
        attention[k] = (float)(k % 4);
    for (size_t k = 0; k < most_targets; k++)
        factor[k] = k % 2 ? 2.0f : 0.5f;
    for (const struct cpu_kernels *const *set = cpu_kernels_all(); *set; set++) {
        for (size_t heads = 1; heads <= most_heads; heads++) {
            for (size_t sources = 1; sources <= CPU_SOURCE_LANES; sources++) {
                size_t targets = 1 + (heads + sources) % most_targets, entries = heads * (heads + 1) / 2;
                for (size_t k = 0; k < entries * CPU_SOURCE_LANES; k++)
                    gram_lanes[k] = k % CPU_SOURCE_LANES < sources ? (double)small_integer(k) + 1.0 : 0.0;
                for (size_t k = 0; k < most_targets * n; k++)
                    map[k] = -1.0f;
                (*set)->quadratic_forms(heads, targets, sources, attention, most_targets * n, n, gram_lanes, factor, workspace, map, n);
                for (size_t i = 0; i < most_targets; i++) {
                    for (size_t l = 0; l < n; l++) {
                        double form = 0.0;
                        const double *entry = gram_lanes;
                        for (size_t h = 0; h < heads; h++) {
                            for (size_t k = h; k < heads; k++, entry += CPU_SOURCE_LANES)
                                form += l < CPU_SOURCE_LANES
                                            ? entry[l] * (double)attention[(h * most_targets + i) * n + l] * (double)attention[(k * most_targets + i) * n + l]
                                            : 0.0;
                        }
                        float expected = i < targets && l < sources ? (float)(sqrt(form < 0.0 ? 0.0 : form) * (double)factor[i]) : -1.0f;
                        if (map[i * n + l] != expected)
                            fail_msg("%s, %zu heads, %zu sources: map[%zu][%zu] = %g, expected %g", (*set)->name, heads, sources, i, l, (double)map[i * n + l],
                                     (double)expected);
                    }
                }
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations),          cmocka_unit_test(test_limits),           cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_exponential),          cmocka_unit_test(test_norm_is_two_pass), cmocka_unit_test(test_gram_of_integers),
        cmocka_unit_test(test_products_of_integers), cmocka_unit_test(test_quadratic_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
