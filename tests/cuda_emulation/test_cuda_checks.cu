/*
 * The checksum of the pair product finds what it is there for: one flipped bit of z, of the weight on the device, or of the product, one at a time, at random
 * places, in both precisions; and in the weight of the kernels that keep the product on chip. A flip that changes a norm by more than float16 does must be
 * found; a smaller one may be. Without a flip nothing is reported.
 */
#include <cmath>
#include <csetjmp>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cuda_backend.cuh"
#include "emulation.h"

extern "C" {
#include "op_cases.h"
}

namespace {

enum { flips = 24, map_count = 3, check_output = 5 };

const struct op_case chunked_shape = {"chunked", OP_RANDOM, 4, 16, 120, CX_GELU, {9, 4, 1}};
const struct op_case fused_shape = {"fused", OP_RANDOM, 4, 96, 128, CX_GELU, {9, 4}};

[[noreturn]] void fail(const char *what, const char *why) {
    fprintf(stderr, "FAIL %s: %s\n", what, why);
    exit(1);
}

uint32_t next_random() {
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<uint32_t>(state >> 16);
}

/* The bits of a number of `size` bytes at `memory`; the lowest of a mantissa change nothing that could be told from rounding. */
void flip_bit(void *memory, size_t size) {
    unsigned char *bytes = static_cast<unsigned char *>(memory);
    const unsigned bit = size == 2 ? next_random() % 16 : 8 + next_random() % 24;
    bytes[bit / 8] = static_cast<unsigned char>(bytes[bit / 8] ^ 1u << bit % 8);
}

/* Which of the product's matrices is damaged, and where: rows of so many numbers. */
struct damage {
    enum { none, operand, result } of;
    size_t row, stride, columns, element;
};

void do_damage(void *context, int is_done, void *, void *b, void *d) {
    struct damage *damage = static_cast<struct damage *>(context);
    void *matrix = damage->of == damage::operand ? b : d;
    if (damage->of == damage::none || (damage->of == damage::result) != (is_done != 0))
        return;
    flip_bit(static_cast<unsigned char *>(matrix) + (damage->row * damage->stride + next_random() % damage->columns) * damage->element, damage->element);
    damage->of = damage::none;
}

struct outcome {
    std::vector<float> maps[map_count], check;
};

struct bench {
    struct op_data data;
    const struct op *op;
    struct cx_backend *backend;
    struct cx_error error;

    void expect_ok(enum cx_status status) {
        if (status != CX_OK)
            fail("a call", error.message);
    }
    bench(const struct op_case &shape, enum cx_pair_precision precision, enum cx_pair_kernel kernel) : op(nullptr), error() {
        struct cx_backend_options options = {};
        options.kind = CX_BACKEND_CUDA;
        options.pair_precision = precision;
        options.pair_kernel = kernel;
        op_data_create(&shape, &data);
        for (size_t k = 0; k < op_table_count && !op; k++)
            op = strcmp(op_table[k].name, "ff_pair_norms") == 0 ? &op_table[k] : nullptr;
        expect_ok(cx_backend_open(&options, &data.config, &backend, &error));
        expect_ok(op_data_upload(&data, backend, &error));
        expect_ok(op_outputs_create(&data, op, &error));
    }
    ~bench() {
        op_data_release(&data);
        cx_backend_close(backend);
        op_data_free(&data);
    }
    bench(const bench &) = delete;
    bench &operator=(const bench &) = delete;

    /* Values that float16 cannot tell are no matter here, so reading may say so once. */
    std::vector<float> output(size_t k) {
        std::vector<float> values(op_output_count(&data, op, k));
        if (backend->operations->read(backend, data.out[k], 0, values.size(), values.data(), &error) != CX_OK)
            expect_ok(backend->operations->read(backend, data.out[k], 0, values.size(), values.data(), &error));
        return values;
    }
    /* To the device or from it. */
    void copy(void *to, const void *from, size_t size) {
        if (cudaMemcpy(to, from, size, cudaMemcpyDefault) != cudaSuccess)
            fail("a copy", "an error");
    }
    struct outcome run() {
        struct outcome outcome;
        expect_ok(op->run(&data, &error));
        for (size_t k = 0; k < map_count; k++)
            outcome.maps[k] = output(k);
        outcome.check = output(check_output);
        return outcome;
    }
};

/* The largest change of a norm by the flip, relative to the norm; infinite where it is not a number any more. */
double change_of(const struct outcome &clean, const struct outcome &damaged) {
    double largest = 0.0;
    for (size_t k = 0; k < map_count; k++) {
        for (size_t pair = 0; pair < clean.maps[k].size(); pair++) {
            const double before = static_cast<double>(clean.maps[k][pair]), change = fabs(static_cast<double>(damaged.maps[k][pair]) - before) / before;
            largest = change <= largest ? largest : std::isnan(change) ? INFINITY : change;
        }
    }
    return largest;
}

/* Tokens whose rows miss their checksums. */
size_t found_in(const struct outcome &outcome) {
    size_t count = 0;
    for (float check : outcome.check)
        count += !(check <= 1.0f);
    return count;
}

/* Counts what was found of what had to be, and fails if that is not all of it, but for `most_missed`. */
struct tally {
    unsigned found, missed, harmless, most_missed;

