/*
 * Several processes at one run. Which of them computes a shard decides nothing but time: a shard's bytes are the same whoever makes them, every process
 * writes under temporary names of its own, and a shard that two of them computed is there once. So nothing here needs to be right for the results to be
 * right; it keeps the processes from doing work twice and from waiting for one that is gone.
 *
 * Three ways to share the work:
 *   folder  plain processes that see one folder. Each claims a shard by creating a file, and a claim holds as long as its owner gives signs of life.
 *   array   the tasks of a Slurm job array, each with every N-th shard.
 *   mpi     the ranks of an MPI job. Rank 0 hands out shards on request; a rank that falls silent ends the job.
 */
#ifndef CONTEXTURE_CLUSTER_H
#define CONTEXTURE_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

enum cx_cluster_kind { CX_CLUSTER_OFF, CX_CLUSTER_FOLDER, CX_CLUSTER_ARRAY, CX_CLUSTER_MPI };

/* --- processes and their signs of life --- */

/*
 * A process that is at work in a folder: the file workers/<name>, which it renews six times in `patience` seconds. One whose file has not changed for
 * `patience` seconds by the clock of who looks, or whose process is gone from this host, is dead.
 */
struct cx_worker;

CX_MUST_USE enum cx_status cx_worker_join(const char *directory, enum cx_cluster_kind kind, double patience, struct cx_worker **worker, struct cx_error *error);
void cx_worker_leave(struct cx_worker *worker); /* NULL is allowed */
const char *cx_worker_name(const struct cx_worker *worker);

/*
 * Another worker that is alive and that one of this kind cannot work beside: a kind tolerates its own kind, if that is folder or array, and no other. Removes
 * the files of dead ones. May take up to `patience` seconds, if there are workers of other hosts. CX_ERROR_CONFLICT says who it is.
 */
CX_MUST_USE enum cx_status cx_worker_refuse_others(struct cx_worker *worker, struct cx_error *error);

/* The same without joining; for who is about to take the folder's lock. A folder that is not there has no workers. */
CX_MUST_USE enum cx_status cx_workers_refuse(const char *directory, enum cx_cluster_kind kind, double patience, struct cx_error *error);

/* Removes the files of workers that are known to be dead. */
void cx_workers_clear(struct cx_worker *worker);

/* Takes the claim of that name, if no living worker has it. */
CX_MUST_USE enum cx_status cx_claim_take(struct cx_worker *worker, const char *name, bool *taken, struct cx_error *error);
void cx_claim_drop(struct cx_worker *worker, const char *name);

/*
 * The same for who must not go on without it, and so is alone in the folder, whatever locks its file system has: CX_ERROR_CONFLICT says who has it. May take
 * up to `patience` seconds, if that is a worker of another host.
 */
CX_MUST_USE enum cx_status cx_claim_insist(struct cx_worker *worker, const char *name, struct cx_error *error);

/* Removes this worker's claims, or all others: when there is nothing left to claim. */
enum cx_claim_owner { CX_CLAIMS_OWN, CX_CLAIMS_OF_OTHERS };
void cx_claims_clear(struct cx_worker *worker, enum cx_claim_owner whose);

/* --- job arrays --- */

/* From SLURM_ARRAY_TASK_ID, _MIN, _STEP and _COUNT: this task is number `index` of `count`. CX_ERROR_USAGE outside an array. */
CX_MUST_USE enum cx_status cx_array_place(uint64_t *index, uint64_t *count, struct cx_error *error);

/* --- ranks --- */

struct cx_ranks;

/*
 * Joins the MPI job, if the launcher says that there is more than one rank; else this is rank 0 of 1, and MPI is not touched. A thread exchanges all
 * messages. A rank that gives no sign of life for `patience` seconds ends the job: all others stop with CX_ERROR_INTERRUPTED.
 */
CX_MUST_USE enum cx_status cx_ranks_open(double patience, struct cx_ranks **ranks, struct cx_error *error);
int cx_ranks_rank(const struct cx_ranks *ranks);
int cx_ranks_size(const struct cx_ranks *ranks);
int cx_ranks_local_rank(const struct cx_ranks *ranks); /* among those on this node, from 0 */
int cx_ranks_local_size(const struct cx_ranks *ranks);

/* Rank 0 gives a text, the others get it (release with free()). `given` is of rank 0 alone, `got` of the others. */
CX_MUST_USE enum cx_status cx_ranks_share_text(struct cx_ranks *ranks, const char *given, char **got, struct cx_error *error);

/*
 * Every rank gives a line, and gets the lines of all ranks, in their order (release with free()). Once in a job, after rank 0's text was shared.
 */
CX_MUST_USE enum cx_status cx_ranks_exchange(struct cx_ranks *ranks, const char *line, char **lines, struct cx_error *error);

/* Rank 0: the shards to hand out, in this order; they are copied. */
CX_MUST_USE enum cx_status cx_ranks_offer(struct cx_ranks *ranks, const uint64_t *shards, size_t count, struct cx_error *error);

/* The next shard to compute; CX_END: there is none. */
CX_MUST_USE enum cx_status cx_ranks_next(struct cx_ranks *ranks, uint64_t *shard, struct cx_error *error);

/* True: another rank has stopped or failed, or is lost; end soon. May be asked by any thread. */
bool cx_ranks_stopped(struct cx_ranks *ranks);

/* What this rank has computed; and, for rank 0, what all have. Sums of float64 alone, in the order of a team's sums (team.h). */
struct cx_ranks_progress {
    double sequences, tokens, shards;
    double mixing_ratios, mixing_ratio_count; /* of the last stage that is stored */
};
void cx_ranks_tell_progress(struct cx_ranks *ranks, const struct cx_ranks_progress *own, struct cx_ranks_progress *all);

/*
 * Sums over all ranks need every rank. Rank 0 calls for one; each rank begins the sum when the number of calls that it has heard of is above that of the sums
 * it has begun. cx_ranks_end_sums(): this rank wants to go. When it returns, no call will come any more, to no rank, so that the sums begun so far are all
 * there are.
 */
void cx_ranks_call_sum(struct cx_ranks *ranks);
uint64_t cx_ranks_sums_called(struct cx_ranks *ranks);
void cx_ranks_end_sums(struct cx_ranks *ranks);

/*
 * This rank's part is over, with `status` and, in `error`, why. Rank 0 waits until all have said so, and gives the status of the job: that of the first rank
 * that failed, with a sentence that names it. The others return at once.
 */
CX_MUST_USE enum cx_status cx_ranks_end(struct cx_ranks *ranks, enum cx_status status, struct cx_error *error);

/* Rank 0, after cx_ranks_end(): the share of the job's time for which the rank that was done first had nothing to do. */
double cx_ranks_idle_share(const struct cx_ranks *ranks);

/*
 * Rank 0 tells the others how the job ended, they wait for it, and all leave MPI together. Returns the status of the job; for other ranks than 0 with an
 * empty sentence, since rank 0 says it. *abrupt: MPI could not be left, for a rank was lost; launchers then count every exit code of 0 as a failure of its own.
 * `ranks` is freed; NULL is allowed.
 */
CX_MUST_USE enum cx_status cx_ranks_close(struct cx_ranks *ranks, enum cx_status status, bool *abrupt, struct cx_error *error);

#endif
