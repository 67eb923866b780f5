/* What worker.c and claim.c share. */
#ifndef CONTEXTURE_CLUSTER_WORKER_H
#define CONTEXTURE_CLUSTER_WORKER_H

#include <pthread.h>

#include "contexture/cluster.h"
#include "contexture/process.h"

#define WORKERS_NAME "workers"
#define CLAIMS_NAME  "claims"

enum { worker_name_bytes = 160, worker_line_bytes = 256 };

/* What was seen of another worker, and since when it is unchanged. */
struct sighting {
    char name[worker_name_bytes];
    char line[worker_line_bytes];
    double since; /* monotonic seconds of this process */
};

struct cx_worker {
    char name[worker_name_bytes];
    enum cx_cluster_kind kind;
    double patience;
    char *directory, *path; /* of the folder; of the worker's file */
    struct cx_process self;
    uint64_t beats;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool thread_runs, leaving;
    struct sighting *sightings;
    size_t sighting_count, sighting_capacity;
};

/* True as long as that worker may be alive. May be asked by one thread. */
CX_MUST_USE enum cx_status worker_may_live(struct cx_worker *worker, const char *name, bool *lives, struct cx_error *error);

/*
 * CX_ERROR_CONFLICT, with a sentence that says who it is, if that worker is certainly alive: its process runs on this host, or its sign is another than
 * `before`, into which the sign is copied. Begin with an empty one, and ask again and again.
 */
CX_MUST_USE enum cx_status worker_refuse_living(const struct cx_worker *worker, const char *name, char before[worker_line_bytes], struct cx_error *error);

/* Creates a file that is not there yet, in a folder that is made if need be. Its descriptor for writing, or -1 with errno. */
int worker_create_file(const struct cx_worker *worker, const char *folder, const char *path);

/* *patient as long as `line`, which was read now under the name `name`, has not been the same for `patience` seconds. */
CX_MUST_USE enum cx_status worker_is_patient(struct cx_worker *worker, const char *name, const char *line, bool *patient, struct cx_error *error);

#endif
