/* A forked child cannot use a queue of its parent: its commands end with an error there, nothing is sent on the parent's
 * sockets, and the parent's descriptor is not disturbed.  A new queue works in the child.  RDC_URL is the URL of a
 * cluster. */
#define _XOPEN_SOURCE 700
#include "check.h"
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEYS = 40, BLOCKING = KEYS, UNSENT, COMMANDS };

static rdc_client *client;

static int readable(const rdc_queue *queue, int ms) {
    struct pollfd fd = {rdc_queue_fd(queue), POLLIN, 0};
    return poll(&fd, 1, ms) == 1;
}

static void submit(rdc_queue *queue, int tag, const char *name, const char *value) {
    char key[32];
    snprintf(key, sizeof key, "fork:%d", tag);
    rdc_queue_command(queue, (uint64_t)tag, value ? 3 : 2, (const char *[]){name, key, value}, NULL);
}

/* Runs the queue as a loop does until it is empty.  Returns how many of its replies are that of their own command. */
static int drain(rdc_queue *queue) {
    int correct = 0;
    char value[32];
    while (rdc_queue_len(queue) > 0 && readable(queue, 5000)) {
        uint64_t tag;
        rdc_reply *r;
        rdc_queue_run(queue, 0);
        while ((r = rdc_queue_next(queue, &tag)) != NULL) {
            snprintf(value, sizeof value, "v%d", (int)tag);
            correct += tag == BLOCKING ? rdc_reply_type(r) == RDC_NIL
                       : tag == UNSENT ? same(rdc_reply_str(r), "OK")
                                       : is_text(r, value, strlen(value));
            rdc_reply_free(r);
        }
    }
    return correct;
}

/* Commands in each state: complete and not taken, under way, and submitted only. */
static rdc_queue *busy_queue(void) {
    rdc_queue *queue = rdc_queue_new(client);
    submit(queue, 0, "GET", NULL);
    rdc_queue_run(queue, 5000);
    for (int tag = 1; tag < KEYS; tag++)
        submit(queue, tag, "GET", NULL);
    submit(queue, BLOCKING, "BLPOP", "0.5");
    rdc_queue_run(queue, 0);
    submit(queue, UNSENT, "SET", "unsent");
    return queue;
}

/* What a child does with the queue of its parent.  Returns whether each command ended with an error, once. */
static int abandon(rdc_queue *queue, int how) {
    int seen[COMMANDS] = {0}, correct = 1, count = 0;
    uint64_t tag;
    rdc_reply *r;
    if (how == 0) {
        rdc_queue_free(queue); /* without a look at it */
        return 1;
    }
    rdc_queue_wake(queue);
    if (how == 1)
        rdc_queue_cancel(queue, BLOCKING);
    else
        rdc_queue_run(queue, how == 2 ? 0 : -1);
    while ((r = rdc_queue_next(queue, &tag)) != NULL) {
        char value[32];
        snprintf(value, sizeof value, "v%d", (int)tag);
        /* Its reply may have arrived before the fork. */
        int is_complete = tag < KEYS && is_text(r, value, strlen(value));
        correct &= tag < COMMANDS && !seen[tag]++;
        correct &= tag != 0 && !is_complete ? rdc_reply_error(r) == RDC_ERR_INTERRUPTED : is_complete;
        if (tag == UNSENT)
            correct &= !rdc_reply_sent(r);
        count++;
        rdc_reply_free(r);
    }
    correct &= count == COMMANDS && rdc_queue_len(queue) == 0;
    submit(queue, 7, "SET", "by the child");
    rdc_queue_run(queue, 0);
    r = rdc_queue_next(queue, &tag);
    correct &= tag == 7 && rdc_reply_error(r) == RDC_ERR_INTERRUPTED && !rdc_reply_sent(r);
    rdc_reply_free(r);
    rdc_queue_free(queue);
    return correct;
}

/* A queue of the child itself. */
static int works(void) {
    rdc_queue *queue = rdc_queue_new(client);
    for (int tag = 0; tag < KEYS; tag++)
        submit(queue, tag, "GET", NULL);
    int correct = drain(queue) == KEYS && !readable(queue, 0);
    rdc_queue_free(queue);
    return correct;
}

static void fork_with_busy_queue(int how) {
    char name[80];
    rdc_queue *queue = busy_queue();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int abandoned = abandon(queue, how), worked = works();
        rdc_close(client);
        _exit(abandoned ? worked ? 0 : 2 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    snprintf(name, sizeof name, "child %d: each command of its parent's queue ends once, with an error", how);
    check(code != 1 && code != -1, name);
    snprintf(name, sizeof name, "child %d: a new queue works", how);
    check(code == 0, name);
    snprintf(name, sizeof name, "child %d: the parent gets all its replies", how);
    check(drain(queue) == COMMANDS, name);
    snprintf(name, sizeof name, "child %d: the parent's descriptor is readable only when there is something to do", how);
    int idle = !readable(queue, 20);
    submit(queue, UNSENT, "SET", "later");
    check(idle && readable(queue, 0) && drain(queue) == 1 && !readable(queue, 20), name);
    rdc_queue_free(queue);
}

int main(void) {
    client = rdc_create(getenv("RDC_URL"));
    for (int tag = 0; tag < KEYS; tag++) {
        char key[32], value[32];
        snprintf(key, sizeof key, "fork:%d", tag);
        snprintf(value, sizeof value, "v%d", tag);
        rdc_reply_free(rdc_set(client, key, RDC_NTS, value, RDC_NTS));
    }
    for (int how = 0; how < 4; how++)
        fork_with_busy_queue(how);
    rdc_reply *r = rdc_get(client, "fork:7", RDC_NTS);
    check(is_text(r, "v7", 2), "nothing of a child's submission to its parent's queue was executed");
    rdc_reply_free(r);
    rdc_close(client);
    return check_done();
}
