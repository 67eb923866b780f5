#include "contexture/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "contexture/memory.h"

/* Every piece is followed by its length as 8 bytes, little-endian, so that the list of pieces can be read off the bytes from their end. */
struct cx_hasher {
    XXH3_state_t *state;
};

enum cx_status cx_hasher_create(struct cx_hasher **hasher, struct cx_error *error) {
    *hasher = malloc(sizeof **hasher);
    if (!*hasher)
        return cx_fail_memory(error, "a hash", sizeof **hasher);
    (*hasher)->state = XXH3_createState();
    if (!(*hasher)->state || XXH3_128bits_reset((*hasher)->state) != XXH_OK) {
        cx_hasher_destroy(*hasher);
        *hasher = NULL;
        return cx_fail(error, CX_ERROR_MEMORY, "not enough memory for a hash");
    }
    return CX_OK;
}

static void add_length(struct cx_hasher *hasher, uint64_t length) {
    unsigned char bytes[8];
    for (int k = 0; k < 8; k++)
        bytes[k] = (unsigned char)(length >> 8 * k);
    (void)XXH3_128bits_update(hasher->state, bytes, sizeof bytes);
}

void cx_hasher_add(struct cx_hasher *hasher, const void *data, size_t length) {
    if (length > 0)
        (void)XXH3_128bits_update(hasher->state, data, length);
    add_length(hasher, length);
}

enum cx_status cx_hasher_add_file(struct cx_hasher *hasher, const char *path, struct cx_error *error) {
    enum { block_size = 1 << 20 };
    enum cx_status status = CX_OK;
    uint64_t length = 0;
    unsigned char *block = NULL;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return cx_fail_errno(error, "open", path);
    block = malloc(block_size);
    if (!block) {
        status = cx_fail_memory(error, "reading a file", block_size);
        goto cleanup;
    }
    for (;;) {
        ssize_t count = read(descriptor, block, block_size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0) {
            status = cx_fail_errno(error, "read", path);
            goto cleanup;
        }
        if (count == 0)
            break;
        (void)XXH3_128bits_update(hasher->state, block, (size_t)count);
        length += (uint64_t)count;
    }
    add_length(hasher, length);

cleanup:
    free(block);
    close(descriptor);
    return status;
}

void cx_hasher_text(const struct cx_hasher *hasher, char digits[33]) {
    static const char hexadecimal[] = "0123456789abcdef";
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(hasher->state));
    for (int k = 0; k < 16; k++) {
        digits[2 * k] = hexadecimal[canonical.digest[k] >> 4];
        digits[2 * k + 1] = hexadecimal[canonical.digest[k] & 15];
    }
    digits[32] = '\0';
}

void cx_hasher_destroy(struct cx_hasher *hasher) {
    if (!hasher)
        return;
    XXH3_freeState(hasher->state);
    free(hasher);
}
