#include "fibre.h"

#include <cstdlib>
#include <vector>

#include <pthread.h>
#include <sys/mman.h>

#include "sanitizers.h"

/* Saves what the System V ABI lets a function keep, and changes the stack. */
extern "C" void cuda_emulation_switch(void **save, void *load);
asm(".text\n"
    ".globl cuda_emulation_switch\n"
    ".type cuda_emulation_switch, @function\n"
    "cuda_emulation_switch:\n"
    "endbr64\n"
    "pushq %rbp\n"
    "pushq %rbx\n"
    "pushq %r12\n"
    "pushq %r13\n"
    "pushq %r14\n"
    "pushq %r15\n"
    "movq %rsp, (%rdi)\n"
    "movq %rsi, %rsp\n"
    "popq %r15\n"
    "popq %r14\n"
    "popq %r13\n"
    "popq %r12\n"
    "popq %rbx\n"
    "popq %rbp\n"
    "ret\n"
    ".size cuda_emulation_switch, . - cuda_emulation_switch\n");

namespace emulation {

namespace {

constexpr size_t stack_bytes = 320 * 1024, guard_bytes = 64 * 1024, last_frame_bytes = 4096;

std::vector<unsigned char *> &stacks = *new std::vector<unsigned char *>; /* never freed: fibres are pooled */

struct StackBounds {
    const void *bottom;
    size_t bytes;
};

#ifdef __SANITIZE_ADDRESS__
StackBounds host_stack_bounds() {
    static thread_local StackBounds bounds = [] {
        pthread_attr_t attributes;
        void *bottom = nullptr;
        size_t bytes = 0;
        if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
            pthread_attr_getstack(&attributes, &bottom, &bytes);
            pthread_attr_destroy(&attributes);
        }
        return StackBounds{bottom, bytes};
    }();
    return bounds;
}
#endif

} /* namespace */

void fibre_prepare(Fibre &fibre, void (*entry)()) {
    if (!fibre.stack) {
        void *memory = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED || mprotect(memory, guard_bytes, PROT_NONE) != 0) {
            abort();
        }
        fibre.stack = static_cast<unsigned char *>(memory);
        stacks.push_back(fibre.stack);
    }
    /* The frame that the previous user never left is poisoned; those it left are not. */
    ASAN_UNPOISON_MEMORY_REGION(fibre.stack + stack_bytes - last_frame_bytes, last_frame_bytes);
    void **top = reinterpret_cast<void **>(fibre.stack + stack_bytes);
    *--top = nullptr; /* keeps the stack aligned as after a call */
    *--top = reinterpret_cast<void *>(entry);
    for (int i = 0; i < 6; ++i) {
        *--top = nullptr;
    }
    fibre.stack_pointer = top;
    fibre.fake_stack = nullptr;
    fibre.finished = false;
}

void fibre_switch(Fibre &from, Fibre &to) {
#ifdef __SANITIZE_ADDRESS__
    const StackBounds bounds = to.stack ? StackBounds{to.stack + guard_bytes, stack_bytes - guard_bytes} : host_stack_bounds();
    __sanitizer_start_switch_fiber(from.finished ? nullptr : &from.fake_stack, bounds.bottom, bounds.bytes);
#endif
    cuda_emulation_switch(&from.stack_pointer, to.stack_pointer);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

void fibre_entered() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

bool fibre_guard_contains(const void *address) {
    for (const unsigned char *stack : stacks) {
        if (address >= stack && address < stack + guard_bytes) {
            return true;
        }
    }
    return false;
}

} /* namespace emulation */
