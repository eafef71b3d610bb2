/* Threads are cancelled during a call.  The call completes, the cancellation takes effect when it returns, and threads
 * that share the connection are not affected.  RDC_URL is the URL of a cluster. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 64, THREADS = 24, ROUNDS = 40 };

/* The result of each step.  The cancelled thread cannot print, because printing is a cancellation point. */
static int outcomes[STEPS], step_count;
static const char *names[STEPS];
static int null_device = -1;

static void step(const char *name, int is_right) {
    names[step_count] = name;
    outcomes[step_count++] = is_right;
}

static int is_fine(rdc_reply *r) {
    return rdc_reply_free(r) == RDC_OK;
}

/* A logger that writes to a file, which is a cancellation point. */
static void log_somewhere(void *arg, int32_t level, const char *message) {
    (void)arg, (void)level;
    if (write(null_device, message, strlen(message)) < 0)
        return;
}

/* If a call of the library waits without disabling cancellation, the thread or the process ends before the last step. */
static void *cancelled_thread(void *arg) {
    char url[512];
    pthread_cancel(pthread_self()); /* the thread ends at the next cancellation point where cancellation is enabled */

    rdc_set_logger(log_somewhere, NULL, 4);
    rdc_client *client = rdc_create(getenv("RDC_URL"));
    step("create", rdc_client_error(client) == NULL);
    step("set", is_fine(rdc_set(client, "cancel:k", RDC_NTS, "v", 1)));
    step("get", is_fine(rdc_get(client, "cancel:k", RDC_NTS)));
    step("command", is_fine(rdc_cmd(client, "APPEND", "cancel:k", "w")));
    step("a command to all nodes", is_fine(rdc_cmd(client, "DBSIZE")));
    step("mget", is_fine(rdc_cmd(client, "MGET", "cancel:k", "a", "b", "c", "d", "e")));
    step("random", is_fine(rdc_cmd(client, "RANDOMKEY")));
    step("a blocking command", is_fine(rdc_cmd(client, "BLPOP", "cancel:nothing", "0.05")));
    step("refresh", is_fine(rdc_refresh(client)));
    step("stats", is_fine(rdc_stats(client)));

    rdc_pipeline *p = rdc_pipeline_new(client);
    for (int i = 0; i < 100; i++)
        rdc_pipeline_get(p, i % 2 ? "cancel:k" : "cancel:l", RDC_NTS);
    step("pipeline", is_fine(rdc_pipeline_execute(p)));

    rdc_client *reader = rdc_readonly(client);
    int read = 1;
    for (int i = 0; i < 20; i++)
        read &= is_fine(rdc_get(reader, "cancel:k", RDC_NTS));
    step("reads from replicas", read);

    rdc_client *pinned = rdc_pin(client, "cancel:k", RDC_NTS);
    step("multi", is_fine(rdc_cmd(pinned, "MULTI")) && is_fine(rdc_get(pinned, "cancel:k", RDC_NTS)));
    step("exec", is_fine(rdc_cmd(pinned, "EXEC")));
    rdc_close(pinned);
    rdc_interrupt(client);
    rdc_close(reader);
    rdc_close(client);
    rdc_pipeline_free(p); /* the last owner of the cluster: this closes all connections */

    client = rdc_create("redis://127.0.0.1:1?timeout_ms=200");
    step("no server listens on the port", rdc_client_error(client) != NULL);
    rdc_close(client);
    const char *rest = strrchr(getenv("RDC_URL"), ':');
    snprintf(url, sizeof url, "redis://localhost%s", rest ? rest : "");
    client = rdc_create(url);
    step("a host name instead of an address", rdc_client_error(client) == NULL);
    rdc_close(client);
    rdc_set_logger(NULL, NULL, 0);

    *(int *)arg = 1;
    pthread_testcancel();
    *(int *)arg = 2;
    return NULL;
}

/* ---- Threads that are cancelled by other threads ------------------------------------------------ */

static rdc_client *shared;
static int is_over;

struct job {
    int id, misdelivered, failed;
    long calls;
};

static void write_and_read(struct job *job, const char *kind) {
    char key[48], value[48];
    snprintf(key, sizeof key, "cancel:%s%d", kind, job->id);
    snprintf(value, sizeof value, "%s%d/%ld", kind, job->id, ++job->calls);
    job->failed += !is_fine(rdc_set(shared, key, RDC_NTS, value, RDC_NTS));
    rdc_reply *r = rdc_get(shared, key, RDC_NTS);
    job->failed += rdc_reply_error(r) != RDC_OK;
    job->misdelivered += !is_text(r, value, strlen(value));
    rdc_reply_free(r);
}

static void *survivor(void *arg) {
    while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE))
        write_and_read(arg, "s");
    return NULL;
}

static void *victim(void *arg) {
    struct job *job = arg;
    for (;;) { /* the only cancellation point is here: between calls, not in them */
        pthread_testcancel();
        if (job->id % 4)
            write_and_read(job, "v");
        else /* a blocking call: the thread ends after it returns, at most 0.2 s later */
            rdc_reply_free(rdc_cmd(shared, "BLPOP", "cancel:nothing", "0.2"));
    }
    return NULL;
}

int main(void) {
    pthread_t thread, others[THREADS];
    struct job jobs[THREADS], victims[THREADS / 2];
    void *result = NULL;
    int end = 0, ended = 0, misdelivered = 0, failed = 0;
    long calls = 0;

    null_device = dup(STDERR_FILENO);
    FILE *null = fopen("/dev/null", "w");
    if (null)
        null_device = fileno(null);
    pthread_create(&thread, NULL, cancelled_thread, &end);
    pthread_join(thread, &result);
    for (int i = 0; i < step_count; i++)
        check(outcomes[i], names[i]);
    check(end == 1 && result == PTHREAD_CANCELED, "a thread is cancelled between its calls, not in them");

    memset(jobs, 0, sizeof jobs);
    shared = rdc_create(getenv("RDC_URL"));
    for (int i = 0; i < THREADS; i++) {
        jobs[i].id = i;
        pthread_create(&others[i], NULL, survivor, &jobs[i]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t cancelled_threads[THREADS / 2];
        memset(victims, 0, sizeof victims);
        for (int i = 0; i < THREADS / 2; i++) {
            victims[i].id = i;
            pthread_create(&cancelled_threads[i], NULL, victim, &victims[i]);
        }
        const struct timespec pause = {0, (round % 8) * 1000 * 1000};
        nanosleep(&pause, NULL);
        for (int i = 0; i < THREADS / 2; i++)
            pthread_cancel(cancelled_threads[i]);
        for (int i = 0; i < THREADS / 2; i++) {
            pthread_join(cancelled_threads[i], &result);
            ended += result == PTHREAD_CANCELED;
            misdelivered += victims[i].misdelivered;
            failed += victims[i].failed;
        }
    }
    __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(others[i], NULL);
        misdelivered += jobs[i].misdelivered;
        failed += jobs[i].failed;
        calls += jobs[i].calls;
    }
    printf("   # %d threads were cancelled while %ld calls were made\n", ended, calls);
    check(ended == ROUNDS * (THREADS / 2), "every cancelled thread ends");
    check(misdelivered == 0, "every reply reached its own call");
    check(failed == 0, "no call failed");
    rdc_close(shared);
    return check_done();
}
