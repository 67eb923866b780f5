/*
 * A whole run: checkpoint and corpus in, folder of HDF5 parts out; and its dry twin, the plan.
 *
 * Three steps work at the same time on windows (window.h): read and tokenize, decompose, compress and write. The unit of
 * resumption, and of sharing the work with other processes (cluster.h), is the shard: consecutive documents, cut by the rule in shard_plan.h.
 */
#ifndef CONTEXTURE_RUN_H
#define CONTEXTURE_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "contexture/backend.h"
#include "contexture/cluster.h"
#include "contexture/corpus.h"
#include "contexture/decompose.h"
#include "contexture/error.h"
#include "contexture/model.h"
#include "contexture/sequence.h"
#include "contexture/stats.h"
#include "contexture/store.h"

/* What becomes of a document whose annotations cannot be used. */
enum cx_bad_annotations { CX_BAD_ANNOTATIONS_STRIP, CX_BAD_ANNOTATIONS_SKIP, CX_BAD_ANNOTATIONS_FAIL };

/* What the rows and columns of maps are. */
enum cx_granularity { CX_GRANULARITY_TOKEN, CX_GRANULARITY_WORD };

/* What the user asks for. All texts belong to the caller. */
struct cx_run_settings {
    const char *model;  /* a Hugging Face model directory */
    const char *output; /* the folder of the results */
    struct cx_corpus_options corpus;
    uint64_t max_tokens; /* of a sequence; 0: as many as the model has positions */
    enum cx_too_long too_long;
    uint64_t window_stride; /* 0: a quarter of a sequence */
    enum cx_bad_annotations bad_annotations;
    double mask_rate;    /* share of ordinary tokens that are masked */
    uint64_t seed;       /* of the masking */
    uint64_t shard_size; /* documents, at most; 0: by what is stored of each */
    uint64_t shard_work; /* estimated pairs of tokens at which a shard ends before; 0: no bound */
    unsigned maps;       /* a set of maps, see stage.h */
    const char *layers;  /* "all", "0,3,5-7", "-1" */
    enum cx_granularity granularity;
    bool per_head, hidden_states;
    const char *vectors;    /* layers, or "none" */
    unsigned vector_stages; /* a set of stages */
    enum cx_map_type map_type;
    uint64_t mantissa_bits;
    uint64_t compression;
    uint64_t threads; /* 0: all cores */
    enum cx_backend_kind backend;
    enum cx_forward_precision forward_precision;
    enum cx_pair_precision pair_precision;
    uint64_t batch_tokens;
    uint64_t window_memory; /* bytes */
    unsigned analyses;      /* a set of analyses, see stats.h */
    uint64_t bootstrap;     /* the following are of struct cx_stats_options */
    uint64_t min_count;
    uint64_t top_pairs;
    bool raw_maps;
    const char *mask_dims; /* "none", "gamma:3", "activation:3", "dims:308,381" */
    bool profile;          /* time the operations, and write profile.json */
    bool checks;           /* a result that cannot be right ends the run */
    enum cx_cluster_kind cluster;
    bool nccl;       /* ranks with GPUs may use it; contexture/team.h */
    double patience; /* seconds without a sign of life after which another process counts as dead */
};

/*
 * Marks the layers that `text` names: "all", "none", or a list as "0,3,5-7"; -1 is the last layer. CX_ERROR_USAGE begins with `option` and says what is wrong.
 */
CX_MUST_USE enum cx_status cx_layers_parse(const char *option, const char *text, size_t layers, bool *marked, size_t *count, struct cx_error *error);

/* How far a run is. */
struct cx_run_progress {
    uint64_t sequences, tokens; /* computed by this process */
    uint64_t shards;            /* finished, those of earlier processes included */
    double mixing_ratio;        /* mean over tokens and layers so far, of the last stage that is stored; negative: unknown */
    double seconds;             /* since the first document */
    double fraction;            /* of the corpus, 0 to 1; negative: unknown */
    double seconds_left;        /* negative: unknown */
};

