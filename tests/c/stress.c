/* Many threads run all kinds of operations at the same time: commands, pipelines, blocking commands, derived handles,
 * pinned handles, interrupts, handles closed during calls of other threads, loggers set and removed.  Made for the
 * sanitizers, which also report errors that have no visible effect.  RDC_URL is the URL of a cluster.  RDC_ROUNDS and
 * RDC_SEED are optional. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <pthread.h>

enum { THREADS = 24, SHARED = 4, PIPED = 6 };

static rdc_client *client;          /* never interrupted or closed during its calls */
static rdc_client *shared[SHARED];  /* derived handles that are interrupted, closed and replaced while in use */
static long increments, logged;     /* by all threads */
static int rounds;

struct job {
    unsigned id, seed;
    int misdelivered, failed, ended, unexpected;
    char failure[128]; /* the message of the last call that failed */
};

static unsigned random_below(struct job *job, unsigned sides) {
    job->seed = job->seed * 1664525u + 1013904223u;
    return (job->seed >> 8) % sides;
}

static void record_failure(struct job *job, const rdc_reply *r) {
    job->failed++;
    snprintf(job->failure, sizeof job->failure, "%s", rdc_reply_str(r) ? rdc_reply_str(r) : "(no message)");
}

/* Frees a reply that must not be an error. */
static void check_success(struct job *job, rdc_reply *r) {
    if (rdc_reply_error(r) != RDC_OK)
        record_failure(job, r);
    rdc_reply_free(r);
}

/* Checks and frees the value of a key that only this thread writes: exactly this value or, from a replica that may
 * lag, any value of this thread. */
static void check_own_value(struct job *job, rdc_reply *r, const char *value, int is_exact) {
    char prefix[16];
    snprintf(prefix, sizeof prefix, "%u/", job->id);
    const char *str = rdc_reply_str(r);
    if (rdc_reply_error(r) != RDC_OK)
        record_failure(job, r);
    else if (is_exact)
        job->misdelivered += !is_text(r, value, strlen(value));
    else if (rdc_reply_type(r) != RDC_NIL)
        job->misdelivered += !str || strncmp(str, prefix, strlen(prefix)) != 0;
    rdc_reply_free(r);
}

/* The same for a handle that other threads interrupt and close: the errors of both are no failure. */
static void check_own_value_or_ended(struct job *job, rdc_reply *r, const char *value) {
    int32_t error = rdc_reply_error(r);
    if (error == RDC_ERR_CLOSED || error == RDC_ERR_INTERRUPTED) {
        job->ended++;
        rdc_reply_free(r);
    } else
        check_own_value(job, r, value, 1);
}

static void count(void *arg, int32_t level, const char *message) {
    (void)arg;
    if (level > 0 && *message)
        __atomic_add_fetch(&logged, 1, __ATOMIC_RELAXED);
}

static void run_pipeline(struct job *job, rdc_pipeline *p) {
    char key[64];
    for (int k = 0; k < PIPED; k++) {
        snprintf(key, sizeof key, "stress2:%u:%d", job->id, k);
        rdc_pipeline_set(p, key, RDC_NTS, key, RDC_NTS);
        rdc_pipeline_get(p, key, RDC_NTS);
    }
    rdc_reply *r = rdc_pipeline_execute(p);
    if (rdc_reply_len(r) != 2 * PIPED)
        record_failure(job, r);
    else
        for (int k = 0; k < PIPED; k++) {
            snprintf(key, sizeof key, "stress2:%u:%d", job->id, k);
            const rdc_reply *got = rdc_reply_at(r, 2 * (size_t)k + 1);
            if (rdc_reply_error(got) != RDC_OK)
                record_failure(job, got);
            else
                job->misdelivered += !is_text(got, key, strlen(key));
        }
    rdc_reply_free(r);
}

static void run_transaction(struct job *job, const char *key, const char *value) {
    rdc_client *pin = rdc_pin(client, key, RDC_NTS);
    check_success(job, rdc_cmd(pin, "MULTI"));
    check_success(job, rdc_set(pin, key, RDC_NTS, value, RDC_NTS));
    check_success(job, rdc_get(pin, key, RDC_NTS));
    rdc_reply *r = rdc_cmd(pin, "EXEC");
    if (rdc_reply_error(r) != RDC_OK)
        record_failure(job, r);
    else
        job->misdelivered += !is_text(rdc_reply_at(r, 1), value, strlen(value));
    rdc_reply_free(r);
    rdc_close(pin);
}

static void replace_handle(struct job *job) {
    int is_timeout = random_below(job, 2) != 0;
    rdc_client *derived = rdc_with(client, is_timeout ? "timeout_ms" : "retry_writes", is_timeout ? "4000" : "yes");
    rdc_close(__atomic_exchange_n(&shared[random_below(job, SHARED)], derived, __ATOMIC_ACQ_REL));
}

static void introspection(struct job *job, const char *key) {
    const char *const argv[] = {"GET", key};
    switch (random_below(job, 6)) {
    case 0: check_success(job, rdc_stats(client)); break;
    case 1: check_success(job, rdc_topology(client)); break;
    case 2: check_success(job, rdc_explain(client, 2, argv, NULL)); break;
    case 3: check_success(job, rdc_refresh(client)); break;
    case 4: check_success(job, rdc_options_list()); break;
    default: rdc_set_logger(random_below(job, 2) ? count : NULL, NULL, 4);
    }
}

