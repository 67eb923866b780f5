/*
 * The output folder: immutable HDF5 parts, one per shard, a manifest that says which are whole, and run.h5 that joins them.
 * DESIGN.md, section 3, has the schema; dataset names are a contract.
 *
 * HDF5 calls take turns, whatever thread makes them, so one part may be finished while another one is filled. Chunks are encoded, and read back, on
 * `threads` threads of their own. HDF5 appears only in the files behind this header.
 */
#ifndef CONTEXTURE_STORE_H
#define CONTEXTURE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/decompose.h"
#include "contexture/error.h"
#include "contexture/sequence.h"
#include "contexture/stats.h"

#define CX_FORMAT_VERSION 1

enum cx_map_type { CX_MAP_FLOAT32, CX_MAP_FLOAT16 };

/* What every part of a run has in common. */
struct cx_store_options {
    const char *directory;
    const char *worker; /* among several that share the folder: its name, which goes into the names of its temporary files. NULL: the only one */
    unsigned maps;      /* see stage.h */
    bool per_head, hidden_states;
    bool by_words;                 /* maps are [words, words], and where the words stand is stored */
    bool annotations;              /* documents of the corpus may be annotated: words, mentions and labels are stored */
    bool masked;                   /* tokens may be masked: their ids before that are stored */
    struct cx_label_table *labels; /* what the sequences' label ids say; may be NULL without annotations */
    size_t layers;                 /* of the model */
    const size_t *stored_layers;   /* [stored_layer_count], rising */
    size_t stored_layer_count;     /* L */
    const size_t *vector_layers;   /* [vector_layer_count] */
    size_t vector_layer_count;     /* V */
    unsigned vector_stages;        /* a set of stages */
    size_t heads, hidden_size;
    enum cx_map_type map_type;
    int kept_mantissa_bits; /* of maps, round to nearest even; 23: all */
    int compression_level;  /* deflate 0 (none) to 9 */
    int threads;
    const char *const *sources; /* [source_count] the corpus' files, as cx_corpus_source() names them; stored as /sources */
    size_t source_count;
    /* root attributes, as they are */
    const char *model_fingerprint, *corpus_fingerprint, *forward_precision, *pair_precision, *backend, *program_version;
};

struct cx_part;

/* Begins parts/shard-NNNNNN.h5 as a .tmp file in the same folder. */
CX_MUST_USE enum cx_status cx_part_create(const struct cx_store_options *options, uint64_t shard, struct cx_part **part, struct cx_error *error);

/*
 * Appends `count` sequences and their results, in this order. Nothing is kept of the arguments after the call. Every result that the options ask for must
 * be there, and the mixing ratios and bias norms of all six stages. After a failure the part can only be abandoned.
 */
CX_MUST_USE enum cx_status cx_part_append(struct cx_part *part, const struct cx_sequence *sequences, const struct cx_sequence_result *results, size_t count,
                                          struct cx_error *error);

/* Stores rows of a run of the shard's table of pairs, behind those before. */
CX_MUST_USE enum cx_status cx_part_append_pairs(struct cx_part *part, const struct cx_stats_table *rows, struct cx_error *error);

/* Stores the shard's statistics; once, and before the part is finished. */
CX_MUST_USE enum cx_status cx_part_add_statistics(struct cx_part *part, const struct cx_stats_set *set, struct cx_error *error);

/* Wall clock spent on a part: compressing its chunks, handing them to HDF5, waiting for the disk, and reading the finished file back. */
struct cx_store_seconds {
    double compress, write, sync, check;
};

/* What the manifest says of a finished part. */
struct cx_part_summary {
    uint64_t shard, first_document, documents, skipped; /* documents: in the shard's range, skipped ones included */
    uint64_t stripped;                                  /* documents whose annotations could not be used, kept without them */
    uint64_t sequences, tokens, pairs, bytes;           /* bytes of the file */
    uint64_t content_hash;                              /* of the documents' lines, from cx_document.content_hash, in order */
    uint32_t file_crc32;
    float completeness_error;      /* the largest */
    double seconds;                /* wall clock from its first window until all was appended; no part of any comparison */
    struct cx_store_seconds spent; /* on the part, finishing it included; not in the manifest */
};

/*
 * Closes the file, fsyncs it, drops it from the system's cache where that can be, opens it again and decodes every chunk against hashes kept in memory,
 * renames it to its name and fsyncs the folder. Fills sequences, tokens, pairs, bytes, file_crc32 and completeness_error of `summary`. The part is freed,
 * whatever happens.
 */
CX_MUST_USE enum cx_status cx_part_finish(struct cx_part *part, struct cx_part_summary *summary, struct cx_error *error);

/* Closes and removes the .tmp file. NULL is allowed. */
void cx_part_abandon(struct cx_part *part);

/* What of a sequence decides the size of its datasets. */
struct cx_store_size {
    size_t tokens, words;
};

/* Bytes a part needs for these sequences before compression; for `plan`. */
uint64_t cx_store_bytes(const struct cx_store_options *options, const struct cx_store_size *sequences, size_t count);

/* --- the manifest --- */

/* A document that was left out, or kept without its annotations, and why. */
struct cx_skipped_document {
    uint64_t document, line;
    const char *source, *reason;
    bool stripped; /* kept */
};

struct cx_manifest;

