#include "latencies.h"

#include <string.h>

/* The index of the highest bit. */
static int top_bit(uint64_t value) {
    int bit = 0;
    while (value >>= 1)
        bit++;
    return bit;
}

static size_t bucket_of(uint64_t ns) {
    int shift;
    if (ns < 64)
        return (size_t)ns;
    shift = top_bit(ns) - 6;
    return (size_t)(shift + 1) * 64 + (size_t)((ns >> shift) - 64);
}

/* The largest value in a bucket. */
static int64_t end_of(size_t bucket) {
    int shift;
    if (bucket < 64)
        return (int64_t)bucket;
    shift = (int)(bucket / 64) - 1;
    return (int64_t)(((uint64_t)(bucket % 64 + 65) << shift) - 1);
}

void latencies_add(struct latencies *latencies, int64_t ns) {
    ns = ns < 0 ? 0 : ns;
    latencies->counts[bucket_of((uint64_t)ns)]++;
    if (latencies->n == 0 || ns < latencies->min)
        latencies->min = ns;
    if (ns > latencies->max)
        latencies->max = ns;
    latencies->sum += ns;
    latencies->n++;
}

void latencies_merge(struct latencies *into, const struct latencies *from) {
    size_t i;
    if (from->n == 0)
        return;
    for (i = 0; i < LATENCY_BUCKETS; i++)
        into->counts[i] += from->counts[i];
    if (into->n == 0 || from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    into->sum += from->sum;
    into->n += from->n;
}

int64_t latencies_quantile(const struct latencies *latencies, double share) {
    uint64_t wanted = (uint64_t)(share * (double)latencies->n + 0.5), seen = 0;
    size_t i;
    wanted = wanted < 1 ? 1 : wanted;
    for (i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latencies->counts[i];
        if (seen >= wanted)
            return end_of(i) < latencies->max ? end_of(i) : latencies->max;
    }
    return latencies->max;
}

void latencies_json(struct text *out, const struct latencies *latencies) {
    static const struct {
        const char *name;
        double share;
    } rows[] = {{"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p999_us", 0.999}};
    size_t i;
    text_format(out, "\"n\":%llu,\"min_us\":%.1f", (unsigned long long)latencies->n, (double)latencies->min / 1e3);
    for (i = 0; i < sizeof rows / sizeof *rows; i++)
        text_format(out, ",\"%s\":%.1f", rows[i].name, (double)latencies_quantile(latencies, rows[i].share) / 1e3);
    text_format(out, ",\"max_us\":%.1f,\"mean_us\":%.1f", (double)latencies->max / 1e3,
                latencies->n ? (double)latencies->sum / (double)latencies->n / 1e3 : 0.0);
}

void latencies_bars(struct text *out, const struct latencies *latencies) {
    uint64_t sums[64] = {0}, most = 1;
    int first = 63, last = 0, bit;
    size_t i;
    for (i = 0; i < LATENCY_BUCKETS; i++) {
        if (latencies->counts[i] == 0)
            continue;
        bit = top_bit((uint64_t)end_of(i));
        sums[bit] += latencies->counts[i];
        most = sums[bit] > most ? sums[bit] : most;
        first = bit < first ? bit : first;
        last = bit > last ? bit : last;
    }
    for (bit = first; bit <= last; bit++) {
        static const char bar[] = "########################################";
        int width = (int)(sums[bit] * (sizeof bar - 1) / most);
        /* The shortest bar says that there is something. */
        width = width == 0 && sums[bit] > 0 ? 1 : width;
        text_format(out, "  < %10.3f ms %10llu %.*s\n", (double)((uint64_t)2 << bit) / 1e6,
                    (unsigned long long)sums[bit], width, bar);
    }
}
