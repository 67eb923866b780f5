/* Wall clock time that never runs backwards. */
#ifndef CONTEXTURE_RUN_CLOCK_H
#define CONTEXTURE_RUN_CLOCK_H

double monotonic_seconds(void);

#endif
