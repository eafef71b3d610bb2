/* Replies for people and for pipes, as redis-cli prints them. */
#ifndef RDC_TOOL_TYPED_H
#define RDC_TOOL_TYPED_H

#include "text.h"

#include <rediscluster.h>

/* With types, quotes and numbers of elements; ends with a line feed. */
void typed_reply(struct text *out, const rdc_reply *reply);
/* The bytes alone, one element a line; without the last line feed. */
void raw_reply(struct text *out, const rdc_reply *reply);
/* A string in double quotes, with escapes. */
void quoted_string(struct text *out, const char *bytes, size_t len);

#endif
