/* Stacks and the switch between them; x86-64 only. */
#ifndef CUDA_EMULATION_FIBRE_H
#define CUDA_EMULATION_FIBRE_H

#include <cstddef>

namespace emulation {

struct Fibre {
    void *stack_pointer;
    unsigned char *stack; /* it begins with a guard; NULL: a host thread's own stack */
    void *fake_stack;     /* AddressSanitizer's */
    void *race_fibre;     /* ThreadSanitizer's */
    bool finished;
};

/* Makes the fibre start in `entry`, which must call fibre_entered() first and never returns. The stack is mapped once. */
void fibre_prepare(Fibre &fibre, void (*entry)());
void fibre_switch(Fibre &from, Fibre &to);
void fibre_entered();

/* True where the address lies in the guard of some fibre's stack. */
bool fibre_guard_contains(const void *address);

} /* namespace emulation */

#endif
