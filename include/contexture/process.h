/* Processes, of this host and others, as the files name them by which they know each other. */
#ifndef CONTEXTURE_PROCESS_H
#define CONTEXTURE_PROCESS_H

#include <stdbool.h>

enum { CX_PROCESS_BYTES = 192 }; /* of one as text */

struct cx_process {
    long number;
    unsigned long long start; /* in clock ticks since the host was started: with its number that tells it from all others */
    char host[72];            /* letters, digits, hyphens, dots and underscores: it goes into file names */
    char since[32];           /* when it described itself: 2020-01-31T12:00:00Z */
};

void cx_process_describe_self(struct cx_process *self);

/* "process 7 host here start 1 since 2020-01-31T12:00:00Z", and back: from the beginning of a text, false if that is not there. */
void cx_process_write(const struct cx_process *process, char text[CX_PROCESS_BYTES]);
bool cx_process_read(const char *text, struct cx_process *process);

bool cx_process_is_of_this_host(const struct cx_process *process);

/* Of this host, and ended, though its parent may not have noticed. Those of other hosts cannot be asked. */
bool cx_process_is_gone(const struct cx_process *process);

#endif
