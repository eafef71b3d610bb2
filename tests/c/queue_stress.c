/* Several threads with a queue each, a queue that moves between threads, and threads that block, all on one client.
 * Commands are cancelled, queues are freed with commands under way, and handles are closed before their queues.  Made
 * for the sanitizers, which also report errors that have no visible effect.  RDC_URL is the URL of a cluster.
 * RDC_ROUNDS and RDC_SEED are optional. */
#define _XOPEN_SOURCE 700
#include "check.h"
#include <poll.h>
#include <pthread.h>

enum { OWNERS = 3, MOVERS = 3, BLOCKING = 3, TAGS = 64 };
enum kind { FREE, SET, GET, MGET, PIPELINE, ATOMIC, BLPOP };

/* A queue, and what each tag stands for.  Only one thread uses it at a time. */
struct driver {
    rdc_queue *queue;
    unsigned id, generation, seed, written;
    enum kind kinds[TAGS];
    int cancelled[TAGS], is_closed;
    char expected[TAGS][48]; /* by GET: empty for nil */
    char last[48];           /* what was written last */
    long completed, wrong, failed, lost;
    char failure[128];
};

static rdc_client *client;
static int rounds;

/* The queue that moves between threads. */
static struct driver moving;
static pthread_mutex_t moving_lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned random_below(unsigned *seed, unsigned sides) {
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % sides;
}

/* Every queue has a key of its own, so a value that was not read back is known to be absent. */
static const char *key_of(const struct driver *d, char key[48]) {
    snprintf(key, 48, "qs:{%u}:%u", d->id, d->generation);
    return key;
}

static void renew(struct driver *d) {
    rdc_queue_free(d->queue);
    d->generation++;
    d->last[0] = '\0';
    memset(d->kinds, 0, sizeof d->kinds);
    d->is_closed = random_below(&d->seed, 10) == 0;
    if (d->is_closed) {
        rdc_client *derived = rdc_with(client, "timeout_ms", "4000");
        d->queue = rdc_queue_new(derived);
        rdc_close(derived);
    } else
        d->queue = rdc_queue_new(client);
}

static void submit(struct driver *d) {
    char key[48], other[48];
    unsigned tag = random_below(&d->seed, TAGS);
    if (d->kinds[tag] != FREE)
        return;
    key_of(d, key);
    snprintf(other, sizeof other, "qs:other:%u", random_below(&d->seed, 50));
    enum kind kind = 1 + random_below(&d->seed, BLPOP);
    d->kinds[tag] = kind;
    d->cancelled[tag] = 0;
    rdc_pipeline *pipeline;
    switch (kind) {
    case SET:
        snprintf(d->last, sizeof d->last, "%u/%u", d->id, d->written++);
        rdc_queue_command(d->queue, tag, 3, (const char *[]){"SET", key, d->last}, NULL);
        break;
    case GET:
        memcpy(d->expected[tag], d->last, sizeof d->last);
        rdc_queue_command(d->queue, tag, 2, (const char *[]){"GET", key}, NULL);
        break;
    case MGET:
        rdc_queue_command(d->queue, tag, 4, (const char *[]){"MGET", "qs:a", other, "qs:b"}, NULL);
        break;
    case BLPOP:
        rdc_queue_command(d->queue, tag, 3, (const char *[]){"BLPOP", "qs:list", "0.02"}, NULL);
        break;
    default:
        pipeline = rdc_pipeline_new(client);
        rdc_pipeline_set(pipeline, other, RDC_NTS, "x", 1);
        rdc_pipeline_get(pipeline, other, RDC_NTS);
        if (kind == ATOMIC)
            rdc_queue_pipeline_atomic(d->queue, tag, pipeline);
        else
            rdc_queue_pipeline(d->queue, tag, pipeline);
        rdc_pipeline_free(pipeline);
    }
}

/* Whether the reply is that of its command. */
static int is_own(const struct driver *d, uint64_t tag, const rdc_reply *r) {
    switch (d->kinds[tag]) {
    case SET:
        return same(rdc_reply_str(r), "OK");
    case GET:
        return d->expected[tag][0] ? is_text(r, d->expected[tag], strlen(d->expected[tag]))
                                   : rdc_reply_type(r) == RDC_NIL;
    case MGET:
        return rdc_reply_len(r) == 3;
    case BLPOP:
        return rdc_reply_type(r) == RDC_NIL;
    default:
        return rdc_reply_len(r) == 2;
    }
}

static void take_replies(struct driver *d) {
    rdc_reply *r;
    uint64_t tag;
    while ((r = rdc_queue_next(d->queue, &tag)) != NULL) {
        int32_t error = rdc_reply_error(r);
        int is_ended = (d->cancelled[tag % TAGS] && error == RDC_ERR_INTERRUPTED) ||
                       (d->is_closed && error == RDC_ERR_CLOSED);
        d->completed++;
        if (tag >= TAGS || d->kinds[tag] == FREE)
            d->lost++;
        else if (error != RDC_OK && !is_ended) {
            d->failed++;
            snprintf(d->failure, sizeof d->failure, "%s", rdc_reply_str(r));
        } else if (error == RDC_OK)
            d->wrong += !is_own(d, tag, r);
        d->kinds[tag % TAGS] = FREE;
        rdc_reply_free(r);
    }
}

