/* Time in nanoseconds. */
#ifndef RDC_TOOL_CLOCK_H
#define RDC_TOOL_CLOCK_H

#include <stdint.h>

/* Of a clock that never goes back. */
int64_t monotonic_ns(void);
/* Of the calendar, since 1970. */
int64_t calendar_ns(void);
/* Waits for this time, or until a signal arrives. */
void wait_ns(int64_t ns);

#endif
