/* The few things that every HDF5 file of ours has in common. Only the store's files include this. */
#ifndef CONTEXTURE_HDF5_HANDLE_H
#define CONTEXTURE_HDF5_HANDLE_H

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"
#include "part_schema.h"

/*
 * HDF5 calls take turns: a part may be finished on one thread while another one is written, and not every HDF5 library is built for threads. Held
 * around every call for a part. The functions below do not lock: who calls them has.
 */
void cx_hdf5_lock(void);
void cx_hdf5_unlock(void);

/* "cannot <action> <path>: …" with the reason at the bottom of HDF5's error stack, and the system's where there is one. Call right after the failed call. */
enum cx_status cx_hdf5_fail(struct cx_error *error, enum cx_status status, const char *action, const char *path);

/* HDF5 prints its error stack unless told otherwise; called by every function that opens a file. */
void cx_hdf5_silence(void);

/* Releases any identifier but a file's; a negative one is passed over. */
void cx_hdf5_release(hid_t id);

/*
 * A new file without times. Replaces an old one. `forgets`: what HDF5 keeps of a dataset goes when it is closed, not when the file is; of a virtual one that is
 * its list of parts. Closing a dataset then writes, and crashes if it cannot (1.10.8): flush before, and close nothing after a failure.
 */
CX_MUST_USE enum cx_status cx_hdf5_create(const char *path, bool forgets, hid_t *file, struct cx_error *error);
CX_MUST_USE enum cx_status cx_hdf5_open(const char *path, hid_t *file, struct cx_error *error);

/* Writes what is buffered, so that errors show (H5Fclose returns success after ENOSPC), and closes. The identifier is gone, whatever happens. */
CX_MUST_USE enum cx_status cx_hdf5_close(hid_t file, const char *path, struct cx_error *error);

/* A property list for datasets without times. Negative after a failure. */
hid_t cx_hdf5_dataset_properties(void);

/* Makes the groups above the dataset "/group/…/name" that are not there yet, without times. */
CX_MUST_USE bool cx_hdf5_create_groups(hid_t file, const char *name);

/* The type of a row's elements in the file; `width` is that of a text. Negative after a failure. */
hid_t cx_hdf5_type(const struct cx_store_row *row, const struct cx_store_shapes *shapes, size_t width);

/* Rows, and elements a row, of a dataset of one or two dimensions. */
CX_MUST_USE bool cx_hdf5_extent(hid_t dataset, uint64_t *rows, uint64_t *width);

/* Reads `count` rows from `first` on, in the file's own type. */
CX_MUST_USE bool cx_hdf5_read_rows(hid_t dataset, uint64_t first, uint64_t count, void *rows);

/* Attributes of an object. Lists may be empty; one of layers has CX_MOST_LAYERS at most. */
enum { CX_MOST_LAYERS = 4096 };
CX_MUST_USE bool cx_hdf5_write_text(hid_t object, const char *name, const char *text);
CX_MUST_USE bool cx_hdf5_write_integer(hid_t object, const char *name, int64_t value);
CX_MUST_USE bool cx_hdf5_write_layers(hid_t object, const char *name, const size_t *layers, size_t count);
CX_MUST_USE bool cx_hdf5_write_texts(hid_t object, const char *name, const char *const *texts, size_t count);
/* False, too, if the value is not in the range. */
CX_MUST_USE bool cx_hdf5_read_integer(hid_t object, const char *name, int64_t lowest, int64_t highest, int64_t *value);
CX_MUST_USE bool cx_hdf5_read_integers(hid_t object, const char *name, int64_t *values, size_t capacity, size_t *count);
/* texts: [capacity][width], zero-padded. */
CX_MUST_USE bool cx_hdf5_read_texts(hid_t object, const char *name, char *texts, size_t capacity, size_t width, size_t *count);

#endif
