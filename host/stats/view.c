#include "view.h"

#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"

static bool is_masked(const struct cx_sequence *sequence, size_t token) {
    return sequence->original_id && sequence->original_id[token] != sequence->input_ids[token];
}

static int32_t word_of(const struct cx_sequence *sequence, size_t token) {
    return sequence->word ? sequence->word[token] : -1;
}

static int32_t entity_of(const struct cx_sequence *sequence, size_t token) {
    return sequence->entity ? sequence->entity[token] : -1;
}

bool view_is_ordinary(const struct view *view, size_t token) {
    return !view->sequence->special[token] && !is_masked(view->sequence, token);
}

enum token_class view_class(const struct view *view, size_t token) {
    const struct cx_sequence *sequence = view->sequence;
    const int32_t word = word_of(sequence, token);
    if (sequence->special[token])
        return CLASS_SPECIAL;
    if (is_masked(sequence, token))
        return CLASS_MASK;
    if (word < 0)
        return CLASS_NO_WORD;
    for (size_t other = token; other-- > 0;)
        if (word_of(sequence, other) == word)
            return CLASS_WORD_PIECE;
    return CLASS_WORD_START;
}

/* Of two ordinary tokens at different places. */
static uint32_t ordinary_categories(const struct cx_sequence *sequence, size_t target, size_t source, bool adjacent) {
    const int32_t word_i = word_of(sequence, target), word_j = word_of(sequence, source);
    const int32_t entity_i = entity_of(sequence, target), entity_j = entity_of(sequence, source);
    const uint32_t pos_i = sequence->pos ? sequence->pos[target] : 0, pos_j = sequence->pos ? sequence->pos[source] : 0;
    const bool same_word = word_i >= 0 && word_i == word_j;
    uint32_t set = IN(CATEGORY_ALL) | IN(CATEGORY_ORDINARY) | NEITHER_IS_SPECIAL | (same_word ? IN(CATEGORY_SAME_WORD) : IN(CATEGORY_OTHER_WORD));
    if (adjacent)
        set |= IN(CATEGORY_ADJACENT);
    if (sequence->annotated && entity_i >= 0 && entity_j >= 0)
        set |= entity_i != entity_j ? IN(CATEGORY_BOTH_ENTITIES) : same_word ? 0 : IN(CATEGORY_SAME_ENTITY);
    else if (sequence->annotated)
        set |= entity_i >= 0 || entity_j >= 0 ? IN(CATEGORY_ENTITY_OTHER) : IN(CATEGORY_NO_ENTITY);
    if (pos_i != 0 && pos_j != 0 && !same_word)
        set |= pos_i == pos_j ? IN(CATEGORY_SAME_POS) : IN(CATEGORY_DIFFERENT_POS);
    return set;
}

/* Of the pair of two rows of the maps. */
static uint32_t pair_categories(const struct view *view, size_t row, size_t column) {
    const struct cx_sequence *sequence = view->sequence;
    const size_t target = view_token(view, row), source = view_token(view, column);
    const bool target_is_special = sequence->special[target], source_is_special = sequence->special[source];
    if (target == source)
        return IN(CATEGORY_ALL) | IN(CATEGORY_SELF) | (target_is_special ? 0 : NEITHER_IS_SPECIAL);
    if (!target_is_special && !source_is_special)
        return ordinary_categories(sequence, target, source, row + 1 == column || column + 1 == row);
    if (target_is_special && source_is_special)
        return IN(CATEGORY_ALL) | IN(CATEGORY_SPECIAL);
    return IN(CATEGORY_ALL) | (source_is_special ? IN(CATEGORY_FROM_SPECIAL) : IN(CATEGORY_TO_SPECIAL));
}

static enum distance distance_of(size_t target, size_t source) {
    const size_t apart = target > source ? target - source : source - target;
    enum distance distance = apart < 2 ? (enum distance)apart : DISTANCE_2;
    for (size_t most = 2; most < apart && distance < DISTANCE_MORE; most *= 2)
        distance++;
    return distance;
}

static bool is_bucket(const struct view *view, size_t bucket, uint32_t categories, enum distance distance) {
    return view->bucket_categories[bucket] == categories && view->bucket_distance[bucket] == distance;
}

/* Buckets repeat, and mostly from one pair to the next. */
static uint8_t bucket_of(struct view *view, uint32_t categories, enum distance distance, size_t last) {
    if (last < view->bucket_count && is_bucket(view, last, categories, distance))
        return (uint8_t)last;
    size_t bucket = 0;
    while (bucket < view->bucket_count && !is_bucket(view, bucket, categories, distance))
        bucket++;
    if (bucket == view->bucket_count && bucket < most_buckets - 1) {
        view->bucket_categories[bucket] = categories;
        view->bucket_distance[bucket] = (uint8_t)distance;
        view->bucket_pairs[bucket] = 0;
        view->bucket_count++;
    }
    return (uint8_t)bucket;
}

