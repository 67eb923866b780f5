/*
 * Dense products by cuBLASLt.
 *
 * cuBLASLt counts columns first, so a row-major y [rows, out] = x [rows, in] W is handed over as its transpose: y' [out, rows] = W' x', with "A" = W and
 * "B" = x. Algorithms that split the sum over `in` among blocks are not allowed, since their order of summing may change from run to run. float32 means
 * float32: tensor cores' TF32 is used where a product asks for it.
 *
 * The algorithm is asked for once per shape, and depends on the shape alone, never on what was computed before. It is kept, with its descriptors, in a hash
 * table that grows: batches of short texts have a few hundred different numbers of tokens, and every one of them some eight shapes, in all layers the same.
 */
#include "cuda_backend.cuh"
#include "cuda_blas.cuh"

#include <cmath>
#include <cstdlib>
#include <cstring>

/* Workspace is for split sums above all, which are not allowed here. */
enum { workspace_bytes = 4 << 20, most_alignment = 256, least_places = 256, most_places = 1 << 15 };

/* All that the choice of an algorithm depends on. Compared as bytes, so it has no gaps that are not zeroed. */
struct product_key {
    size_t rows, in, out, batches, x_stride, weight_stride, y_stride, x_distance, weight_distance, y_distance;
    unsigned is_half, is_tf32, transposed, bias, residual, x_alignment, weight_alignment, y_alignment, used, unused;
};

struct product_entry {
    struct product_key key;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t weight, x, y;
    cublasLtMatmulAlgo_t algorithm;
};

struct cuda_products {
    struct cuda_blas blas;
    cublasLtHandle_t handle;
    struct product_entry *entries; /* [places], a power of two; at most half of them are in use. An entry is at its hash, or at the next that was free */
    size_t places, count;
    struct cuda_list workspace;
};

static enum cx_status product_result(struct cuda_backend *cuda, const char *operation, const char *what, cublasStatus_t code, struct cx_error *error) {
    if (code == CUBLAS_STATUS_SUCCESS)
        return CX_OK;
    /* cuBLASLt says of a device that is lost only that something failed. */
    const cudaError_t cause = cudaStreamQuery(cuda->stream);
    if (cause != cudaSuccess && cause != cudaErrorNotReady)
        return cuda_result(cuda, operation, what, cause, error);
    const struct cuda_blas *blas = &cuda->products->blas;
    return cuda_failure(cuda, code == CUBLAS_STATUS_ALLOC_FAILED ? CX_ERROR_MEMORY : CX_ERROR_DEVICE, operation, what, blas->cublasLtGetStatusName(code),
                        blas->cublasLtGetStatusString(code), error);
}

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
    key.is_tf32 = product->is_tf32;
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

/* FNV-1a over the key's bytes; then the first place from there on that has the key, or is free. */
static struct product_entry *place_of(struct product_entry *entries, size_t places, const struct product_key *key) {
    const unsigned char *bytes = reinterpret_cast<const unsigned char *>(key);
    uint64_t hash = 0xCBF29CE484222325ull;
    for (size_t k = 0; k < sizeof *key; k++)
        hash = (hash ^ bytes[k]) * 0x100000001B3ull;
    size_t place = (hash ^ hash >> 32) & (places - 1);
    while (entries[place].key.used && memcmp(&entries[place].key, key, sizeof *key) != 0)
        place = (place + 1) & (places - 1);
    return &entries[place];
}

static void destroy_entry(const struct cuda_blas *blas, struct product_entry *entry) {
    if (entry->operation)
        (void)blas->cublasLtMatmulDescDestroy(entry->operation);
    if (entry->weight)
        (void)blas->cublasLtMatrixLayoutDestroy(entry->weight);
    if (entry->x)
        (void)blas->cublasLtMatrixLayoutDestroy(entry->x);
    if (entry->y)
        (void)blas->cublasLtMatrixLayoutDestroy(entry->y);
    memset(entry, 0, sizeof *entry);
}

static void forget_all(struct cuda_products *products) {
    for (size_t k = 0; k < products->places; k++)
        destroy_entry(&products->blas, &products->entries[k]);
    products->count = 0;
}