/* A SET is not cancelled: its value is expected later. */
static void cancel_one(struct driver *d) {
    unsigned tag = random_below(&d->seed, TAGS);
    if (d->kinds[tag] == FREE || d->kinds[tag] == SET)
        return;
    d->cancelled[tag] = 1;
    rdc_queue_cancel(d->queue, tag);
}

static void step(struct driver *d) {
    struct pollfd fd;
    switch (random_below(&d->seed, 8)) {
    case 0: case 1: case 2:
        for (unsigned n = random_below(&d->seed, 20); n > 0; n--)
            submit(d);
        rdc_queue_run(d->queue, 0);
        break;
    case 3:
        cancel_one(d);
        break;
    case 4:
        rdc_queue_run(d->queue, 5);
        break;
    case 5:
        if (random_below(&d->seed, 20) == 0)
            renew(d);
        break;
    default:
        fd.fd = rdc_queue_fd(d->queue);
        fd.events = POLLIN;
        if (poll(&fd, 1, 10) == 1)
            rdc_queue_run(d->queue, 0);
    }
    take_replies(d);
}

static void drain(struct driver *d) {
    struct pollfd fd = {rdc_queue_fd(d->queue), POLLIN, 0};
    while (rdc_queue_len(d->queue) > 0 && poll(&fd, 1, 30000) == 1) {
        rdc_queue_run(d->queue, 0);
        take_replies(d);
    }
    d->lost += (long)rdc_queue_len(d->queue);
}

static void *own_queue(void *arg) {
    struct driver *d = arg;
    for (int i = 0; i < rounds; i++)
        step(d);
    drain(d);
    return NULL;
}

/* Uses the moving queue whenever no other thread does. */
static void *shared_queue(void *arg) {
    (void)arg;
    for (int i = 0; i < rounds; i++) {
        if (pthread_mutex_trylock(&moving_lock) != 0) {
            poll(NULL, 0, 1);
            continue;
        }
        for (int n = 0; n < 4; n++)
            step(&moving);
        pthread_mutex_unlock(&moving_lock);
    }
    return NULL;
}

static void *block(void *arg) {
    long *failed = arg;
    char key[32];
    for (int i = 0; i < rounds; i++) {
        snprintf(key, sizeof key, "qs:other:%d", i % 50);
        *failed += rdc_reply_free(rdc_set(client, key, RDC_NTS, "x", 1)) != RDC_OK;
        *failed += rdc_reply_free(rdc_get(client, key, RDC_NTS)) != RDC_OK;
    }
    return NULL;
}

static int mappings(void) {
    int count = 0, c;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file && (c = getc(file)) != EOF)
        count += c == '\n';
    if (file)
        fclose(file);
    return count;
}

static void check_driver(const struct driver *d, const char *name) {
    printf("# %s: %ld replies, %u queues\n", name, d->completed, d->generation);
    check(d->completed > rounds / 4, name);
    check(d->wrong == 0, "each reply is that of its own command");
    check(d->lost == 0, "each command completes once");
    if (!check(d->failed == 0, "no command fails"))
        printf("   # %ld, the last one: %s\n", d->failed, d->failure);
}

int main(void) {
    const char *given = getenv("RDC_ROUNDS"), *seed = getenv("RDC_SEED");
    rounds = given && *given ? atoi(given) : 1000;
    unsigned first_seed = seed && *seed ? (unsigned)atoi(seed) : 1;
    struct driver owners[OWNERS];
    pthread_t threads[OWNERS + MOVERS + BLOCKING];
    long failed[BLOCKING] = {0};
    int count = 0;
    memset(owners, 0, sizeof owners);
    client = rdc_create(getenv("RDC_URL"));
    for (unsigned i = 0; i <= OWNERS; i++) {
        struct driver *d = i < OWNERS ? &owners[i] : &moving;
        d->id = i;
        d->seed = first_seed * 1000 + i;
        d->queue = rdc_queue_new(client);
        char key[48];
        for (d->generation = 0; d->generation < 500; d->generation++)
            rdc_reply_free(rdc_command(client, 2, (const char *[]){"DEL", key_of(d, key)}, NULL));
        d->generation = 0;
    }
    int before = mappings();
    for (int i = 0; i < OWNERS; i++)
        pthread_create(&threads[count++], NULL, own_queue, &owners[i]);
    for (int i = 0; i < MOVERS; i++)
        pthread_create(&threads[count++], NULL, shared_queue, NULL);
    for (int i = 0; i < BLOCKING; i++)
        pthread_create(&threads[count++], NULL, block, &failed[i]);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    drain(&moving);
    check_driver(&moving, "the queue that moves between threads");
    for (int i = 0; i < OWNERS; i++)
        check_driver(&owners[i], "a queue of one thread");
    for (int i = 0; i < BLOCKING; i++)
        check(failed[i] == 0, "calls of threads succeed beside queues");
    unsigned queues = moving.generation;
    for (int i = 0; i < OWNERS; i++) {
        queues += owners[i].generation;
        rdc_queue_free(owners[i].queue);
    }
    rdc_queue_free(moving.queue);
    /* Each of the stacks that commands run on is a mapping. */
    int left = mappings() - before;
    printf("# %u queues freed, %d mappings more than before\n", queues, left);
    const char *preload = getenv("LD_PRELOAD"); /* valgrind has mappings of its own */
    int is_valgrind = preload && strstr(preload, "vgpreload");
    check(given || is_valgrind || left < 100, "a freed queue leaves no stacks behind");
    rdc_close(client);
    return check_done();
}
