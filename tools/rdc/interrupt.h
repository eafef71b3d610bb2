/* Ctrl-C ends the call that runs, not the program in the middle of it. */
#ifndef RDC_TOOL_INTERRUPT_H
#define RDC_TOOL_INTERRUPT_H

#include <rediscluster.h>

/* SIGINT and SIGTERM interrupt the calls on `client` from now on.  A second signal ends the program. */
void interrupt_calls_of(rdc_client *client);
/* Whether such a signal has arrived. */
int is_interrupted(void);

#endif
