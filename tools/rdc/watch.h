/* Repeats a report. */
#ifndef RDC_TOOL_WATCH_H
#define RDC_TOOL_WATCH_H

#include "client.h"
#include "text.h"

/* Makes one report; returns an exit code.  `state` is the command's own. */
typedef int (*report_fn)(const struct settings *settings, rdc_client *client, void *state, struct text *out);

/* Makes a report once; with --watch, again and again until Ctrl-C.  A terminal is cleared before each. */
int watch(const struct settings *settings, report_fn report, void *state);

#endif
