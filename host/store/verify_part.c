/* One part: its bytes against the manifest, then its datasets against the schema and each other. */
#include <hdf5.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chunk_filter.h"
#include "chunk_writer.h"
#include "contexture/memory.h"
#include "hdf5_handle.h"
#include "output_folder.h"
#include "part.h"
#include "table_rows.h"
#include "verify.h"

struct part_check {
    const char *path;
    const struct cx_part_summary *summary;
    double completeness_bound;
    struct cx_complaints *complaints;
    float *completeness_error;
    struct cx_store_shapes shapes;
    struct cx_store_size *sizes; /* [sequences] /seq/n_tokens and, of maps by words, /seq/n_words */
    hid_t file;
};

/* Calls `look` with every piece of a dataset; it returns false to end the reading. */
typedef bool (*look_function)(struct part_check *check, const struct cx_store_row *row, uint64_t first_row, size_t rows, const void *values, void *context);

static enum cx_status read_pieces(struct part_check *check, const struct cx_store_row *row, uint64_t *rows, look_function look, void *context,
                                  struct cx_error *error) {
    uint64_t width = 0;
    void *buffer = NULL;
    hid_t dataset = H5Dopen2(check->file, row->name, H5P_DEFAULT), type = dataset >= 0 ? H5Dget_type(dataset) : -1;
    size_t element = type >= 0 ? H5Tget_size(type) : 0, row_bytes = 0, expected = cx_store_element_size(row, &check->shapes);
    enum cx_status status = CX_OK;
    *rows = 0;
    if (element == 0 || !cx_hdf5_extent(dataset, rows, &width) || (expected > 0 && element != expected) || width != cx_store_row_width(row, &check->shapes) ||
        !cx_multiply(element, (size_t)width, &row_bytes)) {
        cx_complain(check->complaints, "%s: dataset %s is missing or has another type or width", check->path, row->name);
        goto cleanup;
    }
    size_t piece = row_bytes >= 16 * CX_CHUNK_BYTES ? 1 : 16 * CX_CHUNK_BYTES / row_bytes;
    piece = *rows < piece ? (size_t)*rows : piece;
    status = cx_allocate(piece, row_bytes, "reading a part", &buffer, error);
    for (uint64_t first = 0; status == CX_OK && first < *rows; first += piece) {
        size_t count = *rows - first < piece ? (size_t)(*rows - first) : piece;
        if (!cx_hdf5_read_rows(dataset, first, count, buffer)) {
            struct cx_error fault = {0};
            if (cx_hdf5_fail(&fault, CX_ERROR_DAMAGED, "read a dataset of", check->path) != CX_OK)
                cx_complain(check->complaints, "%s: dataset %s, rows from %" PRIu64 " on: %s", check->path, row->name, first, fault.message);
            break;
        }
        if (look && !look(check, row, first, count, buffer, context))
            break;
    }
cleanup:
    free(buffer);
    cx_hdf5_release(type);
    cx_hdf5_release(dataset);
    return status;
}

static bool keep_sizes(struct part_check *check, const struct cx_store_row *row, uint64_t first_row, size_t rows, const void *values, void *context) {
    const int32_t *numbers = values;
    (void)context;
    if (first_row + rows > check->summary->sequences)
        return false;
    for (size_t i = 0; i < rows; i++) {
        struct cx_store_size *size = &check->sizes[first_row + i];
        const size_t number = numbers[i] > 0 ? (size_t)numbers[i] : 0;
        if (row->field == CX_FIELD_TOKEN_COUNT)
            size->tokens = number;
        else
            size->words = number;
    }
    return true;
}

struct offset_check {
    int64_t last;
};

/* Where look_at_numbers() stands: tokens of the sequence that are still to come, and the number that is new in it; look_at_words(): words, and the token that
   the next one may begin with at the earliest. */
struct number_check {
    uint64_t sequence;
    size_t left;
    int32_t next;
};

