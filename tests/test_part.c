/* Parts: what is written is what stock HDF5 reads, byte for byte the same however it is computed, and nothing is left of a failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <hdf5.h>
#include <pthread.h>

#include "chunk_filter.h"
#include "part_schema.h"
#include "store_folder.h"
#include "store_samples.h"

static const char first_part[] = "parts/shard-000000.h5";

static void must(enum cx_status status, const struct cx_error *error) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), error->message);
}

/* What a dataset should hold, put together from the samples by other code than the store's. */
struct expected {
    unsigned char *bytes;
    size_t used, capacity;
};

static void expect(struct expected *expected, const void *data, size_t bytes) {
    if (expected->used + bytes + 1 > expected->capacity) {
        expected->capacity = 2 * (expected->used + bytes + 1);
        expected->bytes = realloc(expected->bytes, expected->capacity);
        assert_non_null(expected->bytes);
    }
    if (bytes > 0)
        memcpy(expected->bytes + expected->used, data, bytes);
    expected->used += bytes;
}

static void expect_integer(struct expected *expected, int64_t value, size_t size) {
    expect(expected, &value, size);
}

/* `map`: stored with the map's precision. */
static void expect_floats(struct expected *expected, const struct cx_store_options *options, const float *values, size_t count, bool map) {
    for (size_t i = 0; i < count; i++) {
        float rounded = values[i];
        uint16_t half;
        cx_round_mantissa(&values[i], 1, map ? options->kept_mantissa_bits : 23, &rounded);
        if (map && options->map_type == CX_MAP_FLOAT16) {
            assert_int_equal(cx_float_to_half(options->kept_mantissa_bits < 10 ? &rounded : &values[i], 1, &half), 1);
            expect(expected, &half, sizeof half);
        } else {
            expect(expected, &rounded, sizeof rounded);
        }
    }
}

/* Reads the whole dataset by stock HDF5, through its filters, and compares. */
static void compare(hid_t file, const char *name, struct expected *expected) {
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0)
        fail_msg("%s: dataset %s is missing", first_part, name);
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    size_t bytes = (size_t)H5Sget_simple_extent_npoints(space) * H5Tget_size(type);
    unsigned char *found = malloc(bytes + 1);
    assert_non_null(found);
    if (bytes != expected->used)
        fail_msg("%s: expected %zu bytes, found %zu", name, expected->used, bytes);
    assert_true(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, found) >= 0);
    for (size_t i = 0; i < bytes; i++)
        if (found[i] != expected->bytes[i])
            fail_msg("%s: byte %zu: expected %02x, found %02x", name, i, expected->bytes[i], found[i]);
    free(found);
    free(expected->bytes);
    *expected = (struct expected){0};
    H5Sclose(space), H5Tclose(type), H5Dclose(dataset);
}

enum { sequences = 6 };

static void compare_numbers(hid_t file, struct sample *samples) {
    static const struct {
        const char *name;
        size_t offset, size;
    } members[] = {
        {"/seq/document", offsetof(struct cx_sequence, document), 8}, {"/seq/source", offsetof(struct cx_sequence, source), 4},
        {"/seq/line", offsetof(struct cx_sequence, line), 8},         {"/seq/window", offsetof(struct cx_sequence, window), 4},
        {"/seq/flags", offsetof(struct cx_sequence, flags), 4},       {"/seq/n_tokens", offsetof(struct cx_sequence, tokens), 4},
    };
    struct expected expected = {0};
    for (size_t m = 0; m < sizeof members / sizeof members[0]; m++) {
        for (size_t s = 0; s < sequences; s++)
            expect(&expected, (const char *)&samples[s].sequence + members[m].offset, members[m].size);
        compare(file, members[m].name, &expected);
    }
    for (size_t s = 0; s < sequences; s++)
        expect(&expected, samples[s].sequence.text, samples[s].sequence.text_length);
    compare(file, "/text/bytes", &expected);
    for (size_t s = 0; s < sequences; s++)
        expect(&expected, samples[s].sequence.pair, samples[s].sequence.pair_length);
    compare(file, "/text/pair_bytes", &expected);
}

