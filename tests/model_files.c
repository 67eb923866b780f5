#include "model_files.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { most_tensors = 64, text_limit = 1 << 16 };

static void require(bool fine, const char *what) {
    if (fine)
        return;
    perror(what);
    exit(1);
}

char *test_folder_create(void) {
    char *folder = strdup("contexture-model-XXXXXX");
    require(folder && mkdtemp(folder), "mkdtemp");
    return folder;
}

void test_folder_remove(char *folder) {
    DIR *list = opendir(folder);
    require(list != NULL, folder);
    for (struct dirent *entry; (entry = readdir(list));) {
        const char *path = test_path(folder, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && unlink(path) != 0)
            (void)rmdir(path);
    }
    closedir(list);
    require(rmdir(folder) == 0, folder);
    free(folder);
}

const char *test_path(const char *folder, const char *name) {
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

void test_write(const char *folder, const char *name, const void *data, size_t size) {
    /* A new file: cutting an old one short makes ext4 write it out at once, which takes milliseconds. */
    (void)unlink(test_path(folder, name));
    FILE *file = fopen(test_path(folder, name), "wb");
    require(file != NULL, name);
    require(size == 0 || fwrite(data, 1, size, file) == size, name);
    require(fclose(file) == 0, name);
}

void test_write_text(const char *folder, const char *name, const char *text) {
    test_write(folder, name, text, strlen(text));
}

void test_unlink(const char *folder, const char *name) {
    require(unlink(test_path(folder, name)) == 0, name);
}

void test_write_safetensors(const char *folder, const char *name, const char *header, const void *data, size_t data_size) {
    size_t length = strlen(header);
    unsigned char *bytes = calloc(1, 8 + length + data_size);
    require(bytes != NULL, "calloc");
    for (int k = 0; k < 8; k++)
        bytes[k] = (unsigned char)((uint64_t)length >> 8 * k);
    memcpy(bytes + 8, header, length);
    if (data && data_size)
        memcpy(bytes + 8 + length, data, data_size);
    test_write(folder, name, bytes, 8 + length + data_size);
    free(bytes);
}

void test_expect_failure(const char *what, enum cx_status found, const struct cx_error *error, enum cx_status expected, const char *piece) {
    if (found == expected && error->status == expected && strstr(error->message, piece))
        return;
    fprintf(stderr, "%s:\n  expected %s with \"%s\"\n  found    %s with \"%s\"\n", what, cx_status_name(expected), piece, cx_status_name(found),
            error->message);
    exit(1);
}

uint64_t test_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A sixty-fourth of a small integer: exact in all three element types. */
float test_value(size_t tensor, size_t element) {
    return (float)((int)((element * 37 + tensor * 11) % 101) - 50) / 64.0f;
}

static size_t dtype_size(const char *dtype) {
    return strcmp(dtype, "F32") == 0 || strcmp(dtype, "I32") == 0 ? 4 : strcmp(dtype, "F64") == 0 || strcmp(dtype, "I64") == 0 ? 8 : 2;
}

static void store_value(const char *dtype, unsigned char *place, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t half = (uint16_t)(bits >> 16);
    if (strcmp(dtype, "F32") == 0) {
        memcpy(place, &bits, sizeof bits);
    } else if (strcmp(dtype, "BF16") == 0) {
        memcpy(place, &half, sizeof half);
    } else if (strcmp(dtype, "F16") == 0) {
        /* Of test values, which are 0 or normal, and need 6 bits of mantissa. */
        uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u), rest = 0;
        if (value != 0)
            rest = (uint16_t)((((bits >> 23 & 0xFFu) - 112u) << 10) | (bits >> 13 & 0x3FFu));
        half = sign | rest;
        memcpy(place, &half, sizeof half);
    }
}

