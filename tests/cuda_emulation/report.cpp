/* Misuse ends the process with one message and the places where threads wait. */
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>
#include <vector>

#include "scheduler.h"

namespace emulation {

void fail(const char *format, ...) {
    fputs("cuda emulation: ", stderr);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n  seed %u", seed);
    if (in_kernel()) {
        fprintf(stderr, ", block (%u, %u, %u), thread (%u, %u, %u)", blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    }
    fputs("\n", stderr);
    std::map<std::pair<const char *, int>, std::vector<unsigned>> places;
    for_each_waiting_thread([&](const Thread &thread) { places[{thread.waits_for, thread.waits_line}].push_back(thread.linear); });
    for (const auto &[place, threads] : places) {
        fprintf(stderr, "  %zu threads (%u to %u) wait at %s, line %d\n", threads.size(), threads.front(), threads.back(), place.first, place.second);
    }
    fflush(nullptr);
    _Exit(3);
}

} /* namespace emulation */
