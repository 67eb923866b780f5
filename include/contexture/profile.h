/* Where the time goes: the operations that are timed, and what a backend tells of them. */
#ifndef CONTEXTURE_PROFILE_H
#define CONTEXTURE_PROFILE_H

#include <stdint.h>

/* The operations of backend.h that compute, in its order. */
#define CX_OPERATION_LIST(X)                                                                                                                                   \
    X(embed)                                                                                                                                                   \
    X(norm)                                                                                                                                                    \
    X(linear)                                                                                                                                                  \
    X(attend)                                                                                                                                                  \
    X(activate)                                                                                                                                                \
    X(add)                                                                                                                                                     \
    X(broadcast)                                                                                                                                               \
    X(norm_linear)                                                                                                                                             \
    X(scale_columns)                                                                                                                                           \
    X(ff_bias)                                                                                                                                                 \
    X(head_sources)                                                                                                                                            \
    X(gram)                                                                                                                                                    \
    X(attention_norms)                                                                                                                                         \
    X(attention_parts)                                                                                                                                         \
    X(attention_mean)                                                                                                                                          \
    X(head_norms)                                                                                                                                              \
    X(ff_sources)                                                                                                                                              \
    X(ff_pair_norms)                                                                                                                                           \
    X(row_shares)                                                                                                                                              \
    X(map_ranks)                                                                                                                                               \
    X(rank_change)                                                                                                                                             \
    X(stage_summary)                                                                                                                                           \
    X(part_vectors)

#define CX_OPERATION_ENUMERATOR(name) CX_OPERATION_##name,
enum cx_operation { CX_OPERATION_LIST(CX_OPERATION_ENUMERATOR) CX_OPERATIONS };
#undef CX_OPERATION_ENUMERATOR

/* "embed", "norm", … */
const char *cx_operation_name(enum cx_operation operation);

/* What was timed so far: on the device by its own clock (CUDA events), on the CPU by the wall clock. */
struct cx_operation_times {
    struct {
        uint64_t calls;
        double seconds;
    } operations[CX_OPERATIONS];
    double idle_seconds; /* between the end of an operation and the begin of the next, from the first to the last: the device had nothing to do */
};

/* The same of a decomposer, with what it knows. */
struct cx_decompose_profile {
    struct cx_operation_times times;
    double operations_flop[CX_OPERATIONS]; /* useful floating-point operations asked for */
    double wait_seconds;                   /* the calling thread waited for the device */
};

#endif
