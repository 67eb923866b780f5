/* Filling a part: every sequence adds to every dataset, in the order of the schema. */
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "contexture/memory.h"
#include "part.h"

/* Where the values of one row are, for one sequence: floats of a result, or an array of the sequence. */
static const float *result_floats(const struct cx_store_row *row, const struct cx_sequence_result *result) {
    switch (row->field) {
    case CX_FIELD_MAP:
        return result->maps[row->index];
    case CX_FIELD_HEAD_WEIGHT:
        return result->head_attention_weight;
    case CX_FIELD_HEAD_NORM:
        return result->head_attention_norm;
    case CX_FIELD_MIXING_RATIO:
        return result->mixing_ratio[row->index];
    case CX_FIELD_BIAS_NORM:
        return result->bias_norm[row->index];
    case CX_FIELD_COMPLETENESS:
        return result->completeness_error;
    case CX_FIELD_HIDDEN_STATE:
        return result->hidden_states;
    case CX_FIELD_VECTOR:
        return result->vectors[row->index];
    default:
        return NULL;
    }
}

static const void *token_values(const struct cx_store_row *row, const struct cx_sequence *sequence) {
    switch (row->field) {
    case CX_FIELD_INPUT_ID:
        return sequence->input_ids;
    case CX_FIELD_TOKEN_TYPE:
        return sequence->token_type_ids;
    case CX_FIELD_CHAR_START:
        return sequence->char_start;
    case CX_FIELD_CHAR_END:
        return sequence->char_end;
    case CX_FIELD_SPECIAL:
        return sequence->special;
    case CX_FIELD_WORD:
        return sequence->word_ids;
    case CX_FIELD_TEXT_INDEX:
        return sequence->text_index;
    case CX_FIELD_SEQUENCE_WORD:
        return sequence->word;
    case CX_FIELD_ENTITY:
        return sequence->entity;
    case CX_FIELD_ORIGINAL_ID:
        return sequence->original_id;
    default:
        return NULL;
    }
}

static int64_t sequence_number(const struct cx_store_row *row, const struct cx_sequence *sequence) {
    switch (row->field) {
    case CX_FIELD_DOCUMENT:
        return (int64_t)sequence->document;
    case CX_FIELD_SOURCE:
        return sequence->source;
    case CX_FIELD_LINE:
        return (int64_t)sequence->line;
    case CX_FIELD_WINDOW:
        return sequence->window;
    case CX_FIELD_FLAGS:
        return sequence->flags;
    case CX_FIELD_TEXT_START:
        return (int64_t)sequence->text_start;
    case CX_FIELD_PAIR_START:
        return (int64_t)sequence->pair_start;
    case CX_FIELD_WORD_COUNT:
        return (int64_t)sequence->words;
    default:
        return (int64_t)sequence->tokens;
    }
}

static struct cx_store_size size_of(const struct cx_sequence *sequence) {
    return (struct cx_store_size){sequence->tokens, sequence->words};
}

static enum cx_status append_floats(struct cx_part *part, struct cx_flat *flat, const struct cx_sequence *sequence, const struct cx_sequence_result *result,
                                    struct cx_error *error) {
    const struct cx_store_row *row = flat->row;
    const float *values = result_floats(row, result);
    size_t count = part->shapes.stored_layers;
    bool fits = row->shape == CX_SHAPE_BLOCK         ? cx_store_block_size(row->field, &part->shapes, size_of(sequence), &count)
                : row->shape == CX_SHAPE_TOKEN_LAYER ? cx_multiply(count, sequence->tokens, &count)
                                                     : true;
    if (!values || !fits)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: sequence %s: the result for dataset %s is missing", part->path, sequence->id, row->name);
    return cx_flat_append_floats(part->queue, flat, values, count, error);
}

