/* Compiler attributes that the other headers use. */
#ifndef CONTEXTURE_ATTRIBUTES_H
#define CONTEXTURE_ATTRIBUTES_H

/* A result that is ignored does not compile (-Werror=unused-result). */
#define CX_MUST_USE __attribute__((warn_unused_result))

/* Argument `format_index` is a printf format for the arguments from `first_index` on. */
#define CX_PRINTF(format_index, first_index) __attribute__((format(printf, format_index, first_index)))

#endif
