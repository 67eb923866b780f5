/* Weights of 16 bits as float32: every bit pattern, by the definitions of IEEE 754 binary16 and of bfloat16. Rows from memory and from a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

enum { rows = 5, columns = 3000, before = 7 };

/* A row is the same from memory and from a file; one that the file has no more is an error with the weight's name. */
static void test_rows(void **state) {
    (void)state;
    for (enum cx_dtype dtype = CX_FLOAT32; dtype <= CX_BFLOAT16; dtype++) {
        const size_t size = cx_dtype_size(dtype), bytes = rows * columns * size;
        unsigned char *data = malloc(bytes);
        float *whole = malloc(rows * columns * sizeof *whole), row[columns];
        FILE *file = tmpfile();
        struct cx_error error = {0};
        assert_true(data && whole && file);
        for (size_t k = 0; k < bytes; k++)
            data[k] = (unsigned char)((k * 73u) % 61u);
        assert_int_equal(fseek(file, before, SEEK_SET), 0);
        assert_int_equal(fwrite(data, 1, bytes, file), bytes);
        assert_int_equal(fflush(file), 0);
        struct cx_weight memory = {.name = "memory", .data = data, .dtype = dtype, .rows = rows, .columns = columns}, stored = memory;
        stored.name = "stored";
        stored.data = NULL;
        stored.file = fileno(file);
        stored.file_offset = before;
        cx_weight_to_float(&memory, whole);
        for (size_t k = 0; k < rows; k++) {
            assert_int_equal(cx_weight_row(&memory, k, row, &error), CX_OK);
            assert_memory_equal(row, whole + k * columns, sizeof row);
            memset(row, 0, sizeof row);
            assert_int_equal(cx_weight_row(&stored, k, row, &error), CX_OK);
            assert_memory_equal(row, whole + k * columns, sizeof row);
        }
        assert_int_equal(ftruncate(fileno(file), (off_t)(before + bytes - 1)), 0);
        assert_int_equal(cx_weight_row(&stored, rows - 2, row, &error), CX_OK);
        assert_int_equal(cx_weight_row(&stored, rows - 1, row, &error), CX_ERROR_INPUT);
        assert_non_null(strstr(error.message, "stored: the model's file has become shorter"));
        stored.file = 1 << 20;
        assert_int_equal(cx_weight_row(&stored, 0, row, &error), CX_ERROR_IO);
        (void)fclose(file);
        free(whole);
        free(data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float16),
        cmocka_unit_test(test_bfloat16),
        cmocka_unit_test(test_float32_and_sizes),
        cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
