#include "hdf5_handle.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* HDF5's state is one for the whole process; so is the lock that guards it. */
static pthread_mutex_t hdf5_mutex = PTHREAD_MUTEX_INITIALIZER;

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "chunks are written as they are in memory, and the file's types are little-endian");

void cx_hdf5_lock(void) {
    pthread_mutex_lock(&hdf5_mutex);
}

void cx_hdf5_unlock(void) {
    pthread_mutex_unlock(&hdf5_mutex);
}

struct innermost {
    char text[512];
    bool found;
};

static herr_t keep_first(unsigned position, const H5E_error2_t *entry, void *context) {
    (void)position;
    struct innermost *innermost = context;
    if (!innermost->found)
        snprintf(innermost->text, sizeof innermost->text, "%s", entry->desc ? entry->desc : "no reason given");
    innermost->found = true;
    return 0;
}

/* A message of HDF5's file driver holds time, addresses and sizes; what a user needs of it are its first words and "errno = 28". */
enum cx_status cx_hdf5_fail(struct cx_error *error, enum cx_status status, const char *action, const char *path) {
    struct innermost innermost = {.text = "no reason given"};
    if (H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &innermost) < 0)
        innermost.found = false;
    const char *found = strstr(innermost.text, "errno = ");
    int number = found ? atoi(found + strlen("errno = ")) : 0;
    if (number == 0)
        return cx_fail(error, status, "cannot %s %s: HDF5 says \"%s\"", action, path, innermost.text);
    innermost.text[strcspn(innermost.text, ":,")] = '\0';
    return cx_fail(error, CX_ERROR_IO, "cannot %s %s: %s (errno %d; HDF5 says \"%s\")", action, path, strerror(number), number, innermost.text);
}

/*
 * A file whose last write failed (a full disk) stays open inside HDF5, whose clean-up at the program's end then writes to it again, reports the
 * failure on standard error and crashes (1.10.8). All that we want to keep is closed by then: no clean-up.
 */
void cx_hdf5_silence(void) {
    (void)H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void cx_hdf5_release(hid_t id) {
    if (id >= 0)
        H5Idec_ref(id);
}

/*
 * No file locks: a part is private until it is renamed and never changes afterwards, and many cluster file systems refuse locks.
 * The latest format, because only its metadata has checksums.
 */
static hid_t access_properties(bool forgets) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0)
        return access;
    bool done = H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) >= 0 && H5Pset_file_locking(access, false, true) >= 0 &&
                H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0 && H5Pset_evict_on_close(access, forgets) >= 0;
    if (done)
        return access;
    cx_hdf5_release(access);
    return -1;
}

/*
 * No times; links and attributes in the object header, which is read, and its checksum checked, by whoever opens the group. Elsewhere HDF5 writes
 * blocks that nobody reads, so that a damaged one would not be noticed when the file is read back.
 */
static bool group_properties(hid_t properties) {
    const unsigned most = 64;
    return properties >= 0 && H5Pset_obj_track_times(properties, false) >= 0 && H5Pset_attr_phase_change(properties, most, 0) >= 0 &&
           H5Pset_link_phase_change(properties, most, 0) >= 0;
}

enum cx_status cx_hdf5_create(const char *path, bool forgets, hid_t *file, struct cx_error *error) {
    cx_hdf5_silence();
    hid_t access = access_properties(forgets), creation = H5Pcreate(H5P_FILE_CREATE);
    *file = -1;
    if (access >= 0 && group_properties(creation))
        *file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    enum cx_status status = *file >= 0 ? CX_OK : cx_hdf5_fail(error, CX_ERROR_IO, "create", path);
    cx_hdf5_release(creation);
    cx_hdf5_release(access);
    return status;
}

enum cx_status cx_hdf5_open(const char *path, hid_t *file, struct cx_error *error) {
    cx_hdf5_silence();
    hid_t access = access_properties(false);
    *file = access >= 0 ? H5Fopen(path, H5F_ACC_RDONLY, access) : -1;
    enum cx_status status = *file >= 0 ? CX_OK : cx_hdf5_fail(error, CX_ERROR_DAMAGED, "open", path);
    cx_hdf5_release(access);
    return status;
}

