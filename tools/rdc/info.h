/* The reply of INFO: lines of "name:value". */
#ifndef RDC_TOOL_INFO_H
#define RDC_TOOL_INFO_H

#include <rediscluster.h>
#include <stddef.h>

/* Copies the value of a field; "" if there is none.  Returns `value`. */
const char *info_field(const rdc_reply *info, const char *name, char *value, size_t size);
/* A number; -1 if there is none. */
long long info_number(const rdc_reply *info, const char *name);
/* Bytes of its primary's writes that a replica lacks, from INFO replication of both; -1 if unknown. */
long long info_lag_bytes(const rdc_reply *primary, const rdc_reply *replica);

#endif