/* For one entry more. */
static enum cx_status make_room(struct cuda_products *products, struct cx_error *error) {
    const size_t places = products->places > 0 ? 2 * products->places : static_cast<size_t>(least_places);
    struct product_entry *entries;
    if (products->count < products->places / 2)
        return CX_OK;
    if (products->places == most_places) {
        forget_all(products);
        return CX_OK;
    }
    enum cx_status status = cx_allocate(places, sizeof *entries, "the products' algorithms", &entries, error);
    if (status != CX_OK)
        return status;
    for (size_t k = 0; k < products->places; k++)
        if (products->entries[k].key.used)
            *place_of(entries, places, &products->entries[k].key) = products->entries[k];
    free(products->entries);
    products->entries = entries;
    products->places = places;
    return CX_OK;
}

static cublasStatus_t create_layout(const struct cuda_blas *blas, cublasLtMatrixLayout_t *layout, bool is_half, size_t rows, size_t columns, size_t stride,
                                    size_t batches, size_t distance) {
    cublasStatus_t code = blas->cublasLtMatrixLayoutCreate(layout, is_half ? CUDA_R_16F : CUDA_R_32F, rows, columns, static_cast<int64_t>(stride));
    const int32_t count = static_cast<int32_t>(batches);
    const int64_t step = static_cast<int64_t>(distance);
    if (code == CUBLAS_STATUS_SUCCESS && batches > 1)
        code = blas->cublasLtMatrixLayoutSetAttribute(*layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count);
    if (code == CUBLAS_STATUS_SUCCESS && batches > 1)
        code = blas->cublasLtMatrixLayoutSetAttribute(*layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step);
    return code;
}

static cublasStatus_t create_descriptors(const struct cuda_blas *blas, struct product_entry *entry, const struct product_key *key) {
    const cublasOperation_t transpose = CUBLAS_OP_T;
    const cublasLtEpilogue_t with_bias = CUBLASLT_EPILOGUE_BIAS;
    const size_t weight_rows = key->transposed ? key->in : key->out, weight_columns = key->transposed ? key->out : key->in;
    cublasStatus_t code = blas->cublasLtMatmulDescCreate(&entry->operation, key->is_tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (code == CUBLAS_STATUS_SUCCESS && key->transposed)
        code = blas->cublasLtMatmulDescSetAttribute(entry->operation, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof transpose);
    if (code == CUBLAS_STATUS_SUCCESS && key->bias)
        code = blas->cublasLtMatmulDescSetAttribute(entry->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &with_bias, sizeof with_bias);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = create_layout(blas, &entry->weight, key->is_half, weight_rows, weight_columns, key->weight_stride, key->batches, key->weight_distance);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = create_layout(blas, &entry->x, key->is_half, key->in, key->rows, key->x_stride, key->batches, key->x_distance);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = create_layout(blas, &entry->y, false, key->out, key->rows, key->y_stride, key->batches, key->y_distance);
    return code;
}

static cublasStatus_t limit(const struct cuda_blas *blas, cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
                            uint32_t value) {
    return blas->cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
}

static cublasStatus_t choose_algorithm(const struct cuda_products *products, struct product_entry *entry, const struct product_key *key) {
    const struct cuda_blas *blas = &products->blas;
    const size_t workspace = workspace_bytes;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    cublasStatus_t code = blas->cublasLtMatmulPreferenceCreate(&preference);
    if (code != CUBLAS_STATUS_SUCCESS)
        return code;
    if ((code = blas->cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace)) ==
            CUBLAS_STATUS_SUCCESS &&
        (code = limit(blas, preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_NONE)) == CUBLAS_STATUS_SUCCESS &&
        (code = limit(blas, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key->weight_alignment)) == CUBLAS_STATUS_SUCCESS &&
        (code = limit(blas, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key->x_alignment)) == CUBLAS_STATUS_SUCCESS &&
        (code = limit(blas, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key->y_alignment)) == CUBLAS_STATUS_SUCCESS &&
        (code = limit(blas, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key->y_alignment)) == CUBLAS_STATUS_SUCCESS)
        code = blas->cublasLtMatmulAlgoGetHeuristic(products->handle, entry->operation, entry->weight, entry->x, entry->y, entry->y, preference, 1, &found,
                                                    &count);
    if (code == CUBLAS_STATUS_SUCCESS && (count < 1 || found.state != CUBLAS_STATUS_SUCCESS))
        code = CUBLAS_STATUS_NOT_SUPPORTED;
    if (code == CUBLAS_STATUS_SUCCESS)
        entry->algorithm = found.algo;
    (void)blas->cublasLtMatmulPreferenceDestroy(preference);
    return code;
}

