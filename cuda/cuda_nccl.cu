/*
 * NCCL: weights from the process that reads them to the others' devices, and sums of a few numbers beside the computation. The library is opened at run time
 * (cuda_library.cuh); nccl.h is included here and nowhere else.
 *
 * The communicator is nonblocking: every call returns at once, and look() asks how far it is, with an eye on the clock and on the caller's `stop`. What does
 * not come about is dropped with ncclCommAbort(), which ends the kernels that wait for a process that is gone. No call is made before the one before it has
 * come about. A sum has a stream of its own and is copied by the device, so that nothing of the computation waits for it.
 */
#include "cuda_backend.cuh"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <nccl.h>

extern "C" {
#include "contexture/clock.h"
}
#include "cuda_library.cuh"

#define NCCL_LIST(X)                                                                                                                                           \
    X(ncclGetVersion)                                                                                                                                          \
    X(ncclGetUniqueId)                                                                                                                                         \
    X(ncclCommInitRankConfig)                                                                                                                                  \
    X(ncclCommGetAsyncError)                                                                                                                                   \
    X(ncclCommFinalize)                                                                                                                                        \
    X(ncclCommDestroy)                                                                                                                                         \
    X(ncclCommAbort)                                                                                                                                           \
    X(ncclBroadcast)                                                                                                                                           \
    X(ncclAllReduce)                                                                                                                                           \
    X(ncclGetErrorString)

/* 2.14 has the first nonblocking communicators and ncclCommFinalize(). */
enum { least_minor = 14 };

struct nccl {
    void *library;
#define NCCL_MEMBER(name) decltype(&::name) name;
    NCCL_LIST(NCCL_MEMBER)
#undef NCCL_MEMBER
};

struct cuda_team {
    struct nccl nccl;
    struct cx_team_place place;
    ncclComm_t communicator; /* NULL: not there, or given up */
    bool joined, failed;
    void *piece; /* in device memory, for values of the host */
    /* sums */
    cudaStream_t stream;
    double *sums, *pinned;
    size_t count;
    double begun;
    bool copying; /* the sum is there, and on its way to the host */
};

enum { piece_bytes = 64 };

/* --- the library --- */

