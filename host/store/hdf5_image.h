/* An HDF5 file that exists in memory alone. */
#ifndef CONTEXTURE_HDF5_IMAGE_H
#define CONTEXTURE_HDF5_IMAGE_H

#include <hdf5.h>
#include <stddef.h>

#include "contexture/error.h"

/* Start zeroed; must not move while its file is open. Whoever has it releases `bytes` with free(). */
struct cx_hdf5_image {
    unsigned char *bytes; /* after cx_hdf5_image_close(): the file */
    size_t size;
};

/* `path` is only a name for messages. The file must be closed with cx_hdf5_image_close(). */
CX_MUST_USE enum cx_status cx_hdf5_image_create(const char *path, struct cx_hdf5_image *image, hid_t *file, struct cx_error *error);

/* Closes the file and gives its bytes. */
CX_MUST_USE enum cx_status cx_hdf5_image_close(const char *path, struct cx_hdf5_image *image, hid_t file, struct cx_error *error);

#endif