static enum cx_status find_entry(struct cuda_backend *cuda, const struct cuda_product *product, struct product_entry **found, struct cx_error *error) {
    struct cuda_products *products = cuda->products;
    const struct product_key key = key_of(product);
    enum cx_status status = make_room(products, error);
    if (status != CX_OK)
        return status;
    struct product_entry *entry = *found = place_of(products->entries, products->places, &key);
    if (entry->key.used)
        return CX_OK;
    status = product_result(cuda, product->operation, "describing a product", create_descriptors(&products->blas, entry, &key), error);
    if (status == CX_OK)
        status = product_result(cuda, product->operation, "choosing a product's algorithm", choose_algorithm(products, entry, &key), error);
    if (status != CX_OK) {
        destroy_entry(&products->blas, entry);
        return status;
    }
    entry->key = key;
    products->count++;
    return CX_OK;
}

enum cx_status cuda_multiply(struct cuda_backend *cuda, const struct cuda_product *product, struct cx_error *error) {
    const struct cuda_products *products = cuda->products;
    const struct cuda_blas *blas = &products->blas;
    const float factor = ldexpf(1.0f, -product->weight_exponent), one = 1.0f, zero = 0.0f;
    struct product_entry *entry;
    if (product->rows == 0)
        return CX_OK;
    enum cx_status status = find_entry(cuda, product, &entry, error);
    if (status == CX_OK && product->bias)
        status = product_result(cuda, product->operation, "adding a bias",
                                blas->cublasLtMatmulDescSetAttribute(entry->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &product->bias, sizeof product->bias),
                                error);
    if (status != CX_OK)
        return status;
    const float *added = product->residual ? product->residual : product->y;
    return product_result(cuda, product->operation, "a matrix product",
                          blas->cublasLtMatmul(products->handle, entry->operation, &factor, product->weight, entry->weight, product->x, entry->x,
                                               product->residual ? &one : &zero, added, entry->y, product->y, entry->y, &entry->algorithm,
                                               products->workspace.memory, workspace_bytes, cuda->stream),
                          error);
}

bool cuda_products_usable(char *reason, size_t size) {
    struct cuda_blas blas;
    const bool usable = cuda_blas_open(&blas, reason, size);
    cuda_blas_close(&blas);
    return usable;
}

enum cx_status cuda_products_open(struct cuda_backend *cuda, struct cx_error *error) {
    char reason[512];
    enum cx_status status = cx_allocate(1, sizeof *cuda->products, "the dense products", &cuda->products, error);
    if (status != CX_OK)
        return status;
    if (!cuda_blas_open(&cuda->products->blas, reason, sizeof reason))
        return cx_fail(error, CX_ERROR_DEVICE, "the CUDA backend cannot be used, because %s: use --backend cpu or auto", reason);
    status = cuda_list_fit(cuda, &cuda->products->workspace, workspace_bytes, "the products' workspace", error);
    return status == CX_OK ? product_result(cuda, "open", "starting cuBLASLt", cuda->products->blas.cublasLtCreate(&cuda->products->handle), error) : status;
}

void cuda_products_close(struct cuda_backend *cuda) {
    struct cuda_products *products = cuda->products;
    if (!products)
        return;
    forget_all(products);
    free(products->entries);
    if (products->handle)
        (void)products->blas.cublasLtDestroy(products->handle);
    cuda_forget(cudaFree(products->workspace.memory));
    cuda_blas_close(&products->blas);
    free(products);
}
