/* Other processes of this host. */
#ifndef CONTEXTURE_PROCESS_H
#define CONTEXTURE_PROCESS_H

#include <stdbool.h>

/*
 * When a process began, in clock ticks since the host was started: with its number that tells it from all others. 0 if there is none, or if it has ended and
 * only waits for its parent to notice.
 */
unsigned long long cx_process_start(long process);

/* Whether the process of that number that began then has ended. */
bool cx_process_is_gone(long process, unsigned long long start);

#endif
