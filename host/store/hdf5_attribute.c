/* Attributes: numbers and texts of fixed length, alone or in lists. */
#include <stdlib.h>
#include <string.h>

#include "hdf5_handle.h"

static bool write_attribute(hid_t object, const char *name, hid_t type, hid_t space, const void *values) {
    hid_t attribute = type >= 0 && space >= 0 ? H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT) : -1;
    bool done = attribute >= 0 && H5Awrite(attribute, type, values) >= 0;
    cx_hdf5_release(attribute);
    return done;
}

/* Texts of one width, each padded with zeros. */
static bool write_padded(hid_t object, const char *name, const char *padded, size_t width, hid_t space) {
    hid_t type = H5Tcopy(H5T_C_S1);
    bool done = type >= 0 && H5Tset_size(type, width) >= 0 && H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0 &&
                write_attribute(object, name, type, space, padded);
    cx_hdf5_release(type);
    return done;
}

bool cx_hdf5_write_text(hid_t object, const char *name, const char *text) {
    hid_t space = H5Screate(H5S_SCALAR);
    size_t length = strlen(text);
    bool done = space >= 0 && write_padded(object, name, text, length > 0 ? length : 1, space);
    cx_hdf5_release(space);
    return done;
}

bool cx_hdf5_write_texts(hid_t object, const char *name, const char *const *texts, size_t count) {
    size_t width = 1;
    for (size_t i = 0; i < count; i++)
        if (strlen(texts[i]) > width)
            width = strlen(texts[i]);
    hsize_t extent = count;
    char *padded = calloc(count > 0 ? count : 1, width);
    hid_t space = H5Screate_simple(1, &extent, NULL);
    bool done = false;
    if (padded && space >= 0) {
        for (size_t i = 0; i < count; i++)
            memcpy(padded + i * width, texts[i], strlen(texts[i]));
        done = write_padded(object, name, padded, width, space);
    }
    cx_hdf5_release(space);
    free(padded);
    return done;
}

bool cx_hdf5_write_integer(hid_t object, const char *name, int64_t value) {
    hid_t space = H5Screate(H5S_SCALAR);
    bool done = write_attribute(object, name, H5T_STD_I64LE, space, &value);
    cx_hdf5_release(space);
    return done;
}

bool cx_hdf5_write_layers(hid_t object, const char *name, const size_t *layers, size_t count) {
    int64_t values[CX_MOST_LAYERS] = {0};
    if (count > CX_MOST_LAYERS)
        return false;
    for (size_t i = 0; i < count; i++)
        values[i] = (int64_t)layers[i];
    hsize_t extent = count;
    hid_t space = H5Screate_simple(1, &extent, NULL);
    bool done = write_attribute(object, name, H5T_STD_I64LE, space, values);
    cx_hdf5_release(space);
    return done;
}

/* Opens an attribute and says how many values it has, if they fit. */
static hid_t open_attribute(hid_t object, const char *name, size_t capacity, size_t *count) {
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT), space = attribute >= 0 ? H5Aget_space(attribute) : -1;
    hssize_t points = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
    cx_hdf5_release(space);
    if (points >= 0 && (uint64_t)points <= capacity) {
        *count = (size_t)points;
        return attribute;
    }
    cx_hdf5_release(attribute);
    return -1;
}

bool cx_hdf5_read_integers(hid_t object, const char *name, int64_t *values, size_t capacity, size_t *count) {
    hid_t attribute = open_attribute(object, name, capacity, count);
    bool done = attribute >= 0 && H5Aread(attribute, H5T_NATIVE_INT64, values) >= 0;
    cx_hdf5_release(attribute);
    return done;
}

bool cx_hdf5_read_integer(hid_t object, const char *name, int64_t lowest, int64_t highest, int64_t *value) {
    size_t count = 0;
    return cx_hdf5_read_integers(object, name, value, 1, &count) && count == 1 && *value >= lowest && *value <= highest;
}

bool cx_hdf5_read_texts(hid_t object, const char *name, char *texts, size_t capacity, size_t width, size_t *count) {
    hid_t attribute = open_attribute(object, name, capacity, count), type = H5Tcopy(H5T_C_S1);
    memset(texts, 0, capacity * width);
    bool done = attribute >= 0 && type >= 0 && H5Tset_size(type, width) >= 0 && H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0 &&
                H5Tset_cset(type, H5T_CSET_UTF8) >= 0 && H5Aread(attribute, type, texts) >= 0;
    cx_hdf5_release(type);
    cx_hdf5_release(attribute);
    return done;
}
