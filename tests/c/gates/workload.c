/*
 * Runs a workload a fixed number of times, for tools that measure the process: callgrind, strace, and the
 * preloaded library allocations.c.
 *
 *     workload WORKLOAD TIMES [WORKLOAD TIMES]...
 *
 * The difference of two runs of different length is the cost of the additional operations. The workload "load" writes
 * the data that the others read. Every reply is checked in full; an unexpected reply ends the program with status 1.
 */
#define _POSIX_C_SOURCE 200112L /* pthread_barrier_t */

#include <rediscluster.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 1000, BATCH = 100, ELEMENTS = 10000, VALUE = 16, BIG = 10 * 1024 * 1024, DEEP = 100000 };

static char keys[KEYS][16];
static size_t key_lens[KEYS];
static char encoded[KEYS][64]; /* GET of each key */
static size_t encoded_lens[KEYS];
static char kilobyte_keys[BATCH][16];
static rdc_client *client;

static void fail(const char *command, const rdc_reply *reply)
{
    const char *message = rdc_reply_str(reply);
    fprintf(stderr, "%s: unexpected reply %" PRId32 " (%zu) %.200s\n", command, rdc_reply_type(reply),
            rdc_reply_len(reply), message ? message : "");
    exit(1);
}

static void check_reply(const char *command, const rdc_reply *reply, int32_t type, size_t len)
{
    if (rdc_reply_type(reply) != type || rdc_reply_len(reply) != len)
        fail(command, reply);
}

/* Reads type, text and length of each element, as a typical C program does. */
static void check_elements(const char *command, const rdc_reply *reply, size_t elements)
{
    if (rdc_reply_len(reply) != elements)
        fail(command, reply);
    for (size_t i = 0; i < elements; i++) {
        const char *text;
        int64_t len;
        const rdc_reply *element = rdc_reply_at(reply, i);
        if (rdc_reply_read(element, &text, &len) != RDC_STRING || len == 0 || text[len] != '\0')
            fail(command, element);
    }
}

/* The same with one call for 64 elements, as bindings do. */
static void check_array(const char *command, const rdc_reply *reply, size_t elements, int32_t type)
{
    enum { PART = 64 };
    int32_t types[PART];
    const char *texts[PART];
    int64_t numbers[PART];
    size_t first = 0;
    for (size_t n; (n = rdc_reply_read_array(reply, first, PART, types, texts, numbers)) > 0; first += n)
        for (size_t i = 0; i < n; i++)
            if (types[i] != type || numbers[i] == 0 || (type == RDC_STRING && texts[i][numbers[i]] != '\0'))
                fail(command, rdc_reply_at(reply, first + i));
    if (first != elements)
        fail(command, reply);
}

static void get(void)
{
    static size_t next;
    size_t i = next++ % KEYS;
    rdc_reply *reply = rdc_get(client, keys[i], key_lens[i]);
    check_reply("GET", reply, RDC_STRING, VALUE);
    rdc_reply_free(reply);
}

/* As bindings do: any command, already encoded. */
static void command(void)
{
    static size_t next;
    size_t i = next++ % KEYS;
    rdc_reply *reply = rdc_command_resp(client, encoded[i], encoded_lens[i]);
    check_reply("GET", reply, RDC_STRING, VALUE);
    rdc_reply_free(reply);
}

static void set(void)
{
    static size_t next;
    size_t i = next++ % KEYS;
    rdc_reply *reply = rdc_set(client, keys[i], key_lens[i], "0123456789abcdef", VALUE);
    check_reply("SET", reply, RDC_STATUS, 2);
    rdc_reply_free(reply);
}

static void pipeline_of(size_t first, size_t count)
{
    static rdc_pipeline *p;
    if (!p)
        p = rdc_pipeline_new(client);
    for (size_t i = first; i < first + count; i++)
        rdc_pipeline_get(p, keys[i], key_lens[i]);
    rdc_reply *reply = rdc_pipeline_execute(p);
    check_elements("pipeline", reply, count);
    rdc_reply_free(reply);
}

static void pipeline(void)
{
    pipeline_of(0, KEYS);
}

/* All keys, in pipelines of 100. */
static void short_pipelines(void)
{
    for (size_t first = 0; first < KEYS; first += 100)
        pipeline_of(first, 100);
}