void test_tensor_reshape(struct test_tensor *tensor, const char *dtype, size_t rows, size_t columns) {
    free(tensor->data);
    tensor->dtype = dtype;
    tensor->dimensions = columns ? 2 : 1;
    tensor->shape[0] = rows;
    tensor->shape[1] = columns;
    size_t count = rows * (columns ? columns : 1);
    tensor->size = count * dtype_size(dtype);
    tensor->data = calloc(1, tensor->size ? tensor->size : 1);
    require(tensor->data != NULL, "calloc");
}

void test_model_add(struct test_model *model, const char *name, const char *dtype, size_t rows, size_t columns) {
    require(model->count < most_tensors, "the list of test tensors is full");
    size_t number = model->count++;
    struct test_tensor *tensor = &model->tensors[number];
    (void)snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->shard = number % 3 == 0;
    test_tensor_reshape(tensor, dtype, rows, columns);
    for (size_t k = 0; k < tensor->size / dtype_size(dtype); k++)
        store_value(dtype, tensor->data + k * dtype_size(dtype), test_value(number, k));
}

static void add_dense(struct test_model *model, const char *dtype, size_t layer, const char *name, size_t rows, size_t columns) {
    char full[128];
    (void)snprintf(full, sizeof full, "encoder.layer.%zu.%s.weight", layer, name);
    test_model_add(model, full, dtype, rows, columns);
    (void)snprintf(full, sizeof full, "encoder.layer.%zu.%s.bias", layer, name);
    test_model_add(model, full, dtype, rows, 0);
}

void test_model_create(struct test_model *model, const char *dtype) {
    size_t d = 8, f = 12;
    *model =
        (struct test_model){.layers = 2, .heads = 2, .hidden_size = d, .intermediate_size = f, .vocabulary_size = 11, .max_positions = 6, .token_types = 2};
    model->tensors = calloc(most_tensors, sizeof *model->tensors);
    require(model->tensors != NULL, "calloc");
    test_model_add(model, "embeddings.word_embeddings.weight", dtype, model->vocabulary_size, d);
    test_model_add(model, "embeddings.position_embeddings.weight", dtype, model->max_positions, d);
    test_model_add(model, "embeddings.token_type_embeddings.weight", dtype, model->token_types, d);
    test_model_add(model, "embeddings.LayerNorm.weight", dtype, d, 0);
    test_model_add(model, "embeddings.LayerNorm.bias", dtype, d, 0);
    for (size_t layer = 0; layer < model->layers; layer++) {
        add_dense(model, dtype, layer, "attention.self.query", d, d);
        add_dense(model, dtype, layer, "attention.self.key", d, d);
        add_dense(model, dtype, layer, "attention.self.value", d, d);
        add_dense(model, dtype, layer, "attention.output.dense", d, d);
        add_dense(model, dtype, layer, "attention.output.LayerNorm", d, 0);
        add_dense(model, dtype, layer, "intermediate.dense", f, d);
        add_dense(model, dtype, layer, "output.dense", d, f);
        add_dense(model, dtype, layer, "output.LayerNorm", d, 0);
    }
    test_model_add(model, "pooler.dense.weight", dtype, d, d);
    test_model_add(model, "pooler.dense.bias", dtype, d, 0);
    (void)snprintf(model->config, sizeof model->config,
                   "{\"model_type\": \"bert\", \"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"hidden_size\": 8, \"intermediate_size\": 12, "
                   "\"vocab_size\": 11, \"max_position_embeddings\": 6, \"type_vocab_size\": 2, \"layer_norm_eps\": 1e-12, \"hidden_act\": \"gelu\"}");
}

void test_model_destroy(struct test_model *model) {
    for (size_t k = 0; k < model->count; k++)
        free(model->tensors[k].data);
    free(model->tensors);
}

struct test_tensor *test_model_tensor(struct test_model *model, const char *name) {
    for (size_t k = 0; k < model->count; k++)
        if (strcmp(model->tensors[k].name, name) == 0)
            return &model->tensors[k];
    fprintf(stderr, "the test model has no tensor %s\n", name);
    exit(1);
}

