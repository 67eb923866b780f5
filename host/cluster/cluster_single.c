/* The program was built without MPI. */
#include "peers.h"

enum cx_status peers_open(struct peers **peers, struct peers_place *place, struct cx_error *error) {
    *peers = NULL;
    *place = (struct peers_place){.rank = 0, .size = 1, .local_rank = 0, .local_size = 1};
    if (peers_launched() == 1)
        return CX_OK;
    return cx_fail(error, CX_ERROR_UNSUPPORTED,
                   "%d tasks were started, and this program was built without MPI: build it where MPI is installed, or share the work by --cluster folder or "
                   "--cluster array",
                   peers_launched());
}

enum cx_status peers_send(struct peers *peers, int rank, const void *data, size_t length, struct cx_error *error) {
    (void)peers, (void)data, (void)length;
    return cx_fail(error, CX_ERROR_INTERNAL, "a message to rank %d in a program without MPI", rank);
}

enum cx_status peers_receive(struct peers *peers, int *rank, void **message, size_t *length, struct cx_error *error) {
    (void)peers, (void)error;
    *rank = 0;
    *message = NULL;
    *length = 0;
    return CX_OK;
}

bool peers_are_quiet(struct peers *peers) {
    (void)peers;
    return true;
}

void peers_close(struct peers *peers, bool together) {
    (void)peers, (void)together;
}