/* Offsets begin at 0, and every step is the size of the sequence's block (of texts: not negative). */
static bool look_at_offsets(struct part_check *check, const struct cx_store_row *row, uint64_t first_row, size_t rows, const void *values, void *context) {
    struct offset_check *state = context;
    const int64_t *offsets = values;
    bool text = row->field == CX_FIELD_TEXT_OFFSET || row->field == CX_FIELD_PAIR_OFFSET;
    for (size_t i = 0; i < rows; i++) {
        uint64_t at = first_row + i;
        size_t step = 0;
        bool fits = at == 0 || text || cx_store_offset_step(row->field, &check->shapes, check->sizes[at - 1], &step);
        bool right = at == 0 ? offsets[i] == 0 : text ? offsets[i] >= state->last : (uint64_t)offsets[i] - (uint64_t)state->last == step;
        if (!fits || !right) {
            cx_complain(check->complaints, "%s: dataset %s: entry %" PRIu64 " is %" PRId64 ", which does not fit the sequence's %zu tokens", check->path,
                        row->name, at, offsets[i], at > 0 ? check->sizes[at - 1].tokens : 0);
            return false;
        }
        state->last = offsets[i];
    }
    return true;
}

/* Words and mentions of a sequence are numbered by first appearance, -1 for none: no number is larger than the ones before it by more than one. */
static bool look_at_numbers(struct part_check *check, const struct cx_store_row *row, uint64_t first_row, size_t rows, const void *values, void *context) {
    struct number_check *state = context;
    const int32_t *numbers = values;
    for (size_t i = 0; i < rows; i++) {
        while (state->left == 0) {
            if (state->sequence == check->summary->sequences)
                return true; /* the number of rows is looked at elsewhere */
            state->left = check->sizes[state->sequence++].tokens;
            state->next = 0;
        }
        if (numbers[i] < -1 || numbers[i] > state->next) {
            cx_complain(check->complaints, "%s: dataset %s: entry %" PRIu64 " is %" PRId32 "; expected -1 to %" PRId32 ", as numbers of first appearance are",
                        check->path, row->name, first_row + i, numbers[i], state->next);
            return false;
        }
        state->next += numbers[i] == state->next;
        state->left--;
    }
    return true;
}

/* A sequence's words begin at token 0 and at later and later ones. */
static bool look_at_words(struct part_check *check, const struct cx_store_row *row, uint64_t first_row, size_t rows, const void *values, void *context) {
    struct number_check *state = context;
    const int32_t *tokens = values;
    for (size_t i = 0; i < rows; i++) {
        const bool begins = state->left == 0;
        while (state->left == 0) {
            if (state->sequence == check->summary->sequences)
                return true;
            state->left = check->sizes[state->sequence++].words;
            state->next = 0;
        }
        if (begins ? tokens[i] != 0 : tokens[i] < state->next || (size_t)tokens[i] >= check->sizes[state->sequence - 1].tokens) {
            cx_complain(check->complaints, "%s: dataset %s: entry %" PRIu64 " is %" PRId32 "; expected 0 for a sequence's first word, and then a later token",
                        check->path, row->name, first_row + i, tokens[i]);
            return false;
        }
        state->next = tokens[i] + 1;
        state->left--;
    }
    return true;
}

/* A stage of which no map is stored may not have been computed: its statistics are NaN then. */
static bool may_be_absent(const struct part_check *check, const struct cx_store_row *row) {
    return (row->field == CX_FIELD_MIXING_RATIO || row->field == CX_FIELD_BIAS_NORM) && !(check->shapes.maps & CX_STAGE_BIT(row->index));
}

