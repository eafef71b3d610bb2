/* The replies of a queue: each command completes once, with its own reply, whatever else is in flight, cancelled or
 * freed; commands of one slot keep their order.
 *
 * RDC_URL is the URL of a cluster with at least two primaries. */
#define _XOPEN_SOURCE 700
#include "queue.h"
#include <unistd.h>

/* ---- Tags, order, batches ---------------------------------------------------------------------- */

static void order_and_tags(const rdc_client *c) {
    enum { N = 1000 };
    rdc_queue *q = rdc_queue_new(c);
    rdc_reply_free(rdc_del(c, "queue:count", RDC_NTS));
    int ordered = 1;
    for (uint64_t i = 1; i <= N; i++) {
        submit(q, i, "INCR", "queue:count", NULL);
        if (i % 100 == 0)
            rdc_queue_run(q, 0);
    }
    for (uint64_t i = 1; i <= N; i++) {
        uint64_t tag = 0;
        rdc_reply *reply = wait_next(q, &tag);
        ordered = ordered && tag == i && rdc_reply_int(reply) == (int64_t)i;
        rdc_reply_free(reply);
    }
    check(ordered, "commands of one slot run and complete in their order");
    for (int i = 0; i < 3; i++)
        submit(q, UINT64_MAX, "BLPOP", "queue:none", "0");
    submit(q, 0, "PING", NULL, NULL);
    rdc_reply_free(expect(q, 0, "0 is a tag like any other"));
    rdc_queue_cancel(q, UINT64_MAX);
    for (int i = 0; i < 3; i++)
        check_error(expect(q, UINT64_MAX, "a tag need not be unique"), RDC_ERR_INTERRUPTED,
                    "cancel ends all commands of a tag");
    check(rdc_queue_len(q) == 0, "each completed once");

    static const char get[] = "*2\r\n$3\r\nGET\r\n$11\r\nqueue:count\r\n";
    rdc_queue_resp(q, 7, get, sizeof get - 1);
    rdc_reply *reply = expect(q, 7, "a command as RESP");
    check(is_text(reply, "1000", 4) && rdc_reply_node(reply), "a reply has its value and its node");
    rdc_reply_free(reply);
    rdc_queue_command(q, 8, 3, (const char *[]){"SET", "queue:bin", "a\0b"}, (const size_t[]){RDC_NTS, 9, 3});
    rdc_reply_free(expect(q, 8, "a binary value"));
    submit(q, 8, "GET", "queue:bin", NULL);
    reply = expect(q, 8, "the same tag again");
    check(is_text(reply, "a\0b", 3), "the binary value is unchanged");
    rdc_reply_free(reply);
    rdc_queue_free(q);
}

static void pipelines(const rdc_client *c) {
    rdc_queue *q = rdc_queue_new(c);
    rdc_pipeline *p = rdc_pipeline_new(c);
    for (int i = 0; i < 50; i++) {
        char key[32];
        snprintf(key, sizeof key, "queue:pipe:%d", i);
        rdc_pipeline_set_px(p, key, RDC_NTS, key, RDC_NTS, 60000);
        rdc_pipeline_get(p, key, RDC_NTS);
    }
    rdc_pipeline_command(p, 3, (const char *[]){"LPUSH", "queue:pipe:0", "x"}, NULL);
    rdc_queue_pipeline(q, 1, p);
    check(rdc_pipeline_len(p) == 0 && rdc_queue_len(q) == 1, "the queue takes the commands of a pipeline: one reply");
    rdc_pipeline_get(p, "queue:pipe:1", RDC_NTS); /* the pipeline can be used and freed at once */
    rdc_queue_pipeline(q, 2, p);
    rdc_pipeline_free(p);
    rdc_reply *reply = NULL, *second = NULL;
    for (int i = 0; i < 2; i++) {
        uint64_t tag = 0;
        rdc_reply *r = wait_next(q, &tag);
        *(tag == 1 ? &reply : &second) = r;
    }
    int own = rdc_reply_type(reply) == RDC_ARRAY && rdc_reply_len(reply) == 101;
    for (int i = 0; own && i < 50; i++)
        own = is_own(rdc_reply_at(reply, 2 * (size_t)i + 1), "queue:pipe", i);
    check(own, "a pipeline completes with one array, in its order");
    const rdc_reply *last = rdc_reply_at(reply, 100);
    check(rdc_reply_error(last) == RDC_ERR_SERVER && strncmp(rdc_reply_str(last), "Command # 101 (", 15) == 0,
          "an error of a pipeline names its command");
    check(rdc_reply_len(second) == 1 && is_own(rdc_reply_at(second, 0), "queue:pipe", 1), "a pipeline of one command");
    rdc_reply_free(reply);
    rdc_reply_free(second);

    p = rdc_pipeline_new(c);
    rdc_pipeline_del(p, "{queue}:a", RDC_NTS);
    rdc_pipeline_command(p, 2, (const char *[]){"INCR", "{queue}:a"}, NULL);
    rdc_pipeline_command(p, 2, (const char *[]){"INCR", "{queue}:a"}, NULL);
    rdc_queue_pipeline_atomic(q, 3, p);
    reply = expect(q, 3, "a transaction completes");
    check(rdc_reply_len(reply) == 3 && rdc_reply_int(rdc_reply_at(reply, 2)) == 2, "a transaction has its replies");
    rdc_reply_free(reply);
    rdc_pipeline_del(p, "queue:a", RDC_NTS);
    rdc_pipeline_del(p, "queue:b", RDC_NTS);
    rdc_queue_pipeline_atomic(q, 4, p);
    check_unsent(expect(q, 4, "a refused transaction completes"), RDC_ERR_CROSSSLOT, "a transaction over two slots");
    rdc_reply *empty = rdc_pipeline_execute(p);
    rdc_queue_pipeline(q, 5, p);
    reply = expect(q, 5, "an empty pipeline completes");
    check(rdc_reply_type(reply) == rdc_reply_type(empty) && rdc_reply_len(reply) == rdc_reply_len(empty),
          "with the same reply as a blocking call");
    rdc_reply_free(reply);
    rdc_reply_free(empty);
    rdc_pipeline_free(p);
    rdc_queue_free(q);
}

