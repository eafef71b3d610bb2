/*
 * One workload a fixed number of times, for whoever counts from outside: callgrind, strace, the
 * shim beside this file.
 *
 *     workload WORKLOAD TIMES [OTHER TIMES]...
 *
 * Two runs of different length, subtracted, leave what one time costs. What they find is put there
 * by "load". Every reply is walked, and one that is not as loaded ends the program with 1.
 */
#define _POSIX_C_SOURCE 200112L /* pthread_barrier_t */

#include <rediscluster.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 1000, MANY = 100, ELEMENTS = 10000, VALUE = 16, BIG = 10 * 1024 * 1024, DEEP = 100000 };

static char keys[KEYS][16];
static size_t key_lens[KEYS];
static char fat[MANY][16];
static rdc_client *client;

static void fail(const char *what, const rdc_reply *reply)
{
    const char *words = rdc_reply_str(reply);
    fprintf(stderr, "%s: unexpected reply %" PRId32 " (%zu) %.200s\n", what, rdc_reply_type(reply),
            rdc_reply_len(reply), words ? words : "");
    exit(1);
}

static void expect(const char *what, const rdc_reply *reply, int32_t type, size_t len)
{
    if (rdc_reply_type(reply) != type || rdc_reply_len(reply) != len)
        fail(what, reply);
}

/* As a C program does it: element by element, type, text and length of each. */
static void walk(const char *what, const rdc_reply *reply, size_t elements)
{
    if (rdc_reply_len(reply) != elements)
        fail(what, reply);
    for (size_t i = 0; i < elements; i++) {
        const char *text;
        int64_t len;
        const rdc_reply *element = rdc_reply_at(reply, i);
        if (rdc_reply_read(element, &text, &len) != RDC_STRING || len == 0 || text[len] != '\0')
            fail(what, element);
    }
}

static void get(void)
{
    static size_t next;
    size_t i = next++ % KEYS;
    rdc_reply *reply = rdc_get(client, keys[i], key_lens[i]);
    expect("GET", reply, RDC_STRING, VALUE);
    rdc_reply_free(reply);
}

static void set(void)
{
    static size_t next;
    size_t i = next++ % KEYS;
    rdc_reply *reply = rdc_set(client, keys[i], key_lens[i], "0123456789abcdef", VALUE);
    expect("SET", reply, RDC_STATUS, 2);
    rdc_reply_free(reply);
}

static void pipeline(void)
{
    static rdc_pipeline *p;
    if (!p)
        p = rdc_pipeline_new(client);
    for (size_t i = 0; i < KEYS; i++)
        rdc_pipeline_get(p, keys[i], key_lens[i]);
    rdc_reply *reply = rdc_pipeline_execute(p);
    walk("pipeline", reply, KEYS);
    rdc_reply_free(reply);
}

static void mget(void)
{
    static const char *argv[1 + MANY] = {"MGET"};
    static size_t lens[1 + MANY] = {4};
    for (size_t i = 0; !argv[MANY] && i < MANY; i++) {
        argv[1 + i] = keys[i];
        lens[1 + i] = key_lens[i];
    }
    rdc_reply *reply = rdc_command(client, 1 + MANY, argv, lens);
    walk("MGET", reply, MANY);
    rdc_reply_free(reply);
}

static void lrange(void)
{
    rdc_reply *reply = rdc_cmd(client, "LRANGE", "biglist", "0", "-1");
    walk("LRANGE", reply, ELEMENTS);
    rdc_reply_free(reply);
}

static void hgetall(void)
{
    rdc_reply *reply = rdc_cmd(client, "HGETALL", "bighash");
    walk("HGETALL", reply, 2 * ELEMENTS);
    rdc_reply_free(reply);
}

static void bigget(void)
{
    rdc_reply *reply = rdc_get(client, "bigstr", 6);
    expect("GET bigstr", reply, RDC_STRING, BIG);
    rdc_reply_free(reply);
}

static rdc_client *connect_to_cluster(void)
{
    const char *url = getenv("RDC_URL");
    rdc_client *c = rdc_create(url ? url : "");
    if (rdc_client_error(c)) {
        fprintf(stderr, "%s\n", rdc_client_error(c));
        exit(1);
    }
    return c;
}

/* From nothing to the first reply. */
static void create(void)
{
    rdc_client *shared = client;
    client = connect_to_cluster();
    get();
    rdc_close(client);
    client = shared;
}

/* A handle more, with everything of its own, that has been used and is kept. */
static void idle(void)
{
    rdc_client *shared = client;
    client = connect_to_cluster();
    for (int i = 0; i < 20; i++)
        get();
    client = shared;
}

/* A handle more on the same cluster, which is kept. */
static void twins(void)
{
    rdc_client *twin = rdc_readonly(client);
    if (rdc_client_error(twin))
        fail("twin", NULL);
}

