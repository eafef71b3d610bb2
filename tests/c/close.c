/* In each round, 64 threads use a handle while it is closed.  Calls in progress end, later calls are refused, and
 * freed memory is never accessed.  RDC_URL is the URL of a cluster, RDC_ROUNDS the number of rounds. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <time.h>

enum { THREADS = 64, CLOSERS = 3, CALLS_BEFORE_CLOSE = 64 };

static rdc_client *handle; /* of the current round; changed only between the barriers */
static pthread_barrier_t begin, end;
static int is_over;
static long calls, unexpected, reused;

static double ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Makes calls of every kind until one returns CLOSED. */
static void call_until_closed(unsigned id) {
    char key[32];
    rdc_pipeline *p = rdc_pipeline_new(handle);
    snprintf(key, sizeof key, "close:%u", id);
    for (unsigned i = id;; i++) {
        rdc_reply *r;
        rdc_client *derived;
        switch (i % 8) {
        case 0: r = rdc_set(handle, key, RDC_NTS, key, RDC_NTS); break;
        case 1: r = rdc_cmd(handle, "BLPOP", "close:nothing", "60"); break; /* ends only because of the close */
        case 2:
            rdc_pipeline_set(p, key, RDC_NTS, key, RDC_NTS);
            rdc_pipeline_get(p, key, RDC_NTS);
            r = rdc_pipeline_execute(p);
            break;
        case 3: r = rdc_stats(handle); break;
        case 4:
            derived = rdc_with(handle, "timeout_ms", "3000");
            r = rdc_get(derived, key, RDC_NTS);
            rdc_close(derived);
            break;
        default: r = rdc_get(handle, key, RDC_NTS);
        }
        __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
        const rdc_reply *last = rdc_reply_type(r) == RDC_ARRAY ? rdc_reply_at(r, 1) : r;
        int32_t error = rdc_reply_error(rdc_reply_error(r) ? r : last);
        if (error && error != RDC_ERR_CLOSED) {
            __atomic_add_fetch(&unexpected, 1, __ATOMIC_RELAXED);
            printf("   # %s\n", rdc_reply_str(rdc_reply_error(r) ? r : last));
        }
        rdc_reply_free(r);
        if (error == RDC_ERR_CLOSED)
            break;
    }
    rdc_pipeline_free(p);
    rdc_reply *r = rdc_get(handle, key, RDC_NTS);
    if (rdc_reply_error(r) != RDC_ERR_CLOSED)
        __atomic_add_fetch(&reused, 1, __ATOMIC_RELAXED);
    rdc_reply_free(r);
}

static void *work(void *arg) {
    for (;;) {
        pthread_barrier_wait(&begin);
        if (is_over)
            return NULL;
        call_until_closed(*(unsigned *)arg);
        if (*(unsigned *)arg < CLOSERS)
            rdc_close(handle); /* a second close, by several threads at once */
        pthread_barrier_wait(&end);
    }
}

static int by_size(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

int main(void) {
    int rounds = getenv("RDC_ROUNDS") ? atoi(getenv("RDC_ROUNDS")) : 200;
    double *elapsed_ms = calloc((size_t)rounds, sizeof *elapsed_ms);
    unsigned ids[THREADS];
    pthread_t threads[THREADS];
    rdc_client *base = rdc_create(getenv("RDC_URL"));
    if (!elapsed_ms || rdc_client_error(base))
        return fprintf(stderr, "%s\n", rdc_client_error(base)), 1;
    pthread_barrier_init(&begin, NULL, THREADS + 1);
    pthread_barrier_init(&end, NULL, THREADS + 1);
    for (unsigned i = 0; i < THREADS; i++) {
        ids[i] = i;
        if (pthread_create(&threads[i], NULL, work, &ids[i]))
            return fprintf(stderr, "could not create a thread\n"), 1;
    }
    int created = 0, correct_errors = 0;
    for (int round = 0; round < rounds; round++) {
        /* Mostly a derived handle, whose cluster stays open.  In every 20th round, the only handle on its cluster. */
        handle = round % 20 ? rdc_with(base, "timeout_ms", "10000") : rdc_create(getenv("RDC_URL"));
        created += !rdc_client_error(handle);
        long calls_before_close = __atomic_load_n(&calls, __ATOMIC_RELAXED) + (round % 3) * CALLS_BEFORE_CLOSE;
        pthread_barrier_wait(&begin);
        while (__atomic_load_n(&calls, __ATOMIC_RELAXED) < calls_before_close)
            sched_yield();
        double began = ms();
        rdc_close(handle);
        pthread_barrier_wait(&end);
        elapsed_ms[round] = ms() - began;
        correct_errors += same(rdc_client_error(handle), "CLOSED the client handle was closed");
    }
    is_over = 1;
    pthread_barrier_wait(&begin);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    qsort(elapsed_ms, (size_t)rounds, sizeof *elapsed_ms, by_size);
    printf("   # %d rounds, %ld calls; all calls ended after %.1f ms (median), %.1f ms (maximum)\n", rounds, calls,
           elapsed_ms[rounds / 2], elapsed_ms[rounds - 1]);
    check(created == rounds, "each round has a handle without an error");
    check(unexpected == 0, "each call succeeds or returns CLOSED");
    check(reused == 0, "a closed handle stays closed");
    check(correct_errors == rounds, "the error of a closed handle is CLOSED");
    check(elapsed_ms[rounds / 2] < 100, "a close ends all calls within 100 ms");
    check(elapsed_ms[rounds - 1] < 10000, "no call waits until its own timeout");
    rdc_reply *r = rdc_get(base, "close:0", RDC_NTS);
    check(is_text(r, "close:0", 7), "other handles on the cluster keep working");
    rdc_reply_free(r);
    rdc_close(base);
    free(elapsed_ms);
    return check_done();
}
