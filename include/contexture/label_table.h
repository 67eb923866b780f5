/*
 * The labels of a run's annotations (parts of speech, entity types, …), each text once, so that a token carries a number.
 *
 * Ids come in order of first appearance in the reader, so they depend on which shards a process has read: files and whatever is merged keep the texts, never
 * the ids. One thread may add labels while others look texts up.
 */
#ifndef CONTEXTURE_LABEL_TABLE_H
#define CONTEXTURE_LABEL_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

enum { CX_MOST_LABELS = 65535 };

struct cx_label_table;

CX_MUST_USE enum cx_status cx_label_table_create(struct cx_label_table **table, struct cx_error *error);
void cx_label_table_destroy(struct cx_label_table *table); /* NULL is allowed */

/* The id of text[0 .. length), from 1; 0 for the empty text. CX_ERROR_UNSUPPORTED for one label more than CX_MOST_LABELS. */
CX_MUST_USE enum cx_status cx_label_table_add(struct cx_label_table *table, const char *text, size_t length, uint32_t *id, struct cx_error *error);

/* The text, zero-terminated; "" for 0 and for ids that are not there. Holds as long as the table. */
const char *cx_label_table_text(struct cx_label_table *table, uint32_t id);

/* Ids 1 to this number are there. */
size_t cx_label_table_count(struct cx_label_table *table);

#endif