/* Three commands on one key, inside MULTI and EXEC. */
static void transaction(void)
{
    static rdc_pipeline *p;
    static size_t next;
    size_t i = next++ % KEYS;
    if (!p)
        p = rdc_pipeline_new(client);
    rdc_pipeline_get(p, keys[i], key_lens[i]);
    rdc_pipeline_set(p, keys[i], key_lens[i], "0123456789abcdef", VALUE);
    rdc_pipeline_get(p, keys[i], key_lens[i]);
    rdc_reply *reply = rdc_pipeline_execute_atomic(p);
    check_reply("transaction", reply, RDC_ARRAY, 3);
    check_reply("GET", rdc_reply_at(reply, 0), RDC_STRING, VALUE);
    check_reply("SET", rdc_reply_at(reply, 1), RDC_STATUS, 2);
    check_reply("GET", rdc_reply_at(reply, 2), RDC_STRING, VALUE);
    rdc_reply_free(reply);
}

/* The same reads by a read-only handle, spread over primaries and replicas. */
static void by_reader(void (*reads)(void))
{
    static rdc_client *reader;
    rdc_client *shared = client;
    if (!reader)
        reader = rdc_readonly(client);
    client = reader;
    reads();
    client = shared;
}

static void readonly_get(void)
{
    by_reader(get);
}

static void readonly_pipeline(void)
{
    by_reader(pipeline);
}

static void mget(void)
{
    static const char *argv[1 + BATCH] = {"MGET"};
    static size_t lens[1 + BATCH] = {4};
    for (size_t i = 0; !argv[BATCH] && i < BATCH; i++) {
        argv[1 + i] = keys[i];
        lens[1 + i] = key_lens[i];
    }
    rdc_reply *reply = rdc_command(client, 1 + BATCH, argv, lens);
    check_elements("MGET", reply, BATCH);
    rdc_reply_free(reply);
}

static void lrange(void)
{
    rdc_reply *reply = rdc_cmd(client, "LRANGE", "biglist", "0", "-1");
    check_elements("LRANGE", reply, ELEMENTS);
    rdc_reply_free(reply);
}

static void hgetall(void)
{
    rdc_reply *reply = rdc_cmd(client, "HGETALL", "bighash");
    check_elements("HGETALL", reply, 2 * ELEMENTS);
    rdc_reply_free(reply);
}

static void lrange_array(void)
{
    rdc_reply *reply = rdc_cmd(client, "LRANGE", "biglist", "0", "-1");
    check_array("LRANGE", reply, ELEMENTS, RDC_STRING);
    rdc_reply_free(reply);
}

static void hgetall_array(void)
{
    rdc_reply *reply = rdc_cmd(client, "HGETALL", "bighash");
    check_array("HGETALL", reply, 2 * ELEMENTS, RDC_STRING);
    rdc_reply_free(reply);
}

/* A script returns the integers from 1 on. */
static void integers(void)
{
    const char *script = "local all = {} for i = 1, 10000 do all[i] = i end return all";
    rdc_reply *reply = rdc_command(client, 3, (const char *[]){"EVAL", script, "0"}, NULL);
    check_array("integers", reply, ELEMENTS, RDC_INTEGER);
    rdc_reply_free(reply);
}

