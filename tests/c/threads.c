/* Many threads share one client.  Every reply reaches the call it belongs to, also after timeouts.  A close during
 * calls causes an error, not a crash.  RDC_URL is the URL of a cluster. */
#define _POSIX_C_SOURCE 199309L
#include "check.h"
#include <pthread.h>
#include <time.h>

enum { THREADS = 16, ROUNDS = 250, PIPED = 8 };

static rdc_client *client, *short_timeout; /* short_timeout has a timeout of 1 ms, which some calls exceed */

struct job {
    int id, misdelivered, failed, timeouts;
    int32_t last; /* the code of the call that ended a thread */
};

/* Writes and reads back values that no other thread writes: a different value is the reply of another call. */
static void *work(void *arg) {
    struct job *job = arg;
    char key[64], value[64];
    rdc_pipeline *p = rdc_pipeline_new(client);
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(key, sizeof key, "stress:%d:%d", job->id, i % 10);
        snprintf(value, sizeof value, "%d/%d", job->id, i);
        job->failed += rdc_reply_free(rdc_set(client, key, RDC_NTS, value, RDC_NTS)) != RDC_OK;
        rdc_reply *r = rdc_get(i % 5 ? client : short_timeout, key, RDC_NTS);
        if (rdc_reply_error(r) == RDC_ERR_TIMEOUT && i % 5 == 0)
            job->timeouts++;
        else if (rdc_reply_error(r) != RDC_OK)
            job->failed++;
        else
            job->misdelivered += !is_text(r, value, strlen(value));
        rdc_reply_free(r);

        for (int k = 0; k < PIPED; k++) {
            snprintf(key, sizeof key, "stress:%d:%d:%d", job->id, i, k);
            rdc_pipeline_set_px(p, key, RDC_NTS, key, RDC_NTS, 60000);
            rdc_pipeline_get(p, key, RDC_NTS);
        }
        r = rdc_pipeline_execute(p);
        job->failed += rdc_reply_len(r) != 2 * PIPED;
        for (int k = 0; k < PIPED; k++) {
            snprintf(key, sizeof key, "stress:%d:%d:%d", job->id, i, k);
            job->misdelivered += !is_text(rdc_reply_at(r, 2 * (size_t)k + 1), key, strlen(key));
        }
        rdc_reply_free(r);
        job->failed += rdc_reply_free(rdc_incrby(client, "stress:total", RDC_NTS, 1)) != RDC_OK;
    }
    rdc_pipeline_free(p);
    return NULL;
}

/* Makes calls until another thread closes the client. */
static void *until_closed(void *arg) {
    struct job *job = arg;
    for (;;) {
        rdc_reply *r = rdc_get(client, "stress:total", RDC_NTS);
        if (rdc_reply_type(r) == RDC_STRING)
            rdc_reply_free(r);
        else {
            job->last = rdc_reply_error(r);
            rdc_reply_free(r);
            return NULL;
        }
    }
}

static void run(void *(*body)(void *), struct job *jobs, void (*meanwhile)(void)) {
    pthread_t threads[THREADS];
    int started = 0;
    while (started < THREADS && !pthread_create(&threads[started], NULL, body, &jobs[started]))
        started++;
    check(started == THREADS, "threads started");
    meanwhile();
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

static void nothing(void) {
}

static void close_soon(void) {
    const struct timespec soon = {0, 200 * 1000 * 1000};
    nanosleep(&soon, NULL);
    rdc_close(client);
}

int main(void) {
    struct job jobs[THREADS], sum = {0, 0, 0, 0, 0};
    int closed = 0;
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < THREADS; i++)
        jobs[i].id = i;
    client = rdc_create(getenv("RDC_URL"));
    short_timeout = rdc_with(client, "timeout_ms", "1");
    if (rdc_client_error(client))
        fprintf(stderr, "%s\n", rdc_client_error(client));
    rdc_reply_free(rdc_del(client, "stress:total", RDC_NTS));

    run(work, jobs, nothing);
    for (int i = 0; i < THREADS; i++) {
        sum.misdelivered += jobs[i].misdelivered;
        sum.failed += jobs[i].failed;
        sum.timeouts += jobs[i].timeouts;
    }
    printf("   # %d of %d reads with a timeout of 1 ms timed out\n", sum.timeouts, THREADS * ROUNDS / 5);
    check(sum.misdelivered == 0, "every reply reached its own call");
    check(sum.failed == 0, "no call failed");
    rdc_reply *r = rdc_get(client, "stress:total", RDC_NTS);
    check(rdc_reply_str(r) && atoi(rdc_reply_str(r)) == THREADS * ROUNDS, "every increment was done once");
    rdc_reply_free(r);

    run(until_closed, jobs, close_soon);
    for (int i = 0; i < THREADS; i++)
        closed += jobs[i].last == RDC_ERR_CLOSED;
    check(closed == THREADS, "closing ends every thread's calls with CLOSED");
    rdc_close(short_timeout);
    return check_done();
}
