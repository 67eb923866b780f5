#include "weights.h"

#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"

/* struct layer_tensors member, struct cx_layer_weights member */
#define MATRIX_LIST(X)                                                                                                                                         \
    X(query, query)                                                                                                                                            \
    X(key, key)                                                                                                                                                \
    X(value, value)                                                                                                                                            \
    X(attention_output, attention_output)                                                                                                                      \
    X(intermediate, intermediate)                                                                                                                              \
    X(output, output)

#define VECTOR_LIST(X)                                                                                                                                         \
    X(query_bias, query_bias)                                                                                                                                  \
    X(key_bias, key_bias)                                                                                                                                      \
    X(value_bias, value_bias)                                                                                                                                  \
    X(attention_output_bias, attention_output_bias)                                                                                                            \
    X(intermediate_bias, intermediate_bias)                                                                                                                    \
    X(output_bias, output_bias)                                                                                                                                \
    X(norm1_scale, attention_norm_scale)                                                                                                                       \
    X(norm1_shift, attention_norm_shift)                                                                                                                       \
    X(norm2_scale, output_norm_scale)                                                                                                                          \
    X(norm2_shift, output_norm_shift)

#define DERIVED_LIST(X)                                                                                                                                        \
    X(value_to_ff)                                                                                                                                             \
    X(ff_bias_slope)                                                                                                                                           \
    X(ff_bias_offset)                                                                                                                                          \
    X(kept[0])                                                                                                                                                 \
    X(kept[1])                                                                                                                                                 \
    X(norm2_scale_kept)

static enum cx_status upload(struct cx_backend *backend, const float *values, size_t count, struct cx_tensor **tensor, struct cx_error *error) {
    enum cx_status status = backend->operations->tensor_create(backend, CX_ELEMENT_FLOAT, count, tensor, error);
    return status ? status : backend->operations->write(backend, *tensor, count, values, error);
}

enum cx_status vector_upload(struct cx_backend *backend, const struct cx_weight *weight, struct cx_tensor **tensor, struct cx_error *error) {
    float *values = NULL;
    size_t count = weight->rows * weight->columns;
    enum cx_status status = cx_allocate(count, sizeof *values, weight->name, &values, error);
    if (status)
        return status;
    if (!backend->is_given_weights)
        cx_weight_to_float(weight, values);
    status = upload(backend, values, count, tensor, error);
    free(values);
    return status;
}

/* out [in, d] = the columns of W_O [d, in], each less its mean over d, times γ: what LN1's linear part makes of W_O's rows. */
static void centre_output_weights(const float *output, const float *scale, size_t width, float *out) {
    for (size_t input = 0; input < width; input++) {
        double mean = 0;
        for (size_t dimension = 0; dimension < width; dimension++)
            mean += output[dimension * width + input];
        mean /= (double)width;
        for (size_t dimension = 0; dimension < width; dimension++)
            out[input * width + dimension] = (float)(scale[dimension] * (output[dimension * width + input] - mean));
    }
}

/* Products with W1 that do not depend on the input. They run on the backend, with its own dense layer. */
static enum cx_status derive(struct cx_backend *backend, const struct cx_layer_weights *weights, struct layer_tensors *tensors, struct cx_error *error) {
    const struct cx_backend_operations *operations = backend->operations;
    const size_t d = backend->config.hidden_size, f = backend->config.intermediate_size;
    float *attention_output = NULL, *scale = NULL, *centred = NULL;
    struct cx_tensor *centred_tensor = NULL, *centred_bias = NULL;
    enum cx_status status;

    if ((status = cx_allocate(d * d, sizeof(float), weights->attention_output.name, &attention_output, error)) ||
        (status = cx_allocate(d * d, sizeof(float), "centred attention output weights", &centred, error)) ||
        (status = cx_allocate(d, sizeof(float), weights->attention_norm_scale.name, &scale, error)))
        goto cleanup;
    if (!backend->is_given_weights) {
        cx_weight_to_float(&weights->attention_output, attention_output);
        cx_weight_to_float(&weights->attention_norm_scale, scale);
        centre_output_weights(attention_output, scale, d, centred);
    }

    if ((status = upload(backend, centred, d * d, &centred_tensor, error)) ||
        (status = operations->tensor_create(backend, CX_ELEMENT_FLOAT, d * f, &tensors->value_to_ff, error)) ||
        (status = operations->linear(backend, CX_LINEAR_PARTS, d, centred_tensor, tensors->intermediate, NULL, NULL, tensors->value_to_ff, error)) ||
        (status = operations->tensor_create(backend, CX_ELEMENT_FLOAT, d, &centred_bias, error)) ||
        (status = operations->norm_linear(backend, 1, tensors->attention_output_bias, tensors->norm1_scale, NULL, NULL, centred_bias, error)) ||
        (status = operations->tensor_create(backend, CX_ELEMENT_FLOAT, f, &tensors->ff_bias_slope, error)) ||
        (status = operations->linear(backend, CX_LINEAR_PARTS, 1, centred_bias, tensors->intermediate, NULL, NULL, tensors->ff_bias_slope, error)) ||
        (status = operations->tensor_create(backend, CX_ELEMENT_FLOAT, f, &tensors->ff_bias_offset, error)) ||
        (status = operations->linear(backend, CX_LINEAR_PARTS, 1, tensors->norm1_shift, tensors->intermediate, tensors->intermediate_bias, NULL,
                                     tensors->ff_bias_offset, error)))
        goto cleanup;

cleanup:
    operations->tensor_destroy(backend, centred_bias);
    operations->tensor_destroy(backend, centred_tensor);
    free(scale);
    free(centred);
    free(attention_output);
    return status;
}

