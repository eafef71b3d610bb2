/* A histogram of times, in buckets that are at most 1/64 of their value wide. */
#ifndef RDC_TOOL_LATENCIES_H
#define RDC_TOOL_LATENCIES_H

#include "text.h"

#include <stdint.h>

enum { LATENCY_BUCKETS = 59 * 64 };

/* Begins as zeros. */
struct latencies {
    uint64_t counts[LATENCY_BUCKETS];
    uint64_t n;
    int64_t min, max, sum;
};

void latencies_add(struct latencies *latencies, int64_t ns);
void latencies_merge(struct latencies *into, const struct latencies *from);
/* The time in ns that this share (0 to 1) of all times does not exceed. */
int64_t latencies_quantile(const struct latencies *latencies, double share);
/* "n": ..., "min_us": ..., "p50_us": ... without braces. */
void latencies_json(struct text *out, const struct latencies *latencies);
/* One line for each power of two, with a bar. */
void latencies_bars(struct text *out, const struct latencies *latencies);

#endif
