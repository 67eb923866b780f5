/* Compiler attributes that the other headers use. */
#ifndef CONTEXTURE_ATTRIBUTES_H
#define CONTEXTURE_ATTRIBUTES_H

/* A result that is ignored does not compile (-Werror=unused-result). */
#define CX_MUST_USE __attribute__((warn_unused_result))

/* Argument `format_index` is a printf format for the arguments from `first_index` on. */
#define CX_PRINTF(format_index, first_index) __attribute__((format(printf, format_index, first_index)))

/* What runs on a GPU, too. */
#ifdef __CUDACC__
#define CX_DEVICE __host__ __device__
#else
#define CX_DEVICE
#endif

#endif
