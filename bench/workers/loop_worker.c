/*
 * Runs the workloads of one client for event loops in a process of its own, on one thread. The
 * protocol is that of worker.c. The workloads:
 *
 *     in_flight N   N GETs are always in flight; a turn is N replies
 *     batch N       N GETs are submitted, then all replies awaited; that is a turn
 *     beside 0      a GET through the loop and a blocking GET alternate; answers "ok P50_NS P50_NS"
 */
#include "loop_peer.h"
#include "timing.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char peer_keys[KEYS][12];
size_t peer_key_lens[KEYS];

enum { TIMEOUT_MS = 5000 };

static size_t key_state;

/* All keys in turn, in an order that jumps between slots. */
static size_t next_key(void)
{
    key_state = (key_state + 7919) % KEYS;
    return key_state;
}

static int submit(size_t count)
{
    for (; count > 0; count--)
        if (loop_get(next_key()) != 0)
            return -1;
    return 0;
}

/* Awaits that many replies, submitting another GET for each if `again`. */
static int await(size_t count, int again)
{
    while (count > 0) {
        long complete = loop_run();
        if (complete < 0 || (again && submit((size_t)complete) != 0))
            return -1;
        count = (size_t)complete < count ? count - (size_t)complete : 0;
    }
    return 0;
}

/* `is_kept` keeps N GETs in flight. */
static int run_turns(int64_t budget, size_t n, int is_kept)
{
    static struct samples turns;
    turns.len = 0;
    if (is_kept && submit(n) != 0)
        return -1;
    for (int warm = 0; warm < 3; warm++)
        if ((!is_kept && submit(n) != 0) || await(n, is_kept) != 0)
            return -1;
    int64_t cpu = cpu_ns(), began = now_ns(), at = began;
    size_t operations = 0;
    while (at - began < budget) {
        if ((!is_kept && submit(n) != 0) || await(n, is_kept) != 0)
            return -1;
        int64_t then = now_ns();
        operations += n;
        add_sample(&turns, then - at);
        at = then;
    }
    int64_t used = cpu_ns() - cpu;
    if (is_kept && await(n, 0) != 0)
        return -1;
    sort_samples(&turns);
    printf("ok %zu %lld %lld %u %u\n", operations, (long long)(at - began), (long long)used,
           turns.ns[turns.len / 2], turns.ns[turns.len - 1 - turns.len / 100]);
    return 0;
}

static int beside(int64_t budget)
{
    static struct samples loop, blocking;
    loop.len = blocking.len = 0;
    int64_t began = now_ns(), at = began;
    while (at - began < budget) {
        if (submit(1) != 0 || await(1, 0) != 0)
            return -1;
        int64_t middle = now_ns();
        if (loop_blocking_get(next_key()) != 0)
            return -1;
        int64_t then = now_ns();
        add_sample(&loop, middle - at);
        add_sample(&blocking, then - middle);
        at = then;
    }
    sort_samples(&loop);
    sort_samples(&blocking);
    printf("ok %u %u\n", loop.ns[loop.len / 2], blocking.ns[blocking.len / 2]);
    return 0;
}

int main(int argc, char **argv)
{
    char name[32];
    long long budget_ms;
    size_t arg;
    if (argc != 2) {
        fprintf(stderr, "usage: %s HOST:PORT,HOST:PORT,...\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < KEYS; i++)
        peer_key_lens[i] = (size_t)snprintf(peer_keys[i], sizeof peer_keys[i], "key:%u", (unsigned)i);
    if (loop_open(argv[1], TIMEOUT_MS) != 0) {
        fprintf(stderr, "%s: cannot connect\n", argv[0]);
        return 1;
    }
    while (scanf("%31s %lld %zu", name, &budget_ms, &arg) == 3) {
        int64_t budget = budget_ms * 1000000;
        int result = 0;
        if (strcmp(name, "in_flight") == 0 || strcmp(name, "batch") == 0)
            result = run_turns(budget, arg, name[0] == 'i');
        else if (strcmp(name, "beside") == 0 && loop_blocking_get(0) == 0)
            result = beside(budget);
        else
            printf("unsupported\n");
        if (result != 0)
            printf("a GET failed\n");
        fflush(stdout);
        if (result != 0)
            return 1; /* what is still in flight would disturb the next workload */
    }
    return 0;
}