/* Commands that go to several nodes, or need several round trips. */
static void several_nodes(const rdc_client *c) {
    enum { N = 40 };
    rdc_queue *q = rdc_queue_new(c);
    const char *argv[N + 1] = {"MGET"};
    static char keys[N][32];
    fill(c, "queue:many", N);
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "queue:many:%d", i);
        argv[i + 1] = keys[i];
    }
    rdc_queue_command(q, 1, N + 1, argv, NULL);
    rdc_reply *reply = expect(q, 1, "a command with keys of many slots");
    int own = rdc_reply_len(reply) == N;
    for (int i = 0; own && i < N; i++)
        own = is_own(rdc_reply_at(reply, (size_t)i), "queue:many", i);
    check(own, "has the values in the order of its keys");
    rdc_reply_free(reply);
    submit(q, 2, "DBSIZE", NULL, NULL);
    reply = expect(q, 2, "a command for all primaries");
    check(rdc_reply_int(reply) >= N, "has the sum of their replies");
    rdc_reply_free(reply);

    rdc_queue_command_to(q, 4, "primaries", 1, (const char *[]){"DBSIZE"}, NULL);
    reply = expect(q, 4, "a command to selected nodes");
    check(rdc_reply_type(reply) == RDC_MAP && rdc_reply_len(reply) >= 4, "has the reply of each");
    rdc_reply_free(reply);

    char cursor[64] = "0";
    int found = 0, steps = 0;
    do {
        rdc_queue_command(q, 3, 6, (const char *[]){"SCAN", cursor, "MATCH", "queue:many:*", "COUNT", "100"}, NULL);
        reply = wait_next(q, NULL);
        found += (int)rdc_reply_len(rdc_reply_at(reply, 1));
        const char *next = rdc_reply_str(rdc_reply_at(reply, 0));
        snprintf(cursor, sizeof cursor, "%s", next ? next : "0");
        rdc_reply_free(reply);
    } while (strcmp(cursor, "0") != 0 && ++steps < 100000);
    check(found >= N, "SCAN finds the keys of all nodes");
    rdc_queue_free(q);
}

/* More than the buffers of a socket hold, in both directions: the descriptor also stands for a socket that takes bytes
 * again. */