static enum cx_status append_offset(struct cx_part *part, size_t index, const struct cx_sequence *sequence, struct cx_error *error) {
    const struct cx_store_row *row = &cx_store_rows[index];
    size_t step = 0;
    bool fits = true;
    if (row->field == CX_FIELD_TEXT_OFFSET)
        step = sequence->text_length;
    else if (row->field == CX_FIELD_PAIR_OFFSET)
        step = sequence->pair ? sequence->pair_length : 0;
    else
        fits = cx_store_offset_step(row->field, &part->shapes, size_of(sequence), &step);
    if (!fits || step > INT64_MAX - (uint64_t)part->next_offset[index])
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: sequence %s: %zu tokens are more than can be stored", part->path, sequence->id, sequence->tokens);
    part->next_offset[index] += (int64_t)step;
    return cx_flat_append(part->queue, &part->flats[index], &part->next_offset[index], 1, error);
}

/* A normaliser may move marks, so the first token need not be the leftmost. */
static int32_t word_value(const struct cx_store_row *row, const struct cx_sequence *sequence, size_t word) {
    const uint32_t first = sequence->word_first[word], end = sequence->word_first[word + 1];
    uint32_t start = sequence->char_start[first], stop = sequence->char_end[first];
    for (uint32_t token = first + 1; token < end; token++) {
        start = sequence->char_start[token] < start ? sequence->char_start[token] : start;
        stop = sequence->char_end[token] > stop ? sequence->char_end[token] : stop;
    }
    return row->field == CX_FIELD_WORD_FIRST ? (int32_t)first : row->field == CX_FIELD_WORD_START ? (int32_t)start : (int32_t)stop;
}

static enum cx_status append_words(struct cx_part *part, struct cx_flat *flat, const struct cx_sequence *sequence, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t word = 0; status == CX_OK && word < sequence->words; word++) {
        const int32_t value = word_value(flat->row, sequence, word);
        const void *const values =
            flat->row->field == CX_FIELD_WORD_TEXT ? (const void *)&sequence->text_index[sequence->word_first[word]] : (const void *)&value;
        status = cx_flat_append(part->queue, flat, values, 1, error);
    }
    return status;
}

static enum cx_status append_row(struct cx_part *part, size_t index, const struct cx_sequence *sequence, const struct cx_sequence_result *result,
                                 struct cx_error *error) {
    const struct cx_store_row *row = &cx_store_rows[index];
    struct cx_flat *flat = &part->flats[index];
    if (row->type == CX_STORE_FLOAT32 || row->type == CX_STORE_MAP)
        return append_floats(part, flat, sequence, result, error);
    if (row->shape == CX_SHAPE_OFFSET)
        return append_offset(part, index, sequence, error);
    if (row->shape == CX_SHAPE_TOKEN)
        return cx_flat_append(part->queue, flat, token_values(row, sequence), sequence->tokens, error);
    if (row->shape == CX_SHAPE_WORD)
        return append_words(part, flat, sequence, error);
    if (row->field == CX_FIELD_TEXT)
        return cx_flat_append(part->queue, flat, sequence->text, sequence->text_length, error);
    if (row->field == CX_FIELD_PAIR)
        return cx_flat_append(part->queue, flat, sequence->pair, sequence->pair ? sequence->pair_length : 0, error);
    int64_t number = sequence_number(row, sequence);
    int32_t small = (int32_t)number;
    return cx_flat_append(part->queue, flat, row->type == CX_STORE_INT64 ? (const void *)&number : (const void *)&small, 1, error);
}

static enum cx_status keep_id(struct cx_part *part, const char *id, struct cx_error *error) {
    size_t length = strlen(id), needed;
    if (!cx_add(part->ids_used, length + 1, &needed))
        return cx_fail_memory(error, "the ids of a part", SIZE_MAX);
    enum cx_status status = cx_reserve(&part->ids, &part->ids_capacity, needed, 1, "the ids of a part", error);
    if (status != CX_OK)
        return status;
    memcpy(part->ids + part->ids_used, id, length + 1);
    part->ids_used = needed;
    if (length > part->longest_id)
        part->longest_id = length;
    return CX_OK;
}

static const uint32_t *label_ids(const struct cx_sequence *sequence, int which) {
    return which == CX_LABEL_POS ? sequence->pos : which == CX_LABEL_ENTITY ? sequence->entity_label : sequence->label;
}

