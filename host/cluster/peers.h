/*
 * Messages between the ranks of a job. Two files implement this, of which CMake picks one: cluster_mpi.c, and cluster_single.c where there is no MPI.
 * After peers_open() one thread makes all calls.
 */
#ifndef CONTEXTURE_CLUSTER_PEERS_H
#define CONTEXTURE_CLUSTER_PEERS_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/error.h"

struct peers;

struct peers_place {
    int rank, size, local_rank, local_size;
};

CX_MUST_USE enum cx_status peers_open(struct peers **peers, struct peers_place *place, struct cx_error *error);

/* Takes a copy, and does not wait for the receiver. Messages to one rank arrive in their order. */
CX_MUST_USE enum cx_status peers_send(struct peers *peers, int rank, const void *data, size_t length, struct cx_error *error);

/* The next message that has arrived; *message NULL: none (release with free()). */
CX_MUST_USE enum cx_status peers_receive(struct peers *peers, int *rank, void **message, size_t *length, struct cx_error *error);

/* All messages of this rank are on their way; it may close. */
bool peers_are_quiet(struct peers *peers);

/* `together`: all ranks do it; else MPI is left as it is, for there is a rank that would be waited for in vain. */
void peers_close(struct peers *peers, bool together);

/* The number of ranks by the launcher's environment, 1 if there is none. */
int peers_launched(void);

#endif
