/* A forked child waits for no lock that another thread of its parent held at the fork: neither when it frees a reply of
 * its parent, nor when it makes its first call while another of its threads does, nor when the fork came during the
 * first use of the library.  RDC_URL is the URL of a cluster. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIRST_USES = 500, CHILDREN = 500, THREADS = 6, REPLIES = 8, SIZE = 100000 };

static rdc_client *client;
static volatile int stop;

static int is_fine(rdc_reply *r) {
    return rdc_reply_free(r) == RDC_OK;
}

static int exits_with_zero(pid_t child) {
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The buffers of large replies are kept for reuse, under a lock. */
static void *read_large(void *arg) {
    rdc_reply *kept[REPLIES] = {NULL};
    while (!stop)
        for (int i = 0; i < REPLIES; i++) {
            rdc_reply_free(kept[i]);
            kept[i] = rdc_get(client, "fork:large", RDC_NTS);
        }
    for (int i = 0; i < REPLIES; i++)
        rdc_reply_free(kept[i]);
    return arg;
}

static void *first_call(void *fine) {
    *(int *)fine = is_fine(rdc_get(client, "fork:large", RDC_NTS));
    return NULL;
}

/* Two threads make the first call of the child, while a third one forks. */
static int run_child(rdc_reply *inherited) {
    int fine[2] = {0, 0};
    pthread_t threads[2];
    alarm(20); /* ends a child that waits for ever */
    rdc_reply_free(inherited);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, first_call, &fine[i]);
    pid_t grandchild = fork();
    if (grandchild == 0) {
        alarm(20);
        _exit(!is_fine(rdc_set(client, "fork:grandchild", RDC_NTS, "v", 1)));
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return exits_with_zero(grandchild) && fine[0] && fine[1];
}

static void *first_use(void *arg) {
    rdc_key_slot("k", 1);
    rdc_close(rdc_create("redis://127.0.0.1:1?timeout_ms=5"));
    return arg;
}

/* Before this process has used the library: one thread uses it for the first time, and another one forks. */
static int fork_during_first_use(int delay) {
    pthread_t thread;
    alarm(20);
    pthread_create(&thread, NULL, first_use, NULL);
    for (volatile int i = 0; i < delay; i++) {
    }
    pid_t grandchild = fork();
    if (grandchild == 0) {
        alarm(20);
        first_use(NULL);
        _exit(0);
    }
    pthread_join(thread, NULL);
    return exits_with_zero(grandchild);
}

static void test_first_use(void) {
    int failed_children = 0;
    for (int i = 0; i < FIRST_USES && failed_children < 3; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(!fork_during_first_use(i * 100));
        failed_children += !exits_with_zero(child);
    }
    printf("   # %d of %d children\n", failed_children, FIRST_USES);
    check(failed_children == 0, "a child can use the library, whenever it was forked");
}

int main(void) {
    static char large[SIZE];
    memset(large, 'x', sizeof large);
    test_first_use();
    client = rdc_create(getenv("RDC_URL"));
    check(is_fine(rdc_set(client, "fork:large", RDC_NTS, large, sizeof large)), "connected");
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, read_large, NULL);
    int failed_children = 0;
    for (int i = 0; i < CHILDREN && failed_children < 3; i++) {
        rdc_reply *reply = rdc_get(client, "fork:large", RDC_NTS);
        pid_t child = fork();
        if (child == 0)
            _exit(!run_child(reply));
        rdc_reply_free(reply);
        failed_children += !exits_with_zero(child);
    }
    stop = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("   # %d of %d children\n", failed_children, CHILDREN);
    check(failed_children == 0, "every child and grandchild makes its calls");
    rdc_close(client);
    return check_done();
}
