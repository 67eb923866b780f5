#include "contexture/label_table.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "contexture/memory.h"

/* Open addressing, never full: a label's place is found with few comparisons. 0: free. */
enum { slot_count = 131072 };

struct cx_label_table {
    pthread_mutex_t lock;
    char **texts; /* [count] of ids 1, 2, …; the texts themselves never move */
    size_t count, capacity;
    uint32_t *slots;
};

enum cx_status cx_label_table_create(struct cx_label_table **table, struct cx_error *error) {
    struct cx_label_table *made = NULL;
    *table = NULL;
    enum cx_status status = cx_allocate(1, sizeof *made, "the table of labels", &made, error);
    if (status == CX_OK)
        status = cx_allocate(slot_count, sizeof *made->slots, "the table of labels", &made->slots, error);
    if (status == CX_OK && pthread_mutex_init(&made->lock, NULL) != 0)
        status = cx_fail_memory(error, "a lock", sizeof made->lock);
    if (status == CX_OK) {
        *table = made;
        return CX_OK;
    }
    if (made)
        free(made->slots);
    free(made);
    return status;
}

void cx_label_table_destroy(struct cx_label_table *table) {
    if (!table)
        return;
    for (size_t k = 0; k < table->count; k++)
        free(table->texts[k]);
    free(table->texts);
    free(table->slots);
    (void)pthread_mutex_destroy(&table->lock);
    free(table);
}

static enum cx_status add_text(struct cx_label_table *table, const char *text, size_t length, uint32_t *slot, struct cx_error *error) {
    if (table->count == CX_MOST_LABELS)
        return cx_fail(error, CX_ERROR_UNSUPPORTED,
                       "the label \"%.*s\" is one more than the %d different labels that a run may have: labels are classes of words, as parts of speech are; "
                       "leave out what names single words",
                       (int)(length < 200 ? length : 200), text, CX_MOST_LABELS);
    enum cx_status status = cx_reserve(&table->texts, &table->capacity, table->count + 1, sizeof *table->texts, "the table of labels", error);
    if (status == CX_OK)
        status = cx_copy_text(text, length, &table->texts[table->count], error);
    if (status == CX_OK)
        *slot = (uint32_t)++table->count;
    return status;
}

static bool is_text(const char *kept, const char *text, size_t length) {
    return strncmp(kept, text, length) == 0 && kept[length] == '\0';
}

enum cx_status cx_label_table_add(struct cx_label_table *table, const char *text, size_t length, uint32_t *id, struct cx_error *error) {
    *id = 0;
    if (length == 0)
        return CX_OK;
    enum cx_status status = CX_OK;
    size_t place = (size_t)XXH3_64bits(text, length) % slot_count;
    (void)pthread_mutex_lock(&table->lock);
    while (table->slots[place] != 0 && !is_text(table->texts[table->slots[place] - 1], text, length))
        place = (place + 1) % slot_count;
    if (table->slots[place] == 0)
        status = add_text(table, text, length, &table->slots[place], error);
    *id = table->slots[place];
    (void)pthread_mutex_unlock(&table->lock);
    return status;
}

const char *cx_label_table_text(struct cx_label_table *table, uint32_t id) {
    const char *text = "";
    (void)pthread_mutex_lock(&table->lock);
    if (id > 0 && id <= table->count)
        text = table->texts[id - 1];
    (void)pthread_mutex_unlock(&table->lock);
    return text;
}

size_t cx_label_table_count(struct cx_label_table *table) {
    (void)pthread_mutex_lock(&table->lock);
    size_t count = table->count;
    (void)pthread_mutex_unlock(&table->lock);
    return count;
}
