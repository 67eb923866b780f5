/* A shard's statistics: views of the sequences at hand, and the accumulators, layer by layer. */
#include "contexture/stats.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "accumulator.h"
#include "contexture/memory.h"
#include "rows.h"

static const struct accumulator_kind *const kinds[] = {&change_accumulator,   &mixing_accumulator,       &pair_accumulator,
                                                       &category_accumulator, &cancellation_accumulator, &norm_accumulator};
enum { kind_count = sizeof kinds / sizeof kinds[0] };

struct cx_stats {
    struct cx_stats_options options; /* its list of layers is that below */
    size_t *layers;
    struct cx_label_table *labels;
    int threads;
    void *states[kind_count]; /* NULL: not wanted */
    struct view *views;
    size_t view_count;
    struct workspace *workspaces; /* [threads] */
};

enum cx_status cx_stats_create(const struct cx_stats_options *options, struct cx_label_table *labels, int threads, struct cx_stats **stats,
                               struct cx_error *error) {
    struct cx_stats *self = NULL;
    *stats = NULL;
    enum cx_status status = cx_allocate(1, sizeof *self, "statistics", &self, error);
    if (status != CX_OK)
        return status;
    self->options = *options;
    self->labels = labels;
    const size_t tasks = options->layer_count * kind_count;
    self->threads = threads < 1 ? 1 : (size_t)threads > tasks ? (int)tasks : threads;
    status = cx_allocate(options->layer_count, sizeof *self->layers, "statistics", &self->layers, error);
    if (status == CX_OK) {
        memcpy(self->layers, options->layers, options->layer_count * sizeof *self->layers);
        self->options.layers = self->layers;
        status = cx_allocate((size_t)self->threads, sizeof *self->workspaces, "statistics", &self->workspaces, error);
    }
    for (size_t k = 0; k < kind_count && status == CX_OK; k++)
        if (options->analyses & CX_ANALYSIS_BIT(kinds[k]->analysis))
            status = kinds[k]->create(&self->options, &self->states[k], error);
    if (status == CX_OK)
        *stats = self;
    else
        cx_stats_destroy(self);
    return status;
}

void cx_stats_destroy(struct cx_stats *stats) {
    if (!stats)
        return;
    for (size_t k = 0; k < kind_count; k++)
        if (stats->states[k])
            kinds[k]->destroy(stats->states[k]);
    for (int thread = 0; stats->workspaces && thread < stats->threads; thread++)
        workspace_free(&stats->workspaces[thread]);
    for (size_t k = 0; k < stats->view_count; k++)
        view_free(&stats->views[k]);
    free(stats->views);
    free(stats->workspaces);
    free(stats->layers);
    free(stats);
}

/* Sequences that are viewed together: enough of them to keep threads busy, and few enough to be small beside their maps. */
enum { most_views = 64 };

static enum cx_status make_room(struct cx_stats *stats, const struct cx_sequence *sequences, size_t count, struct cx_error *error) {
    size_t longest = 0;
    enum cx_status status = CX_OK;
    if (!stats->views) {
        status = cx_allocate(most_views, sizeof *stats->views, "statistics", &stats->views, error);
        stats->view_count = status == CX_OK ? most_views : 0;
    }
    for (size_t k = 0; k < count; k++)
        longest = sequences[k].tokens > longest ? sequences[k].tokens : longest;
    for (int thread = 0; thread < stats->threads && status == CX_OK; thread++)
        status = workspace_reserve(&stats->workspaces[thread], longest, error);
    return status;
}

static enum cx_status make_views(struct cx_stats *stats, const struct cx_sequence *sequences, const struct cx_sequence_result *results, size_t count,
                                 struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < count && status == CX_OK; k++)
        status = view_make(&stats->views[k], &stats->options, &sequences[k], &results[k], error);
    for (size_t k = 0; k < count && status == CX_OK; k++)
        for (size_t kind = 0; kind < kind_count && status == CX_OK; kind++)
            if (stats->states[kind] && kinds[kind]->prepare)
                status = kinds[kind]->prepare(stats->states[kind], &stats->views[k], error);
    return status;
}

