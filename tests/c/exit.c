/* Processes that end in the middle of calls, in every way there is: with the status that was meant, at once, and without a
 * crash behind the last line.  RDC_URL names a cluster. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 16, ROUNDS = 10, STATUS = 42 };

static rdc_client *client;
static long calls;
static int is_last_read_right;

static void *busy(void *arg) {
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

/* Runs while the other threads are in calls; registered before and after the first use of the library. */
static void one_more_read(void) {
    rdc_reply *r = rdc_get(client, "exit:1", RDC_NTS);
    if (rdc_reply_error(r) != RDC_OK)
        _exit(1);
    rdc_reply_free(r);
    is_last_read_right++;
}

static void close_last(void) {
    rdc_close(client);
    if (is_last_read_right != 1)
        _exit(2);
}

/* Behind everything that atexit knows. */
__attribute__((destructor)) static void the_very_last(void) {
    rdc_reply_free(rdc_get(client, "exit:1", RDC_NTS));
    rdc_close(client);
}

static void start(void) {
    pthread_t thread;
    client = rdc_create(getenv("RDC_URL"));
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, busy, (void *)i))
            _exit(3);
    while (__atomic_load_n(&calls, __ATOMIC_RELAXED) < THREADS)
        rdc_reply_free(rdc_get(client, "exit:1", RDC_NTS));
}

static void *exit_from_here(void *arg) {
    rdc_reply_free(rdc_get(client, "exit:1", RDC_NTS));
    exit((int)(size_t)arg);
}

static void by_exit(void) {
    atexit(close_last);
    start();
    atexit(one_more_read);
    exit(STATUS);
}

static void by_exit_from_a_thread(void) {
    pthread_t thread;
    start();
    pthread_create(&thread, NULL, exit_from_here, (void *)(size_t)STATUS);
    pthread_join(thread, NULL);
}

static void with_the_handle_closed(void) {
    start();
    rdc_close(client);
    exit(STATUS);
}

static void *exit_later(void *arg) {
    for (int i = 0; i < 20; i++)
        rdc_reply_free(rdc_get(client, "exit:1", RDC_NTS));
    exit((int)(size_t)arg);
}

/* The first thread ends; the process goes on. */
static void by_the_end_of_main(void) {
    pthread_t thread;
    start();
    pthread_create(&thread, NULL, exit_later, (void *)(size_t)STATUS);
    pthread_exit(NULL);
}

static void at_once(void) {
    start();
    _exit(STATUS);
}

static int ends_well(void (*body)(void)) {
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
    } ways[] = {{"exit() while threads are in calls, and reads on the way out", by_exit},
                {"exit() on another thread", by_exit_from_a_thread},
                {"exit() just after the handle was closed", with_the_handle_closed},
                {"main() ends before its threads", by_the_end_of_main},
                {"_exit()", at_once}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int well = 0;
        for (int round = 0; round < ROUNDS; round++)
            well += ends_well(ways[i].body);
        if (!check(well == ROUNDS, ways[i].name))
            printf("   # %d of %d\n", well, ROUNDS);
    }
    return check_done();
}