static void large_values(const rdc_client *c) {
    enum { N = 8, SIZE = 2000000 };
    rdc_queue *q = rdc_queue_new(c);
    char *value = malloc(SIZE);
    memset(value, 'v', SIZE);
    for (int i = 0; i < N; i++) {
        value[0] = (char)('a' + i);
        rdc_queue_command(q, (uint64_t)i, 5, (const char *[]){"SET", "queue:large", value, "PX", "60000"},
                          (const size_t[]){3, 11, SIZE, 2, 5});
        submit(q, (uint64_t)(N + i), "GET", "queue:large", NULL);
    }
    int own = 1;
    for (int i = 0; i < 2 * N; i++) {
        uint64_t tag = 0;
        rdc_reply *reply = wait_next(q, &tag);
        own = own && reply && rdc_reply_error(reply) == RDC_OK;
        if (own && tag >= N)
            own = rdc_reply_len(reply) == SIZE && rdc_reply_str(reply)[0] == (char)('a' + (int)tag - N);
        rdc_reply_free(reply);
    }
    check(own && rdc_queue_len(q) == 0, "values larger than the buffers of a socket");
    rdc_reply_free(rdc_del(c, "queue:large", RDC_NTS));
    free(value);
    rdc_queue_free(q);
}

/* ---- Limits, and replies that nobody takes ----------------------------------------------------- */

static rdc_client *client_with(const char *url, const char *name, const char *value) {
    rdc_options *options = rdc_options_new();
    rdc_options_set(options, "url", url);
    check(rdc_options_set(options, name, value) == RDC_OK, name);
    rdc_client *c = rdc_create_with(options);
    rdc_options_free(options);
    return c;
}

static void full(const char *url) {
    rdc_client *c = client_with(url, "queue_limit", "10");
    rdc_queue *q = rdc_queue_new(c);
    rdc_reply_free(rdc_del(c, "queue:full", RDC_NTS));
    for (uint64_t i = 1; i <= 15; i++)
        submit(q, i, "INCR", "queue:full", NULL);
    check(readable(q) && rdc_queue_len(q) == 15, "commands over the limit count until their replies are taken");
    int refused = 0, ran = 0;
    for (int i = 0; i < 15; i++) {
        uint64_t tag = 0;
        rdc_reply *reply = wait_next(q, &tag);
        refused += tag > 10 && rdc_reply_error(reply) == RDC_ERR_QUEUE_FULL && !rdc_reply_sent(reply);
        ran += tag <= 10 && rdc_reply_int(reply) == (int64_t)tag;
        rdc_reply_free(reply);
    }
    check(refused == 5, "a full queue refuses further commands, and sends nothing");
    check(ran == 10, "a full queue loses nothing");
    check(same(rdc_error_name(RDC_ERR_QUEUE_FULL), "QUEUE_FULL"), "the error has a name");
    submit(q, 99, "INCR", "queue:full", NULL);
    rdc_reply *reply = expect(q, 99, "a queue that is not full any more accepts commands");
    check(rdc_reply_int(reply) == 11, "the refused commands did not run");
    rdc_reply_free(reply);
    rdc_queue_free(q);
    rdc_close(c);
}

/* The replies of cancelled commands arrive, and reach no other command. */
static void cancel_in_flight(const rdc_client *c) {
    enum { N = 200 };
    static const char busy[] = "local t = redis.call('TIME') local e = t[1] * 1000000 + t[2] + 100000 "
                               "repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] >= e";
    rdc_queue *q = rdc_queue_new(c);
    fill(c, "{queue:late}", N);
    int own = 0, interrupted = 0;
    rdc_queue_command(q, N, 4, (const char *[]){"EVAL", busy, "1", "{queue:late}"}, NULL);
    for (int i = 0; i < N; i++)
        submit_get(q, (uint64_t)i, "{queue:late}", i);
    rdc_queue_run(q, 0); /* the node is busy, so it has not replied yet */
    settle(q);
    for (int i = 0; i < N; i += 2)
        rdc_queue_cancel(q, (uint64_t)i);
    for (int i = 0; i < N; i++)
        submit_get(q, (uint64_t)(1000 + i), "{queue:late}", i);
    while (rdc_queue_len(q) > 0) {
        uint64_t tag = 0;
        rdc_reply *reply = wait_next(q, &tag);
        if (!reply)
            break;
        interrupted += rdc_reply_error(reply) == RDC_ERR_INTERRUPTED && tag % 2 == 0 && tag < N;
        own += is_own(reply, "{queue:late}", (int)(tag % 1000));
        rdc_reply_free(reply);
    }
    if (!check(interrupted == N / 2, "each command that was cancelled in flight is interrupted"))
        printf("   # %d of %d\n", interrupted, N / 2);
    if (!check(own == N + N / 2, "after cancels, every other command has its own reply"))
        printf("   # %d of %d\n", own, N + N / 2);
    rdc_queue_free(q);
}

