/* Weights of 16 bits as float32: every bit pattern, by the definitions of IEEE 754 binary16 and of bfloat16. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "contexture/model.h"

/* sign * mantissa * 2^exponent with `fraction_bits` of fraction. */
static double value_of(unsigned bits, int fraction_bits, int exponent_bits) {
    int bias = (1 << (exponent_bits - 1)) - 1, exponent = (int)(bits >> fraction_bits & ((1u << exponent_bits) - 1));
    double fraction = (double)(bits & ((1u << fraction_bits) - 1)), sign = bits >> 15 ? -1.0 : 1.0;
    if (exponent == (1 << exponent_bits) - 1)
        return fraction > 0.0 ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + ldexp(1.0, fraction_bits), exponent - bias - fraction_bits);
}

static void check_all(enum cx_dtype dtype, int fraction_bits, int exponent_bits) {
    for (unsigned bits = 0; bits <= UINT16_MAX; bits++) {
        unsigned char bytes[3];
        uint16_t pattern = (uint16_t)bits;
        float converted;
        memcpy(bytes + 1, &pattern, sizeof pattern);
        struct cx_weight weight = {.name = "w", .data = bytes + 1, .dtype = dtype, .rows = 1, .columns = 1};
        cx_weight_to_float(&weight, &converted);
        double expected = value_of(bits, fraction_bits, exponent_bits);
        bool same = isnan(expected) ? isnan(converted) : (double)converted == expected && !signbit(converted) == !(bits >> 15);
        if (!same)
            fail_msg("dtype %d, bits %04x: %g, expected %g", (int)dtype, bits, (double)converted, expected);
    }
}

static void test_float16(void **state) {
    (void)state;
    check_all(CX_FLOAT16, 10, 5);
}

static void test_bfloat16(void **state) {
    (void)state;
    check_all(CX_BFLOAT16, 7, 8);
}

static void test_float32_and_sizes(void **state) {
    float numbers[3] = {1.0f, -0.0f, 1e-45f}, copy[3] = {0};
    struct cx_weight weight = {.name = "w", .data = numbers, .dtype = CX_FLOAT32, .rows = 3, .columns = 1};
    (void)state;
    cx_weight_to_float(&weight, copy);
    assert_memory_equal(numbers, copy, sizeof numbers);
    assert_int_equal(cx_dtype_size(CX_FLOAT32), 4);
    assert_int_equal(cx_dtype_size(CX_FLOAT16), 2);
    assert_int_equal(cx_dtype_size(CX_BFLOAT16), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_float16), cmocka_unit_test(test_bfloat16), cmocka_unit_test(test_float32_and_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
