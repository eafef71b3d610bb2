/*
 * Runs the workloads of one client library in a process of its own, told by lines on standard
 * input: "NAME BUDGET ARG" (milliseconds, and what the workload asks for). Answers each with
 *
 *     ok OPERATIONS WALL_NS CPU_NS P50_NS P99_NS
 *
 * where the percentiles are of one turn: a pipeline of 1000 is one turn and 1000 operations. Other
 * answers are "unsupported", or the reason why there is no result.
 */
#include "peer.h"
#include "timing.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

char peer_keys[KEYS][12];
size_t peer_key_lens[KEYS];

enum { THREADS = 64, DEPTH = 10000, PATIENCE_MS = 5000 };

static const char *seeds;
static peer *usual, *replicas;

static void answer(size_t operations, int64_t wall, int64_t cpu, struct samples *s)
{
    if (s->len == 0) {
        printf("no turn was finished\n");
        return;
    }
    sort_samples(s);
    printf("ok %zu %lld %lld %u %u\n", operations, (long long)wall, (long long)cpu,
           s->ns[s->len / 2], s->ns[s->len - 1 - s->len / 100]);
}

/* All keys in turn, in an order that jumps between slots. */
static size_t next_key(size_t *state)
{
    *state = (*state + 7919) % KEYS;
    return *state;
}

/* One turn of a workload; returns how many operations it was, or 0 if it failed. */
typedef size_t turn(peer *p, size_t *state, size_t arg);

static size_t turn_get(peer *p, size_t *state, size_t arg)
{
    (void)arg;
    return peer_get(p, next_key(state)) == 0;
}

static size_t turn_set(peer *p, size_t *state, size_t arg)
{
    (void)arg;
    return peer_set(p, next_key(state)) == 0;
}

static size_t turn_pipeline(peer *p, size_t *state, size_t depth)
{
    static size_t keys[DEPTH];
    for (size_t i = 0; i < depth; i++)
        keys[i] = next_key(state);
    return peer_pipeline(p, keys, depth) == 0 ? depth : 0;
}

static size_t turn_mget(peer *p, size_t *state, size_t arg)
{
    size_t keys[MANY];
    (void)arg;
    for (size_t i = 0; i < MANY; i++)
        keys[i] = next_key(state);
    return peer_mget(p, keys) == 0;
}

static size_t turn_lrange(peer *p, size_t *state, size_t arg)
{
    (void)state, (void)arg;
    return peer_lrange(p) == 0;
}

static size_t turn_hgetall(peer *p, size_t *state, size_t arg)
{
    (void)state, (void)arg;
    return peer_hgetall(p) == 0;
}

static size_t turn_big(peer *p, size_t *state, size_t arg)
{
    (void)state, (void)arg;
    return peer_big(p) == 0;
}

/* From nothing to the first reply, and away. */
static size_t turn_create(peer *p, size_t *state, size_t arg)
{
    (void)arg;
    p = peer_open(seeds, 0, PATIENCE_MS);
    size_t done = p && peer_get(p, next_key(state)) == 0;
    if (p)
        peer_close(p);
    return done;
}

static void alone(turn *once, peer *p, int64_t budget, size_t arg)
{
    static struct samples s;
    size_t state = 0, operations = 0;
    if (once(p, &state, arg) == 0) { /* also to warm up */
        printf("unsupported\n");
        return;
    }
    s.len = 0;
    int64_t cpu = cpu_ns(), began = now_ns(), at = began;
    while (at - began < budget) {
        size_t done = once(p, &state, arg);
        int64_t then = now_ns();
        if (done == 0) {
            printf("a turn failed\n");
            return;
        }
        operations += done;
        add_sample(&s, then - at);
        at = then;
    }
    answer(operations, at - began, cpu_ns() - cpu, &s);
}

static struct {
    pthread_barrier_t start;
    int stop;
    struct one {
        pthread_t thread;
        peer *client;
        size_t operations, failed, state;
        struct samples s;
    } each[THREADS];
} crowd;

static void *one_thread(void *arg)
{
    struct one *me = arg;
    pthread_barrier_wait(&crowd.start);
    int64_t at = now_ns();
    while (!__atomic_load_n(&crowd.stop, __ATOMIC_RELAXED)) {
        if (peer_get(me->client, next_key(&me->state)) != 0)
            me->failed++;
        int64_t then = now_ns();
        me->operations++;
        add_sample(&me->s, then - at);
        at = then;
    }
    return NULL;
}

