/* Processes end during calls in each possible way.  Each ends with the intended status, without a delay, and without a
 * crash in an exit handler or destructor.  RDC_URL is the URL of a cluster. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 16, ROUNDS = 10, STATUS = 42 };

static rdc_client *client;
static long calls;
static int exit_reads;

static void *call_forever(void *arg) {
    char key[32];
    rdc_pipeline *p = rdc_pipeline_new(client);
    snprintf(key, sizeof key, "exit:%ld", (long)(size_t)arg);
    for (;;) {
        rdc_reply_free(rdc_set(client, key, RDC_NTS, "v", 1));
        rdc_reply_free(rdc_get(client, key, RDC_NTS));
        rdc_pipeline_get(p, key, RDC_NTS);
        rdc_reply_free(rdc_pipeline_execute(p));
        rdc_reply_free(rdc_cmd(client, "BLPOP", "exit:nothing", "0.01"));
        __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    }
    return arg;
}

/* An exit handler, registered after the first use of the library.  The other threads are in calls when it runs. */
static void read_at_exit(void) {
    rdc_reply *r = rdc_get(client, "exit:1", RDC_NTS);
    if (rdc_reply_error(r) != RDC_OK)
        _exit(1);
    rdc_reply_free(r);
    exit_reads++;
}

static void close_at_exit(void) {
    rdc_close(client);
    if (exit_reads != 1)
        _exit(2);
}

/* Runs after all handlers that atexit registered. */
__attribute__((destructor)) static void use_in_destructor(void) {
    rdc_reply_free(rdc_get(client, "exit:1", RDC_NTS));
    rdc_close(client);
}

static void start(void) {
    pthread_t thread;
    client = rdc_create(getenv("RDC_URL"));
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, call_forever, (void *)i))
            _exit(3);
    while (__atomic_load_n(&calls, __ATOMIC_RELAXED) < THREADS)
        rdc_reply_free(rdc_get(client, "exit:1", RDC_NTS));
}

static void *exit_from_thread(void *arg) {
    rdc_reply_free(rdc_get(client, "exit:1", RDC_NTS));
    exit((int)(size_t)arg);
}

static void exit_during_calls(void) {
    atexit(close_at_exit);
    start();
    atexit(read_at_exit);
    exit(STATUS);
}

static void exit_on_another_thread(void) {
    pthread_t thread;
    start();
    pthread_create(&thread, NULL, exit_from_thread, (void *)(size_t)STATUS);
    pthread_join(thread, NULL);
}

static void exit_after_close(void) {
    start();
    rdc_close(client);
    exit(STATUS);
}

static void *exit_after_reads(void *arg) {
    for (int i = 0; i < 20; i++)
        rdc_reply_free(rdc_get(client, "exit:1", RDC_NTS));
    exit((int)(size_t)arg);
}

/* The main thread ends; the process continues. */
static void end_of_main(void) {
    pthread_t thread;
    start();
    pthread_create(&thread, NULL, exit_after_reads, (void *)(size_t)STATUS);
    pthread_exit(NULL);
}

static void exit_immediately(void) {
    start();
    _exit(STATUS);
}

static int exits_with_status(void (*body)(void)) {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        body();
        _exit(4);
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == STATUS;
}

int main(void) {
    static const struct {
        const char *name;
        void (*body)(void);
    } exits[] = {{"exit() while threads are in calls, with a read in an exit handler", exit_during_calls},
                 {"exit() on another thread", exit_on_another_thread},
                 {"exit() immediately after the handle was closed", exit_after_close},
                 {"the main thread ends before the other threads", end_of_main},
                 {"_exit()", exit_immediately}};
    for (size_t i = 0; i < sizeof exits / sizeof *exits; i++) {
        int successes = 0;
        for (int round = 0; round < ROUNDS; round++)
            successes += exits_with_status(exits[i].body);
        if (!check(successes == ROUNDS, exits[i].name))
            printf("   # %d of %d\n", successes, ROUNDS);
    }
    return check_done();
}
