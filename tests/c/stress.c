/* Many threads do everything there is at once: commands, pipelines, blocking commands, twins, pinned handles,
 * interrupts, handles closed in the middle of others' calls, loggers set and taken away.  Made for the sanitizers, which
 * see what went wrong here without consequences.  RDC_URL names a cluster; RDC_ROUNDS and RDC_SEED may say how. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <pthread.h>

enum { THREADS = 24, SHARED = 4, PIPED = 6 };

static rdc_client *client;          /* whose calls nothing may disturb */
static rdc_client *shared[SHARED];  /* twins that are interrupted, closed and replaced while they are in use */
static long increments, logged;     /* by all threads */
static int rounds;

struct job {
    unsigned id, seed;
    int foreign, failed, ended, odd;
    char why[128]; /* of the last call that failed */
};

static unsigned dice(struct job *job, unsigned sides) {
    job->seed = job->seed * 1664525u + 1013904223u;
    return (job->seed >> 8) % sides;
}

static void note(struct job *job, const rdc_reply *r) {
    job->failed++;
    snprintf(job->why, sizeof job->why, "%s", rdc_reply_str(r) ? rdc_reply_str(r) : "(no words)");
}

/* Frees a reply that must not be an error. */
static void fine(struct job *job, rdc_reply *r) {
    if (rdc_reply_error(r) != RDC_OK)
        note(job, r);
    rdc_reply_free(r);
}

/* Frees what a thread's own key must hold: this very value, or, where a replica may lag, one of its own. */
static void own(struct job *job, rdc_reply *r, const char *value, int is_exact) {
    char mine[16];
    snprintf(mine, sizeof mine, "%u/", job->id);
    const char *str = rdc_reply_str(r);
    if (rdc_reply_error(r) != RDC_OK)
        note(job, r);
    else if (is_exact)
        job->foreign += !is_text(r, value, strlen(value));
    else if (rdc_reply_type(r) != RDC_NIL)
        job->foreign += !str || strncmp(str, mine, strlen(mine)) != 0;
    rdc_reply_free(r);
}

/* The same for a handle that others interrupt and close: then there is no value, and that is no fault. */
static void own_or_ended(struct job *job, rdc_reply *r, const char *value) {
    int32_t error = rdc_reply_error(r);
    if (error == RDC_ERR_CLOSED || error == RDC_ERR_INTERRUPTED) {
        job->ended++;
        rdc_reply_free(r);
    } else
        own(job, r, value, 1);
}

static void count(void *arg, int32_t level, const char *message) {
    (void)arg;
    if (level > 0 && *message)
        __atomic_add_fetch(&logged, 1, __ATOMIC_RELAXED);
}

static void piped(struct job *job, rdc_pipeline *p) {
    char key[64];
    for (int k = 0; k < PIPED; k++) {
        snprintf(key, sizeof key, "stress2:%u:%d", job->id, k);
        rdc_pipeline_set(p, key, RDC_NTS, key, RDC_NTS);
        rdc_pipeline_get(p, key, RDC_NTS);
    }
    rdc_reply *r = rdc_pipeline_execute(p);
    if (rdc_reply_len(r) != 2 * PIPED)
        note(job, r);
    else
        for (int k = 0; k < PIPED; k++) {
            snprintf(key, sizeof key, "stress2:%u:%d", job->id, k);
            const rdc_reply *got = rdc_reply_at(r, 2 * (size_t)k + 1);
            if (rdc_reply_error(got) != RDC_OK)
                note(job, got);
            else
                job->foreign += !is_text(got, key, strlen(key));
        }
    rdc_reply_free(r);
}

static void pinned(struct job *job, const char *key, const char *value) {
    rdc_client *pin = rdc_pin(client, key, RDC_NTS);
    fine(job, rdc_cmd(pin, "MULTI"));
    fine(job, rdc_set(pin, key, RDC_NTS, value, RDC_NTS));
    fine(job, rdc_get(pin, key, RDC_NTS));
    rdc_reply *r = rdc_cmd(pin, "EXEC");
    if (rdc_reply_error(r) != RDC_OK)
        note(job, r);
    else
        job->foreign += !is_text(rdc_reply_at(r, 1), value, strlen(value));
    rdc_reply_free(r);
    rdc_close(pin);
}