/*
 * Opens or begins `directory`/manifest.json: line 1 is the header, a JSON object with format version, program version, configuration and
 * fingerprints; every further line one finished shard; each line is a JSON object that ends in its CRC-32 (see host/store/manifest_lines.h), and a torn last
 * line is ignored and cut off.
 * `identity_json` is a canonical JSON object (sorted keys) of everything that decides the datasets' values; if the folder was begun with another,
 * CX_ERROR_CONFLICT names the first key that differs, with both values. CX_IDENTITY_SOURCES may differ: the same files may be reached by other paths, and what
 * the folder was begun with counts. Takes a lock file against a second process: CX_ERROR_CONFLICT says who holds it.
 */
#define CX_IDENTITY_SOURCES "sources"
CX_MUST_USE enum cx_status cx_manifest_open(const char *directory, const char *identity_json, struct cx_manifest **manifest, struct cx_error *error);
void cx_manifest_close(struct cx_manifest *manifest);

/*
 * For processes that share a folder: one of them prepares it (CX_ERROR_CONFLICT as above), the others (and it) open it shared. Each writes a journal of its own
 * below manifest.d, named after `worker`, and sees what the others finished when it refreshes. None holds the lock; who may write at the same time is the
 * caller's business.
 */
CX_MUST_USE enum cx_status cx_manifest_prepare(const char *directory, const char *identity_json, struct cx_error *error);
CX_MUST_USE enum cx_status cx_manifest_open_shared(const char *directory, const char *identity_json, const char *worker, struct cx_manifest **manifest,
                                                   struct cx_error *error);
CX_MUST_USE enum cx_status cx_manifest_refresh(struct cx_manifest *manifest, struct cx_error *error);

/*
 * When all `shards` shards are finished: makes run.h5, rewrites manifest.json with the lines of all journals, shards rising, marks it as complete, and removes
 * journals and leftovers. Nothing can be added afterwards. Harmless if another process does the same at the same time or has done it.
 */
CX_MUST_USE enum cx_status cx_manifest_merge(struct cx_manifest *manifest, uint64_t shards, struct cx_error *error);

/* True if manifest.json says that the run is complete, and no process has left lines about it since; reads the file. */
CX_MUST_USE enum cx_status cx_store_is_complete(const char *directory, bool *complete, struct cx_error *error);

/* The finished shard of that number, or NULL; holds until the next cx_manifest_add() or refresh. A shard whose file is gone or has another size is not
 * finished. */
const struct cx_part_summary *cx_manifest_shard(const struct cx_manifest *manifest, uint64_t shard);
size_t cx_manifest_count(const struct cx_manifest *manifest);

/* The corpus' files as whoever began the folder named them, for cx_store_options; the manifest's own. */
const char *const *cx_manifest_sources(const struct cx_manifest *manifest, size_t *count);

/*
 * Appends the line of a finished part and of the documents it left out, and fsyncs. It replaces an earlier line of the same shard, and the run is not
 * complete any more. After a failure nothing more can be added.
 */
CX_MUST_USE enum cx_status cx_manifest_add(struct cx_manifest *manifest, const struct cx_part_summary *part, const struct cx_skipped_document *skipped,
                                           size_t skipped_count, struct cx_error *error);

/* Marks the run as complete: `shards` is their number. Does nothing if it is marked so already. */
CX_MUST_USE enum cx_status cx_manifest_complete(struct cx_manifest *manifest, uint64_t shards, struct cx_error *error);

/* --- the whole run --- */

/*
 * Writes run.h5 (virtual datasets over all parts, rebased offsets, relative file names): twice, under temporary names with `worker` in them if it is not NULL;
 * synced, compared, and one renamed. Its last line, behind what HDF5 reads, is its CRC-32. CX_ERROR_INPUT if no shard is finished. Takes 28 KB of memory a
 * part, most of it HDF5's (benchmarks/results/scale.md), and none that grows with sequences.
 * Statistics are folded in the order of the shards, and what follows from them is derived: twice the memory of the tables.
 */
CX_MUST_USE enum cx_status cx_store_join(const char *directory, const char *worker, struct cx_error *error);

/* cx_store_join() under the folder's lock, for a folder that no run has open: CX_ERROR_CONFLICT says who has it. *shards: those that are joined. */
CX_MUST_USE enum cx_status cx_store_merge(const char *directory, uint64_t *shards, struct cx_error *error);

/* What cx_store_verify() found. */
struct cx_verify_report {
    uint64_t shards, sequences, tokens;
    uint64_t damaged; /* shards */
    float completeness_error;
    bool complete; /* the manifest says that the run has ended */
};

/*
 * Re-checks a folder without changing it: manifest CRCs, every part's file CRC, run.h5's CRC and parts, every dataset readable with its checksums, offsets
 * and words rising and in range, maps finite and not negative, completeness errors below `completeness_bound`. Calls `complain` once per fault with a sentence.
 * CX_ERROR_DAMAGED if there was any.
 */
CX_MUST_USE enum cx_status cx_store_verify(const char *directory, double completeness_bound, void (*complain)(void *context, const char *sentence),
                                           void *context, struct cx_verify_report *report, struct cx_error *error);

/* Calls `tell` for every document that the finished shards left out or stripped of annotations, in the manifest's order; for summary.json. */
CX_MUST_USE enum cx_status cx_store_skipped(const char *directory, void (*tell)(void *context, const struct cx_skipped_document *skipped), void *context,
                                            struct cx_error *error);

/* The manifest's header line of a folder, as a new string (release with free()); for `info`. */
CX_MUST_USE enum cx_status cx_store_describe(const char *directory, char **json, struct cx_error *error);

#endif
