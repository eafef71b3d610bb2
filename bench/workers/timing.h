/*
 * Clocks, and the times of turns, for the workers of both protocols.
 */
#ifndef TIMING_H
#define TIMING_H

#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { SAMPLES = 1 << 17 };

/* How long turns took: the first SAMPLES of them. */
struct samples {
    uint32_t *ns;
    size_t len;
};

static inline int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static inline int64_t cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * INT64_C(1000000000) +
           (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * INT64_C(1000);
}

static inline void add_sample(struct samples *s, int64_t ns)
{
    if (!s->ns)
        s->ns = malloc(SAMPLES * sizeof *s->ns);
    if (s->ns && s->len < SAMPLES)
        s->ns[s->len++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static inline int compare_samples(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static inline void sort_samples(struct samples *s)
{
    qsort(s->ns, s->len, sizeof *s->ns, compare_samples);
}

#endif
