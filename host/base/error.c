#include "contexture/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int exit_code;
} statuses[] = {
#define CX_STATUS_ROW(name, exit_code, meaning) [name] = {#name, exit_code},
    CX_STATUS_LIST(CX_STATUS_ROW)
#undef CX_STATUS_ROW
};

enum cx_status cx_fail(struct cx_error *error, enum cx_status status, const char *format, ...) {
    if (!error)
        return status;
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    if (length < 0)
        error->message[0] = '\0';
    return status;
}

enum cx_status cx_fail_errno(struct cx_error *error, const char *action, const char *path) {
    int number = errno;
    return cx_fail(error, CX_ERROR_IO, "cannot %s %s: %s (errno %d)", action, path, strerror(number), number);
}

enum cx_status cx_fail_memory(struct cx_error *error, const char *purpose, size_t bytes) {
    return cx_fail(error, CX_ERROR_MEMORY, "not enough memory for %s (%zu bytes)", purpose, bytes);
}

int cx_status_exit_code(enum cx_status status) {
    return statuses[status].exit_code;
}

const char *cx_status_name(enum cx_status status) {
    return statuses[status].name;
}