/* Where a run tells how it goes. Any function may be NULL. */
struct cx_run_observer {
    void *context;
    void (*progress)(void *context, const struct cx_run_progress *progress);    /* ten times a second, by the calling thread */
    void (*notice)(void *context, const char *sentence);                        /* by any thread */
    void (*skipped)(void *context, const struct cx_skipped_document *document); /* or kept without its annotations */
    bool (*stop)(void *context);                                                /* true: end soon, with CX_ERROR_INTERRUPTED */
};

enum { CX_STEP_READ, CX_STEP_DECOMPOSE, CX_STEP_WRITE, CX_STEPS };

/* Where the time of a run went; see contexture/profile.h. */
struct cx_run_profile {
    struct cx_decompose_profile decompose;
    double product_rate, product_rate_half; /* FLOP/s of a large matrix product on the same device; 0: none */
    double seconds;                         /* from the first document until the last shard was there */
    double statistics;                      /* wall clock; a part of the writing step's */
    struct cx_store_seconds store;
};

/* What a run did. "earlier" counts what the folder held already. */
struct cx_run_report {
    uint64_t documents, skipped, sequences, tokens, pairs, bytes, shards; /* of the whole folder */
    uint64_t stripped;                                                    /* documents kept without their annotations */
    uint64_t planned_shards;                                              /* 0: not known before the end */
    bool joined;                                                          /* all shards are finished, and run.h5 and summary.json are there */
    int ranks;                                                            /* of the MPI job; 0: it is none */
    double idle_share;                                                    /* of the job's time: what the rank that was done first waited for the last */
    bool silent;                                                          /* another rank of the job reports; a failure that it tells of has no message here */
    bool abrupt;                                                          /* MPI could not be left in order, see cx_ranks_close() */
    uint64_t earlier_shards, earlier_documents;
    uint64_t computed_tokens, computed_sequences;
    float completeness_error;      /* the largest */
    double seconds;                /* wall clock, all in all */
    double step_seconds[CX_STEPS]; /* in which a step was at work; that of writing waits for the part before to be finished, too */
    uint64_t peak_memory;          /* bytes, of the process */
    struct cx_run_profile profile; /* if it was asked for */
    char *summary_json;            /* the text of summary.json, if it is there; release with cx_run_report_free() */
};

/*
 * Runs, or goes on with what `settings->output` holds. CX_OK even if documents were skipped: see report->skipped.
 * Another model, corpus or configuration in the same folder is CX_ERROR_CONFLICT before any weight is loaded.
 */
CX_MUST_USE enum cx_status cx_run(const struct cx_run_settings *settings, const struct cx_run_observer *observer, struct cx_run_report *report,
                                  struct cx_error *error);
void cx_run_report_free(struct cx_run_report *report);

/* What a run would do. */
struct cx_plan {
    uint64_t documents, skipped, sequences, tokens, longest, pairs, shards;
    uint64_t least_work, most_work; /* of a shard but the last, in estimated pairs; 0: there is one shard only */
    uint64_t bytes;                 /* of the datasets before compression */
    uint64_t largest_sequence;      /* bytes of the largest sequence's results */
    double operations;              /* floating-point operations */
    double gflops;                  /* the rate that the time is estimated with: measured, or as given */
    bool gflops_measured;
    double seconds;
    char backend[256];
};

/* Reads and tokenizes the corpus, and computes nothing. `gflops` 0: measure the machine's rate with a short matrix product. */
CX_MUST_USE enum cx_status cx_plan(const struct cx_run_settings *settings, double gflops, const struct cx_run_observer *observer, struct cx_plan *plan,
                                   struct cx_error *error);

/* "HDF5 1.10.8, OpenBLAS 0.3.21, …": what the program was built with. */
const char *cx_library_versions(void);

/* --- signals --- */

/* From now on SIGINT, SIGTERM and SIGUSR1 are only noted; a second SIGINT or SIGTERM ends the process at once. */
CX_MUST_USE enum cx_status cx_signals_catch(struct cx_error *error);

/* The name of the signal that asked for an end ("SIGTERM"), or NULL. */
const char *cx_signal_caught(void);

#endif