static bool find_functions(struct nccl *nccl, char *text, size_t size) {
#define NCCL_FIND(name)                                                                                                                                        \
    if (!(nccl->name = reinterpret_cast<decltype(nccl->name)>(cuda_library_find(nccl->library, "NCCL", #name, text, size)))) {                                 \
        return false;                                                                                                                                          \
    }
    NCCL_LIST(NCCL_FIND)
#undef NCCL_FIND
    int version = 0;
    if (nccl->ncclGetVersion(&version) != ncclSuccess)
        version = 0;
    const int major = version / 10000, minor = version / 100 % 100, patch = version % 100;
    const bool fits = major == NCCL_MAJOR && minor >= least_minor;
    if (fits)
        snprintf(text, size, "%d.%d.%d", major, minor, patch);
    else
        snprintf(text, size, "the NCCL on this machine is version %d.%d.%d, and %d.%d or later is needed", major, minor, patch, NCCL_MAJOR, least_minor);
    return fits;
}

static bool open_nccl(struct nccl *nccl, char *text, size_t size) {
    static const char *const places[] = {
        CX_NCCL_LIBRARY,
#ifdef CX_NCCL_FOLDER /* beside the header, which the loader need not know */
        CX_NCCL_FOLDER "/" CX_NCCL_LIBRARY,
#endif
    };
    *nccl = {};
    nccl->library = cuda_library_open("NCCL", places, sizeof places / sizeof *places, text, size);
    if (nccl->library && find_functions(nccl, text, size))
        return true;
    cuda_library_close(nccl->library);
    *nccl = {};
    return false;
}

bool cuda_team_usable(char *text, size_t size) {
    struct nccl nccl;
    const bool usable = open_nccl(&nccl, text, size);
    if (usable)
        cuda_library_close(nccl.library);
    return usable;
}

static bool cuda_team_find(struct cx_backend *backend, char *text, size_t size) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    if (cuda->team)
        return find_functions(&cuda->team->nccl, text, size);
    if (cx_allocate(1, sizeof *cuda->team, "a team", &cuda->team, NULL) != CX_OK) {
        snprintf(text, size, "there is not enough memory");
        return false;
    }
    if (open_nccl(&cuda->team->nccl, text, size))
        return true;
    free(cuda->team);
    cuda->team = NULL;
    return false;
}

/* --- failures --- */

/* At once: cudaFree() would wait for a kernel that waits for a process which is gone. Nothing can be done about an error here. */
static void give_up(struct cuda_team *team) {
    team->failed = true;
    const ncclResult_t code = team->communicator ? team->nccl.ncclCommAbort(team->communicator) : ncclSuccess;
    (void)code;
    team->communicator = NULL;
}

/* A process or a connection that is gone is no fault of this machine, and the job goes on from its finished shards. */
static enum cx_status fail(struct cuda_team *team, const char *what, ncclResult_t code, struct cx_error *error) {
    const bool is_remote = code == ncclRemoteError || (code == ncclSystemError && team->joined);
    give_up(team);
    return cx_fail(error, is_remote ? CX_ERROR_INTERRUPTED : CX_ERROR_DEVICE, "NCCL cannot %s: %s%s", what, team->nccl.ncclGetErrorString(code),
                   is_remote ? "" : "; NCCL_DEBUG=WARN makes it say more, and --no-nccl does without it");
}

/* Apart from the backend's own failures: the thread that asks for sums is not the one that computes. */
static enum cx_status fail_device(struct cuda_team *team, const char *what, cudaError_t code, struct cx_error *error) {
    cuda_forget(cudaGetLastError());
    give_up(team);
    return cx_fail(error, CX_ERROR_DEVICE_LOST, "the GPU failed to %s: %s: %s", what, cudaGetErrorName(code), cudaGetErrorString(code));
}

static enum cx_status enter(struct cuda_backend *cuda, const char *what, struct cx_error *error) {
    struct cuda_team *team = cuda->team;
    if (team && team->failed)
        return cx_fail(error, CX_ERROR_INTERRUPTED, "NCCL cannot %s after an earlier failure", what);
    if (!team || !team->joined)
        return cx_fail(error, CX_ERROR_INTERNAL, "no team was joined to %s", what);
    const cudaError_t code = cudaSetDevice(cuda->device);
    return code == cudaSuccess ? CX_OK : fail_device(team, what, code, error);
}

/* --- waiting --- */

/* How the latest call stands: *done when it has come about and the stream, if there is one, has done its part. */
static enum cx_status look(struct cuda_team *team, const char *what, cudaStream_t stream, double begun, bool *done, struct cx_error *error) {
    ncclResult_t state = ncclInProgress;
    const ncclResult_t asked = team->nccl.ncclCommGetAsyncError(team->communicator, &state);
    *done = false;
    if (asked != ncclSuccess || (state != ncclSuccess && state != ncclInProgress))
        return fail(team, what, asked != ncclSuccess ? asked : state, error);
    if (state == ncclSuccess) {
        const cudaError_t code = stream ? cudaStreamQuery(stream) : cudaSuccess;
        *done = code == cudaSuccess;
        if (*done)
            return CX_OK;
        if (code != cudaErrorNotReady)
            return fail_device(team, what, code, error);
        cuda_forget(cudaGetLastError());
    }
    const struct cx_team_place *place = &team->place;
    const bool stopped = place->stop && place->stop(place->context);
    if (!stopped && cx_monotonic_seconds() - begun < place->patience)
        return CX_OK;
    give_up(team);
    if (stopped)
        return cx_fail(error, CX_ERROR_INTERRUPTED, "NCCL cannot %s, because another process has stopped", what);
    return cx_fail(error, CX_ERROR_INTERRUPTED, "NCCL could not %s within %.0f s", what, place->patience);
}

/* Quick at first: a vector takes microseconds. */
static enum cx_status wait_for(struct cuda_team *team, const char *what, cudaStream_t stream, struct cx_error *error) {
    enum { quick_looks = 1000, pause_nanoseconds = 1000 * 1000 };
    const double begun = cx_monotonic_seconds();
    bool done = false;
    enum cx_status status = CX_OK;
    for (int looks = 0; status == CX_OK && !done; looks++) {
        const struct timespec pause = {0, pause_nanoseconds};
        if (looks > quick_looks)
            nanosleep(&pause, NULL);
        status = look(team, what, stream, begun, &done, error);
    }
    return status;
}

/* A call of a nonblocking communicator says that it has begun. */
static enum cx_status began(struct cuda_team *team, const char *what, ncclResult_t code, struct cx_error *error) {
    return code == ncclSuccess || code == ncclInProgress ? CX_OK : fail(team, what, code, error);
}

/* --- joining and leaving --- */

static_assert(sizeof(ncclUniqueId) == CX_TEAM_ID_BYTES, "an id is passed on as bytes");

static enum cx_status cuda_team_make_id(struct cx_backend *backend, unsigned char id[CX_TEAM_ID_BYTES], struct cx_error *error) {
    struct cuda_team *team = cuda_backend_of(backend)->team;
    ncclUniqueId made;
    if (!team)
        return cx_fail(error, CX_ERROR_INTERNAL, "no library was found to make a team with");
    const ncclResult_t code = team->nccl.ncclGetUniqueId(&made);
    if (code != ncclSuccess)
        return fail(team, "name a communicator", code, error);
    memcpy(id, &made, sizeof made);
    return CX_OK;
}

/* What a member needs besides the communicator. */
static enum cx_status allocate(struct cuda_backend *cuda, struct cuda_team *team, struct cx_error *error) {
    void *sums = NULL, *pinned = NULL;
    enum cx_status status = cuda_result(cuda, "team_join", "creating a stream", cudaStreamCreateWithFlags(&team->stream, cudaStreamNonBlocking), error);
    if (status == CX_OK)
        status = cuda_allocate(cuda, CX_TEAM_SUMS, sizeof(double), "sums over processes", &sums, error);
    team->sums = static_cast<double *>(sums);
    if (status == CX_OK)
        status = cuda_allocate(cuda, piece_bytes, 1, "values of the host", &team->piece, error);
    if (status == CX_OK)
        status = cuda_result(cuda, "team_join", "pinning memory for sums", cudaMallocHost(&pinned, CX_TEAM_SUMS * sizeof(double)), error);
    team->pinned = status == CX_OK ? static_cast<double *>(pinned) : NULL;
    return status;
}

static enum cx_status cuda_team_join(struct cx_backend *backend, const struct cx_team_place *place, const unsigned char id[CX_TEAM_ID_BYTES],
                                     struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    struct cuda_team *team = cuda->team;
    ncclConfig_t settings = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId name;
    if (!team || team->joined || team->failed)
        return cx_fail(error, CX_ERROR_INTERNAL, team ? "a backend can join one team" : "no library was found to join a team with");
    enum cx_status status = cuda_enter(cuda, "team_join", false, error);
    if (status == CX_OK)
        status = allocate(cuda, team, error);
    if (status != CX_OK)
        return status;
    memcpy(&name, id, sizeof name);
    team->place = *place;
    settings.blocking = 0;
    status = began(team, "join the other processes", team->nccl.ncclCommInitRankConfig(&team->communicator, place->size, name, place->rank, &settings), error);
    if (status == CX_OK)
        status = wait_for(team, "join the other processes", NULL, error);
    /* One member alone may have used the model before, and all must send and take the same. */
    cuda_tables_drop(cuda);
    team->joined = status == CX_OK;
    backend->is_given_weights = team->joined && place->rank > 0;
    return status;
}

/* Bounded like everything here: a member that does not come is not waited for beyond `patience`. */
static void cuda_team_leave(struct cx_backend *backend, bool together) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    struct cuda_team *team = cuda->team;
    backend->is_given_weights = false;
    if (!team || !team->joined)
        return;
    team->joined = false;
    team->place.stop = NULL;
    cuda_forget(cudaSetDevice(cuda->device));
    if (!together || team->failed || team->count > 0 || began(team, "leave", team->nccl.ncclCommFinalize(team->communicator), NULL) != CX_OK ||
        wait_for(team, "leave", NULL, NULL) != CX_OK || team->nccl.ncclCommDestroy(team->communicator) != ncclSuccess) {
        give_up(team);
        return;
    }
    team->communicator = NULL;
}

void cuda_team_close(struct cuda_backend *cuda) {
    struct cuda_team *team = cuda->team;
    if (!team)
        return;
    cuda_team_leave(&cuda->base, false);
    if (team->stream)
        cuda_forget(cudaStreamDestroy(team->stream));
    cuda_forget(cudaFree(team->piece));
    cuda_forget(cudaFree(team->sums));
    cuda_forget(cudaFreeHost(team->pinned));
    cuda_library_close(team->nccl.library);
    free(team);
    cuda->team = NULL;
}

/* --- weights --- */

enum cx_status cuda_team_share_device(struct cuda_backend *cuda, void *memory, size_t bytes, struct cx_error *error) {
    struct cuda_team *team = cuda->team;
    if (!team || !(team->joined || team->failed) || bytes == 0)
        return CX_OK;
    enum cx_status status = enter(cuda, "pass the weights on", error);
    if (status == CX_OK)
        status = began(team, "pass the weights on", team->nccl.ncclBroadcast(memory, memory, bytes, ncclInt8, 0, team->communicator, cuda->stream), error);
    return status == CX_OK ? wait_for(team, "pass the weights on", cuda->stream, error) : status;
}

enum cx_status cuda_team_share(struct cuda_backend *cuda, const char *operation, void *values, size_t bytes, struct cx_error *error) {
    struct cuda_team *team = cuda->team;
    if (!team || !team->joined)
        return CX_OK;
    if (bytes > piece_bytes)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: %zu bytes for all processes, of %d at most", operation, bytes, piece_bytes);
    enum cx_status status = cuda_upload_shared(cuda, operation, team->piece, values, bytes, error);
    return status == CX_OK ? cuda_download(cuda, operation, values, team->piece, bytes, error) : status;
}

/* --- sums --- */

static const char sum_up[] = "sum up the progress of all processes";

static enum cx_status cuda_team_sum_begin(struct cx_backend *backend, const double *values, size_t count, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    struct cuda_team *team = cuda->team;
    enum cx_status status = enter(cuda, sum_up, error);
    if (status != CX_OK)
        return status;
    if (count == 0 || count > CX_TEAM_SUMS || team->count > 0)
        return cx_fail(error, CX_ERROR_INTERNAL, "a sum of %zu numbers, while one of %zu is under way", count, team->count);
    memcpy(team->pinned, values, count * sizeof *values);
    const cudaError_t code = cudaMemcpyAsync(team->sums, team->pinned, count * sizeof *values, cudaMemcpyHostToDevice, team->stream);
    if (code != cudaSuccess)
        return fail_device(team, sum_up, code, error);
    team->count = count;
    team->copying = false;
    team->begun = cx_monotonic_seconds();
    return began(team, sum_up, team->nccl.ncclAllReduce(team->sums, team->sums, count, ncclDouble, ncclSum, team->communicator, team->stream), error);
}

static enum cx_status cuda_team_sum_look(struct cx_backend *backend, double *sums, bool *done, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    struct cuda_team *team = cuda->team;
    *done = false;
    enum cx_status status = enter(cuda, sum_up, error);
    if (status == CX_OK && team->count == 0)
        return cx_fail(error, CX_ERROR_INTERNAL, "no sum was begun");
    bool there = false;
    if (status == CX_OK)
        status = look(team, sum_up, team->stream, team->begun, &there, error);
    if (status != CX_OK || !there)
        return status;
    if (!team->copying) {
        const cudaError_t code = cudaMemcpyAsync(team->pinned, team->sums, team->count * sizeof *sums, cudaMemcpyDeviceToHost, team->stream);
        if (code != cudaSuccess)
            return fail_device(team, sum_up, code, error);
        team->copying = true;
        return CX_OK;
    }
    memcpy(sums, team->pinned, team->count * sizeof *sums);
    team->count = 0;
    *done = true;
    return CX_OK;
}

const struct cx_team_operations cuda_team_operations = {
    .find = cuda_team_find,
    .make_id = cuda_team_make_id,
    .join = cuda_team_join,
    .sum_begin = cuda_team_sum_begin,
    .sum_look = cuda_team_sum_look,
    .leave = cuda_team_leave,
};
