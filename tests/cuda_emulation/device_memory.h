/*
 * Device memory: a mapping of its own that host code cannot touch (PROT_NONE) except while a kernel or a copy runs. New
 * allocations are filled with 0xff (NaN) and lie between red zones.
 */
#ifndef CUDA_EMULATION_DEVICE_MEMORY_H
#define CUDA_EMULATION_DEVICE_MEMORY_H

#include <cstddef>

namespace emulation {

/* NULL when there is no room. */
void *device_allocate(size_t bytes);
bool device_release(void *pointer); /* false: not the start of a live allocation */
bool is_device(const void *pointer);
void device_memory_info(size_t *free_bytes, size_t *total_bytes);

void *pinned_allocate(size_t bytes);
bool pinned_release(void *pointer);
bool is_pinned(const void *pointer);

/* Fails, naming `what`, unless all bytes lie in one live device allocation. */
void check_device_range(const void *pointer, size_t bytes, const char *what);

/* Fails when a red zone was written; called after each kernel, `what`. */
void check_red_zones(const char *what);

class DeviceAccess {
  public:
    DeviceAccess();
    ~DeviceAccess();
    DeviceAccess(const DeviceAccess &) = delete;
    DeviceAccess &operator=(const DeviceAccess &) = delete;
};

} /* namespace emulation */

#endif
