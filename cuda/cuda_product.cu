/*
 * Dense products by cuBLASLt.
 *
 * cuBLASLt counts columns first, so a row-major y [rows, out] = x [rows, in] W is handed over as its transpose: y' [out, rows] = W' x', with "A" = W and
 * "B" = x. The algorithm is asked for once per shape and kept, with its descriptors, in a small table. Algorithms that split the sum over `in` among blocks
 * are not allowed, since their order of summing may change from run to run. float32 means float32: tensor cores' TF32 is not used.
 */
#include "cuda_backend.cuh"

#include <cstdlib>
#include <cstring>

/* Workspace is for split sums above all, which are not allowed here. */
enum { workspace_bytes = 4 << 20, most_alignment = 256 };

/* All that the choice of an algorithm depends on. Compared as bytes, so it has no gaps that are not zeroed. */
struct product_key {
    size_t rows, in, out, batches, x_stride, weight_stride, y_stride, x_distance, weight_distance, y_distance;
    unsigned is_half, transposed, bias, residual, x_alignment, weight_alignment, y_alignment, used;
};

struct cuda_product_entry {
    struct product_key key;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t weight, x, y;
    cublasLtMatmulAlgo_t algorithm;
};

/* The largest power of two, at most 256, that divides all addresses of a batch of matrices. */
static unsigned alignment_of(const void *first, size_t stride, size_t distance, size_t batches, size_t element) {
    size_t bits = reinterpret_cast<uintptr_t>(first) | stride * element | most_alignment;
    if (batches > 1)
        bits |= distance * element;
    return static_cast<unsigned>(bits & (~bits + 1));
}

static struct product_key key_of(const struct cuda_product *product) {
    const size_t element = product->is_half ? sizeof(__half) : sizeof(float);
    struct product_key key;
    memset(&key, 0, sizeof key);
    key.rows = product->rows;
    key.in = product->in;
    key.out = product->out;
    key.batches = product->batches;
    key.x_stride = product->x_stride;
    key.weight_stride = product->weight_stride;
    key.y_stride = product->y_stride;
    key.x_distance = product->x_distance;
    key.weight_distance = product->weight_distance;
    key.y_distance = product->y_distance;
    key.is_half = product->is_half;
    key.transposed = product->transposed;
    key.bias = product->bias != NULL;
    key.residual = product->residual != NULL;
    key.x_alignment = alignment_of(product->x, product->x_stride, product->x_distance, product->batches, element);
    key.weight_alignment = alignment_of(product->weight, product->weight_stride, product->weight_distance, product->batches, element);
    key.y_alignment = alignment_of(product->y, product->y_stride, product->y_distance, product->batches, sizeof(float));
    if (product->residual) {
        unsigned other = alignment_of(product->residual, product->y_stride, product->y_distance, product->batches, sizeof(float));
        key.y_alignment = other < key.y_alignment ? other : key.y_alignment;
    }
    key.used = 1;
    return key;
}

/* FNV-1a over the key's bytes: the place in the table. */
static size_t place_of(const struct product_key *key) {
    const unsigned char *bytes = reinterpret_cast<const unsigned char *>(key);
    uint64_t hash = 0xCBF29CE484222325ull;
    for (size_t k = 0; k < sizeof *key; k++)
        hash = (hash ^ bytes[k]) * 0x100000001B3ull;
    return static_cast<size_t>(hash % CUDA_PRODUCTS);
}

static void destroy_entry(struct cuda_product_entry *entry) {
    if (entry->operation)
        (void)cublasLtMatmulDescDestroy(entry->operation);
    if (entry->weight)
        (void)cublasLtMatrixLayoutDestroy(entry->weight);
    if (entry->x)
        (void)cublasLtMatrixLayoutDestroy(entry->x);
    if (entry->y)
        (void)cublasLtMatrixLayoutDestroy(entry->y);
    memset(entry, 0, sizeof *entry);
}

static cublasStatus_t create_layout(cublasLtMatrixLayout_t *layout, bool is_half, size_t rows, size_t columns, size_t stride, size_t batches, size_t distance) {
    cublasStatus_t code = cublasLtMatrixLayoutCreate(layout, is_half ? CUDA_R_16F : CUDA_R_32F, rows, columns, static_cast<int64_t>(stride));
    const int32_t count = static_cast<int32_t>(batches);
    const int64_t step = static_cast<int64_t>(distance);
    if (code == CUBLAS_STATUS_SUCCESS && batches > 1)
        code = cublasLtMatrixLayoutSetAttribute(*layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count);
    if (code == CUBLAS_STATUS_SUCCESS && batches > 1)
        code = cublasLtMatrixLayoutSetAttribute(*layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step);
    return code;
}

