/* A worker that waits for jobs, and ends at once when it gets SIGTERM, without losing a job.
 *
 *     worker redis://127.0.0.1:7000        (or the URL in RDC_URL)
 *
 * A thread plays the rest of the world: it adds three jobs, and sends SIGTERM while the worker waits for a fourth one.
 */
#define _POSIX_C_SOURCE 200112L /* nanosleep, sigaction */
#include <pthread.h>
#include <rediscluster.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* The braces bring both lists into one slot.  BLMOVE keeps a job in the second list while it is worked on.  With BLPOP,
 * a worker that is killed would lose its job. */
#define WAITING "{jobs}:waiting"
#define RUNNING "{jobs}:running"

static rdc_client *client;
static volatile sig_atomic_t is_ending;

/* rdc_interrupt() may be called in a signal handler.  It ends the calls that are being made.  Between two calls the flag
 * ends the worker, or the BLMOVE that follows, after its own second. */
static void on_signal(int signal) {
    (void)signal;
    is_ending = 1;
    rdc_interrupt(client);
}

static void *rest_of_the_world(void *url) {
    const struct timespec pause = {0, 200 * 1000 * 1000};
    rdc_client *producer = rdc_create(url);
    rdc_reply_free(rdc_cmd(producer, "RPUSH", WAITING, "one", "two", "three"));
    rdc_close(producer);
    nanosleep(&pause, NULL);
    kill(getpid(), SIGTERM);
    return NULL;
}

/* A worker that was killed, or interrupted while a job was on its way, has left it in the second list.  So a job is
 * done at least once. */
static void take_back(void) {
    int type = RDC_STRING;
    while (type == RDC_STRING) {
        rdc_reply *reply = rdc_cmd(client, "LMOVE", RUNNING, WAITING, "RIGHT", "LEFT");
        type = rdc_reply_type(reply);
        rdc_reply_free(reply);
    }
}

/* Waits at most a second for a job, and does it.  Returns 1 for a job, 0 for none. */
static int work(void) {
    rdc_reply *reply = rdc_cmd(client, "BLMOVE", WAITING, RUNNING, "LEFT", "RIGHT", "1");
    int is_job = rdc_reply_type(reply) == RDC_STRING, error = rdc_reply_error(reply);
    if (is_job) {
        printf("job %s\n", rdc_reply_str(reply));
        rdc_reply_free(rdc_cmd(client, "LREM", RUNNING, "1", rdc_reply_str(reply)));
    } else if (error != RDC_OK && error != RDC_ERR_INTERRUPTED) {
        /* The library has tried until its timeout: the servers are in trouble.  Go on, and do not flood the log. */
        fprintf(stderr, "%s\n", rdc_reply_str(reply));
        nanosleep(&(struct timespec){1, 0}, NULL);
    }
    rdc_reply_free(reply);
    return is_job;
}

int main(int argc, char **argv) {
    struct sigaction action = {0};
    pthread_t thread;
    char *url = argc > 1 ? argv[1] : getenv("RDC_URL");
    int jobs = 0;

    client = rdc_create(url);
    action.sa_handler = on_signal;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    take_back();
    if (pthread_create(&thread, NULL, rest_of_the_world, url) != 0)
        return 1;
    while (!is_ending)
        jobs += work();
    pthread_join(thread, NULL);
    take_back();
    rdc_close(client);
    printf("ended after %d jobs\n", jobs);
    return jobs != 3;
}