/* An accumulator's layer is one task, so that its sums are taken in document order by whichever thread has it. */
static void add_views(struct cx_stats *stats, size_t count) {
    const int tasks = (int)(stats->options.layer_count * kind_count), threads = stats->threads;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (threads > 1)
    for (int task = 0; task < tasks; task++) {
        const size_t kind = kind_count - 1 - (size_t)task / stats->options.layer_count, layer = (size_t)task % stats->options.layer_count;
        for (size_t k = 0; k < count && stats->states[kind]; k++)
            kinds[kind]->add(stats->states[kind], layer, &stats->views[k], &stats->workspaces[omp_get_thread_num()]);
    }
}

enum cx_status cx_stats_add(struct cx_stats *stats, const struct cx_sequence *sequences, const struct cx_sequence_result *results, size_t count,
                            struct cx_error *error) {
    enum cx_status status = make_room(stats, sequences, count, error);
    for (size_t done = 0, taken; done < count && status == CX_OK; done += taken) {
        taken = count - done < most_views ? count - done : most_views;
        status = make_views(stats, sequences + done, results + done, taken, error);
        if (status == CX_OK)
            add_views(stats, taken);
    }
    return status;
}

/* --- giving the tables --- */

struct naming {
    struct cx_stats *stats;
    struct cx_stats_set *set;
    unsigned char *named; /* [label ids + 1] */
    int32_t *numbers;     /* the set's number of every label id */
    size_t count;
};

static enum cx_status name_label(void *context, uint32_t label) {
    struct naming *naming = context;
    if (label < naming->count)
        naming->named[label] = 1;
    return CX_OK;
}

static int32_t number_of(const void *context, uint32_t id) {
    const struct naming *naming = context;
    return id < naming->count ? naming->numbers[id] : 0;
}

static int byte_order(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The set's labels are those that its tables name, in byte order: not in the order in which this process has met them. */
static enum cx_status give_labels(struct naming *naming, struct cx_error *error) {
    struct cx_stats_set *set = naming->set;
    char **labels = NULL;
    size_t count = 1;
    for (size_t id = 1; id < naming->count; id++)
        count += naming->named[id];
    enum cx_status status = cx_allocate(count, sizeof *labels, "labels", &labels, error);
    if (status != CX_OK)
        return status;
    labels_free(set->labels, set->label_count);
    set->labels = labels;
    set->label_count = 0;
    status = cx_copy_text("", 0, &labels[0], error);
    set->label_count += status == CX_OK;
    for (size_t id = 1; id < naming->count && status == CX_OK; id++) {
        if (!naming->named[id])
            continue;
        const char *text = cx_label_table_text(naming->stats->labels, (uint32_t)id);
        status = cx_copy_text(text, strlen(text), &labels[set->label_count], error);
        set->label_count += status == CX_OK;
    }
    if (status == CX_OK)
        qsort(labels, set->label_count, sizeof *labels, byte_order);
    for (size_t id = 1; id < naming->count && status == CX_OK; id++)
        if (naming->named[id])
            naming->numbers[id] = label_number(set, cx_label_table_text(naming->stats->labels, (uint32_t)id));
    return status;
}

enum cx_status cx_stats_take(struct cx_stats *stats, struct cx_stats_set *set, struct cx_error *error) {
    struct naming naming = {.stats = stats, .set = set};
    enum cx_status status = cx_stats_set_create(&stats->options, CX_STATS_IN_PART, set, error);
    naming.count = 1 + (stats->labels ? cx_label_table_count(stats->labels) : 0);
    if (status == CX_OK)
        status = cx_allocate(naming.count, sizeof *naming.named, "labels", &naming.named, error);
    if (status == CX_OK)
        status = cx_allocate(naming.count, sizeof *naming.numbers, "labels", &naming.numbers, error);
    for (size_t k = 0; k < kind_count && status == CX_OK; k++)
        if (stats->states[k] && kinds[k]->labels)
            status = kinds[k]->labels(stats->states[k], name_label, &naming);
    if (status == CX_OK)
        status = give_labels(&naming, error);
    for (size_t k = 0; k < kind_count && status == CX_OK; k++)
        if (stats->states[k])
            status = kinds[k]->take(stats->states[k], set, number_of, &naming, error);
    for (size_t k = 0; k < kind_count && status == CX_OK; k++)
        if (stats->states[k])
            kinds[k]->clear(stats->states[k]);
    free(naming.numbers);
    free(naming.named);
    if (status != CX_OK)
        cx_stats_set_free(set);
    return status;
}
