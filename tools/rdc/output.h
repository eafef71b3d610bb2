/* Replies on standard output, in the form that the command line asks for. */
#ifndef RDC_TOOL_OUTPUT_H
#define RDC_TOOL_OUTPUT_H

#include "settings.h"

#include <rediscluster.h>

/* Prints a reply, or an error to standard error.  Returns the exit code. */
int output_reply(const struct settings *settings, const rdc_reply *reply);
/* Whether an element of the reply of several nodes is an error. */
int has_failed_node(const rdc_reply *replies);

#endif
