#include "top_pairs.h"

#include <stdlib.h>

#include "contexture/memory.h"
#include "rows.h"

enum cx_status top_pairs_begin(struct top_pairs *top, size_t layers, size_t most, struct cx_error *error) {
    *top = (struct top_pairs){.layers = layers, .most = most};
    return cx_allocate(layers * SINGLE_COMPONENTS * 2, sizeof *top->lists, "the largest pairs", &top->lists, error);
}

void top_pairs_free(struct top_pairs *top) {
    for (size_t k = 0; top->lists && k < top->layers * SINGLE_COMPONENTS * 2; k++)
        free(top->lists[k].pairs);
    free(top->lists);
    *top = (struct top_pairs){0};
}

static int by_rank(const void *a, const void *b) {
    const struct top_pair *first = a, *second = b;
    if (first->order != second->order)
        return first->order > second->order ? -1 : 1;
    return first->key < second->key ? -1 : first->key > second->key;
}

static void sink_first(struct top_list *list) {
    for (size_t at = 0, child; (child = 2 * at + 1) < list->count; at = child) {
        if (child + 1 < list->count && by_rank(&list->pairs[child], &list->pairs[child + 1]) < 0)
            child++;
        if (by_rank(&list->pairs[at], &list->pairs[child]) >= 0)
            return;
        const struct top_pair lower = list->pairs[at];
        list->pairs[at] = list->pairs[child];
        list->pairs[child] = lower;
    }
}

static void raise_last(struct top_list *list) {
    for (size_t at = list->count - 1, parent; at > 0; at = parent) {
        parent = (at - 1) / 2;
        if (by_rank(&list->pairs[parent], &list->pairs[at]) >= 0)
            return;
        const struct top_pair upper = list->pairs[parent];
        list->pairs[parent] = list->pairs[at];
        list->pairs[at] = upper;
    }
}

static enum cx_status list_add(struct top_list *list, size_t most, const struct top_pair *pair, struct cx_error *error) {
    if (list->count == most) {
        if (most > 0 && by_rank(pair, &list->pairs[0]) < 0) {
            list->pairs[0] = *pair;
            sink_first(list);
        }
        return CX_OK;
    }
    enum cx_status status = cx_reserve(&list->pairs, &list->capacity, list->count + 1, sizeof *list->pairs, "the largest pairs", error);
    if (status != CX_OK)
        return status;
    list->pairs[list->count++] = *pair;
    raise_last(list);
    return CX_OK;
}

enum cx_status top_pairs_add(struct top_pairs *top, uint64_t key, int64_t count, const double *sums, struct cx_error *error) {
    const double number = (double)count;
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < top->layers * SINGLE_COMPONENTS && status == CX_OK; k++) {
        const double *of = sums + k / SINGLE_COMPONENTS * 2 * SINGLE_COMPONENTS + k % SINGLE_COMPONENTS;
        struct top_pair pair = {.key = key, .count = count, .mean = of[0] / number, .std = sample_deviation(number, of[0], of[SINGLE_COMPONENTS])};
        pair.order = pair.mean;
        status = list_add(&top->lists[2 * k], top->most, &pair, error);
        pair.order = -pair.mean;
        if (status == CX_OK)
            status = list_add(&top->lists[2 * k + 1], top->most, &pair, error);
    }
    return status;
}

enum cx_status top_pairs_to_table(struct top_pairs *top, const size_t *layer_numbers, struct cx_stats_table *table, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < top->layers * SINGLE_COMPONENTS * 2 && status == CX_OK; k++) {
        const struct top_list *list = &top->lists[k];
        const size_t sign = k % 2, component = k / 2 % SINGLE_COMPONENTS, layer = k / 2 / SINGLE_COMPONENTS;
        if (list->count > 0)
            qsort(list->pairs, list->count, sizeof *list->pairs, by_rank);
        for (size_t rank = 0; rank < list->count && status == CX_OK; rank++) {
            const struct top_pair *pair = &list->pairs[rank];
            const double row[] = {(double)layer_numbers[layer], (double)component,   (double)sign, (double)rank, (double)(pair->key >> 32),
                                  (double)(uint32_t)pair->key,  (double)pair->count, pair->mean,   pair->std};
            status = row_add(table, row, sizeof row / sizeof row[0], error);
        }
    }
    return status;
}
