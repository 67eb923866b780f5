/* The filters against HDF5's own, and the roundings against their definitions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <hdf5.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chunk_filter.h"

static uint64_t random_state = 42;

static uint32_t random_bits(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Lets HDF5 filter one chunk of `count` elements of `size` bytes, and returns what it stores. */
static size_t filter_by_hdf5(const unsigned char *data, size_t count, size_t size, unsigned char *stored) {
    hsize_t extent = count, offset = 0, bytes = 0;
    uint32_t mask = 0;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), type = H5Tcreate(H5T_OPAQUE, size), space = H5Screate_simple(1, &extent, NULL);
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    assert_true(H5Pset_fapl_core(access, 1 << 20, false) >= 0);
    hid_t file = H5Fcreate("filter.h5", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    assert_true(H5Pset_chunk(properties, 1, &extent) >= 0 && H5Pset_shuffle(properties) >= 0 && H5Pset_fletcher32(properties) >= 0);
    hid_t dataset = H5Dcreate2(file, "data", type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(dataset >= 0 && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0 && H5Dflush(dataset) >= 0);
    assert_true(H5Dget_chunk_storage_size(dataset, &offset, &bytes) >= 0 && H5Dread_chunk(dataset, H5P_DEFAULT, &offset, &mask, stored) >= 0);
    assert_int_equal(mask, 0);
    H5Dclose(dataset), H5Fclose(file), H5Pclose(properties), H5Pclose(access), H5Sclose(space), H5Tclose(type);
    return (size_t)bytes;
}

static void filters_are_those_of_hdf5(void **state) {
    static const struct {
        size_t count, size;
    } cases[] = {{1, 1}, {2, 1}, {777, 1}, {3, 3}, {16384, 4}, {1, 4}, {129, 4}, {8192, 8}, {255, 2}, {256, 2}, {257, 2}, {65536, 1}, {31, 21}};
    static unsigned char data[65536], ours[65536 + CX_FLETCHER32_BYTES], theirs[65536 + CX_FLETCHER32_BYTES];
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        for (int content = 0; content < 3; content++) {
            size_t bytes = cases[c].count * cases[c].size;
            for (size_t i = 0; i < bytes; i++)
                data[i] = content == 0 ? 0 : content == 1 ? 255 : (unsigned char)random_bits();
            assert_int_equal(filter_by_hdf5(data, cases[c].count, cases[c].size, theirs), bytes + CX_FLETCHER32_BYTES);
            cx_filter_shuffle(data, cases[c].size, bytes, ours);
            uint32_t checksum = cx_filter_fletcher32(ours, bytes);
            for (int i = 0; i < CX_FLETCHER32_BYTES; i++)
                ours[bytes + (size_t)i] = (unsigned char)(checksum >> (8 * i));
            assert_memory_equal(ours, theirs, bytes + CX_FLETCHER32_BYTES);
        }
    }
}

static void leftover_bytes_stay(void **state) {
    const unsigned char in[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, expected[] = {1, 5, 2, 6, 3, 7, 4, 8, 9, 10};
    unsigned char out[sizeof in];
    (void)state;
    cx_filter_shuffle(in, 4, sizeof in, out);
    assert_memory_equal(out, expected, sizeof expected);
}

/* Every half gives itself back, what lies between two goes to the nearer one, and the middle to the even one. */
static void halves_round_to_nearest_even(void **state) {
    uint16_t half;
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        float value = cx_half_to_float((uint16_t)h), next = h + 1 < 0x7c00 ? cx_half_to_float((uint16_t)(h + 1)) : 65536.0f;
        float middle = (float)(((double)value + (double)next) / 2);
        const struct {
            float value;
            uint32_t expected;
        } cases[] = {{value, h}, {nextafterf(middle, 0), h}, {middle, h % 2 == 0 ? h : h + 1}, {nextafterf(middle, INFINITY), h + 1}};
        for (size_t c = 0; c < 4; c++) {
            for (int sign = 0; sign < 2; sign++) {
                float signed_value = sign ? -cases[c].value : cases[c].value;
                size_t fitting = cx_float_to_half(&signed_value, 1, &half);
                if (half != (cases[c].expected | (sign ? 0x8000u : 0)))
                    fail_msg("%a: expected half %04x, found %04x", (double)signed_value, cases[c].expected | (sign ? 0x8000u : 0), half);
                assert_int_equal(fitting, cases[c].expected < 0x7c00);
            }
        }
    }
}

static void halves_keep_what_is_not_finite(void **state) {
    const float values[] = {INFINITY, -INFINITY, NAN, 1.0f, 65519.0f, 65520.0f, 1e30f};
    uint16_t halves[7];
    (void)state;
    assert_int_equal(cx_float_to_half(values, 7, halves), 5);
    assert_int_equal(cx_float_to_half(values, 5, halves), 5);
    assert_int_equal(halves[0], 0x7c00);
    assert_int_equal(halves[1], 0xfc00);
    assert_true(isnan(cx_half_to_float(halves[2])));
    assert_int_equal(halves[3], 0x3c00);
    assert_int_equal(halves[4], 0x7bff);
    assert_true(isinf(cx_half_to_float(0x7c00)) && isinf(cx_half_to_float(0xfc00)));
}

/* The definition, in double precision: the mantissa as a number with `bits` bits behind the point, rounded by rint(). */
static float rounded_by_definition(float value, int bits) {
    int exponent = 0;
    if (!isfinite(value) || value == 0)
        return value;
    double mantissa = frexp((double)value, &exponent);
    /* Subnormal floats have fewer bits; their last place is fixed. */
    int place = exponent - 1 < -126 ? -126 - bits : exponent - 1 - bits;
    double rounded = ldexp(rint(ldexp(mantissa, exponent - place)), place);
    if (fabs(rounded) > (double)3.40282347e+38f)
        rounded = ldexp(trunc(ldexp(mantissa, exponent - place)), place);
    return (float)rounded;
}

static void mantissas_round_to_nearest_even(void **state) {
    (void)state;
    for (int bits = 0; bits <= 23; bits++) {
        for (int i = 0; i < 20000; i++) {
            uint32_t value = random_bits();
            if (i % 4 == 0 && bits < 23) /* exactly in the middle */
                value = (value & ~((1u << (23 - bits)) - 1)) | 1u << (22 - bits);
            if (i % 16 == 1) /* at the upper end */
                value = 0x7f7fffffu - random_bits() % 64;
            float in = from_bits(value), out, again, expected = rounded_by_definition(in, bits);
            cx_round_mantissa(&in, 1, bits, &out);
            if (to_bits(out) != to_bits(isnan(in) ? in : expected))
                fail_msg("%a to %d bits: expected %a, found %a", (double)in, bits, (double)expected, (double)out);
            cx_round_mantissa(&out, 1, bits, &again);
            assert_int_equal(to_bits(again), to_bits(out));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_are_those_of_hdf5),       cmocka_unit_test(leftover_bytes_stay),
        cmocka_unit_test(halves_round_to_nearest_even),    cmocka_unit_test(halves_keep_what_is_not_finite),
        cmocka_unit_test(mantissas_round_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
