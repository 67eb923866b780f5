/* The root attributes: what a reader must know before it looks at a dataset. */
#include <string.h>

#include "hdf5_handle.h"
#include "part.h"

static const char *const map_type_names[] = {[CX_MAP_FLOAT32] = "float32", [CX_MAP_FLOAT16] = "float16"};

static const char by_words_name[] = "word";

static bool write_maps(hid_t file, const char *name, unsigned maps) {
    const char *names[CX_MAPS];
    size_t count = 0;
    for (unsigned map = 0; map < CX_MAPS; map++)
        if (maps & CX_STAGE_BIT(map))
            names[count++] = cx_map_name(map);
    return cx_hdf5_write_texts(file, name, names, count);
}

static bool write_text(hid_t file, const char *name, const char *text) {
    return cx_hdf5_write_text(file, name, text ? text : "");
}

enum cx_status cx_part_write_attributes(hid_t file, const char *path, const struct cx_store_options *options, struct cx_error *error) {
    bool done = cx_hdf5_write_integer(file, "format_version", CX_FORMAT_VERSION) && write_text(file, "program_version", options->program_version) &&
                cx_hdf5_write_integer(file, "layers", (int64_t)options->layers) && cx_hdf5_write_integer(file, "heads", (int64_t)options->heads) &&
                cx_hdf5_write_integer(file, "hidden_size", (int64_t)options->hidden_size) &&
                cx_hdf5_write_layers(file, "stored_layers", options->stored_layers, options->stored_layer_count) &&
                cx_hdf5_write_layers(file, "vector_layers", options->vector_layers, options->vector_layer_count) && write_maps(file, "maps", options->maps) &&
                write_maps(file, "stages", CX_STAGE_BIT(CX_STAGES) - 1) &&
                write_maps(file, "vector_stages", options->vector_layer_count > 0 ? options->vector_stages : 0) &&
                cx_hdf5_write_integer(file, "per_head", options->per_head) && cx_hdf5_write_integer(file, "hidden_states", options->hidden_states) &&
                cx_hdf5_write_integer(file, "annotations", options->annotations) && cx_hdf5_write_integer(file, "masked", options->masked) &&
                write_text(file, "map_type", map_type_names[options->map_type]) &&
                cx_hdf5_write_integer(file, "kept_mantissa_bits", options->kept_mantissa_bits) &&
                write_text(file, "forward_precision", options->forward_precision) && write_text(file, "precision", options->pair_precision) &&
                write_text(file, "backend", options->backend) && write_text(file, "model_fingerprint", options->model_fingerprint) &&
                write_text(file, "corpus_fingerprint", options->corpus_fingerprint) && (!options->by_words || write_text(file, "granularity", by_words_name));
    return done ? CX_OK : cx_hdf5_fail(error, CX_ERROR_IO, "write the attributes of", path);
}

/* Of an attribute that parts have not always had: without it, 0. */
static bool read_later_flag(hid_t file, const char *name, bool *flag) {
    int64_t value = 0;
    bool done = H5Aexists(file, name) == 0 || cx_hdf5_read_integer(file, name, 0, 1, &value);
    *flag = value != 0;
    return done;
}

static bool read_size(hid_t file, const char *name, size_t *size) {
    int64_t value = 0;
    if (!cx_hdf5_read_integer(file, name, 1, INT32_MAX, &value))
        return false;
    *size = (size_t)value;
    return true;
}

static bool read_layers(hid_t file, const char *name, size_t *count) {
    int64_t values[CX_MOST_LAYERS];
    return cx_hdf5_read_integers(file, name, values, CX_MOST_LAYERS, count);
}

static bool read_maps(hid_t file, const char *name, unsigned *maps) {
    enum { width = 32 };
    char names[CX_MAPS][width];
    size_t count = 0;
    *maps = 0;
    if (!cx_hdf5_read_texts(file, name, &names[0][0], CX_MAPS, width, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        unsigned map = cx_map_by_name(names[i], strnlen(names[i], width));
        if (map == CX_MAPS)
            return false;
        *maps |= CX_STAGE_BIT(map);
    }
    return true;
}

/* Parts whose maps are by token, as all once were, do not say so. */
static bool read_granularity(hid_t file, bool *by_words) {
    enum { width = 32 };
    char name[width];
    size_t count = 0;
    *by_words = H5Aexists(file, "granularity") > 0;
    return !*by_words || (cx_hdf5_read_texts(file, "granularity", name, 1, width, &count) && count == 1 && strncmp(name, by_words_name, width) == 0);
}

static bool read_map_type(hid_t file, enum cx_map_type *type) {
    enum { width = 32 };
    char name[width];
    size_t count = 0;
    if (!cx_hdf5_read_texts(file, "map_type", name, 1, width, &count) || count != 1)
        return false;
    *type = strncmp(name, map_type_names[CX_MAP_FLOAT16], width) == 0 ? CX_MAP_FLOAT16 : CX_MAP_FLOAT32;
    return strncmp(name, map_type_names[*type], width) == 0;
}

enum cx_status cx_part_read_shapes(hid_t file, const char *path, struct cx_store_shapes *shapes, struct cx_error *error) {
    int64_t version = 0, per_head = 0, hidden_states = 0;
    *shapes = (struct cx_store_shapes){0};
    if (!cx_hdf5_read_integer(file, "format_version", 1, INT32_MAX, &version))
        return cx_fail(error, CX_ERROR_DAMAGED, "%s: the attribute format_version is missing: not a part that contexture wrote", path);
    if (version != CX_FORMAT_VERSION)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s: expected format version %d, found %lld; read it with a newer contexture", path, CX_FORMAT_VERSION,
                       (long long)version);
    bool done = read_size(file, "layers", &shapes->layers) && read_size(file, "heads", &shapes->heads) &&
                read_size(file, "hidden_size", &shapes->hidden_size) && read_layers(file, "stored_layers", &shapes->stored_layers) &&
                read_layers(file, "vector_layers", &shapes->vector_layers) && read_maps(file, "maps", &shapes->maps) &&
                read_maps(file, "vector_stages", &shapes->vector_stages) && cx_hdf5_read_integer(file, "per_head", 0, 1, &per_head) &&
                cx_hdf5_read_integer(file, "hidden_states", 0, 1, &hidden_states) && read_later_flag(file, "annotations", &shapes->annotations) &&
                read_later_flag(file, "masked", &shapes->masked) && read_map_type(file, &shapes->map_type) && read_granularity(file, &shapes->by_words);
    if (!done || shapes->stored_layers == 0)
        return cx_fail(error, CX_ERROR_DAMAGED, "%s: a root attribute is missing or has a value that contexture does not write", path);
    shapes->per_head = per_head != 0;
    shapes->hidden_states = hidden_states != 0;
    return CX_OK;
}
