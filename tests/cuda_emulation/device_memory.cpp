#include "device_memory.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "device_threads.h"
#include "fibre.h"
#include "kernel_registry.h"
#include "sanitizers.h"
#include "statistics.h"

namespace emulation {

namespace {

constexpr size_t red_zone = 256, alignment = 256, page = 4096, huge_page = size_t{2} << 20;
constexpr unsigned char fill = 0xff;

using Allocations = std::map<const unsigned char *, size_t>;
unsigned char *memory; /* memory_bytes of address space */
size_t memory_bytes;
Allocations &allocations = *new Allocations;
Allocations &pinned = *new Allocations;
size_t allocated_bytes;
int open_count;

bool contains(const Allocations &list, const void *pointer, size_t bytes) {
    const unsigned char *address = static_cast<const unsigned char *>(pointer);
    auto next = list.upper_bound(address);
    if (next == list.begin()) {
        return false;
    }
    --next;
    return address < next->first + next->second + (next->second == 0) && bytes <= next->second - static_cast<size_t>(address - next->first);
}

/* Up to the end of the last allocation and its red zone. */
size_t bytes_in_use() {
    if (allocations.empty()) {
        return 0;
    }
    size_t end = static_cast<size_t>(std::prev(allocations.end())->first - memory) + std::prev(allocations.end())->second + red_zone;
    return (end + huge_page - 1) / huge_page * huge_page;
}

void protect(int protection) {
    if (bytes_in_use() && mprotect(memory, bytes_in_use(), protection) != 0) {
        abort();
    }
}

/* Other faults get the default action when the instruction is tried again. */
void on_fault(int number, siginfo_t *information, void *) {
    const unsigned char *address = static_cast<const unsigned char *>(information->si_addr);
    if (address >= memory && address < memory + memory_bytes) {
        fail("host code touched device memory, or a kernel touched memory beyond the last allocation (offset %zu)", static_cast<size_t>(address - memory));
    }
    if (fibre_guard_contains(address)) {
        fail("a CUDA thread's stack overflowed");
    }
    signal(number, SIG_DFL);
}

void install_fault_handler() {
#ifndef __SANITIZE_ADDRESS__ /* whose own report names the lines */
    static char stack[64 * 1024];
    stack_t alternate = {};
    alternate.ss_sp = stack;
    alternate.ss_size = sizeof stack;
    sigaltstack(&alternate, nullptr);
#endif
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, nullptr);
}

void initialise() {
    if (memory) {
        return;
    }
    const char *text = getenv("EMULATION_MEMORY_MIB");
    memory_bytes = (text ? strtoull(text, nullptr, 10) : 8192) << 20;
    void *mapping = mmap(nullptr, memory_bytes + huge_page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        abort();
    }
    /* Every kernel and copy changes the protection of all that is in use: a thousand times faster in huge pages. */
    memory = reinterpret_cast<unsigned char *>((reinterpret_cast<uintptr_t>(mapping) + huge_page - 1) / huge_page * huge_page);
    static_cast<void>(madvise(memory, memory_bytes, MADV_HUGEPAGE));
    install_fault_handler();
}

/* The first gap that is large enough. */
unsigned char *find_room(size_t bytes) {
    unsigned char *start = memory + alignment;
    for (const auto &[address, size] : allocations) {
        if (address >= start + bytes + red_zone) {
            break;
        }
        size_t end = static_cast<size_t>(address - memory) + size + red_zone;
        start = memory + (end + alignment - 1) / alignment * alignment;
    }
    return bytes <= memory_bytes - red_zone && start <= memory + memory_bytes - red_zone - bytes ? start : nullptr;
}

bool mapped(uintptr_t address) {
    unsigned char resident;
    return mincore(reinterpret_cast<void *>(address / page * page), 1, &resident) == 0;
}

} /* namespace */

