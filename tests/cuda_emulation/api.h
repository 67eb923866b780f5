/* What every emulated CUDA function begins with: one at a time, made to fail when a test asked for it. */
#ifndef CUDA_EMULATION_API_H
#define CUDA_EMULATION_API_H

#include <cuda_runtime_api.h>

namespace emulation {

/* One host thread at a time. */
class Exclusive {
  public:
    Exclusive();
    ~Exclusive();
    Exclusive(const Exclusive &) = delete;
    Exclusive &operator=(const Exclusive &) = delete;
};

class Call : Exclusive {
  public:
    explicit Call(const char *function);
    ~Call();

    int error; /* not 0: return it at once */

    /* Remembers the error for cudaGetLastError. */
    cudaError_t result(cudaError_t);
};

/* Calls that emulated functions make to each other count once, as the outermost. */
#define CUDA_CALL(name)                                                                                                                                        \
    Call call(name);                                                                                                                                           \
    if (call.error != 0) {                                                                                                                                     \
        return static_cast<cudaError_t>(call.error);                                                                                                           \
    }

} /* namespace emulation */

#endif
