/*
 * How every function of contexture fails.
 *
 * A function that can fail returns `enum cx_status` and takes a `struct cx_error *` as its last argument. Where the fault
 * arises, cx_fail() writes the one sentence that the user will read: what went wrong, where (path, line, tensor), what was
 * expected, what was found, and what to do. Callers only forward the status; they neither print nor rewrite the sentence.
 * Only main.c prints and exits.
 *
 *     if (rows != config->hidden_size)
 *         return cx_fail(error, CX_ERROR_INPUT, "%s: tensor %s: expected %zu rows, found %zu", path, name, ...);
 *
 * A failed create or open function owes nothing: its output pointer is NULL and everything is released.
 */
#ifndef CONTEXTURE_ERROR_H
#define CONTEXTURE_ERROR_H

#include <stddef.h>

#include "contexture/attributes.h"

/* name, exit code of the program, what it means */
#define CX_STATUS_LIST(X)                                                                                                                                      \
    X(CX_OK, 0, "success")                                                                                                                                     \
    X(CX_END, 0, "there is nothing left to read")                                                                                                              \
    X(CX_ERROR_USAGE, 2, "the command line or the configuration is wrong")                                                                                     \
    X(CX_ERROR_INPUT, 1, "a file is malformed or does not fit the others")                                                                                     \
    X(CX_ERROR_UNSUPPORTED, 1, "a file is well formed, but asks for something that contexture does not do")                                                    \
    X(CX_ERROR_DOCUMENT, 3, "one document of the corpus cannot be used; the others can")                                                                       \
    X(CX_ERROR_IO, 1, "the operating system refused to open, read, write or rename")                                                                           \
    X(CX_ERROR_MEMORY, 1, "there is not enough memory")                                                                                                        \
    X(CX_ERROR_DEVICE, 1, "the compute device is missing or failed")                                                                                           \
    X(CX_ERROR_DEVICE_LOST, 75, "the compute device was lost during the work; the same command goes on from here")                                             \
    X(CX_ERROR_CONFLICT, 1, "the output folder belongs to another run")                                                                                        \
    X(CX_ERROR_DAMAGED, 1, "a file that contexture wrote does not read back as written")                                                                       \
    X(CX_ERROR_INTERRUPTED, 75, "stopped by a signal; the same command goes on from here")                                                                     \
    X(CX_ERROR_INTERNAL, 1, "a fault in contexture itself")

#define CX_STATUS_ENUMERATOR(name, exit_code, meaning) name,
enum cx_status { CX_STATUS_LIST(CX_STATUS_ENUMERATOR) };
#undef CX_STATUS_ENUMERATOR

/* What went wrong. Start with `struct cx_error error = {0};`, pass its address down, print `message` at the top. */
struct cx_error {
    enum cx_status status;
    char message[2048];
};

/* Records the sentence and returns `status`. `error` may be NULL; a sentence that does not fit is cut. */
CX_PRINTF(3, 4)
enum cx_status cx_fail(struct cx_error *error, enum cx_status status, const char *format, ...);

/* CX_ERROR_IO from errno: "cannot <action> <path>: <strerror> (errno N)". Call right after the failed system call. */
enum cx_status cx_fail_errno(struct cx_error *error, const char *action, const char *path);

/* CX_ERROR_MEMORY: "not enough memory for <purpose> (N bytes)". */
enum cx_status cx_fail_memory(struct cx_error *error, const char *purpose, size_t bytes);

/* The exit code (0, 1, 2, 3, 75) and the enumerator's own name ("CX_ERROR_INPUT"). */
int cx_status_exit_code(enum cx_status status);
const char *cx_status_name(enum cx_status status);

#endif
