/*
 * NCCL for the emulated CUDA: processes on one host, over a socket to rank 0. It is opened at run time by the program as the real one would be, and takes from
 * it the emulation's own functions. Nonblocking as the program asks: every exchange is a thread's work, and ncclCommGetAsyncError() tells of it.
 *
 * Stricter than the real one: a call on a communicator that is not done with the one before ends the process.
 *
 *     EMULATED_NCCL_FAULT=function:k:what    at the k-th call of that function (1: the first) of the rank EMULATED_NCCL_RANK:
 *                                            what = hang  it never comes about
 *                                                   kill  the process is killed
 *                                                   stop  the process is stopped
 *                                                   N     the code N, when asked how it stands
 *     EMULATED_NCCL_LOG=file                 a line for every communicator that ends: "rank K of N ended after B broadcasts, S sums", or "… aborted …"
 */
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cuda_runtime_api.h>
#include <nccl.h>

namespace {

[[noreturn]] void misuse(const char *what) {
    fprintf(stderr, "NCCL stand-in: %s\n", what);
    abort();
}

/* An id is the name of a socket that its maker listens on; the descriptor is only good in that process. */
struct Name {
    char text[100];
    int listener;
    pid_t maker;
};
static_assert(sizeof(Name) <= NCCL_UNIQUE_ID_BYTES);

sockaddr_un address_of(const Name &name, socklen_t *length) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path + 1, name.text, strlen(name.text)); /* abstract: nothing is left behind */
    *length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + strlen(name.text));
    return address;
}

int rank_of_process() {
    const char *text = getenv("OMPI_COMM_WORLD_RANK");
    return text ? atoi(text) : 0;
}

/* What EMULATED_NCCL_FAULT wants of this call; empty: nothing. */
std::string fault_of(const char *function) {
    static int calls;
    const char *text = getenv("EMULATED_NCCL_FAULT"), *rank = getenv("EMULATED_NCCL_RANK");
    char name[64], what[16];
    int k = 0;
    if (!text || rank_of_process() != (rank ? atoi(rank) : 0) || sscanf(text, "%63[^:]:%d:%15s", name, &k, what) != 3 || strcmp(name, function) != 0) {
        return "";
    }
    return ++calls == k ? what : "";
}

} /* namespace */

struct ncclComm {
    int rank, size;
    std::vector<int> peers; /* sockets: rank 0 has one to each other rank, in their places, the others have one in place 0 */
    std::atomic<int> state{ncclSuccess};
    std::atomic<bool> aborted{false};
    std::thread worker;
    unsigned long broadcasts = 0, sums = 0;

    /* False: the other end is gone, or this one has been told to give up. */
    bool wait(int socket, short events) {
        constexpr int milliseconds = 10;
        while (!aborted) {
            pollfd one = {socket, events, 0};
            if (poll(&one, 1, milliseconds) > 0) {
                return true;
            }
        }
        return false;
    }

    bool give(int socket, const void *data, size_t bytes) {
        for (const char *from = static_cast<const char *>(data); bytes > 0;) {
            const ssize_t done = wait(socket, POLLOUT) ? send(socket, from, bytes, MSG_NOSIGNAL | MSG_DONTWAIT) : -1;
            if (done < 0 && (aborted || errno != EAGAIN)) {
                return false;
            }
            from += done > 0 ? done : 0;
            bytes -= done > 0 ? static_cast<size_t>(done) : 0;
        }
        return true;
    }

    bool take(int socket, void *data, size_t bytes) {
        for (char *to = static_cast<char *>(data); bytes > 0;) {
            const ssize_t done = wait(socket, POLLIN) ? recv(socket, to, bytes, MSG_DONTWAIT) : -1;
            if (done == 0 || (done < 0 && (aborted || errno != EAGAIN))) {
                return false;
            }
            to += done > 0 ? done : 0;
            bytes -= done > 0 ? static_cast<size_t>(done) : 0;
        }
        return true;
    }

    bool broadcast(std::vector<char> &bytes) {
        bool good = true;
        for (int peer = rank == 0 ? 1 : size; peer < size; ++peer) {
            good = give(peers[static_cast<size_t>(peer)], bytes.data(), bytes.size()) && good;
        }
        return rank == 0 ? good : take(peers[0], bytes.data(), bytes.size());
    }

    bool sum(std::vector<char> &bytes) {
        if (rank > 0) {
            return give(peers[0], bytes.data(), bytes.size()) && take(peers[0], bytes.data(), bytes.size());
        }
        std::vector<double> total(bytes.size() / sizeof(double)), part(total.size());
        memcpy(total.data(), bytes.data(), bytes.size());
        for (int peer = 1; peer < size; ++peer) {
            if (!take(peers[static_cast<size_t>(peer)], part.data(), bytes.size())) {
                return false;
            }
            for (size_t k = 0; k < total.size(); ++k) {
                total[k] += part[k];
            }
        }
        memcpy(bytes.data(), total.data(), bytes.size());
        return broadcast(bytes);
    }

