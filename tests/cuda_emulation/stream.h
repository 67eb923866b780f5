/*
 * Streams are queues and events are counters. An operation runs at once, at random, or only when something waits for it, by
 * the seed; whatever runs early or late on purpose is allowed to on a device.
 */
#ifndef CUDA_EMULATION_STREAM_H
#define CUDA_EMULATION_STREAM_H

#include <functional>

#include <cuda_runtime_api.h>

namespace emulation {

/* Runs on the stream's own ThreadSanitizer fibre, after everything enqueued before. */
void enqueue(cudaStream_t stream, std::function<void()> operation);
void drain(cudaStream_t stream);
void drain_all();

} /* namespace emulation */

#endif
