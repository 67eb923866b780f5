/*
 * HDF5's driver for files in memory, with our own memory functions, so that the memory can be kept when the file is closed. H5Fget_file_image() will
 * not do: it takes the mark "open for writing" out of the superblock without renewing the superblock's checksum (seen in 1.10.8).
 */
#include "hdf5_image.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hdf5_handle.h"

static void *image_malloc(size_t size, H5FD_file_image_op_t operation, void *image) {
    (void)operation, (void)image;
    return malloc(size);
}

static void *image_copy(void *to, const void *from, size_t size, H5FD_file_image_op_t operation, void *image) {
    (void)operation, (void)image;
    return memcpy(to, from, size);
}

static void *image_realloc(void *memory, size_t size, H5FD_file_image_op_t operation, void *image) {
    (void)operation, (void)image;
    return realloc(memory, size);
}

static herr_t image_free(void *memory, H5FD_file_image_op_t operation, void *image_pointer) {
    struct cx_hdf5_image *image = image_pointer;
    if (operation != H5FD_FILE_IMAGE_OP_FILE_CLOSE) {
        free(memory);
        return 0;
    }
    free(image->bytes);
    image->bytes = memory;
    return 0;
}

static void *same_image(void *image) {
    return image;
}

static herr_t keep_image(void *image) {
    (void)image;
    return 0;
}

enum cx_status cx_hdf5_image_create(const char *path, struct cx_hdf5_image *image, hid_t *file, struct cx_error *error) {
    enum { increment = 1 << 20 };
    char name[PATH_MAX];
    H5FD_file_image_callbacks_t callbacks = {image_malloc, image_copy, image_realloc, image_free, same_image, keep_image, image};
    cx_hdf5_silence();
    *file = -1;
    hid_t access = cx_hdf5_access_properties();
    enum cx_status status;
    /* H5Fcreate() looks for an old file of that name first, and would read it; behind a file's name there can be none. */
    snprintf(name, sizeof name, "%s/memory", path);
    if (access >= 0 && H5Pset_fapl_core(access, increment, false) >= 0 && H5Pset_file_image_callbacks(access, &callbacks) >= 0)
        status = cx_hdf5_create_with(access, name, file, error);
    else
        status = cx_hdf5_fail(error, CX_ERROR_IO, "make", path);
    cx_hdf5_release(access);
    return status;
}

enum cx_status cx_hdf5_image_close(const char *path, struct cx_hdf5_image *image, hid_t file, struct cx_error *error) {
    /* Closing rewrites the superblock, but adds nothing. */
    ssize_t size = H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0 ? H5Fget_file_image(file, NULL, 0) : -1;
    enum cx_status status = size > 0 ? CX_OK : cx_hdf5_fail(error, CX_ERROR_IO, "make", path);
    if (H5Fclose(file) < 0 && status == CX_OK)
        status = cx_hdf5_fail(error, CX_ERROR_IO, "make", path);
    if (status == CX_OK && !image->bytes)
        status = cx_fail(error, CX_ERROR_INTERNAL, "HDF5 kept the memory of %s to itself", path);
    image->size = status == CX_OK ? (size_t)size : 0;
    return status;
}