static void replace(struct job *job) {
    rdc_client *twin = dice(job, 2) ? rdc_with(client, "timeout_ms", "4000") : rdc_with(client, "retry_writes", "yes");
    rdc_close(__atomic_exchange_n(&shared[dice(job, SHARED)], twin, __ATOMIC_ACQ_REL));
}

static void look(struct job *job, const char *key) {
    const char *const argv[] = {"GET", key};
    switch (dice(job, 6)) {
    case 0: fine(job, rdc_stats(client)); break;
    case 1: fine(job, rdc_topology(client)); break;
    case 2: fine(job, rdc_explain(client, 2, argv, NULL)); break;
    case 3: fine(job, rdc_refresh(client)); break;
    case 4: fine(job, rdc_options_list()); break;
    default: rdc_set_logger(dice(job, 2) ? count : NULL, NULL, 4);
    }
}

static void *work(void *arg) {
    struct job *job = arg;
    char key[64], value[64], list[64];
    rdc_pipeline *p = rdc_pipeline_new(client);
    for (int i = 0; i < rounds; i++) {
        rdc_client *twin = __atomic_load_n(&shared[dice(job, SHARED)], __ATOMIC_ACQUIRE);
        snprintf(key, sizeof key, "stress1:%u:%u", job->id, dice(job, 5));
        snprintf(value, sizeof value, "%u/%d", job->id, i);
        fine(job, rdc_set(client, key, RDC_NTS, value, RDC_NTS));
        own(job, rdc_get(client, key, RDC_NTS), value, 1);
        switch (dice(job, 10)) {
        case 0: piped(job, p); break;
        case 1: pinned(job, key, value); break;
        case 2: replace(job); break;
        case 3: rdc_interrupt(twin); break;
        case 4: look(job, key); break;
        case 5: {
            rdc_client *reader = rdc_readonly(client);
            own(job, rdc_get(reader, key, RDC_NTS), value, 0);
            job->odd += rdc_reply_free(rdc_set(reader, key, RDC_NTS, "x", 1)) != RDC_ERR_READONLY;
            rdc_close(reader);
            break;
        }
        case 6:
            snprintf(list, sizeof list, "stress3:%u", job->id);
            fine(job, rdc_cmd(client, "RPUSH", list, value));
            rdc_reply *popped = rdc_cmd(client, "BLPOP", list, "1");
            if (rdc_reply_error(popped) != RDC_OK)
                note(job, popped);
            else
                job->foreign += !is_text(rdc_reply_at(popped, 1), value, strlen(value));
            rdc_reply_free(popped);
            break;
        case 7: {
            const char *const argv[] = {"MGET", key, "stress1:none", key};
            rdc_reply *r = rdc_command(client, 4, argv, NULL);
            rdc_reply_free(r); /* CROSSSLOT, which is as good as any answer here */
            break;
        }
        case 8: {
            rdc_reply *r = rdc_cmd(twin, "BLPOP", "stress3:nothing", "0.02");
            int32_t error = rdc_reply_error(r);
            job->odd += error != RDC_OK && error != RDC_ERR_CLOSED && error != RDC_ERR_INTERRUPTED;
            rdc_reply_free(r);
            break;
        }
        default: own_or_ended(job, rdc_get(twin, key, RDC_NTS), value);
        }
        fine(job, rdc_incrby(client, "stress2:total", RDC_NTS, 1));
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
    rdc_options_set(options, "timeout_ms", "60000"); /* sanitizers are slow, and no deadline is tested here */
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
        sum.foreign += jobs[i].foreign;
        sum.failed += jobs[i].failed;
        sum.ended += jobs[i].ended;
        sum.odd += jobs[i].odd;
        if (jobs[i].failed)
            printf("   # thread %d: %s\n", i, jobs[i].why);
    }
    rdc_set_logger(NULL, NULL, 0);
    printf("   # %d calls ended with their handles, %ld lines were logged\n", sum.ended, logged);
    check(started == THREADS, "threads started");
    check(sum.foreign == 0, "every reply reached its own call");
    check(sum.failed == 0, "no call failed that nobody disturbed");
    check(sum.odd == 0, "and those that were disturbed say by what");
    rdc_reply *r = rdc_get(client, "stress2:total", RDC_NTS);
    check(rdc_reply_str(r) && atol(rdc_reply_str(r)) == increments, "every increment was done once");
    rdc_reply_free(r);
    for (int i = 0; i < SHARED; i++)
        rdc_close(shared[i]);
    rdc_close(client);
    return check_done();
}
