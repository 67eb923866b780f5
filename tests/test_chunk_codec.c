/* Chunks come back as they were, whatever is stored of them, and anything else is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chunk_codec.h"

enum { largest = 8192 };

static uint64_t random_state = 3;

static uint32_t random_bits(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

/* Floats that vary slowly, bytes of noise, or nothing but zeros. */
static void fill(unsigned char *data, size_t bytes, int kind) {
    for (size_t i = 0; i < bytes; i++)
        data[i] = kind == 1 ? (unsigned char)random_bits() : 0;
    for (size_t i = 0; kind == 0 && i + sizeof(float) <= bytes; i += sizeof(float)) {
        float value = expf(sinf((float)i * 0.001f)) + 1e-4f * (float)(random_bits() % 1000);
        memcpy(data + i, &value, sizeof value);
    }
}

struct stored {
    struct cx_chunk_form form;
    unsigned char plain[largest], bytes[largest + 16];
    size_t used;
    uint32_t skipped_filters;
};

static struct stored encode(int level, size_t element_size, size_t bytes, int kind) {
    struct stored stored = {.form = {bytes, element_size, level > 0}};
    struct cx_codec codec;
    struct cx_error error = {0};
    fill(stored.plain, bytes, kind);
    assert_int_equal(cx_codec_open(&codec, level, 16, &error), CX_OK);
    assert_true(cx_chunk_room(bytes) <= sizeof stored.bytes);
    stored.used = cx_chunk_encode(&codec, stored.plain, bytes, element_size, stored.bytes, &stored.skipped_filters);
    assert_true(stored.used > 0 && stored.used <= cx_chunk_room(bytes));
    cx_codec_close(&codec);
    return stored;
}

static void chunks_come_back(void **state) {
    static const size_t sizes[] = {1, 2, 4, 8, 21}, counts[] = {1, 2, 7, 64, 65, 300};
    unsigned char plain[largest];
    struct cx_codec decoder;
    struct cx_error error = {0};
    (void)state;
    assert_int_equal(cx_codec_open(&decoder, -1, largest, &error), CX_OK);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
            for (int variant = 0; variant < 9; variant++) {
                struct stored stored = encode(variant / 3 * 3, sizes[s], sizes[s] * counts[c], variant % 3);
                memset(plain, 0xaa, sizeof plain);
                assert_true(cx_chunk_decode(&decoder, &stored.form, stored.bytes, stored.used, stored.skipped_filters, plain));
                assert_memory_equal(plain, stored.plain, stored.form.bytes);
                assert_true(cx_chunk_hash(plain, stored.form.bytes) == cx_chunk_hash(stored.plain, stored.form.bytes));
            }
    cx_codec_close(&decoder);
}

/* Every bit of the stored bytes: refused, or at least with another hash. */
static void damage_is_found(void **state) {
    unsigned char plain[largest];
    struct cx_codec decoder;
    struct cx_error error = {0};
    (void)state;
    assert_int_equal(cx_codec_open(&decoder, -1, largest, &error), CX_OK);
    for (int variant = 0; variant < 6; variant++) {
        struct stored stored = encode(variant / 3, 4, 600, variant % 3);
        const uint64_t hash = cx_chunk_hash(stored.plain, stored.form.bytes);
        size_t passed = 0;
        for (size_t bit = 0; bit < 8 * stored.used; bit++) {
            stored.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            if (cx_chunk_decode(&decoder, &stored.form, stored.bytes, stored.used, stored.skipped_filters, plain) &&
                cx_chunk_hash(plain, stored.form.bytes) == hash)
                passed++;
            stored.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        if (passed > 0)
            fail_msg("variant %d: %zu of %zu flipped bits are not found", variant, passed, 8 * stored.used);
        for (size_t used = 0; used < stored.used; used++)
            assert_false(cx_chunk_decode(&decoder, &stored.form, stored.bytes, used, stored.skipped_filters, plain));
        assert_false(cx_chunk_decode(&decoder, &stored.form, stored.bytes, stored.used, stored.skipped_filters ^ 2, plain));
        assert_false(cx_chunk_decode(&decoder, &stored.form, stored.bytes, stored.used, stored.skipped_filters | 4, plain));
        struct cx_chunk_form longer = stored.form, shorter = stored.form;
        longer.bytes += 4, shorter.bytes -= 4;
        assert_false(cx_chunk_decode(&decoder, &longer, stored.bytes, stored.used, stored.skipped_filters, plain));
        assert_false(cx_chunk_decode(&decoder, &shorter, stored.bytes, stored.used, stored.skipped_filters, plain));
    }
    cx_codec_close(&decoder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_come_back),
        cmocka_unit_test(damage_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
