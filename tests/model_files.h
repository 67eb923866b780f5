/* Small models written by the tests themselves: a folder of its own, a list of tensors that can be spoiled, and the files they make. */
#ifndef CONTEXTURE_TEST_MODEL_FILES_H
#define CONTEXTURE_TEST_MODEL_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

/* A new folder in the current one. Anything that fails in these functions ends the test program. */
char *test_folder_create(void);
void test_folder_remove(char *folder);

/* "folder/name"; valid until the eighth call after this one. */
const char *test_path(const char *folder, const char *name);
void test_write(const char *folder, const char *name, const void *data, size_t size);
void test_write_text(const char *folder, const char *name, const char *text);
void test_unlink(const char *folder, const char *name);

/* Writes 8 bytes of length, the header and `data_size` bytes of data (zeros if NULL). */
void test_write_safetensors(const char *folder, const char *name, const char *header, const void *data, size_t data_size);

/* Fails the test unless `status` is the expected one and `piece` is in the message; prints both. */
void test_expect_failure(const char *what, enum cx_status found, const struct cx_error *error, enum cx_status expected, const char *piece);

/* Pseudo-random numbers that are the same everywhere; any seed but 0. */
uint64_t test_random(uint64_t *state);

struct test_tensor {
    char name[160];
    const char *dtype;
    size_t dimensions, shape[4];
    unsigned char *data;
    size_t size;
    unsigned shard;
};

struct test_model {
    size_t layers, heads, hidden_size, intermediate_size, vocabulary_size, max_positions, token_types;
    struct test_tensor *tensors;
    size_t count;
    char config[2048];
};

/* Layers 2, heads 2, hidden 8, intermediate 12, vocabulary 11, positions 6, types 2, and a pooler; element k of tensor t is test_value(t, k). */
void test_model_create(struct test_model *model, const char *dtype);
void test_model_destroy(struct test_model *model);
float test_value(size_t tensor, size_t element);

/* Tensors by name; the test ends if there is none. */
struct test_tensor *test_model_tensor(struct test_model *model, const char *name);
void test_model_add(struct test_model *model, const char *name, const char *dtype, size_t rows, size_t columns);
void test_model_drop(struct test_model *model, const char *name);
void test_tensor_reshape(struct test_tensor *tensor, const char *dtype, size_t rows, size_t columns);
/* Gives every name that ends in `suffix` another end. */
void test_model_rename(struct test_model *model, const char *suffix, const char *other);
void test_model_prefix(struct test_model *model, const char *prefix);

/* config.json and model.safetensors; the data begin `misaligned` bytes behind a multiple of 8. */
void test_model_write(const struct test_model *model, const char *folder, unsigned misaligned);
/* config.json, two shards by test_tensor.shard, and their index. */
void test_model_write_sharded(const struct test_model *model, const char *folder);

#endif