    void add(const char *what, const struct outcome &clean, const struct outcome &damaged, size_t most_targets) {
        const size_t targets = found_in(damaged);
        if (targets > most_targets)
            fail(what, "more targets are reported than were damaged");
        if (targets > 0)
            found++;
        else if (change_of(clean, damaged) > 1e-3)
            missed++;
        else
            harmless++;
    }
    void report(const char *what) const {
        printf("%-28s %u flips found, %u that change norms by more than 1e-3 missed, %u without effect\n", what, found, missed, harmless);
        if (missed > most_missed || found < flips / 3)
            fail(what, "flipped bits are not found");
    }
};

void flip_what_the_product_reads_and_writes(enum cx_pair_precision precision) {
    const bool is_half = precision == CX_PAIR_F16;
    struct bench bench(chunked_shape, precision, CX_PAIR_KERNEL_CHUNKED);
    const size_t d = bench.data.config.hidden_size, f = bench.data.config.intermediate_size, pairs = bench.data.batch.pairs;
    struct damage damage = {};
    emulation_watch_products(do_damage, &damage);
    const struct outcome clean = bench.run();
    if (found_in(clean) > 0)
        fail("no flip", "something is reported");
    /* A flip of z changes oc by a multiple of one row of W2c, whose sum with the signs may be next to nothing by chance. */
    struct tally operands = {0, 0, 0, flips / 20}, results = {0, 0, 0, 0};
    for (int k = 0; k < flips; k++) {
        damage = {damage::operand, next_random() % pairs, cuda_padded(f), f, is_half ? sizeof(__half) : sizeof(float)};
        operands.add("z", clean, bench.run(), 1);
        damage = {damage::result, next_random() % pairs, cuda_padded(d), d, sizeof(float)};
        results.add("product", clean, bench.run(), 1);
    }
    emulation_watch_products(nullptr, nullptr);
    operands.report(is_half ? "z, f16" : "z, f32");
    results.report(is_half ? "product, f16" : "product, f32");
}

void flip_the_weight(const struct op_case &shape, enum cx_pair_precision precision, enum cx_pair_kernel kernel, const char *what) {
    const size_t size = precision == CX_PAIR_F16 ? sizeof(__half) : sizeof(float);
    struct bench bench(shape, precision, kernel);
    const struct cx_pair_matrix *matrix = bench.data.on.pair_matrix;
    const struct outcome clean = bench.run();
    if (found_in(clean) > 0)
        fail("no flip", "something is reported");
    struct tally tally = {0, 0, 0, 0};
    for (int k = 0; k < flips / 2; k++) {
        unsigned char *element =
            static_cast<unsigned char *>(matrix->centred) + (next_random() % matrix->width * cuda_padded(matrix->depth) + next_random() % matrix->depth) * size;
        unsigned char kept[sizeof(float)], flipped[sizeof(float)];
        bench.copy(kept, element, size);
        memcpy(flipped, kept, size);
        flip_bit(flipped, size);
        bench.copy(element, flipped, size);
        tally.add(what, clean, bench.run(), bench.data.batch.tokens);
        bench.copy(element, kept, size);
    }
    tally.report(what);
    if (found_in(bench.run()) > 0)
        fail(what, "something is reported after the weight has been mended");
}

} /* namespace */

int main() {
    for (enum cx_pair_precision precision : {CX_PAIR_F32, CX_PAIR_F16})
        flip_what_the_product_reads_and_writes(precision);
    flip_the_weight(chunked_shape, CX_PAIR_F32, CX_PAIR_KERNEL_CHUNKED, "weight, f32");
    flip_the_weight(chunked_shape, CX_PAIR_F16, CX_PAIR_KERNEL_CHUNKED, "weight, f16");
    flip_the_weight(fused_shape, CX_PAIR_F16, CX_PAIR_KERNEL_WGMMA, "weight, wgmma");
    flip_the_weight(fused_shape, CX_PAIR_F16, CX_PAIR_KERNEL_MMA, "weight, mma");
    return 0;
}