void *device_allocate(size_t bytes) {
    initialise();
    unsigned char *start = find_room(bytes);
    if (!start) {
        return nullptr;
    }
    allocations[start] = bytes;
    allocated_bytes += bytes;
    statistics.device_bytes = allocated_bytes;
    DeviceAccess access;
    ASAN_POISON_MEMORY_REGION(start - alignment, alignment);
    ASAN_UNPOISON_MEMORY_REGION(start, bytes);
    memset(start, fill, bytes);
#ifdef __SANITIZE_ADDRESS__
    ASAN_POISON_MEMORY_REGION(start + bytes, red_zone);
#else
    memset(start + bytes, fill, red_zone);
#endif
    return start;
}

bool device_release(void *pointer) {
    auto position = allocations.find(static_cast<unsigned char *>(pointer));
    if (position == allocations.end()) {
        return false;
    }
    ASAN_POISON_MEMORY_REGION(pointer, position->second);
    allocated_bytes -= position->second;
    statistics.device_bytes = allocated_bytes;
    allocations.erase(position);
    return true;
}

bool is_device(const void *pointer) {
    return memory && pointer >= memory && pointer < memory + memory_bytes;
}

void device_memory_info(size_t *free_bytes, size_t *total_bytes) {
    initialise();
    *total_bytes = memory_bytes;
    *free_bytes = memory_bytes - allocated_bytes;
}

void *pinned_allocate(size_t bytes) {
    void *pointer = nullptr;
    if (posix_memalign(&pointer, alignment, bytes ? bytes : 1) != 0) {
        return nullptr;
    }
    memset(pointer, fill, bytes);
    pinned[static_cast<unsigned char *>(pointer)] = bytes;
    return pointer;
}

bool pinned_release(void *pointer) {
    if (!pinned.erase(static_cast<unsigned char *>(pointer))) {
        return false;
    }
    free(pointer);
    return true;
}

bool is_pinned(const void *pointer) {
    return contains(pinned, pointer, 0);
}

void check_device_range(const void *pointer, size_t bytes, const char *what) {
    if (!is_device(pointer)) {
        fail("%s: %p is a host pointer where a device pointer is needed", what, pointer);
    }
    if (!contains(allocations, pointer, bytes)) {
        fail("%s: %zu bytes at %p are not inside one live device allocation", what, bytes, pointer);
    }
}

void check_red_zones(const char *what) {
#ifndef __SANITIZE_ADDRESS__
    for (const auto &[address, bytes] : allocations) {
        for (size_t i = bytes; i < bytes + red_zone; ++i) {
            if (address[i] != fill) {
                fail("%s wrote %zu bytes behind the end of a device allocation of %zu bytes", what, i - bytes, bytes);
            }
        }
    }
#else
    static_cast<void>(what);
#endif
}

DeviceAccess::DeviceAccess() {
    if (!open_count++) {
        protect(PROT_READ | PROT_WRITE);
    }
}

DeviceAccess::~DeviceAccess() {
    if (!--open_count) {
        protect(PROT_NONE);
    }
}

void check_pointer_argument(const void *pointer) {
    if (!pointer || is_pinned(pointer)) {
        return;
    }
    if (!is_device(pointer)) {
        fail("kernel argument %p is a host pointer", pointer);
    }
    if (!contains(allocations, pointer, 0)) {
        fail("kernel argument %p points outside every live device allocation", pointer);
    }
}

/* A number that happens to be the address of mapped host memory is next to impossible: it would lie above 2^46. */
void check_structure_argument(const void *structure, size_t bytes) {
    for (size_t offset = 0; offset + sizeof(uintptr_t) <= bytes; offset += sizeof(uintptr_t)) {
        uintptr_t word;
        memcpy(&word, static_cast<const unsigned char *>(structure) + offset, sizeof word);
        const void *pointer = reinterpret_cast<const void *>(word);
        if (is_device(pointer)) {
            if (!contains(allocations, pointer, 0)) {
                fail("a member at byte %zu of a kernel's structure argument points outside every live device allocation", offset);
            }
        } else if (word >> 46 == 1 && !is_pinned(pointer) && mapped(word)) {
            fail("a member at byte %zu of a kernel's structure argument is a host pointer", offset);
        }
    }
}

} /* namespace emulation */
