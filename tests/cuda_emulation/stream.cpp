#include "stream.h"

#include <deque>
#include <memory>
#include <set>
#include <vector>

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "api.h"
#include "device_threads.h"
#include "sanitizers.h"
#include "scheduler.h"
#include "statistics.h"

namespace emulation {

namespace {

struct Stream;

struct Event {
    bool timing;
    unsigned long recorded, completed; /* how often enqueued, how often reached */
    Stream *stream;                    /* of the latest record */
    double seconds;
    char sync;
};

struct Operation {
    std::function<void()> run;
    Event *awaited; /* NULL: none; otherwise the operation is a wait for its `generation`-th record */
    unsigned long generation;
    std::unique_ptr<char> issued_sync;
};

struct Stream {
    std::deque<Operation> queue;
    bool blocking; /* ordered with the default stream */
    void *race_fibre;
    char sync;
};

Stream &default_stream = *new Stream{{}, true, nullptr, 0};
std::set<Stream *> &streams = *new std::set<Stream *>{&default_stream};
std::set<Event *> &events = *new std::set<Event *>;

Stream *stream_of(cudaStream_t handle) {
    if (!handle) {
        return &default_stream;
    }
    Stream *stream = reinterpret_cast<Stream *>(handle);
    if (!streams.count(stream)) {
        fail("not a live stream");
    }
    return stream;
}

Event *event_of(cudaEvent_t handle) {
    Event *event = reinterpret_cast<Event *>(handle);
    if (!events.count(event)) {
        fail("not a live event");
    }
    return event;
}

void run_next(Stream *stream);

void reach(Event *event, unsigned long generation) {
    while (event->completed < generation) {
        run_next(event->stream);
    }
}

void run_next(Stream *stream) {
    if (stream->queue.empty()) {
        fail("an event is waited for that nothing records any more");
    }
    Event *awaited = stream->queue.front().awaited;
    if (awaited) {
        reach(awaited, stream->queue.front().generation);
    }
    if (!stream->race_fibre) {
        stream->race_fibre = __tsan_create_fiber(0);
    }
    Operation operation = std::move(stream->queue.front());
    stream->queue.pop_front();
    RaceScope as_stream(stream->race_fibre);
    __tsan_acquire(operation.issued_sync.get());
    if (awaited) {
        __tsan_acquire(&awaited->sync);
    } else {
        operation.run();
    }
    __tsan_release(&stream->sync);
    operation.run = nullptr; /* what it captured is freed as the stream */
}

/* What has finished is known to the host only through here. */
void host_waits(Stream *stream) {
    while (!stream->queue.empty()) {
        run_next(stream);
    }
    __tsan_acquire(&stream->sync);
}

/* The default stream and blocking streams wait for each other; done at once, which loses some lateness and no order. */
void order_with_default(Stream *stream) {
    auto finish = [](Stream *before, Stream *after) {
        while (!before->queue.empty()) {
            run_next(before);
        }
        if (!after->race_fibre) {
            after->race_fibre = __tsan_create_fiber(0);
        }
        RaceScope as_stream(after->race_fibre);
        __tsan_acquire(&before->sync);
    };
    if (stream == &default_stream) {
        for (Stream *other : streams) {
            if (other != stream && other->blocking) {
                finish(other, stream);
            }
        }
    } else if (stream->blocking) {
        finish(&default_stream, stream);
    }
}

void make_some_progress() {
    while (random_number() % 2) {
        auto position = streams.begin();
        std::advance(position, random_number() % streams.size());
        if (!(*position)->queue.empty()) {
            run_next(*position);
        }
    }
}

void push(Stream *stream, Operation operation) {
    order_with_default(stream);
    operation.issued_sync = std::make_unique<char>();
    __tsan_release(operation.issued_sync.get());
    stream->queue.push_back(std::move(operation));
    if (seed == 0 || seed == 2) {
        while (!stream->queue.empty()) {
            run_next(stream);
        }
    } else if (seed > 3) {
        make_some_progress();
    }
}

/* By system call: ThreadSanitizer would see the function write to the host's stack on behalf of a stream. */
double now() {
    timespec time;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

} /* namespace */

void enqueue(cudaStream_t stream, std::function<void()> operation) {
    push(stream_of(stream), {std::move(operation), nullptr, 0, nullptr});
}

void drain(cudaStream_t stream) {
    host_waits(stream_of(stream));
}

void drain_all() {
    for (Stream *stream : streams) {
        host_waits(stream);
    }
}

} /* namespace emulation */

using namespace emulation;

extern "C" {

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int) {
    CUDA_CALL("cudaStreamCreateWithPriority");
    ++statistics.allocations;
    Stream *created = new Stream{{}, !(flags & cudaStreamNonBlocking), nullptr, 0};
    streams.insert(created);
    *stream = reinterpret_cast<cudaStream_t>(created);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    CUDA_CALL("cudaStreamCreateWithFlags");
    return cudaStreamCreateWithPriority(stream, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    CUDA_CALL("cudaStreamCreate");
    return cudaStreamCreateWithPriority(stream, cudaStreamDefault, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
    CUDA_CALL("cudaStreamDestroy");
    if (!handle) {
        return call.result(cudaErrorInvalidResourceHandle);
    }
    Stream *stream = stream_of(handle);
    host_waits(stream);
    for (Event *event : events) {
        if (event->stream == stream) {
            event->stream = &default_stream;
        }
    }
    streams.erase(stream);
    if (stream->race_fibre) {
        __tsan_destroy_fiber(stream->race_fibre);
    }
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    CUDA_CALL("cudaStreamSynchronize");
    drain(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
    CUDA_CALL("cudaStreamQuery");
    Stream *stream = stream_of(handle);
    if (!stream->queue.empty()) {
        run_next(stream);
    }
    if (!stream->queue.empty()) {
        return cudaErrorNotReady;
    }
    __tsan_acquire(&stream->sync);
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void) {
    CUDA_CALL("cudaDeviceSynchronize");
    drain_all();
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t handle, unsigned) {
    CUDA_CALL("cudaStreamWaitEvent");
    Event *event = event_of(handle);
    if (event->recorded) {
        push(stream_of(stream), {nullptr, event, event->recorded, nullptr});
    }
    return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
    CUDA_CALL("cudaLaunchHostFunc");
    enqueue(stream, [=] { function(data); });
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    CUDA_CALL("cudaEventCreateWithFlags");
    ++statistics.allocations;
    Event *created = new Event{!(flags & cudaEventDisableTiming), 0, 0, &default_stream, 0, 0};
    events.insert(created);
    *event = reinterpret_cast<cudaEvent_t>(created);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    CUDA_CALL("cudaEventCreate");
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

/* Work that still refers to the event is finished first; a device keeps the event alive instead. */
cudaError_t cudaEventDestroy(cudaEvent_t handle) {
    CUDA_CALL("cudaEventDestroy");
    Event *event = event_of(handle);
    for (Stream *stream : streams) {
        while (!stream->queue.empty()) {
            run_next(stream);
        }
    }
    events.erase(event);
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream) {
    CUDA_CALL("cudaEventRecord");
    Event *event = event_of(handle);
    /* A record on another stream than before replaces it; the earlier one is finished so that the counts stay in order. */
    if (event->completed < event->recorded && event->stream != stream_of(stream)) {
        reach(event, event->recorded);
    }
    event->stream = stream_of(stream);
    unsigned long generation = ++event->recorded;
    enqueue(stream, [=] {
        event->completed = generation;
        event->seconds = now();
        __tsan_release(&event->sync);
    });
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
    CUDA_CALL("cudaEventSynchronize");
    Event *event = event_of(handle);
    reach(event, event->recorded);
    __tsan_acquire(&event->sync);
    return cudaSuccess;
}

/* Each query lets one operation run, so that polling ends. */
cudaError_t cudaEventQuery(cudaEvent_t handle) {
    CUDA_CALL("cudaEventQuery");
    Event *event = event_of(handle);
    if (event->completed < event->recorded) {
        run_next(event->stream);
    }
    if (event->completed < event->recorded) {
        return cudaErrorNotReady;
    }
    __tsan_acquire(&event->sync);
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    CUDA_CALL("cudaEventElapsedTime");
    Event *from = event_of(start), *to = event_of(end);
    if (!from->timing || !to->timing || !from->recorded || !to->recorded) {
        return call.result(cudaErrorInvalidResourceHandle);
    }
    if (from->completed < from->recorded || to->completed < to->recorded) {
        return call.result(cudaErrorNotReady);
    }
    *milliseconds = static_cast<float>((to->seconds - from->seconds) * 1e3);
    return cudaSuccess;
}

} /* extern "C" */