    bool connect_all(const Name &name) {
        peers.assign(static_cast<size_t>(size), -1);
        for (int missing = rank == 0 ? size - 1 : 0; missing > 0; --missing) {
            const int socket = wait(name.listener, POLLIN) ? accept(name.listener, nullptr, nullptr) : -1;
            int other = 0;
            if (socket < 0 || !take(socket, &other, sizeof other)) {
                return false;
            }
            peers[static_cast<size_t>(other)] = socket;
        }
        if (rank == 0) {
            close(name.listener);
            return true;
        }
        socklen_t length;
        const sockaddr_un address = address_of(name, &length);
        peers[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        return connect(peers[0], reinterpret_cast<const sockaddr *>(&address), length) == 0 && give(peers[0], &rank, sizeof rank);
    }

    /* `work` in a thread, with the fault that is asked for. */
    template <typename Work> ncclResult_t start(const char *function, Work work) {
        if (state != ncclSuccess) {
            misuse("a call on a communicator that is not done with the one before");
        }
        if (worker.joinable()) {
            worker.join();
        }
        const std::string fault = fault_of(function);
        if (fault == "kill") {
            raise(SIGKILL);
        } else if (fault == "stop") {
            raise(SIGSTOP);
        }
        state = ncclInProgress;
        worker = std::thread([=, this] {
            while (fault == "hang" && !aborted) {
                usleep(1000);
            }
            const int code = atoi(fault.c_str());
            if (fault != "hang") {
                state = code != 0 ? code : work() ? ncclSuccess : ncclRemoteError;
            }
        });
        return ncclInProgress;
    }

    /* In the stream's order: what was enqueued before is done, and the result is there before the call has come about. */
    ncclResult_t exchange(const char *function, const void *from, void *to, size_t bytes, cudaStream_t stream, bool (ncclComm::*how)(std::vector<char> &)) {
        return start(function, [=, this] {
            std::vector<char> data(bytes);
            return cudaMemcpyAsync(data.data(), from, bytes, cudaMemcpyDeviceToHost, stream) == cudaSuccess && cudaStreamSynchronize(stream) == cudaSuccess &&
                   (this->*how)(data) && cudaMemcpyAsync(to, data.data(), bytes, cudaMemcpyHostToDevice, stream) == cudaSuccess &&
                   cudaStreamSynchronize(stream) == cudaSuccess;
        });
    }

    void end(const char *how) {
        aborted = true;
        if (worker.joinable()) {
            worker.join();
        }
        for (int socket : peers) {
            if (socket >= 0) {
                close(socket);
            }
        }
        const char *path = getenv("EMULATED_NCCL_LOG");
        if (FILE *log = path ? fopen(path, "a") : nullptr) {
            fprintf(log, "rank %d of %d %s after %lu broadcasts, %lu sums\n", rank, size, how, broadcasts, sums);
            fclose(log);
        }
    }
};

extern "C" {

ncclResult_t ncclGetVersion(int *version) {
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t code) {
    return code == ncclRemoteError ? "remote process exited or there was a network error" : "a made-up error";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    Name name = {};
    snprintf(name.text, sizeof name.text, "emulated-nccl-%d-%ld", getpid(), random());
    name.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    name.maker = getpid();
    socklen_t length;
    const sockaddr_un address = address_of(name, &length);
    memset(id, 0, sizeof *id);
    memcpy(id, &name, sizeof name);
    constexpr int most_waiting = 64;
    const bool good = bind(name.listener, reinterpret_cast<const sockaddr *>(&address), length) == 0 && listen(name.listener, most_waiting) == 0;
    return good ? ncclSuccess : ncclSystemError;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *communicator, int size, ncclUniqueId id, int rank, ncclConfig_t *config) {
    Name name;
    memcpy(&name, &id, sizeof name);
    if (!config || config->blocking != 0) {
        misuse("a communicator that blocks");
    }
    if (rank == 0 && name.maker != getpid()) {
        misuse("rank 0 has not made the id");
    }
    *communicator = new ncclComm;
    (*communicator)->rank = rank;
    (*communicator)->size = size;
    ncclComm *self = *communicator;
    return self->start("ncclCommInitRankConfig", [=] { return self->connect_all(name); });
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t *state) {
    *state = static_cast<ncclResult_t>(communicator->state.load());
    return ncclSuccess;
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t communicator, cudaStream_t stream) {
    if (type != ncclInt8 || root != 0) {
        misuse("a broadcast that is none of bytes of rank 0");
    }
    communicator->broadcasts++;
    return communicator->exchange("ncclBroadcast", from, to, count, stream, &ncclComm::broadcast);
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t operation, ncclComm_t communicator, cudaStream_t stream) {
    if (type != ncclDouble || operation != ncclSum) {
        misuse("a reduction that is no sum of float64");
    }
    communicator->sums++;
    return communicator->exchange("ncclAllReduce", from, to, count * sizeof(double), stream, &ncclComm::sum);
}

/* All have come when everyone's byte has been seen by everyone. */
ncclResult_t ncclCommFinalize(ncclComm_t communicator) {
    return communicator->start("ncclCommFinalize", [=] {
        std::vector<char> bytes(sizeof(double));
        return communicator->sum(bytes);
    });
}

ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
    communicator->end("ended");
    delete communicator;
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t communicator) {
    communicator->end("aborted");
    delete communicator;
    return ncclSuccess;
}
}