/* Norms, weights and ratios are finite and not negative; vectors are finite. */
static bool look_at_floats(struct part_check *check, const struct cx_store_row *row, uint64_t first_row, size_t rows, const void *values, void *context) {
    (void)context;
    bool half = cx_store_element_size(row, &check->shapes) == 2, any_sign = row->field == CX_FIELD_HIDDEN_STATE || row->field == CX_FIELD_VECTOR;
    size_t width = cx_store_row_width(row, &check->shapes), count = rows * width;
    for (size_t i = 0; i < count; i++) {
        float value = half ? cx_half_to_float(((const uint16_t *)values)[i]) : ((const float *)values)[i];
        if (isnan(value) && may_be_absent(check, row))
            continue;
        if (!isfinite(value) || (!any_sign && value < 0)) {
            cx_complain(check->complaints, "%s: dataset %s: element %" PRIu64 " is %g; expected a finite number%s", check->path, row->name,
                        first_row * width + i, (double)value, any_sign ? "" : " that is not negative");
            return false;
        }
        if (row->field == CX_FIELD_COMPLETENESS)
            *check->completeness_error = fmaxf(*check->completeness_error, value);
        if (row->field == CX_FIELD_COMPLETENESS && value >= check->completeness_bound) {
            cx_complain(check->complaints, "%s: sequence %" PRIu64 ", stored layer %zu: the completeness error is %g; expected less than %g", check->path,
                        first_row + i / width, i % width, (double)value, check->completeness_bound);
            return false;
        }
    }
    return true;
}

/* Rows that the dataset must have, by what the manifest and the offsets say; UINT64_MAX where nothing is known. */
static uint64_t expected_rows(const struct part_check *check, const struct cx_store_row *row, const int64_t *ends) {
    switch (row->shape) {
    case CX_SHAPE_SEQUENCE:
    case CX_SHAPE_SEQUENCE_LAYER:
        return check->summary->sequences;
    case CX_SHAPE_OFFSET:
        return check->summary->sequences + 1;
    case CX_SHAPE_TOKEN:
    case CX_SHAPE_TOKEN_LAYER:
        return check->summary->tokens;
    case CX_SHAPE_WORD:
        return (uint64_t)ends[cx_store_row_by_name("/seq/word_offset") - cx_store_rows];
    case CX_SHAPE_BLOCK:
        return (uint64_t)ends[cx_store_row_by_name(row->offset) - cx_store_rows];
    case CX_SHAPE_SOURCE:
    case CX_SHAPE_TABLE:
        break;
    }
    return UINT64_MAX;
}

static enum cx_status check_datasets(struct part_check *check, struct cx_error *error) {
    int64_t *ends = NULL; /* of every dataset of offsets: its last entry */
    uint64_t rows = 0;
    enum cx_status status = cx_allocate(cx_store_row_count, sizeof *ends, "checking a part", &ends, error);
    if (status == CX_OK)
        status = read_pieces(check, cx_store_row_by_name("/seq/n_tokens"), &rows, keep_sizes, NULL, error);
    if (status == CX_OK && rows != check->summary->sequences) {
        cx_complain(check->complaints, "%s: the manifest says %" PRIu64 " sequences, /seq/n_tokens has %" PRIu64, check->path, check->summary->sequences, rows);
        goto cleanup;
    }
    if (status == CX_OK && check->shapes.by_words)
        status = read_pieces(check, cx_store_row_by_name("/seq/n_words"), &rows, keep_sizes, NULL, error);
    /* Offsets first: they say how long the other datasets must be. */
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; status == CX_OK && i < cx_store_row_count; i++) {
            const struct cx_store_row *row = &cx_store_rows[i];
            struct offset_check state = {0};
            struct number_check numbering = {0};
            if (!cx_store_row_wanted(row, &check->shapes) || (row->shape == CX_SHAPE_OFFSET) != (pass == 0))
                continue;
            bool floats = row->type == CX_STORE_FLOAT32 || row->type == CX_STORE_MAP;
            bool words = row->field == CX_FIELD_WORD_FIRST, numbers = row->field == CX_FIELD_SEQUENCE_WORD || row->field == CX_FIELD_ENTITY;
            look_function look = pass == 0 ? look_at_offsets : floats ? look_at_floats : words ? look_at_words : numbers ? look_at_numbers : NULL;
            uint64_t before = check->complaints->count, expected = expected_rows(check, row, ends);
            status = read_pieces(check, row, &rows, look, numbers || words ? (void *)&numbering : (void *)&state, error);
            ends[i] = state.last;
            if (status == CX_OK && check->complaints->count == before && expected != UINT64_MAX && rows != expected)
                cx_complain(check->complaints, "%s: dataset %s has %" PRIu64 " rows; expected %" PRIu64, check->path, row->name, rows, expected);
        }
    }
