/*
 * The plan of a run: which documents make which shard, and where each of them begins in the corpus, so that a process can go straight to any of them.
 *
 * A shard ends when it has --shard-size documents, or earlier, when its estimated work reaches --shard-work. The rule looks at one line after the other, so a
 * run that reads the corpus from its beginning cuts the same shards without a plan; a plan only saves finding the places again.
 *
 * Work is Σ n², the pairs of tokens. To tokenize the corpus for it would take as long as reading all of it takes, so n is estimated: a token for every four
 * bytes of the document's line up to its annotations, which are longer than the text. Shards become even in work as far as lines are alike in this respect;
 * what they compute does not depend on it.
 */
#ifndef CONTEXTURE_SHARD_PLAN_H
#define CONTEXTURE_SHARD_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "contexture/corpus.h"
#include "contexture/error.h"
#include "contexture/sequence.h"

/* How shards are cut. */
struct cx_shard_rule {
    uint64_t documents; /* at most */
    uint64_t work;      /* estimated pairs of tokens at which a shard ends; 0: no bound */
    struct cx_sequence_options sequences;
};

/* Estimated pairs of tokens of a document whose line has so many bytes, annotations aside. */
uint64_t cx_estimate_pairs(const struct cx_sequence_options *options, uint64_t text_bytes);

/* A shard that is being cut; start zeroed. */
struct cx_shard_cut {
    uint64_t documents, pairs, content_hash;
};

/* Takes the document in. True: the shard ends behind it. */
bool cx_shard_cut_add(struct cx_shard_cut *cut, const struct cx_shard_rule *rule, const struct cx_document *document);

struct cx_shard_range {
    uint64_t shard;
    struct cx_corpus_place begin;
    uint64_t documents, pairs, content_hash; /* pairs: estimated */
};

struct cx_shard_plan; /* 64 bytes a shard; checkpoints stay in the file until they are needed */

/* One reading of the corpus, which must be at its beginning and have places. `stop` (may be NULL) is asked now and then: true ends with CX_ERROR_INTERRUPTED.
 */
CX_MUST_USE enum cx_status cx_shard_plan_make(struct cx_corpus *corpus, const struct cx_corpus_options *options, const struct cx_shard_rule *rule,
                                              const char *corpus_fingerprint, bool (*stop)(void *), void *stop_context, char **text, size_t *length,
                                              struct cx_error *error);

/* plan.json of a folder: a header and a line for every shard and checkpoint, each with its CRC-32. */
CX_MUST_USE enum cx_status cx_shard_plan_write(const char *directory, const char *text, size_t length, struct cx_error *error);

/*
 * Opens it. CX_END if there is none, or if it is of other files (another path, size or time of change) or another rule: make it anew. CX_ERROR_DAMAGED if it is
 * torn or a CRC does not fit.
 */
CX_MUST_USE enum cx_status cx_shard_plan_open(const char *directory, const struct cx_corpus *corpus, const struct cx_corpus_options *options,
                                              const struct cx_shard_rule *rule, struct cx_shard_plan **plan, struct cx_error *error);
void cx_shard_plan_close(struct cx_shard_plan *plan); /* NULL is allowed */

uint64_t cx_shard_plan_count(const struct cx_shard_plan *plan);
const struct cx_shard_range *cx_shard_plan_range(const struct cx_shard_plan *plan, uint64_t shard); /* NULL: there is none */
const char *cx_shard_plan_corpus(const struct cx_shard_plan *plan);                                 /* the corpus' fingerprint */

/* Shards by falling work, equal ones by number. order[cx_shard_plan_count()] */
void cx_shard_plan_order(const struct cx_shard_plan *plan, uint64_t *order);

/* Goes to the shard's first document. */
CX_MUST_USE enum cx_status cx_shard_plan_go(struct cx_shard_plan *plan, struct cx_corpus *corpus, uint64_t shard, struct cx_error *error);

#endif