enum cx_status layer_tensors_create(struct cx_backend *backend, const struct cx_layer_weights *weights, bool with_feed_forward, struct layer_tensors *tensors,
                                    struct cx_error *error) {
    const struct cx_backend_operations *operations = backend->operations;
    enum cx_status status = CX_OK;
    memset(tensors, 0, sizeof *tensors);
#define CREATE_MATRIX(member, source)                                                                                                                          \
    if (status == CX_OK)                                                                                                                                       \
        status = operations->matrix_create(backend, &weights->source, &tensors->member, error);
#define UPLOAD_VECTOR(member, source)                                                                                                                          \
    if (status == CX_OK)                                                                                                                                       \
        status = vector_upload(backend, &weights->source, &tensors->member, error);
    MATRIX_LIST(CREATE_MATRIX)
    VECTOR_LIST(UPLOAD_VECTOR)
#undef CREATE_MATRIX
#undef UPLOAD_VECTOR
    if (status == CX_OK && with_feed_forward)
        status = operations->pair_matrix_create(backend, &weights->output, &tensors->pair_output, error);
    if (status == CX_OK && with_feed_forward)
        status = derive(backend, weights, tensors, error);
    if (status != CX_OK)
        layer_tensors_destroy(backend, tensors);
    return status;
}

/* A copy of the weight whose masked rows (of a vector: elements) are 0. */
static enum cx_status copy_kept(const struct cx_backend *backend, const struct cx_weight *weight, const size_t *masked, size_t count, float **values,
                                struct cx_error *error) {
    const size_t size = weight->rows > 1 ? weight->columns : 1;
    enum cx_status status = cx_allocate(weight->rows * weight->columns, sizeof **values, weight->name, values, error);
    if (status != CX_OK)
        return status;
    if (!backend->is_given_weights)
        cx_weight_to_float(weight, *values);
    for (size_t k = 0; k < count; k++)
        memset(*values + masked[k] * size, 0, size * sizeof **values);
    return CX_OK;
}

static enum cx_status upload_kept(struct cx_backend *backend, const size_t *masked, size_t count, struct cx_tensor **kept, struct cx_error *error) {
    const size_t width = backend->config.hidden_size;
    float *values = NULL;
    enum cx_status status = cx_allocate(width, sizeof *values, "masked dimensions", &values, error);
    for (size_t k = 0; k < width && status == CX_OK; k++)
        values[k] = 1;
    for (size_t k = 0; k < count && status == CX_OK; k++)
        values[masked[k]] = 0;
    if (status == CX_OK)
        status = upload(backend, values, width, kept, error);
    free(values);
    return status;
}

enum cx_status layer_tensors_mask(struct cx_backend *backend, const struct cx_layer_weights *weights, const size_t *masked, size_t count,
                                  struct layer_tensors *tensors, struct cx_error *error) {
    const size_t *masked2 = masked + count;
    struct cx_weight output = weights->output;
    float *scale = NULL, *values = NULL;
    enum cx_status status = CX_OK;
    for (size_t norm = 0; norm < CX_NORMS && status == CX_OK; norm++)
        status = upload_kept(backend, masked + norm * count, count, &tensors->kept[norm], error);
    if (status != CX_OK || (status = copy_kept(backend, &weights->output_norm_scale, masked2, count, &scale, error)) ||
        (status = upload(backend, scale, backend->config.hidden_size, &tensors->norm2_scale_kept, error)) ||
        (status = copy_kept(backend, &weights->output, masked2, count, &values, error)))
        goto cleanup;
    output.data = values;
    output.dtype = CX_FLOAT32;
    output.file = 0;
    status = backend->operations->pair_matrix_create(backend, &output, &tensors->pair_output_kept, error);

cleanup:
    free(values);
    free(scale);
    return status;
}

void layer_tensors_destroy(struct cx_backend *backend, struct layer_tensors *tensors) {
    const struct cx_backend_operations *operations = backend->operations;
#define DESTROY_MATRIX(member, source) operations->matrix_destroy(backend, tensors->member);
#define DESTROY_VECTOR(member, source) operations->tensor_destroy(backend, tensors->member);
#define DESTROY_DERIVED(member)        operations->tensor_destroy(backend, tensors->member);
    DERIVED_LIST(DESTROY_DERIVED)
    operations->pair_matrix_destroy(backend, tensors->pair_output_kept);
    operations->pair_matrix_destroy(backend, tensors->pair_output);
    VECTOR_LIST(DESTROY_VECTOR)
    MATRIX_LIST(DESTROY_MATRIX)
#undef DESTROY_MATRIX
#undef DESTROY_VECTOR
#undef DESTROY_DERIVED
    memset(tensors, 0, sizeof *tensors);
}