void test_model_drop(struct test_model *model, const char *name) {
    struct test_tensor *tensor = test_model_tensor(model, name);
    free(tensor->data);
    model->count--;
    memmove(tensor, tensor + 1, (size_t)(model->tensors + model->count - tensor) * sizeof *tensor);
}

void test_model_rename(struct test_model *model, const char *suffix, const char *other) {
    for (size_t k = 0; k < model->count; k++) {
        char *name = model->tensors[k].name;
        size_t length = strlen(name);
        if (length >= strlen(suffix) && strcmp(name + length - strlen(suffix), suffix) == 0)
            (void)snprintf(name + length - strlen(suffix), sizeof model->tensors[k].name - length + strlen(suffix), "%s", other);
    }
}

void test_model_prefix(struct test_model *model, const char *prefix) {
    for (size_t k = 0; k < model->count; k++) {
        char renamed[sizeof model->tensors[k].name];
        (void)snprintf(renamed, sizeof renamed, "%s%.128s", prefix, model->tensors[k].name);
        memcpy(model->tensors[k].name, renamed, sizeof renamed);
    }
}

/* --- writing --- */

struct text {
    char *bytes;
    size_t length;
};

__attribute__((format(printf, 2, 3))) static void append(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text->bytes + text->length, text_limit - text->length, format, arguments);
    va_end(arguments);
    require(length >= 0 && (size_t)length < text_limit - text->length, "the text of a test file is too long");
    text->length += (size_t)length;
}

static void append_tensor(struct text *header, const struct test_tensor *tensor, size_t begin) {
    append(header, ", \"%s\": {\"dtype\": \"%s\", \"shape\": [", tensor->name, tensor->dtype);
    for (size_t k = 0; k < tensor->dimensions; k++)
        append(header, k ? ", %zu" : "%zu", tensor->shape[k]);
    append(header, "], \"data_offsets\": [%zu, %zu]}", begin, begin + tensor->size);
}

/* The tensors of one shard, or all of them. */
static void write_tensors(const struct test_model *model, const char *folder, const char *name, bool all, unsigned shard, unsigned misaligned) {
    struct text header = {calloc(1, text_limit), 0};
    size_t size = 0;
    for (size_t k = 0; k < model->count; k++)
        size += model->tensors[k].size;
    unsigned char *data = calloc(1, size + 1);
    require(header.bytes && data, "calloc");
    size = 0;
    append(&header, "{\"__metadata__\": {\"format\": \"pt\"}");
    for (size_t k = 0; k < model->count; k++) {
        const struct test_tensor *tensor = &model->tensors[k];
        if (!all && tensor->shard != shard)
            continue;
        append_tensor(&header, tensor, size);
        memcpy(data + size, tensor->data, tensor->size);
        size += tensor->size;
    }
    append(&header, "}");
    while (header.length % 8 != misaligned)
        append(&header, " ");
    test_write_safetensors(folder, name, header.bytes, data, size);
    free(header.bytes);
    free(data);
}

void test_model_write(const struct test_model *model, const char *folder, unsigned misaligned) {
    test_write_text(folder, "config.json", model->config);
    write_tensors(model, folder, "model.safetensors", true, 0, misaligned);
}

void test_model_write_sharded(const struct test_model *model, const char *folder) {
    static const char *const names[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
    struct text index = {calloc(1, text_limit), 0};
    require(index.bytes != NULL, "calloc");
    test_write_text(folder, "config.json", model->config);
    append(&index, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
    for (size_t k = 0; k < model->count; k++)
        append(&index, "%s\"%s\": \"%s\"", k ? ", " : "", model->tensors[k].name, names[model->tensors[k].shard]);
    append(&index, "}}");
    test_write(folder, "model.safetensors.index.json", index.bytes, index.length);
    for (unsigned shard = 0; shard < 2; shard++)
        write_tensors(model, folder, names[shard], false, shard, 0);
    free(index.bytes);
}
