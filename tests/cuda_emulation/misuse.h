/*
 * Deliberate misuse of what the emulation checks: each case runs in a process of its own and must end with the message that belongs to it. A case that one
 * build cannot notice (a race without ThreadSanitizer, say) has no message for that build.
 */
#ifndef CUDA_EMULATION_MISUSE_H
#define CUDA_EMULATION_MISUSE_H

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emulation.h"

namespace {

#if defined(EMULATION_RACES)
enum { build = 2 };
#elif defined(__SANITIZE_ADDRESS__)
enum { build = 1 };
#else
enum { build = 0 };
#endif

float *device, *pinned; /* 256 numbers each, 1.0 */
constexpr size_t bytes = 256 * sizeof(float);

[[noreturn]] void wrong_result(const char *what) {
    fprintf(stderr, "wrong result: %s\n", what);
    _Exit(1);
}

void check(cudaError_t error) {
    if (error != cudaSuccess) {
        fprintf(stderr, "CUDA error: %s\n", cudaGetErrorString(error));
        _Exit(1);
    }
}

/* The first number must be `expected` after all work. */
void expect_first(float expected) {
    check(cudaMemcpy(pinned, device, bytes, cudaMemcpyDeviceToHost));
    if (!(pinned[0] == expected)) {
        wrong_result("the first number");
    }
}

struct Case {
    const char *name;
    void (*run)();
    unsigned seed;
    const char *messages[3]; /* of the plain build, of AddressSanitizer and UBSan, of ThreadSanitizer; NULL: not noticed */
};

#define EVERYWHERE(text)                                                                                                                                       \
    { text, text, text }
const char wrong[] = "wrong result", asan[] = "AddressSanitizer", ubsan[] = "runtime error", race[] = "data race";

[[noreturn]] void run_in_child(const Case &misuse, int output) {
    dup2(output, STDERR_FILENO);
    emulation_set_seed(misuse.seed);
    check(cudaMalloc(reinterpret_cast<void **>(&device), bytes));
    check(cudaMallocHost(reinterpret_cast<void **>(&pinned), bytes));
    for (int i = 0; i < 256; ++i) {
        pinned[i] = 1.0f;
    }
    check(cudaMemcpy(device, pinned, bytes, cudaMemcpyHostToDevice));
    misuse.run();
    fputs("nothing was noticed\n", stderr);
    _Exit(0);
}

/* Everything the child wrote to stderr; ends when the child has. */
std::string output_of(const Case &misuse, int &status) {
    int ends[2];
    if (pipe(ends) != 0) {
        perror("pipe");
        exit(1);
    }
    fflush(nullptr);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        run_in_child(misuse, ends[1]);
    }
    close(ends[1]);
    std::string output;
    char piece[4096];
    for (ssize_t count; (count = read(ends[0], piece, sizeof piece)) > 0;) {
        output.append(piece, static_cast<size_t>(count));
    }
    close(ends[0]);
    waitpid(child, &status, 0);
    return output;
}

/* Arguments: names of cases; without, all. The result is for main to return. */
int run_misuses(const std::vector<Case> &cases, int count, char **names) {
    int failures = 0, noticed = 0, unnoticed = 0;
    for (const Case &misuse : cases) {
        bool wanted = count < 2;
        for (int i = 1; i < count; ++i) {
            wanted |= strcmp(names[i], misuse.name) == 0;
        }
        const char *message = misuse.messages[build];
        if (!wanted || !message) {
            unnoticed += wanted;
            continue;
        }
        int status = 0;
        std::string output = output_of(misuse, status);
        bool good = status != 0 && output.find(message) != std::string::npos;
        if (!good) {
            printf("FAIL %s: status %d, expected '%s', found:\n%s\n", misuse.name, status, message, output.substr(0, 2000).c_str());
        }
        ++(good ? noticed : failures);
    }
    printf("%d noticed, %d missed, %d that this build cannot notice\n", noticed, failures, unnoticed);
    return failures != 0;
}

} /* namespace */

#endif