static void compare_tokens(hid_t file, struct sample *samples) {
    static const struct {
        const char *name;
        size_t offset, size;
    } members[] = {
        {"/tok/input_id", offsetof(struct cx_sequence, input_ids), 4},    {"/tok/token_type_id", offsetof(struct cx_sequence, token_type_ids), 4},
        {"/tok/char_start", offsetof(struct cx_sequence, char_start), 4}, {"/tok/char_end", offsetof(struct cx_sequence, char_end), 4},
        {"/tok/special", offsetof(struct cx_sequence, special), 1},       {"/tok/word_id", offsetof(struct cx_sequence, word_ids), 4},
        {"/tok/text_index", offsetof(struct cx_sequence, text_index), 1},
    };
    struct expected expected = {0};
    for (size_t m = 0; m < sizeof members / sizeof members[0]; m++) {
        for (size_t s = 0; s < sequences; s++) {
            void *array;
            memcpy(&array, (const char *)&samples[s].sequence + members[m].offset, sizeof array);
            expect(&expected, array, samples[s].sequence.tokens * members[m].size);
        }
        compare(file, members[m].name, &expected);
    }
}

static void compare_offsets(hid_t file, const struct cx_store_options *options, struct sample *samples) {
    const size_t stored = options->stored_layer_count, width = options->hidden_size;
    const char *const names[] = {"/seq/tok_offset",    "/seq/map_offset", "/seq/map_head_offset", "/seq/hidden_offset",
                                 "/seq/vector_offset", "/text/offset",    "/text/pair_offset"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct expected expected = {0};
        int64_t at = 0;
        expect_integer(&expected, 0, 8);
        for (size_t s = 0; s < sequences; s++) {
            size_t n = samples[s].sequence.tokens;
            const size_t steps[] = {n,
                                    stored * n * n,
                                    stored * options->heads * n * n,
                                    (options->layers + 1) * n * width,
                                    options->vector_layer_count * n * n * width,
                                    samples[s].sequence.text_length,
                                    samples[s].sequence.pair_length};
            at += (int64_t)steps[i];
            expect_integer(&expected, at, 8);
        }
        compare(file, names[i], &expected);
    }
}

static void compare_floats(hid_t file, const struct cx_store_options *options, struct sample *samples) {
    static const char *const stages[] = {"attn", "attn_res", "attn_res_ln", "ff", "ff_res", "ff_res_ln", "attn_weight"};
    const size_t stored = options->stored_layer_count, width = options->hidden_size;
    struct expected expected[6] = {0};
    char name[64];
    for (unsigned stage = 0; stage < CX_MAPS; stage++) {
        for (size_t s = 0; s < sequences; s++) {
            const struct cx_sequence_result *result = &samples[s].result;
            size_t n = samples[s].sequence.tokens;
            expect_floats(&expected[0], options, result->maps[stage], stored * n * n, true);
            if (stage == CX_STAGES)
                continue;
            expect_floats(&expected[1], options, result->mixing_ratio[stage], n * stored, false);
            expect_floats(&expected[2], options, result->bias_norm[stage], n * stored, false);
            if (options->vector_stages & CX_STAGE_BIT(stage))
                expect_floats(&expected[3], options, result->vectors[stage], options->vector_layer_count * n * n * width, false);
        }
        const char *const groups[] = {"/maps", "/tokstat/mixing_ratio", "/tokstat/bias_norm", "/vectors"};
        for (size_t g = 0; g < 4; g++) {
            if (g > 0 && (stage == CX_STAGES || (g == 3 && !(options->vector_stages & CX_STAGE_BIT(stage)))))
                continue;
            snprintf(name, sizeof name, "%s/%s", groups[g], stages[stage]);
            compare(file, name, &expected[g]);
        }
    }
    for (size_t s = 0; s < sequences; s++) {
        const struct cx_sequence_result *result = &samples[s].result;
        size_t n = samples[s].sequence.tokens;
        expect_floats(&expected[0], options, result->head_attention_weight, stored * options->heads * n * n, true);
        expect_floats(&expected[1], options, result->head_attention_norm, stored * options->heads * n * n, true);
        expect_floats(&expected[2], options, result->hidden_states, (options->layers + 1) * n * width, false);
        expect_floats(&expected[3], options, result->completeness_error, stored, false);
    }
    compare(file, "/maps_head/attn_weight", &expected[0]);
    compare(file, "/maps_head/attn", &expected[1]);
    compare(file, "/vectors/hidden_state", &expected[2]);
    compare(file, "/seq/completeness_error", &expected[3]);
}