static void *work(void *arg) {
    struct job *job = arg;
    char key[64], value[64], list[64];
    rdc_pipeline *p = rdc_pipeline_new(client);
    for (int i = 0; i < rounds; i++) {
        rdc_client *derived = __atomic_load_n(&shared[random_below(job, SHARED)], __ATOMIC_ACQUIRE);
        snprintf(key, sizeof key, "stress1:%u:%u", job->id, random_below(job, 5));
        snprintf(value, sizeof value, "%u/%d", job->id, i);
        check_success(job, rdc_set(client, key, RDC_NTS, value, RDC_NTS));
        check_own_value(job, rdc_get(client, key, RDC_NTS), value, 1);
        switch (random_below(job, 10)) {
        case 0: run_pipeline(job, p); break;
        case 1: run_transaction(job, key, value); break;
        case 2: replace_handle(job); break;
        case 3: rdc_interrupt(derived); break;
        case 4: introspection(job, key); break;
        case 5: {
            rdc_client *reader = rdc_readonly(client);
            check_own_value(job, rdc_get(reader, key, RDC_NTS), value, 0);
            job->unexpected += rdc_reply_free(rdc_set(reader, key, RDC_NTS, "x", 1)) != RDC_ERR_READONLY;
            rdc_close(reader);
            break;
        }
        case 6:
            snprintf(list, sizeof list, "stress3:%u", job->id);
            check_success(job, rdc_cmd(client, "RPUSH", list, value));
            rdc_reply *popped = rdc_cmd(client, "BLPOP", list, "1");
            if (rdc_reply_error(popped) != RDC_OK)
                record_failure(job, popped);
            else
                job->misdelivered += !is_text(rdc_reply_at(popped, 1), value, strlen(value));
            rdc_reply_free(popped);
            break;
        case 7: {
            const char *const argv[] = {"MGET", key, "stress1:none", key};
            rdc_reply *r = rdc_command(client, 4, argv, NULL);
            rdc_reply_free(r); /* CROSSSLOT or values: any reply is accepted */
            break;
        }
        case 8: {
            rdc_reply *r = rdc_cmd(derived, "BLPOP", "stress3:nothing", "0.02");
            int32_t error = rdc_reply_error(r);
            job->unexpected += error != RDC_OK && error != RDC_ERR_CLOSED && error != RDC_ERR_INTERRUPTED;
            rdc_reply_free(r);
            break;
        }
        default: check_own_value_or_ended(job, rdc_get(derived, key, RDC_NTS), value);
        }
        check_success(job, rdc_incrby(client, "stress2:total", RDC_NTS, 1));
        __atomic_add_fetch(&increments, 1, __ATOMIC_RELAXED);
    }
    rdc_pipeline_free(p);
    return NULL;
}

int main(void) {
    struct job jobs[THREADS], sum;
    pthread_t threads[THREADS];
    unsigned seed = getenv("RDC_SEED") ? (unsigned)strtoul(getenv("RDC_SEED"), NULL, 10) : 1;
    rounds = getenv("RDC_ROUNDS") ? atoi(getenv("RDC_ROUNDS")) : 150;
    memset(jobs, 0, sizeof jobs);
    memset(&sum, 0, sizeof sum);
    printf("   # seed %u\n", seed);

    rdc_options *options = rdc_options_new();
    rdc_options_set(options, "url", getenv("RDC_URL"));
    rdc_options_set(options, "timeout_ms", "60000"); /* sanitizers are slow, and deadlines are not tested here */
    rdc_options_set(options, "attempt_timeout_ms", "60000");
    client = rdc_create_with(options);
    rdc_options_free(options);
    if (rdc_client_error(client))
        fprintf(stderr, "%s\n", rdc_client_error(client));
    rdc_reply_free(rdc_del(client, "stress2:total", RDC_NTS));
    for (int i = 0; i < SHARED; i++)
        shared[i] = rdc_with(client, "retry_writes", "yes");

    int started = 0;
    for (; started < THREADS; started++) {
        jobs[started].id = (unsigned)started;
        jobs[started].seed = seed * 7919u + (unsigned)started;
        if (pthread_create(&threads[started], NULL, work, &jobs[started]))
            break;
    }
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        sum.misdelivered += jobs[i].misdelivered;
        sum.failed += jobs[i].failed;
        sum.ended += jobs[i].ended;
        sum.unexpected += jobs[i].unexpected;
        if (jobs[i].failed)
            printf("   # thread %d: %s\n", i, jobs[i].failure);
    }
    rdc_set_logger(NULL, NULL, 0);
    printf("   # %d calls were interrupted or closed, %ld lines were logged\n", sum.ended, logged);
    check(started == THREADS, "threads started");
    check(sum.misdelivered == 0, "every reply reached its own call");
    check(sum.failed == 0, "no call failed on a handle that was not interrupted or closed");
    check(sum.unexpected == 0, "interrupted and closed calls return the expected error");
    rdc_reply *r = rdc_get(client, "stress2:total", RDC_NTS);
    check(rdc_reply_str(r) && atol(rdc_reply_str(r)) == increments, "every increment was done once");
    rdc_reply_free(r);
    for (int i = 0; i < SHARED; i++)
        rdc_close(shared[i]);
    rdc_close(client);
    return check_done();
}