static void threads(int64_t budget, size_t count)
{
    static struct samples all;
    if (count == 0 || count > THREADS) {
        printf("1 to %d threads\n", THREADS);
        return;
    }
    pthread_barrier_init(&crowd.start, NULL, (unsigned)count + 1);
    crowd.stop = 0;
    for (size_t i = 0; i < count; i++) {
        struct one *me = &crowd.each[i];
        if (peer_is_shared)
            me->client = usual;
        else if (!me->client)
            me->client = peer_open(seeds, 0, PATIENCE_MS);
        if (!me->client) {
            printf("cannot connect\n");
            return;
        }
        me->state = i * 1231;
        me->operations = me->failed = me->s.len = 0;
        /* Connected everywhere before the clock runs. */
        for (int k = 0; k < 20; k++)
            me->failed += peer_get(me->client, next_key(&me->state)) != 0;
        pthread_create(&me->thread, NULL, one_thread, me);
    }
    pthread_barrier_wait(&crowd.start);
    int64_t cpu = cpu_ns(), began = now_ns();
    struct timespec pause = {budget / 1000000000, budget % 1000000000};
    nanosleep(&pause, NULL);
    __atomic_store_n(&crowd.stop, 1, __ATOMIC_RELAXED);
    size_t operations = 0, failed = 0;
    if (!all.ns)
        all.ns = malloc((size_t)THREADS * SAMPLES * sizeof *all.ns);
    all.len = 0;
    for (size_t i = 0; i < count; i++)
        pthread_join(crowd.each[i].thread, NULL);
    int64_t wall = now_ns() - began, used = cpu_ns() - cpu;
    for (size_t i = 0; i < count; i++) {
        struct one *me = &crowd.each[i];
        operations += me->operations;
        failed += me->failed;
        memcpy(all.ns + all.len, me->s.ns, me->s.len * sizeof *all.ns);
        all.len += me->s.len;
    }
    pthread_barrier_destroy(&crowd.start);
    if (failed)
        printf("%zu operations failed\n", failed);
    else
        answer(operations, wall, used, &all);
}

static size_t resident(void)
{
    size_t pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (!statm || fscanf(statm, "%*s %zu", &pages) != 1)
        pages = 0;
    if (statm)
        fclose(statm);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* "ok BYTES" for each of so many handles that have been used on every primary and are kept. */
static void memory(size_t count)
{
    size_t state = 0, before = 0;
    for (size_t i = 0; i < count + 10; i++) { /* the first ones pay for what all have in common */
        if (i == 10)
            before = resident();
        peer *p = peer_open(seeds, 0, PATIENCE_MS);
        for (int k = 0; p && k < 20; k++)
            if (peer_get(p, next_key(&state)) != 0)
                p = NULL;
        if (!p) {
            printf("cannot connect\n");
            return;
        }
    }
    printf("ok %zu\n", (resident() - before) / count);
}

/* "ok WRITES FAILED FROM TO": how many writes of one key a millisecond apart, how many failed, and
   the longest time without one that succeeded, on the monotonic clock. */
static void recovery(int64_t budget, size_t key)
{
    peer *p = peer_open(seeds, 0, 30000);
    if (!p || peer_set(p, key) != 0) {
        printf("cannot connect\n");
        return;
    }
    size_t writes = 0, failed = 0;
    int64_t began = now_ns(), good = began, from = began, to = began;
    const struct timespec pause = {0, 1000000};
    while (now_ns() - began < budget) {
        writes++;
        if (peer_set(p, key) != 0) {
            failed++;
        } else {
            int64_t at = now_ns();
            if (at - good > to - from) {
                from = good;
                to = at;
            }
            good = at;
        }
        nanosleep(&pause, NULL);
    }
    if (now_ns() - good > to - from)
        printf("never recovered, %zu of %zu writes failed\n", failed, writes);
    else
        printf("ok %zu %zu %lld %lld\n", writes, failed, (long long)from, (long long)to);
    peer_close(p);
}

static void obey(const char *name, int64_t budget, size_t arg)
{
    static const struct {
        const char *name;
        turn *once;
    } simple[] = {
        {"get", turn_get},       {"set", turn_set},         {"mget", turn_mget},
        {"lrange", turn_lrange}, {"hgetall", turn_hgetall}, {"big", turn_big},
        {"create", turn_create}, {"pipeline", turn_pipeline},
    };
    if (strcmp(name, "memory") == 0) {
        memory(arg);
        return;
    }
    if (strcmp(name, "recovery") == 0) {
        recovery(budget, arg);
        return;
    }
    if (!usual)
        usual = peer_open(seeds, 0, PATIENCE_MS);
    if (!usual) {
        printf("cannot connect\n");
        return;
    }
    if (strcmp(name, "threads") == 0) {
        threads(budget, arg);
        return;
    }
    if (strcmp(name, "replica") == 0) {
        if (!replicas)
            replicas = peer_open(seeds, 1, PATIENCE_MS);
        if (replicas)
            alone(turn_get, replicas, budget, 0);
        else
            printf("unsupported\n");
        return;
    }
    for (size_t i = 0; i < sizeof simple / sizeof *simple; i++) {
        if (strcmp(name, simple[i].name) == 0) {
            alone(simple[i].once, usual, budget, arg);
            return;
        }
    }
    printf("unsupported\n");
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
    seeds = argv[1];
    for (size_t i = 0; i < KEYS; i++)
        peer_key_lens[i] = (size_t)snprintf(peer_keys[i], sizeof peer_keys[i], "key:%u", (unsigned)(i % KEYS));
    while (scanf("%31s %lld %zu", name, &budget_ms, &arg) == 3) {
        obey(name, budget_ms * 1000000, arg);
        fflush(stdout);
    }
    return 0;
}
