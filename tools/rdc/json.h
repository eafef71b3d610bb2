/* Replies as JSON. */
#ifndef RDC_TOOL_JSON_H
#define RDC_TOOL_JSON_H

#include "text.h"

#include <rediscluster.h>

/* A string in quotes.  Bytes that are not UTF-8 become U+FFFD: JSON has no bytes. */
void json_string(struct text *out, const char *bytes, size_t len);
/* The same for a C string; null for NULL. */
void json_c_string(struct text *out, const char *string);
/* Any reply.  An error becomes {"error": "..."}. */
void json_reply(struct text *out, const rdc_reply *reply);

#endif