static void compare_texts(hid_t file, struct sample *samples, const struct cx_store_options *options) {
    struct expected expected = {0};
    size_t width = 0;
    char padded[64];
    for (size_t s = 0; s < sequences; s++)
        width = strlen(samples[s].sequence.id) > width ? strlen(samples[s].sequence.id) : width;
    for (size_t s = 0; s < sequences; s++) {
        memset(padded, 0, sizeof padded);
        snprintf(padded, sizeof padded, "%s", samples[s].sequence.id);
        expect(&expected, padded, width);
    }
    compare(file, "/seq/id", &expected);
    width = strlen(options->sources[1]);
    for (size_t s = 0; s < options->source_count; s++) {
        memset(padded, 0, sizeof padded);
        snprintf(padded, sizeof padded, "%s", options->sources[s]);
        expect(&expected, padded, width);
    }
    compare(file, "/sources", &expected);
}

static void check_contents(enum cx_map_type type, int bits) {
    struct folder folder = folder_make();
    struct cx_store_options options = sample_options(folder.path);
    struct cx_error error = {0};
    struct cx_part *part = NULL;
    struct cx_part_summary summary = {0};
    struct sample samples[sequences];
    struct cx_sequence rows[sequences];
    struct cx_sequence_result results[sequences];
    uint64_t tokens = 0, pairs = 0;
    options.map_type = type;
    options.kept_mantissa_bits = bits;
    for (size_t s = 0; s < sequences; s++) {
        samples[s] = sample_make(&options, s, s == 2 ? 90 : sample_tokens(s));
        rows[s] = samples[s].sequence;
        results[s] = samples[s].result;
        tokens += samples[s].sequence.tokens;
        pairs += samples[s].sequence.tokens * samples[s].sequence.tokens;
    }
    must(cx_part_create(&options, 0, &part, &error), &error);
    must(cx_part_append(part, rows, results, sequences, &error), &error);
    assert_false(file_there(folder_file(&folder, first_part)));
    must(cx_part_finish(part, &summary, &error), &error);
    assert_int_equal(summary.sequences, sequences);
    assert_int_equal(summary.tokens, tokens);
    assert_int_equal(summary.pairs, pairs);
    assert_true(summary.completeness_error > 0 && summary.completeness_error < 1e-6f);
    hid_t file = H5Fopen(folder_file(&folder, first_part), H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    compare_numbers(file, samples);
    compare_tokens(file, samples);
    compare_offsets(file, &options, samples);
    compare_floats(file, &options, samples);
    compare_texts(file, samples, &options);
    H5Fclose(file);
    for (size_t s = 0; s < sequences; s++)
        sample_free(&samples[s]);
    folder_remove(&folder);
}

static void float32_reads_back(void **state) {
    (void)state;
    check_contents(CX_MAP_FLOAT32, 23);
}

static void fewer_bits_read_back(void **state) {
    (void)state;
    check_contents(CX_MAP_FLOAT32, 13);
    check_contents(CX_MAP_FLOAT16, 23);
    check_contents(CX_MAP_FLOAT16, 6);
}

/* H5Ovisit callback: times are 0, datasets have the filters and chunks of 64 KiB, and no type has a variable length. */
static herr_t look_at_object(hid_t root, const char *name, const H5O_info_t *about, void *context) {
    if (about->atime != 0 || about->mtime != 0 || about->ctime != 0 || about->btime != 0)
        fail_msg("%s has a time", name);
    if (about->type != H5O_TYPE_DATASET)
        return 0;
    hid_t dataset = H5Dopen2(root, name, H5P_DEFAULT), properties = H5Dget_create_plist(dataset), type = H5Dget_type(dataset);
    hsize_t chunk[2] = {1, 1};
    bool fletcher = false;
    int rank = H5Pget_chunk(properties, 2, chunk), filters = H5Pget_nfilters(properties);
    for (int i = 0; i < filters; i++) {
        unsigned flags, configuration;
        size_t values = 0;
        fletcher = fletcher || H5Pget_filter2(properties, (unsigned)i, &flags, &values, NULL, 0, NULL, &configuration) == H5Z_FILTER_FLETCHER32;
    }
    size_t row = (rank == 2 ? (size_t)chunk[1] : 1) * H5Tget_size(type), bytes = (size_t)chunk[0] * row;
    if (!fletcher || bytes > 65536 || bytes + row <= 65536)
        fail_msg("%s: chunks of %zu bytes, %d filters", name, bytes, filters);
    assert_false(H5Tdetect_class(type, H5T_VLEN) > 0 || H5Tis_variable_str(type) > 0);
    assert_true(H5Aexists(dataset, "meaning") > 0 && H5Aexists(dataset, "layout") > 0);
    H5Tclose(type), H5Pclose(properties), H5Dclose(dataset);
    ++*(int *)context;
    return 0;
}

static void files_are_plain(void **state) {
    struct folder folder = folder_make();
    struct cx_store_options options = sample_options(folder.path);
    struct cx_error error = {0};
    struct cx_part_summary summary;
    int datasets = 0;
    (void)state;
    must(sample_write_part(&options, 0, 3, &summary, &error), &error);
    hid_t file = H5Fopen(folder_file(&folder, first_part), H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(H5Ovisit(file, H5_INDEX_NAME, H5_ITER_INC, look_at_object, &datasets) >= 0);
    H5Fclose(file);
    assert_int_equal(datasets, 51);
    folder_remove(&folder);
}

/* Threads, and how many sequences come at once, have no influence on a single byte. */
static void bytes_do_not_depend_on_threads(void **state) {
    struct folder folders[3];
    struct cx_error error = {0};
    (void)state;
    for (int f = 0; f < 3; f++) {
        folders[f] = folder_make();
        struct cx_store_options options = sample_options(folders[f].path);
        struct cx_part_summary summary = {0};
        struct cx_part *part = NULL;
        struct sample samples[20];
        struct cx_sequence rows[20];
        struct cx_sequence_result results[20];
        options.threads = f == 0 ? 1 : f == 1 ? 2 : 7;
        must(cx_part_create(&options, 0, &part, &error), &error);
        for (size_t s = 0; s < 20; s++) {
            samples[s] = sample_make(&options, s, sample_tokens(s));
            rows[s] = samples[s].sequence;
            results[s] = samples[s].result;
        }
        for (size_t s = 0, at_once = f == 0 ? 1 : f == 1 ? 20 : 6; s < 20; s += at_once)
            must(cx_part_append(part, rows + s, results + s, at_once < 20 - s ? at_once : 20 - s, &error), &error);
        must(cx_part_finish(part, &summary, &error), &error);
        for (size_t s = 0; s < 20; s++)
            sample_free(&samples[s]);
        if (f > 0)
            assert_true(files_equal(folder_file(&folders[0], first_part), folder_file(&folders[f], first_part)));
    }
    for (int f = 0; f < 3; f++)
        folder_remove(&folders[f]);
}

struct finish {
    struct cx_part *part;
    struct cx_part_summary summary;
    struct cx_error error;
    enum cx_status status;
};

static void *finish_part(void *argument) {
    struct finish *finish = argument;
    finish->status = cx_part_finish(finish->part, &finish->summary, &finish->error);
    return NULL;
}

/* A part is finished on one thread while the next one is written on another: the same bytes as one after the other. */
static void parts_overlap(void **state) {
    enum { shards = 4, count = 24 };
    struct folder folders[2] = {folder_make(), folder_make()};
    struct cx_error error = {0};
    struct finish finishes[shards] = {{0}};
    pthread_t threads[shards];
    (void)state;
    struct cx_store_options options = sample_options(folders[0].path);
    options.threads = 3;
    for (uint64_t shard = 0; shard < shards; shard++)
        must(sample_write_part(&options, shard, count, &finishes[shard].summary, &error), &error);
    options.directory = folders[1].path;
    for (uint64_t shard = 0; shard < shards; shard++) {
        struct cx_part *part = NULL;
        must(cx_part_create(&options, shard, &part, &error), &error);
        for (uint64_t i = 0; i < count; i++) {
            struct sample sample = sample_make(&options, shard * count + i, sample_tokens(shard * count + i));
            must(cx_part_append(part, &sample.sequence, &sample.result, 1, &error), &error);
            sample_free(&sample);
        }
        finishes[shard].part = part;
        assert_int_equal(pthread_create(&threads[shard], NULL, finish_part, &finishes[shard]), 0);
    }
    for (uint64_t shard = 0; shard < shards; shard++) {
        char name[32];
        pthread_join(threads[shard], NULL);
        must(finishes[shard].status, &finishes[shard].error);
        assert_true(finishes[shard].summary.file_crc32 != 0 && finishes[shard].summary.bytes > 0);
        snprintf(name, sizeof name, "parts/shard-%06d.h5", (int)shard);
        assert_true(files_equal(folder_file(&folders[0], name), folder_file(&folders[1], name)));
    }
    folder_remove(&folders[0]);
    folder_remove(&folders[1]);
}

/* Maps that end exactly with a chunk (16384 elements), one before and one behind. */
static void chunk_borders(void **state) {
    static const size_t only_layer[] = {1};
    struct folder folder = folder_make();
    struct cx_store_options options = sample_options(folder.path);
    struct cx_error error = {0};
    (void)state;
    options.stored_layers = only_layer;
    options.stored_layer_count = 1;
    options.per_head = options.hidden_states = false;
    options.vector_layer_count = 0;
    for (uint64_t shard = 0; shard < 3; shard++) {
        struct sample sample = sample_make(&options, shard, 127 + shard);
        struct cx_part_summary summary = {0};
        struct cx_part *part = NULL;
        struct expected expected = {0};
        char name[32];
        must(cx_part_create(&options, shard, &part, &error), &error);
        must(cx_part_append(part, &sample.sequence, &sample.result, 1, &error), &error);
        must(cx_part_finish(part, &summary, &error), &error);
        snprintf(name, sizeof name, "parts/shard-%06d.h5", (int)shard);
        hid_t file = H5Fopen(folder_file(&folder, name), H5F_ACC_RDONLY, H5P_DEFAULT);
        expect_floats(&expected, &options, sample.result.maps[CX_STAGE_FF], (127 + shard) * (127 + shard), true);
        compare(file, "/maps/ff", &expected);
        H5Fclose(file);
        sample_free(&sample);
    }
    folder_remove(&folder);
}

/* Noise does not become smaller: such chunks are stored as they are, and marked so. */
static void incompressible_chunks(void **state) {
    struct folder folder = folder_make();
    struct cx_store_options options = sample_options(folder.path);
    struct cx_error error = {0};
    struct cx_part_summary summary = {0};
    struct cx_part *part = NULL;
    struct sample sample = sample_make(&options, 0, 100);
    uint64_t random = 1;
    (void)state;
    for (size_t i = 0; i < 2 * 100 * 100; i++) {
        uint32_t bits = (uint32_t)(sample_random(&random) >> 32);
        memcpy(&sample.result.maps[CX_STAGE_ATTN][i], &bits, sizeof bits);
    }
    must(cx_part_create(&options, 0, &part, &error), &error);
    must(cx_part_append(part, &sample.sequence, &sample.result, 1, &error), &error);
    must(cx_part_finish(part, &summary, &error), &error);
    hid_t file = H5Fopen(folder_file(&folder, first_part), H5F_ACC_RDONLY, H5P_DEFAULT), dataset = H5Dopen2(file, "/maps/attn", H5P_DEFAULT);
    unsigned char *chunk = malloc(1 << 20);
    hsize_t offset = 0;
    uint32_t skipped = 0;
    assert_true(H5Dread_chunk(dataset, H5P_DEFAULT, &offset, &skipped, chunk) >= 0);
    assert_int_equal(skipped, 2);
    free(chunk);
    H5Dclose(dataset);
    struct expected expected = {0};
    expect_floats(&expected, &options, sample.result.maps[CX_STAGE_ATTN], 2 * 100 * 100, true);
    compare(file, "/maps/attn", &expected);
    H5Fclose(file);
    sample_free(&sample);
    folder_remove(&folder);
}

static void a_part_may_be_empty(void **state) {
    struct folder folder = folder_make();
    struct cx_store_options options = sample_options(folder.path);
    struct cx_error error = {0};
    struct cx_part_summary summary;
    struct expected expected = {0};
    (void)state;
    must(sample_write_part(&options, 0, 0, &summary, &error), &error);
    assert_int_equal(summary.sequences, 0);
    hid_t file = H5Fopen(folder_file(&folder, first_part), H5F_ACC_RDONLY, H5P_DEFAULT);
    compare(file, "/maps/attn", &expected);
    compare(file, "/seq/id", &expected);
    expect_integer(&expected, 0, 8);
    compare(file, "/seq/map_offset", &expected);
    H5Fclose(file);
    folder_remove(&folder);
}

static void failures_leave_nothing(void **state) {
    struct folder folder = folder_make();
    struct cx_store_options options = sample_options(folder.path);
    struct cx_error error = {0};
    struct cx_part_summary summary = {0};
    struct cx_part *part = NULL;
    struct sample sample = sample_make(&options, 0, 9);
    const char *temporary = "parts/shard-000000.h5.tmp";
    (void)state;

    must(cx_part_create(&options, 0, &part, &error), &error);
    assert_true(file_there(folder_file(&folder, temporary)));
    cx_part_abandon(part);
    assert_false(file_there(folder_file(&folder, temporary)));
    cx_part_abandon(NULL);

    /* A result that is missing. */
    float *map = sample.result.maps[CX_STAGE_FF];
    sample.result.maps[CX_STAGE_FF] = NULL;
    must(cx_part_create(&options, 0, &part, &error), &error);
    assert_int_equal(cx_part_append(part, &sample.sequence, &sample.result, 1, &error), CX_ERROR_INTERNAL);
    assert_non_null(strstr(error.message, "/maps/ff"));
    sample.result.maps[CX_STAGE_FF] = map;
    assert_int_equal(cx_part_append(part, &sample.sequence, &sample.result, 1, &error), CX_ERROR_INTERNAL);
    assert_int_equal(cx_part_finish(part, &summary, &error), CX_ERROR_INTERNAL);
    assert_false(file_there(folder_file(&folder, temporary)) || file_there(folder_file(&folder, first_part)));

    /* A value that no half can hold. */
    options.map_type = CX_MAP_FLOAT16;
    sample.result.maps[CX_STAGE_FF][7] = 70000;
    must(cx_part_create(&options, 0, &part, &error), &error);
    assert_int_equal(cx_part_append(part, &sample.sequence, &sample.result, 1, &error), CX_ERROR_INPUT);
    assert_non_null(strstr(error.message, "70000"));
    assert_non_null(strstr(error.message, "/maps/ff"));
    cx_part_abandon(part);

    /* A completeness error that is not a number. */
    sample.result.maps[CX_STAGE_FF][7] = 1;
    sample.result.completeness_error[1] = NAN;
    must(cx_part_create(&options, 0, &part, &error), &error);
    assert_int_equal(cx_part_append(part, &sample.sequence, &sample.result, 1, &error), CX_ERROR_INTERNAL);
    cx_part_abandon(part);

    /* A folder that cannot be. */
    file_write(folder_file(&folder, "file"), "x", 1);
    options.directory = folder_file(&folder, "file/out");
    assert_int_equal(cx_part_create(&options, 0, &part, &error), CX_ERROR_IO);
    assert_null(part);
    assert_non_null(strstr(error.message, "file"));
    sample_free(&sample);
    folder_remove(&folder);
}

/* `plan` counts what a part would hold: all datasets but texts, ids and names. */
static void check_planned_bytes(bool by_words) {
    struct folder folder = folder_make();
    struct cx_store_options options = sample_options(folder.path);
    struct cx_error error = {0};
    struct cx_part_summary summary;
    struct cx_store_size sizes[4] = {{0}};
    uint64_t bytes = 0;
    options.by_words = by_words;
    for (uint64_t s = 0; s < 4; s++) {
        struct sample sample = sample_make(&options, s, sample_tokens(s));
        sizes[s] = (struct cx_store_size){sample.sequence.tokens, sample.sequence.words};
        sample_free(&sample);
    }
    must(sample_write_part(&options, 0, 4, &summary, &error), &error);
    hid_t file = H5Fopen(folder_file(&folder, first_part), H5F_ACC_RDONLY, H5P_DEFAULT);
    for (size_t i = 0; i < cx_store_row_count; i++) {
        const struct cx_store_row *row = &cx_store_rows[i];
        hid_t dataset = row->type == CX_STORE_TEXT || row->field == CX_FIELD_TEXT || row->field == CX_FIELD_PAIR ? -1 : H5Dopen2(file, row->name, H5P_DEFAULT);
        if (dataset < 0)
            continue;
        hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
        uint64_t elements = (uint64_t)H5Sget_simple_extent_npoints(space) - (row->shape == CX_SHAPE_OFFSET);
        bytes += elements * H5Tget_size(type);
        H5Sclose(space), H5Tclose(type), H5Dclose(dataset);
    }
    H5Fclose(file);
    assert_int_equal(cx_store_bytes(&options, sizes, 4), bytes);
    folder_remove(&folder);
}

static void planned_bytes_are_those_written(void **state) {
    (void)state;
    check_planned_bytes(false);
    check_planned_bytes(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float32_reads_back),     cmocka_unit_test(fewer_bits_read_back),
        cmocka_unit_test(files_are_plain),        cmocka_unit_test(bytes_do_not_depend_on_threads),
        cmocka_unit_test(parts_overlap),          cmocka_unit_test(chunk_borders),
        cmocka_unit_test(incompressible_chunks),  cmocka_unit_test(a_part_may_be_empty),
        cmocka_unit_test(failures_leave_nothing), cmocka_unit_test(planned_bytes_are_those_written),
    };
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
