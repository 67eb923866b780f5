/* Messages over MPI: two-sided, for the counters of one-sided MPI stand still over TCP while their owner computes. */
#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "peers.h"

enum { message_tag = 1 };

/* A message that MPI has not yet taken. */
struct outgoing {
    MPI_Request request;
    void *data;
    struct outgoing *next;
};

struct peers {
    MPI_Comm world;
    struct outgoing *outgoing;
};

static enum cx_status fail(struct cx_error *error, const char *what, int code) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    (void)MPI_Error_string(code, text, &length);
    return cx_fail(error, CX_ERROR_DEVICE, "MPI: cannot %s: %s", what, text);
}

/* The communicator is our own, so that a failed call returns instead of ending the process. */
static enum cx_status open_world(struct peers *peers, struct peers_place *place, struct cx_error *error) {
    MPI_Comm node;
    int code = MPI_Comm_dup(MPI_COMM_WORLD, &peers->world);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_set_errhandler(peers->world, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_rank(peers->world, &place->rank);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_size(peers->world, &place->size);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_split_type(peers->world, MPI_COMM_TYPE_SHARED, place->rank, MPI_INFO_NULL, &node);
    if (code != MPI_SUCCESS)
        return fail(error, "join the other ranks", code);
    code = MPI_Comm_rank(node, &place->local_rank);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_size(node, &place->local_size);
    (void)MPI_Comm_free(&node);
    return code == MPI_SUCCESS ? CX_OK : fail(error, "find the ranks of this node", code);
}

enum cx_status peers_open(struct peers **peers_pointer, struct peers_place *place, struct cx_error *error) {
    struct peers *peers = NULL;
    int provided = 0, finalized = 0;
    *peers_pointer = NULL;
    *place = (struct peers_place){.rank = 0, .size = 1, .local_rank = 0, .local_size = 1};
    if (peers_launched() == 1)
        return CX_OK;
    (void)MPI_Finalized(&finalized);
    if (finalized)
        return cx_fail(error, CX_ERROR_INTERNAL, "MPI can be joined once in a process");
    enum cx_status status = cx_allocate(1, sizeof *peers, "the ranks of a job", &peers, error);
    if (status != CX_OK)
        return status;
    int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided);
    if (code != MPI_SUCCESS)
        status = fail(error, "start", code);
    else if (provided < MPI_THREAD_SERIALIZED)
        status =
            cx_fail(error, CX_ERROR_UNSUPPORTED, "this MPI cannot be used by a thread beside the main one (MPI_THREAD_SERIALIZED): use another build of it");
    if (status == CX_OK)
        status = open_world(peers, place, error);
    if (status == CX_OK)
        *peers_pointer = peers;
    else
        free(peers);
    return status;
}

/* Releases what MPI has taken. */
static enum cx_status clear_outgoing(struct peers *peers, struct cx_error *error) {
    for (struct outgoing **place = &peers->outgoing; *place;) {
        struct outgoing *message = *place;
        int done = 0, code = MPI_Test(&message->request, &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS)
            return fail(error, "send to another rank", code);
        if (!done) {
            place = &message->next;
            continue;
        }
        *place = message->next;
        free(message->data);
        free(message);
    }
    return CX_OK;
}

enum cx_status peers_send(struct peers *peers, int rank, const void *data, size_t length, struct cx_error *error) {
    struct outgoing *message = NULL;
    if (length > INT_MAX)
        return cx_fail(error, CX_ERROR_INTERNAL, "a message of %zu bytes", length);
    enum cx_status status = clear_outgoing(peers, error);
    if (status == CX_OK)
        status = cx_allocate(1, sizeof *message, "a message", &message, error);
    if (status == CX_OK && (status = cx_allocate(length, 1, "a message", &message->data, error)) != CX_OK)
        free(message);
    if (status != CX_OK)
        return status;
    memcpy(message->data, data, length);
    int code = MPI_Isend(message->data, (int)length, MPI_BYTE, rank, message_tag, peers->world, &message->request);
    if (code != MPI_SUCCESS) {
        free(message->data);
        free(message);
        return fail(error, "send to another rank", code);
    }
    struct outgoing **end = &peers->outgoing;
    while (*end)
        end = &(*end)->next;
    *end = message;
    return CX_OK;
}

enum cx_status peers_receive(struct peers *peers, int *rank, void **message, size_t *length, struct cx_error *error) {
    MPI_Status about;
    int arrived = 0, count = 0;
    *message = NULL;
    *length = 0;
    enum cx_status status = clear_outgoing(peers, error);
    if (status != CX_OK)
        return status;
    int code = MPI_Iprobe(MPI_ANY_SOURCE, message_tag, peers->world, &arrived, &about);
    if (code == MPI_SUCCESS && !arrived)
        return CX_OK;
    if (code == MPI_SUCCESS)
        code = MPI_Get_count(&about, MPI_BYTE, &count);
    if (code != MPI_SUCCESS)
        return fail(error, "look for messages", code);
    status = cx_allocate((size_t)count, 1, "a message", message, error);
    if (status != CX_OK)
        return status;
    code = MPI_Recv(*message, count, MPI_BYTE, about.MPI_SOURCE, message_tag, peers->world, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) {
        free(*message);
        *message = NULL;
        return fail(error, "receive from another rank", code);
    }
    *rank = about.MPI_SOURCE;
    *length = (size_t)count;
    return CX_OK;
}

bool peers_are_quiet(struct peers *peers) {
    return clear_outgoing(peers, NULL) != CX_OK || !peers->outgoing;
}

void peers_close(struct peers *peers, bool together) {
    if (!peers)
        return;
    if (together) {
        (void)MPI_Comm_free(&peers->world);
        (void)MPI_Finalize();
    }
    for (struct outgoing *message = peers->outgoing, *next; together && message; message = next) {
        next = message->next;
        free(message->data);
        free(message);
    }
    free(peers);
}