/* Freed in each state, a queue leaves no reply behind for the next user of a connection. */
static void free_in_flight(const rdc_client *c) {
    enum { N = 300 };
    int own = 1;
    fill(c, "queue:free", N);
    for (int round = 0; round < 60; round++) {
        rdc_queue *q = rdc_queue_new(c);
        for (int i = 0; i < N; i++)
            submit_get(q, (uint64_t)i, "queue:free", i);
        submit(q, N, "BLPOP", "queue:none", "0");
        for (int run = 0; run < round % 6; run++)
            rdc_queue_run(q, 0);
        if (round % 10 == 9)
            rdc_queue_run(q, 5);
        rdc_queue_free(q);
        for (int i = 0; i < 12; i++) {
            char key[64];
            int number = (round * 31 + i * 7) % N;
            snprintf(key, sizeof key, "queue:free:%d", number);
            rdc_reply *reply = rdc_get(c, key, RDC_NTS);
            own = own && is_own(reply, "queue:free", number);
            rdc_reply_free(reply);
        }
    }
    check(own, "after a queue was freed with commands in flight, each blocking call has its own reply");
}

/* The resident memory of this process in bytes. */
static size_t resident(void) {
    unsigned long total = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu %lu", &total, &pages) != 2)
        pages = 0;
    if (file)
        fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* A command that stays in flight does not keep the memory of those that were submitted after it. */
static void memory_beside_blocked_command(const rdc_client *c) {
    enum { N = 800, SIZE = 256 * 1024 };
    rdc_queue *q = rdc_queue_new(c);
    char *value = malloc(SIZE);
    size_t before = 0;
    int ok = 0;
    memset(value, 'v', SIZE);
    submit(q, 0, "BLPOP", "queue:none", "0");
    for (uint64_t i = 1; i <= N; i++) {
        uint64_t tag = 0;
        rdc_queue_command(q, i, 3, (const char *[]){"SET", "queue:memory", value},
                          (const size_t[]){RDC_NTS, RDC_NTS, SIZE});
        rdc_reply *reply = wait_next(q, &tag);
        ok += tag == i && rdc_reply_type(reply) == RDC_STATUS;
        rdc_reply_free(reply);
        if (i == N / 4)
            before = resident();
    }
    size_t after = resident();
    check(ok == N, "800 values beside a command that blocks");
    if (!check(after < before + N / 4 * (size_t)SIZE, "their memory is freed while it blocks"))
        printf("   # %zu KB, then %zu KB\n", before / 1024, after / 1024);
    rdc_queue_free(q);
    free(value);
}

static void two_queues(const rdc_client *c) {
    enum { N = 500 };
    rdc_queue *queues[2] = {rdc_queue_new(c), rdc_queue_new(c)};
    int own = 0, blocking = 0;
    fill(c, "queue:left", N);
    fill(c, "queue:right", N);
    for (int i = 0; i < N; i++) {
        submit_get(queues[0], (uint64_t)i, "queue:left", i);
        submit_get(queues[1], (uint64_t)i, "queue:right", i);
        if (i % 50 == 0) {
            rdc_queue_run(queues[i / 50 % 2], 0);
            rdc_reply *reply = rdc_get(c, "queue:left:1", RDC_NTS);
            blocking += is_own(reply, "queue:left", 1);
            rdc_reply_free(reply);
        }
    }
    check(rdc_queue_fd(queues[0]) != rdc_queue_fd(queues[1]), "each queue has its own descriptor");
    for (int i = 0; i < 2 * N; i++) {
        uint64_t tag = N;
        rdc_reply *reply = wait_next(queues[i % 2], &tag);
        own += is_own(reply, i % 2 ? "queue:right" : "queue:left", (int)tag);
        rdc_reply_free(reply);
    }
    check(own == 2 * N && blocking == N / 50, "two queues and blocking calls of one client have their own replies");
    rdc_queue_free(queues[0]);
    rdc_queue_free(queues[1]);
}

int main(void) {
    const char *url = getenv("RDC_URL");
    if (!url) {
        fprintf(stderr, "RDC_URL must be the URL of a cluster\n");
        return 2;
    }
    rdc_client *client = rdc_create(url);
    check(rdc_client_error(client) == NULL, "create");
    rdc_reply_free(rdc_del(client, "queue:none", RDC_NTS));
    order_and_tags(client);
    pipelines(client);
    several_nodes(client);
    large_values(client);
    full(url);
    cancel_in_flight(client);
    free_in_flight(client);
    memory_beside_blocked_command(client);
    two_queues(client);
    rdc_close(client);
    return check_done();
}