static void sort_pairs(struct view *view) {
    const struct cx_sequence *sequence = view->sequence;
    size_t last = 0;
    memset(view->taken_count, 0, sizeof view->taken_count);
    view->taken_count[VARIANT_ALL] = view->pairs;
    for (size_t i = 0, pair = 0; i < view->n; i++)
        for (size_t j = 0; j < view->n; j++, pair++) {
            view->taken[VARIANT_NO_SPECIAL][pair] = !sequence->special[view_token(view, i)] && !sequence->special[view_token(view, j)];
            view->taken[VARIANT_NO_DIAGONAL][pair] = i != j;
            for (size_t variant = VARIANT_ALL + 1; variant < VARIANTS; variant++)
                view->taken_count[variant] += view->taken[variant][pair];
            view->bucket[pair] = bucket_of(view, pair_categories(view, i, j), distance_of(i, j), last);
            last = view->bucket[pair];
            view->bucket_pairs[last]++;
        }
}

static void count_categories(struct view *view) {
    memset(view->category_pairs, 0, sizeof view->category_pairs);
    memset(view->distance_pairs, 0, sizeof view->distance_pairs);
    for (size_t bucket = 0; bucket < view->bucket_count; bucket++)
        for (size_t category = 0; category < CATEGORIES; category++)
            if (view->bucket_categories[bucket] & IN(category)) {
                view->category_pairs[category] += view->bucket_pairs[bucket];
                view->distance_pairs[category][view->bucket_distance[bucket]] += view->bucket_pairs[bucket];
            }
}

static void find_pos_kinds(struct view *view) {
    const uint32_t *pos = view->sequence->pos;
    view->pos_kinds = 0;
    for (size_t place = 0; place < view->n; place++) {
        const size_t token = view_token(view, place);
        size_t kind = 0;
        view->pos_kind[place] = UINT16_MAX;
        if (!pos || pos[token] == 0)
            continue;
        while (kind < view->pos_kinds && view->pos_labels[kind] != pos[token])
            kind++;
        if (kind == view->pos_kinds)
            view->pos_labels[view->pos_kinds++] = pos[token];
        view->pos_kind[place] = (uint16_t)kind;
    }
}

static void *take(unsigned char **place, size_t bytes) {
    unsigned char *taken = *place;
    *place += (bytes + 63) / 64 * 64;
    return taken;
}

enum cx_status view_make(struct view *view, const struct cx_stats_options *options, const struct cx_sequence *sequence, const struct cx_sequence_result *result,
                         struct cx_error *error) {
    const size_t tokens = sequence->tokens, n = cx_sequence_map_side(sequence, options->by_words), pairs = n * n, replicates = (size_t)options->bootstrap;
    const bool wants_pairs = options->analyses & CX_ANALYSIS_BIT(CX_ANALYSIS_PAIRS);
    size_t needed = 3 * pairs + pairs * 8 + (wants_pairs ? pairs * 4 : 0) + tokens * (12 + 4 * (size_t)most_classes) + replicates + 1024;
    view->sequence = sequence;
    view->result = result;
    view->by_words = options->by_words;
    view->tokens = tokens;
    view->n = n;
    view->pairs = pairs;
    view->bucket_count = 0;
    enum cx_status status = cx_reserve(&view->memory, &view->capacity, needed, 1, "statistics", error);
    if (status != CX_OK)
        return status;
    unsigned char *place = view->memory + (64 - (uintptr_t)view->memory % 64) % 64;
    view->taken[VARIANT_ALL] = NULL;
    view->taken[VARIANT_NO_SPECIAL] = take(&place, pairs);
    view->taken[VARIANT_NO_DIAGONAL] = take(&place, pairs);
    view->bucket = take(&place, pairs);
    view->pos_slot = take(&place, pairs * sizeof *view->pos_slot);
    view->pos_pairs = take(&place, pairs * sizeof *view->pos_pairs);
    view->class_slot = take(&place, tokens * most_classes * sizeof *view->class_slot);
    view->token_slot = take(&place, tokens * sizeof *view->token_slot);
    view->pos_labels = take(&place, n * sizeof *view->pos_labels);
    view->pos_kind = take(&place, n * sizeof *view->pos_kind);
    view->draws = take(&place, replicates);
    view->pair_slot = wants_pairs ? take(&place, pairs * sizeof *view->pair_slot) : NULL;
    sort_pairs(view);
    count_categories(view);
    find_pos_kinds(view);
    draw_replicates(sequence->document, sequence->window, view->draws, replicates);
    return CX_OK;
}

void view_free(struct view *view) {
    free(view->memory);
    memset(view, 0, sizeof *view);
}
