/* The virtual datasets of run.h5. */
#include <math.h>

#include "hdf5_handle.h"
#include "join.h"
#include "output_folder.h"

/* What a missing part reads as: NaN, -1 (255 in a byte without sign), or an empty text. */
static bool set_fill(hid_t properties, const struct cx_store_row *row) {
    const float not_a_number = NAN;
    const int64_t minus_one = -1;
    const uint8_t largest = UINT8_MAX;
    switch (row->type) {
    case CX_STORE_TEXT:
        return true;
    case CX_STORE_UINT8:
        return H5Pset_fill_value(properties, H5T_NATIVE_UINT8, &largest) >= 0;
    case CX_STORE_INT8:
    case CX_STORE_INT32:
    case CX_STORE_INT64:
        return H5Pset_fill_value(properties, H5T_NATIVE_INT64, &minus_one) >= 0;
    default:
        return H5Pset_fill_value(properties, H5T_NATIVE_FLOAT, &not_a_number) >= 0;
    }
}

/* Maps the rows of one part's dataset to their place in the joined one. */
static bool map_part(hid_t properties, hid_t space, int rank, const struct cx_store_row *row, uint64_t shard, uint64_t first, uint64_t rows, uint64_t width) {
    char name[CX_PART_NAME_BYTES];
    hsize_t start[2] = {first, 0}, count[2] = {rows, width};
    cx_part_name(shard, name);
    hid_t source = H5Screate_simple(rank, count, NULL);
    bool done = source >= 0 && H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
                H5Pset_virtual(properties, space, name, row->name, source) >= 0;
    cx_hdf5_release(source);
    return done;
}

enum cx_status cx_join_add_virtual(struct cx_join *join, size_t index, struct cx_error *error) {
    const struct cx_store_row *row = &cx_store_rows[index];
    uint64_t total = 0, first = 0, width = cx_store_row_width(row, &join->shapes);
    int rank = row->shape == CX_SHAPE_SEQUENCE_LAYER || row->shape == CX_SHAPE_TOKEN_LAYER ? 2 : 1;
    for (size_t part = 0; part < join->manifest->count; part++)
        if (__builtin_add_overflow(total, join->rows[part * cx_store_row_count + index], &total))
            return cx_fail(error, CX_ERROR_DAMAGED, "%s: dataset %s would be too large", join->path, row->name);
    if (total == 0)
        return cx_flat_create(join->queue, join->file, row, &join->shapes, join->text_width[index], &join->flats[index], error);

    hsize_t extent[2] = {total, width};
    hid_t type = cx_hdf5_type(row, &join->shapes, join->text_width[index]), space = H5Screate_simple(rank, extent, NULL);
    hid_t properties = cx_hdf5_dataset_properties(), dataset = -1;
    bool done = type >= 0 && space >= 0 && properties >= 0 && set_fill(properties, row) && cx_hdf5_create_groups(join->file, row->name);
    for (size_t part = 0; done && part < join->manifest->count; part++) {
        uint64_t rows = join->rows[part * cx_store_row_count + index];
        if (rows > 0)
            done = map_part(properties, space, rank, row, join->manifest->parts[part].shard, first, rows, width);
        first += rows;
    }
    if (done)
        dataset = H5Dcreate2(join->file, row->name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    done =
        dataset >= 0 && cx_hdf5_write_text(dataset, "meaning", row->meaning) && cx_hdf5_write_text(dataset, "layout", cx_store_row_layout(row, &join->shapes));
    enum cx_status status = done ? CX_OK : cx_hdf5_fail(error, CX_ERROR_IO, "make a virtual dataset of", join->path);
    if (status == CX_OK && H5Fflush(join->file, H5F_SCOPE_GLOBAL) < 0)
        status = cx_hdf5_fail(error, CX_ERROR_IO, "write", join->path);
    if (status == CX_OK)
        cx_hdf5_release(dataset);
    cx_hdf5_release(properties);
    cx_hdf5_release(space);
    cx_hdf5_release(type);
    return status;
}
