/* The device that the emulation pretends to be. */
#ifndef CUDA_EMULATION_DEVICE_H
#define CUDA_EMULATION_DEVICE_H

#include <cstddef>

namespace emulation {

struct Device {
    int major, minor, multiprocessors;
    size_t shared_bytes; /* that one block may have */
};

/* EMULATION_ARCHITECTURE=80, 86, 89, 90 (the default) or 100; EMULATION_MULTIPROCESSORS=n: so many, else as a GPU of
   this architecture has; EMULATION_DEVICES=1: there is one; else
   none, so that programs that take a device where there is one do not take this slow one unasked. */
const Device &device();
/* EMULATION_MULTIPROCESSORS, or as many as such a device has. */
int multiprocessor_count();

} /* namespace emulation */

#endif
