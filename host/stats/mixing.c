/* Mixing ratios by class of token, and by token, from which those by frequency in the corpus follow when all shards are merged. */
#include <stdlib.h>

#include "accumulator.h"
#include "contexture/memory.h"
#include "rows.h"

struct mixing_state {
    struct cx_stats_options options;
    struct slots classes; /* key: class, label; sums: the mixing ratio of each stage, and its square */
    struct slots tokens;  /* key: token; sums: the mixing ratio of each stage */
};

/* In rising order of class and label. */
static uint64_t class_key(enum token_class class, uint32_t label) {
    return (uint64_t) class << 32 | label;
}

static enum cx_status create(const struct cx_stats_options *options, void **state, struct cx_error *error) {
    struct mixing_state *made = NULL;
    enum cx_status status = cx_allocate(1, sizeof *made, "statistics", &made, error);
    *state = made;
    if (status != CX_OK)
        return status;
    made->options = *options;
    slots_begin(&made->classes, options->layer_count, 2 * (size_t)CX_STAGES);
    slots_begin(&made->tokens, options->layer_count, CX_STAGES);
    return CX_OK;
}

/* The keys of a token's classes. */
static size_t classes_of(const struct view *view, size_t token, uint64_t keys[most_classes]) {
    const struct cx_sequence *sequence = view->sequence;
    size_t count = 0;
    keys[count++] = class_key(CLASS_ALL, 0);
    keys[count++] = class_key(view_class(view, token), 0);
    if (sequence->annotated && !sequence->special[token])
        keys[count++] = class_key(sequence->entity && sequence->entity[token] >= 0 ? CLASS_IN_ENTITY : CLASS_NO_ENTITY, 0);
    if (sequence->pos && sequence->pos[token] != 0)
        keys[count++] = class_key(CLASS_POS, sequence->pos[token]);
    if (sequence->entity_label && sequence->entity_label[token] != 0)
        keys[count++] = class_key(CLASS_ENTITY, sequence->entity_label[token]);
    return count;
}

static enum cx_status prepare(void *state, struct view *view, struct cx_error *error) {
    struct mixing_state *self = state;
    enum cx_status status = CX_OK;
    for (size_t token = 0; token < view->tokens && status == CX_OK; token++) {
        uint64_t keys[most_classes];
        size_t slot = 0;
        const size_t count = classes_of(view, token, keys);
        for (size_t k = 0; k < most_classes && status == CX_OK; k++) {
            view->class_slot[token * most_classes + k] = no_slot;
            if (k < count)
                status = slots_find(&self->classes, keys[k], &slot, error);
            if (k >= count || status != CX_OK)
                continue;
            self->classes.counts[slot]++;
            view->class_slot[token * most_classes + k] = (int32_t)slot;
        }
        view->token_slot[token] = no_slot;
        if (status == CX_OK && view_is_ordinary(view, token)) {
            status = slots_find(&self->tokens, (uint64_t)view->sequence->input_ids[token], &slot, error);
            if (status == CX_OK)
                self->tokens.counts[slot]++;
            view->token_slot[token] = (int32_t)slot;
        }
    }
    return status;
}

static void add(void *state, size_t layer, const struct view *view, struct workspace *workspace) {
    struct mixing_state *self = state;
    (void)workspace;
    for (size_t token = 0; token < view->tokens; token++) {
        double ratio[CX_STAGES];
        for (unsigned stage = 0; stage < CX_STAGES; stage++)
            ratio[stage] = (double)view->result->mixing_ratio[stage][token * self->options.layer_count + layer];
        for (size_t k = 0; k < most_classes; k++) {
            const int32_t slot = view->class_slot[token * most_classes + k];
            if (slot == no_slot)
                continue;
            double *sums = self->classes.sums + slots_place(&self->classes, (size_t)slot, layer);
            for (unsigned stage = 0; stage < CX_STAGES; stage++) {
                sums[stage] += ratio[stage];
                sums[CX_STAGES + stage] += ratio[stage] * ratio[stage];
            }
        }
        if (view->token_slot[token] == no_slot)
            continue;
        double *sums = self->tokens.sums + slots_place(&self->tokens, (size_t)view->token_slot[token], layer);
        for (unsigned stage = 0; stage < CX_STAGES; stage++)
            sums[stage] += ratio[stage];
    }
}

static enum cx_status labels(void *state, enum cx_status (*name)(void *context, uint32_t label), void *context) {
    const struct mixing_state *self = state;
    enum cx_status status = CX_OK;
    for (size_t slot = 0; slot < self->classes.count && status == CX_OK; slot++)
        status = name(context, (uint32_t)self->classes.keys[slot]);
    return status;
}

static enum cx_status take_classes(const struct mixing_state *self, struct cx_stats_set *set, int32_t (*label)(const void *context, uint32_t id),
                                   const void *context, struct cx_error *error) {
    struct cx_stats_table *table = &set->tables[TABLE_CLASS];
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < self->options.layer_count * CX_STAGES * self->classes.count && status == CX_OK; k++) {
        const size_t slot = k % self->classes.count, stage = k / self->classes.count % CX_STAGES, layer = k / self->classes.count / CX_STAGES;
        const double *sums = self->classes.sums + slots_place(&self->classes, slot, layer);
        const uint64_t key = self->classes.keys[slot];
        const double row[] = {(double)self->options.layers[layer], (double)stage, (double)(key >> 32),    label(context, (uint32_t)key),
                              (double)self->classes.counts[slot],  sums[stage],   sums[CX_STAGES + stage]};
        status = row_add(table, row, sizeof row / sizeof row[0], error);
    }
    return status == CX_OK ? rows_sort(table, error) : status;
}

static enum cx_status take(void *state, struct cx_stats_set *set, int32_t (*label)(const void *context, uint32_t id), const void *context,
                           struct cx_error *error) {
    const struct mixing_state *self = state;
    enum cx_status status = take_classes(self, set, label, context, error);
    return status == CX_OK ? slots_to_table(&self->tokens, &set->tables[TABLE_TOKEN], error) : status;
}

static void clear(void *state) {
    struct mixing_state *self = state;
    slots_clear(&self->classes);
    slots_clear(&self->tokens);
}

static void destroy(void *state) {
    struct mixing_state *self = state;
    slots_free(&self->classes);
    slots_free(&self->tokens);
    free(self);
}

const struct accumulator_kind mixing_accumulator = {
    .analysis = CX_ANALYSIS_MIXING, .create = create, .prepare = prepare, .add = add, .labels = labels, .take = take, .clear = clear, .destroy = destroy};