/* Ids until the part is finished: the width of a dataset of labels is that of its longest. */
static enum cx_status keep_labels(struct cx_part *part, const struct cx_sequence *sequence, struct cx_error *error) {
    size_t needed;
    if (!cx_add((size_t)part->tokens, sequence->tokens, &needed))
        return cx_fail_memory(error, "the labels of a part", SIZE_MAX);
    for (int which = 0; which < CX_LABELS; which++) {
        struct cx_part_labels *kept = &part->labels[which];
        const uint32_t *ids = label_ids(sequence, which);
        enum cx_status status = cx_reserve(&kept->ids, &kept->capacity, needed, sizeof *kept->ids, "the labels of a part", error);
        if (status != CX_OK)
            return status;
        for (size_t k = 0; k < sequence->tokens; k++)
            kept->ids[part->tokens + k] = (uint16_t)ids[k];
    }
    return CX_OK;
}

static enum cx_status append_sequence(struct cx_part *part, const struct cx_sequence *sequence, const struct cx_sequence_result *result,
                                      struct cx_error *error) {
    if (sequence->tokens == 0 || sequence->tokens > INT32_MAX)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: sequence %s has %zu tokens", part->path, sequence->id, sequence->tokens);
    if (part->shapes.by_words && (sequence->words == 0 || sequence->words > sequence->tokens))
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: sequence %s has %zu words and %zu tokens", part->path, sequence->id, sequence->words, sequence->tokens);
    enum cx_status status = keep_id(part, sequence->id, error);
    if (status == CX_OK && part->shapes.annotations)
        status = keep_labels(part, sequence, error);
    for (size_t i = 0; status == CX_OK && i < cx_store_row_count; i++)
        if (part->flats[i].created)
            status = append_row(part, i, sequence, result, error);
    if (status != CX_OK)
        return status;
    for (size_t layer = 0; layer < part->shapes.stored_layers; layer++) {
        if (!isfinite(result->completeness_error[layer]))
            return cx_fail(error, CX_ERROR_INTERNAL, "%s: sequence %s: the completeness error of stored layer %zu is not finite", part->path, sequence->id,
                           layer);
        part->completeness_error = fmaxf(part->completeness_error, result->completeness_error[layer]);
    }
    part->sequences++;
    part->tokens += sequence->tokens;
    part->pairs += (uint64_t)sequence->tokens * sequence->tokens;
    return CX_OK;
}

/* The system is asked to begin writing early, so that the sync at the end has little left to wait for. A wish, like all advice. */
static void begin_writing(struct cx_part *part) {
    const uint64_t step = 32u << 20, bytes = cx_chunk_queue_bytes(part->queue);
    if (bytes - part->bytes_on_their_way < step)
        return;
    (void)sync_file_range(part->descriptor, 0, 0, SYNC_FILE_RANGE_WRITE);
    part->bytes_on_their_way = bytes;
}

enum cx_status cx_part_append_pairs(struct cx_part *part, const struct cx_stats_table *rows, struct cx_error *error) {
    if (part->failed)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: a part that failed was appended to", part->path);
    const enum cx_status status = cx_table_rows_write(part->queue, part->file, part->temporary, rows, &part->pair_runs, error);
    part->failed = status != CX_OK;
    return status;
}

enum cx_status cx_part_add_statistics(struct cx_part *part, const struct cx_stats_set *set, struct cx_error *error) {
    if (part->failed || part->tables.count > 0)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: statistics were added to a part that failed or has some", part->path);
    const enum cx_status status = cx_table_datasets_write(part->queue, part->file, part->temporary, set, false, &part->tables, error);
    part->failed = status != CX_OK;
    return status;
}

enum cx_status cx_part_append(struct cx_part *part, const struct cx_sequence *sequences, const struct cx_sequence_result *results, size_t count,
                              struct cx_error *error) {
    if (part->failed)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: a part that failed was appended to", part->path);
    enum cx_status status = CX_OK;
    for (size_t i = 0; i < count && status == CX_OK; i++)
        status = append_sequence(part, &sequences[i], &results[i], error);
    if (status == CX_OK)
        begin_writing(part);
    part->failed = status != CX_OK;
    return status;
}
