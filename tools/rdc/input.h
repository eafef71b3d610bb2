/* Standard input. */
#ifndef RDC_TOOL_INPUT_H
#define RDC_TOOL_INPUT_H

#include "text.h"

/* Appends what is there, and waits until there is something.  Returns 1; or 0 at the end and when a signal arrives; or
   -1 after a message. */
int input_read(struct text *text);
/* Appends everything up to the end.  Returns 0, or -1 after a message. */
int input_read_all(struct text *text);

#endif