enum cx_status cx_hdf5_close(hid_t file, const char *path, struct cx_error *error) {
    enum cx_status status = CX_OK;
    if (H5Fflush(file, H5F_SCOPE_GLOBAL) < 0)
        status = cx_hdf5_fail(error, CX_ERROR_IO, "write", path);
    if (H5Fclose(file) < 0 && status == CX_OK)
        status = cx_hdf5_fail(error, CX_ERROR_IO, "close", path);
    return status;
}

hid_t cx_hdf5_dataset_properties(void) {
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (properties >= 0 && H5Pset_obj_track_times(properties, false) < 0) {
        cx_hdf5_release(properties);
        return -1;
    }
    return properties;
}

bool cx_hdf5_create_groups(hid_t file, const char *name) {
    char path[256];
    hid_t properties = H5Pcreate(H5P_GROUP_CREATE);
    bool done = group_properties(properties);
    for (const char *slash = strchr(name + 1, '/'); done && slash; slash = strchr(slash + 1, '/')) {
        snprintf(path, sizeof path, "%.*s", (int)(slash - name), name);
        htri_t there = H5Lexists(file, path, H5P_DEFAULT);
        hid_t group = there == 0 ? H5Gcreate2(file, path, H5P_DEFAULT, properties, H5P_DEFAULT) : -1;
        done = there > 0 || group >= 0;
        cx_hdf5_release(group);
    }
    cx_hdf5_release(properties);
    return done;
}

static hid_t text_type(size_t width) {
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 && (H5Tset_size(type, width > 0 ? width : 1) < 0 || H5Tset_strpad(type, H5T_STR_NULLPAD) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        cx_hdf5_release(type);
        return -1;
    }
    return type;
}

/* IEEE 754 binary16: 1 sign bit, 5 exponent bits with bias 15, 10 mantissa bits. The fields must be set before the size shrinks. */
static hid_t half_type(void) {
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type >= 0 && (H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 || H5Tset_size(type, 2) < 0 || H5Tset_ebias(type, 15) < 0)) {
        cx_hdf5_release(type);
        return -1;
    }
    return type;
}

hid_t cx_hdf5_type(const struct cx_store_row *row, const struct cx_store_shapes *shapes, size_t width) {
    switch (row->type) {
    case CX_STORE_INT8:
        return H5Tcopy(H5T_STD_I8LE);
    case CX_STORE_UINT8:
        return H5Tcopy(H5T_STD_U8LE);
    case CX_STORE_INT32:
        return H5Tcopy(H5T_STD_I32LE);
    case CX_STORE_INT64:
        return H5Tcopy(H5T_STD_I64LE);
    case CX_STORE_TEXT:
        return text_type(width);
    case CX_STORE_MAP:
        if (shapes->map_type == CX_MAP_FLOAT16)
            return half_type();
        return H5Tcopy(H5T_IEEE_F32LE);
    case CX_STORE_FLOAT32:
        return H5Tcopy(H5T_IEEE_F32LE);
    case CX_STORE_FLOAT64:
        return H5Tcopy(H5T_IEEE_F64LE);
    }
    return -1;
}

bool cx_hdf5_extent(hid_t dataset, uint64_t *rows, uint64_t *width) {
    hsize_t extent[2] = {0, 1};
    hid_t space = H5Dget_space(dataset);
    int rank = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    bool done = (rank == 1 || rank == 2) && H5Sget_simple_extent_dims(space, extent, NULL) >= 0;
    cx_hdf5_release(space);
    *rows = extent[0];
    *width = extent[1];
    return done;
}

bool cx_hdf5_read_rows(hid_t dataset, uint64_t first, uint64_t count, void *rows) {
    hsize_t extent[2] = {0, 1};
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset), memory = -1;
    bool done = false;
    if (type < 0 || space < 0)
        goto cleanup;
    int rank = H5Sget_simple_extent_ndims(space);
    if ((rank != 1 && rank != 2) || H5Sget_simple_extent_dims(space, extent, NULL) < 0)
        goto cleanup;
    hsize_t start[2] = {first, 0}, selected[2] = {count, extent[1]};
    memory = H5Screate_simple(rank, selected, NULL);
    done = memory >= 0 && H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, selected, NULL) >= 0 &&
           H5Dread(dataset, type, memory, space, H5P_DEFAULT, rows) >= 0;
cleanup:
    cx_hdf5_release(memory);
    cx_hdf5_release(space);
    cx_hdf5_release(type);
    return done;
}
