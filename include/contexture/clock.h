/* Wall clock time that never runs backwards. */
#ifndef CONTEXTURE_CLOCK_H
#define CONTEXTURE_CLOCK_H

double cx_monotonic_seconds(void);

#endif