/* A GET by each of so many handles. */
static void handles(int count, long times)
{
    static rdc_client *all[1024];
    rdc_client *shared = client;
    for (int i = 0; i < count; i++)
        all[i] = rdc_with(shared, "timeout_ms", "4000");
    for (long turn = 0; turn < times; turn++)
        for (int i = 0; i < count; i++) {
            client = all[i];
            get();
        }
    client = shared;
    for (int i = 0; i < count; i++)
        rdc_close(all[i]);
}

/* 100,000 replies of 1 KiB. */
static void deep(void)
{
    rdc_pipeline *p = rdc_pipeline_new(client);
    for (size_t i = 0; i < DEEP; i++)
        rdc_pipeline_get(p, fat[i % MANY], RDC_NTS);
    rdc_reply *reply = rdc_pipeline_execute(p);
    walk("deep", reply, DEEP);
    rdc_reply_free(reply);
    rdc_pipeline_free(p);
}

static void load(void)
{
    static char value[BIG];
    char name[32];
    memset(value, 'x', BIG);
    for (size_t i = 0; i < KEYS; i++)
        set();
    rdc_pipeline *p = rdc_pipeline_new(client);
    rdc_pipeline_del(p, "biglist", RDC_NTS);
    rdc_pipeline_del(p, "bighash", RDC_NTS);
    for (int i = 0; i < ELEMENTS; i++) {
        snprintf(name, sizeof name, "element:%08d", i);
        rdc_pipeline_command(p, 3, (const char *[]){"RPUSH", "biglist", name}, NULL);
        rdc_pipeline_command(p, 4, (const char *[]){"HSET", "bighash", name, name}, NULL);
    }
    rdc_pipeline_set(p, "bigstr", RDC_NTS, value, BIG);
    for (int i = 0; i < MANY; i++)
        rdc_pipeline_set(p, fat[i], RDC_NTS, value, 1024);
    rdc_reply *reply = rdc_pipeline_execute(p);
    for (size_t i = 0; i < 2 * ELEMENTS + 3 + MANY; i++)
        if (rdc_reply_error(rdc_reply_at(reply, i)))
            fail("load", rdc_reply_at(reply, i));
    rdc_reply_free(reply);
    rdc_pipeline_free(p);
}

static const struct {
    const char *name;
    void (*once)(void);
} workloads[] = {
    {"load", load},     {"get", get},         {"set", set},       {"pipeline", pipeline},
    {"mget", mget},     {"lrange", lrange},   {"hgetall", hgetall}, {"bigget", bigget},
    {"create", create}, {"idle", idle},       {"twins", twins},       {"deep", deep},
};

/* So many threads on one handle, each so many times, from the same moment on. */
static pthread_barrier_t start;

static void *one_thread(void *arg)
{
    long times = *(const long *)arg;
    pthread_barrier_wait(&start);
    for (size_t i = 0; i < (size_t)times; i++) {
        size_t k = (i * 7 + (size_t)&i) % KEYS;
        rdc_reply *reply = rdc_get(client, keys[k], key_lens[k]);
        expect("GET", reply, RDC_STRING, VALUE);
        rdc_reply_free(reply);
    }
    return NULL;
}

static void threads(int count, long times)
{
    static pthread_t all[1024];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 * 1024);
    pthread_barrier_init(&start, NULL, (unsigned)count);
    for (int i = 0; i < count; i++)
        if (pthread_create(&all[i], &small, one_thread, &times) != 0)
            fail("pthread_create", NULL);
    for (int i = 0; i < count; i++)
        pthread_join(all[i], NULL);
    pthread_barrier_destroy(&start);
    pthread_attr_destroy(&small);
}

static void run(const char *name, long times)
{
    if (strncmp(name, "threads", 7) == 0) {
        threads(atoi(name + 7), times);
        return;
    }
    if (strncmp(name, "handles", 7) == 0) {
        handles(atoi(name + 7), times);
        return;
    }
    for (size_t w = 0; w < sizeof workloads / sizeof *workloads; w++) {
        if (strcmp(workloads[w].name, name) == 0) {
            for (long i = 0; i < times; i++)
                workloads[w].once();
            return;
        }
    }
    fprintf(stderr, "no workload %s\n", name);
    exit(2);
}

static void print_resident(void)
{
    char line[128];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, "VmRSS:", 6) == 0 || strncmp(line, "VmHWM:", 6) == 0)
            printf("%s", line);
    if (status)
        fclose(status);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < KEYS; i++)
        key_lens[i] = (size_t)snprintf(keys[i], sizeof keys[i], "key:%zu", i);
    for (size_t i = 0; i < MANY; i++)
        snprintf(fat[i], sizeof fat[i], "fat:%zu", i);
    client = connect_to_cluster();
    for (int i = 1; i + 1 < argc; i += 2)
        run(argv[i], atol(argv[i + 1]));
    print_resident();
    rdc_close(client);
    return 0;
}
