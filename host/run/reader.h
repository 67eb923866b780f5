/* The first step: documents to windows of sequences. Finished shards are passed over. */
#ifndef CONTEXTURE_RUN_READER_H
#define CONTEXTURE_RUN_READER_H

#include "setup.h"

/* Documents that were left out, with their reasons, which the list owns. */
struct skipped_list {
    struct cx_skipped_document *items;
    size_t count, capacity;
};
CX_MUST_USE enum cx_status skipped_list_add(struct skipped_list *list, const struct cx_skipped_document *document, struct cx_error *error);
void skipped_list_clear(struct skipped_list *list);
void skipped_list_free(struct skipped_list *list);

/* Consecutive sequences of one shard, with the memory of all that the steps add. */
struct window {
    uint64_t shard, first_document;
    bool last;                       /* of its shard; the following three are the whole shard's then */
    uint64_t documents;              /* read, skipped ones included */
    uint64_t skipped, stripped;      /* documents */
    uint64_t content_hash;           /* of the documents' lines in order */
    uint64_t work;                   /* estimated pairs of tokens */
    bool is_large;                   /* one sequence whose results are more than --window-memory */
    uint64_t bytes_begin, bytes_end; /* of the corpus, before and behind the window */
    struct cx_sequence_list sequences;
    struct skipped_list left_out;       /* documents left out or stripped since the window before */
    struct cx_sequence_result *results; /* [sequences.count], made by the second step */
    size_t result_capacity;
};
void window_free(struct window *window);

/* Which shards are there already. */
struct finished_shards {
    void *context;
    bool (*find)(void *context, uint64_t shard, struct cx_part_summary *summary);
    void (*passed)(void *context, const struct cx_part_summary *summary);
};

/* Which shards to read, in which order. */
struct shard_source {
    void *context;
    /* The next one, to whose first document the corpus is taken. CX_END: there is none. */
    enum cx_status (*next)(void *context, struct cx_shard_range *range, struct cx_error *error);
};

struct reader {
    const struct setup *setup;
    const struct cx_run_observer *observer;
    const struct finished_shards *finished; /* NULL: none is */
    const struct shard_source *source;      /* NULL: all, as they come, without those that are finished */
    struct cx_shard_range range;            /* what the source said of the shard at hand */
    struct cx_encoding scratch;
    struct cx_sequence_list backlog; /* sequences of the latest document */
    size_t backlog_taken;
    uint64_t shard, first_document, shard_skipped, shard_stripped;
    struct cx_shard_cut cut;
    bool shard_ends;         /* behind the latest document */
    uint64_t document_begin; /* bytes of the corpus before the document in the backlog */
    bool ended;
};

/* The next window, or CX_END. */
CX_MUST_USE enum cx_status reader_next(struct reader *reader, struct window *window, struct cx_error *error);
void reader_free(struct reader *reader);

#endif