static void bigget(void)
{
    rdc_reply *reply = rdc_get(client, "bigstr", 6);
    check_reply("GET bigstr", reply, RDC_STRING, BIG);
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

/* Creates a client and waits for its first reply. */
static void create(void)
{
    rdc_client *shared = client;
    client = connect_to_cluster();
    get();
    rdc_close(client);
    client = shared;
}

/* Creates a client and closes it. */
static void connect_and_close(void)
{
    rdc_close(connect_to_cluster());
}

/* One more client, which has sent no command and stays open. */
static void connect_only(void)
{
    connect_to_cluster();
}

/* Asks two nodes for the topology. */
static void refresh(void)
{
    rdc_reply *reply = rdc_refresh(client);
    if (rdc_reply_type(reply) == RDC_ERROR)
        fail("refresh", reply);
    rdc_reply_free(reply);
}

/* One more client with its own connections, which has been used and stays open. */
static void idle(void)
{
    rdc_client *shared = client;
    client = connect_to_cluster();
    for (int i = 0; i < 20; i++)
        get();
    client = shared;
}

/* One more handle on the same cluster, which stays open. */
static void derived_handles(void)
{
    rdc_client *derived = rdc_readonly(client);
    if (rdc_client_error(derived))
        fail("twin", NULL);
}

/* One GET by each of `count` derived handles, repeated `times` times. */
static void handles(int count, long times)
{
    static rdc_client *all[1024];
    rdc_client *shared = client;
    for (int i = 0; i < count; i++)
        all[i] = rdc_with(shared, "timeout_ms", "4000");
    for (long round = 0; round < times; round++)
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
        rdc_pipeline_get(p, kilobyte_keys[i % BATCH], RDC_NTS);
    rdc_reply *reply = rdc_pipeline_execute(p);
    check_elements("deep", reply, DEEP);
    rdc_reply_free(reply);
    rdc_pipeline_free(p);
}

/* Submits 100 GETs and takes their replies. */
static void queue(void)
{
    static rdc_queue *q;
    static size_t next;
    if (!q)
        q = rdc_queue_new(client);
    for (size_t i = 0; i < BATCH; i++) {
        size_t key = next++ % KEYS;
        const char *const argv[] = {"GET", keys[key]};
        const size_t lens[] = {3, key_lens[key]};
        rdc_queue_command(q, i, 2, argv, lens);
    }
    for (size_t taken = 0; taken < BATCH;) {
        rdc_queue_run(q, -1);
        for (rdc_reply *reply; (reply = rdc_queue_next(q, NULL)) != NULL; taken++) {
            check_reply("queue", reply, RDC_STRING, VALUE);
            rdc_reply_free(reply);
        }
    }
}

/* One script publishes 1000 messages of 16 bytes, which are received. */
static void messages(void)
{
    static rdc_subscriber *subscriber;
    enum { COUNT = 1000 };
    if (!subscriber) {
        subscriber = rdc_subscriber_new(client);
        rdc_reply_free(rdc_subscriber_command(subscriber, 2, (const char *[]){"SUBSCRIBE", "gate"}, NULL));
        rdc_reply_free(rdc_subscriber_next(subscriber, 5000));
    }
    const char *script = "for i = 1, 1000 do redis.call('PUBLISH', 'gate', '0123456789abcdef') end";
    rdc_reply *reply = rdc_command(client, 3, (const char *[]){"EVAL", script, "0"}, NULL);
    check_reply("script", reply, RDC_NIL, 0);
    rdc_reply_free(reply);
    for (int i = 0; i < COUNT; i++) {
        reply = rdc_subscriber_next(subscriber, 5000);
        check_reply("message", rdc_reply_at(reply, 2), RDC_STRING, VALUE);
        rdc_reply_free(reply);
    }
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
    for (int i = 0; i < BATCH; i++)
        rdc_pipeline_set(p, kilobyte_keys[i], RDC_NTS, value, 1024);
    rdc_reply *reply = rdc_pipeline_execute(p);
    for (size_t i = 0; i < 2 * ELEMENTS + 3 + BATCH; i++)
        if (rdc_reply_error(rdc_reply_at(reply, i)))
            fail("load", rdc_reply_at(reply, i));
    rdc_reply_free(reply);
    rdc_pipeline_free(p);
}

static const struct {
    const char *name;
    void (*once)(void);
} workloads[] = {
    {"readonly_get", readonly_get}, {"readonly_pipeline", readonly_pipeline},
    {"load", load},     {"get", get},         {"set", set},       {"command", command}, {"pipeline", pipeline}, {"short_pipelines", short_pipelines},
    {"queue", queue},
    {"messages", messages},
    {"mget", mget},     {"lrange", lrange},   {"hgetall", hgetall}, {"bigget", bigget},
    {"lrange_array", lrange_array}, {"hgetall_array", hgetall_array}, {"integers", integers},
    {"transaction", transaction},
    {"create", create}, {"idle", idle},       {"deep", deep},     {"derived_handles", derived_handles},
    {"connect_and_close", connect_and_close}, {"connect_only", connect_only}, {"refresh", refresh},
};

/* `count` threads on one handle, which start at the same time; each makes `times` calls. */
static pthread_barrier_t start;

static void *one_thread(void *arg)
{
    long times = *(const long *)arg;
    pthread_barrier_wait(&start);
    for (size_t i = 0; i < (size_t)times; i++) {
        size_t k = (i * 7 + (size_t)&i) % KEYS;
        rdc_reply *reply = rdc_get(client, keys[k], key_lens[k]);
        check_reply("GET", reply, RDC_STRING, VALUE);
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
    fprintf(stderr, "there is no workload %s\n", name);
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
    for (size_t i = 0; i < KEYS; i++) {
        key_lens[i] = (size_t)snprintf(keys[i], sizeof keys[i], "key:%07zu", i);
        encoded_lens[i] = (size_t)snprintf(encoded[i], sizeof encoded[i], "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n",
                                           key_lens[i], keys[i]);
    }
    for (size_t i = 0; i < BATCH; i++)
        snprintf(kilobyte_keys[i], sizeof kilobyte_keys[i], "1kb:%zu", i);
    client = connect_to_cluster();
    for (int i = 1; i + 1 < argc; i += 2)
        run(argv[i], atol(argv[i + 1]));
    print_resident();
    rdc_close(client);
    return 0;
}