static cublasStatus_t create_descriptors(struct cuda_product_entry *entry, const struct product_key *key) {
    const cublasOperation_t transpose = CUBLAS_OP_T;
    const cublasLtEpilogue_t with_bias = CUBLASLT_EPILOGUE_BIAS;
    const size_t weight_rows = key->transposed ? key->in : key->out, weight_columns = key->transposed ? key->out : key->in;
    cublasStatus_t code = cublasLtMatmulDescCreate(&entry->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (code == CUBLAS_STATUS_SUCCESS && key->transposed)
        code = cublasLtMatmulDescSetAttribute(entry->operation, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof transpose);
    if (code == CUBLAS_STATUS_SUCCESS && key->bias)
        code = cublasLtMatmulDescSetAttribute(entry->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &with_bias, sizeof with_bias);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = create_layout(&entry->weight, key->is_half, weight_rows, weight_columns, key->weight_stride, key->batches, key->weight_distance);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = create_layout(&entry->x, key->is_half, key->in, key->rows, key->x_stride, key->batches, key->x_distance);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = create_layout(&entry->y, false, key->out, key->rows, key->y_stride, key->batches, key->y_distance);
    return code;
}

static cublasStatus_t limit(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, uint32_t value) {
    return cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
}

static cublasStatus_t choose_algorithm(struct cuda_backend *cuda, struct cuda_product_entry *entry, const struct product_key *key) {
    const size_t workspace = workspace_bytes;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    cublasStatus_t code = cublasLtMatmulPreferenceCreate(&preference);
    if (code != CUBLAS_STATUS_SUCCESS)
        return code;
    if ((code = cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace)) ==
            CUBLAS_STATUS_SUCCESS &&
        (code = limit(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_NONE)) == CUBLAS_STATUS_SUCCESS &&
        (code = limit(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key->weight_alignment)) == CUBLAS_STATUS_SUCCESS &&
        (code = limit(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key->x_alignment)) == CUBLAS_STATUS_SUCCESS &&
        (code = limit(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key->y_alignment)) == CUBLAS_STATUS_SUCCESS &&
        (code = limit(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key->y_alignment)) == CUBLAS_STATUS_SUCCESS)
        code = cublasLtMatmulAlgoGetHeuristic(cuda->products, entry->operation, entry->weight, entry->x, entry->y, entry->y, preference, 1, &found, &count);
    if (code == CUBLAS_STATUS_SUCCESS && (count < 1 || found.state != CUBLAS_STATUS_SUCCESS))
        code = CUBLAS_STATUS_NOT_SUPPORTED;
    if (code == CUBLAS_STATUS_SUCCESS)
        entry->algorithm = found.algo;
    (void)cublasLtMatmulPreferenceDestroy(preference);
    return code;
}

/* The table's entry for this shape; another shape in its place has to go. */
static enum cx_status find_entry(struct cuda_backend *cuda, const struct cuda_product *product, struct cuda_product_entry **found, struct cx_error *error) {
    const struct product_key key = key_of(product);
    struct cuda_product_entry *entry = &cuda->product_entries[place_of(&key)];
    *found = entry;
    if (memcmp(&entry->key, &key, sizeof key) == 0)
        return CX_OK;
    destroy_entry(entry);
    enum cx_status status = cuda_product_result(cuda, product->operation, "describing a product", create_descriptors(entry, &key), error);
    if (status == CX_OK)
        status = cuda_product_result(cuda, product->operation, "choosing a product's algorithm", choose_algorithm(cuda, entry, &key), error);
    if (status == CX_OK)
        entry->key = key;
    else
        destroy_entry(entry);
    return status;
}

enum cx_status cuda_multiply(struct cuda_backend *cuda, const struct cuda_product *product, struct cx_error *error) {
    const float one = 1.0f, zero = 0.0f;
    struct cuda_product_entry *entry;
    if (product->rows == 0)
        return CX_OK;
    enum cx_status status = find_entry(cuda, product, &entry, error);
    if (status == CX_OK && product->bias)
        status = cuda_product_result(cuda, product->operation, "adding a bias",
                                     cublasLtMatmulDescSetAttribute(entry->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &product->bias, sizeof product->bias),
                                     error);
    if (status != CX_OK)
        return status;
    const float *added = product->residual ? product->residual : product->y;
    return cuda_product_result(cuda, product->operation, "a matrix product",
                               cublasLtMatmul(cuda->products, entry->operation, &one, product->weight, entry->weight, product->x, entry->x,
                                              product->residual ? &one : &zero, added, entry->y, product->y, entry->y, &entry->algorithm,
                                              cuda->product_workspace.memory, workspace_bytes, cuda->stream),
                               error);
}

enum cx_status cuda_products_open(struct cuda_backend *cuda, struct cx_error *error) {
    enum cx_status status = cx_allocate(CUDA_PRODUCTS, sizeof *cuda->product_entries, "the products' algorithms", &cuda->product_entries, error);
    if (status == CX_OK)
        status = cuda_list_fit(cuda, &cuda->product_workspace, workspace_bytes, "the products' workspace", error);
    return status == CX_OK ? cuda_product_result(cuda, "open", "starting cuBLASLt", cublasLtCreate(&cuda->products), error) : status;
}

void cuda_products_close(struct cuda_backend *cuda) {
    for (size_t k = 0; cuda->product_entries && k < CUDA_PRODUCTS; k++)
        destroy_entry(&cuda->product_entries[k]);
    free(cuda->product_entries);
    if (cuda->products)
        (void)cublasLtDestroy(cuda->products);
    cudaError_t code = cudaFree(cuda->product_workspace.memory);
    (void)code;
}