cleanup:
    free(ends);
    return status;
}

static enum cx_status read_pairs(const struct part_check *check, const struct cx_stats_options *options, struct cx_error *fault) {
    struct cx_table_rows pairs = {0};
    enum cx_status status = cx_table_rows_open(check->file, check->path, options, &pairs, fault);
    for (uint64_t row = 0; status == CX_OK && row < pairs.rows; row += pairs.table->rows)
        status = cx_table_rows_read(&pairs, row, pairs.rows, fault);
    cx_table_rows_close(&pairs);
    return status;
}

/* Reads every table, so that its checksums are compared. */
static void check_statistics(const struct part_check *check) {
    struct cx_error fault = {0};
    struct cx_stats_set set = {0};
    enum cx_status status = cx_statistics_read(check->file, check->path, &set, &fault);
    if (status == CX_OK && set.options.analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_PAIRS))
        status = read_pairs(check, &set.options, &fault);
    if (status != CX_OK)
        cx_complain(check->complaints, "%s", fault.message);
    cx_stats_set_free(&set);
}

/* The file as a whole. False: damaged, and HDF5 is not asked what it thinks of it. */
static bool check_file(const struct part_check *check) {
    struct cx_error fault = {0};
    uint32_t crc32 = 0;
    uint64_t bytes = 0;
    if (cx_file_checksum(check->path, &crc32, &bytes, &fault) != CX_OK)
        cx_complain(check->complaints, "%s; run the same command again to compute the shard anew", fault.message);
    else if (bytes != check->summary->bytes)
        cx_complain(check->complaints, "%s has %" PRIu64 " bytes, and had %" PRIu64 " when it was written; delete it and run the same command again",
                    check->path, bytes, check->summary->bytes);
    else if (crc32 != check->summary->file_crc32)
        cx_complain(check->complaints,
                    "%s is damaged: its CRC-32 is %08" PRIx32 ", and was %08" PRIx32 " when it was written; delete it and run the same command again",
                    check->path, crc32, check->summary->file_crc32);
    else
        return true;
    return false;
}

enum cx_status cx_verify_part(const char *directory, const struct cx_part_summary *summary, double completeness_bound, struct cx_complaints *complaints,
                              float *completeness_error, struct cx_error *error) {
    struct part_check check = {
        .summary = summary, .completeness_bound = completeness_bound, .complaints = complaints, .completeness_error = completeness_error, .file = -1};
    struct cx_error fault = {0};
    char *path = NULL;
    enum cx_status status = cx_part_path(directory, summary->shard, &path, error);
    if (status != CX_OK)
        return status;
    check.path = path;
    if (!check_file(&check))
        goto cleanup;
    if (cx_hdf5_open(path, &check.file, &fault) != CX_OK || cx_part_read_shapes(check.file, path, &check.shapes, &fault) != CX_OK) {
        cx_complain(complaints, "%s", fault.message);
        goto cleanup;
    }
    status = cx_allocate((size_t)summary->sequences, sizeof *check.sizes, "checking a part", &check.sizes, error);
    if (status == CX_OK)
        status = check_datasets(&check, error);
    if (status == CX_OK)
        check_statistics(&check);
cleanup:
    if (check.file >= 0)
        H5Fclose(check.file);
    free(check.sizes);
    free(path);
    return status;
}
