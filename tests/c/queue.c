/* The contract of the queue: its descriptor is readable if and only if rdc_queue_run() or rdc_queue_next() has
 * something to do, in every state that one thread can bring about.  Every function checks its arguments.
 *
 * RDC_URL is the URL of a cluster with at least two primaries. */
#define _XOPEN_SOURCE 700
#include "queue.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HUGE_LEN ((size_t)-1 / 2 + 1) /* half of the address space: no object can be that large */
#define LEN(array) (sizeof(array) / sizeof *(array))

static const char *url;

/* ---- Arguments --------------------------------------------------------------------------------- */

static void null_arguments(void) {
    uint64_t tag = 5;
    check(rdc_queue_fd(NULL) == -1, "NULL has no descriptor");
    check(rdc_queue_run(NULL, 0) == 0 && rdc_queue_run(NULL, -1) == 0, "running NULL returns at once");
    check(rdc_queue_next(NULL, &tag) == NULL && tag == 5 && rdc_queue_next(NULL, NULL) == NULL, "NULL has no replies");
    check(rdc_queue_len(NULL) == 0, "NULL has no commands");
    submit(NULL, 1, "PING", NULL, NULL);
    rdc_queue_resp(NULL, 1, "*1\r\n$4\r\nPING\r\n", 14);
    rdc_queue_command_to(NULL, 1, "random", 1, (const char *[]){"PING"}, NULL);
    rdc_queue_cancel(NULL, 1);
    rdc_queue_wake(NULL);
    rdc_queue_free(NULL);
    rdc_client *c = rdc_create(url);
    rdc_pipeline *p = rdc_pipeline_new(c);
    rdc_pipeline_get(p, "queue:a", RDC_NTS);
    rdc_queue_pipeline(NULL, 1, p);
    rdc_queue_pipeline_atomic(NULL, 1, p);
    check(rdc_pipeline_len(p) == 1, "a NULL queue takes no commands of a pipeline");
    rdc_pipeline_free(p);
    rdc_close(c);
}

static void check_refused(rdc_queue *q, const char *name) {
    uint64_t tag = 0;
    check(readable(q), "a refused command makes the descriptor readable");
    check_unsent(wait_next(q, &tag), RDC_ERR_INVALID, name);
    check(tag == 9, "a refused command keeps its tag");
}

static void bad_arguments(const rdc_client *c) {
    static const char *const bad[] = {
        "", "*", "PING\r\n", "*0\r\n", "*-1\r\n", "*1\r\n:1\r\n", "*1\r\n$4\r\nPIN",
        "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n"};
    const char *argv[] = {"SET", "queue:a", NULL};
    const size_t lens[] = {3, HUGE_LEN, 1};
    rdc_queue *q = rdc_queue_new(c);
    rdc_queue_command(q, 9, 0, argv, NULL);
    check_refused(q, "a command of no arguments");
    rdc_queue_command(q, 9, 2, NULL, NULL);
    check_refused(q, "two arguments at NULL");
    rdc_queue_command(q, 9, 3, argv, NULL);
    check_refused(q, "a NULL argument");
    rdc_queue_command(q, 9, 2, argv, lens);
    check_refused(q, "an argument of impossible length");
    rdc_queue_command(q, 9, HUGE_LEN, argv, NULL);
    check_refused(q, "an impossible number of arguments");
    rdc_queue_command_to(q, 9, NULL, 1, (const char *[]){"PING"}, NULL);
    check_refused(q, "a command to a NULL target");
    rdc_queue_command_to(q, 9, "nowhere", 1, (const char *[]){"PING"}, NULL);
    check_refused(q, "a command to an unknown target");
    rdc_queue_command_to(q, 9, "random", 0, NULL, NULL);
    check_refused(q, "a command to a target of no arguments");
    rdc_queue_resp(q, 9, NULL, 4);
    check_refused(q, "a NULL buffer");
    rdc_queue_resp(q, 9, "*1\r\n$4\r\nPING\r\n", HUGE_LEN);
    check_refused(q, "a buffer of impossible length");
    for (size_t i = 0; i < LEN(bad); i++) {
        rdc_queue_resp(q, 9, bad[i], RDC_NTS);
        check_refused(q, "a buffer that is not one command");
    }
    rdc_queue_pipeline(q, 9, NULL);
    check_refused(q, "a NULL pipeline");
    rdc_queue_pipeline_atomic(q, 9, NULL);
    check_refused(q, "a NULL pipeline as a transaction");
    submit(q, 1, "RENAME", "queue:a", "queue:b");
    check_unsent(expect(q, 1, "an error has its tag"), RDC_ERR_CROSSSLOT, "keys in two slots");
    check(rdc_queue_run(q, -7) == 0, "a negative timeout of an empty queue returns at once");
    check_quiet(q, "after refused commands, the queue is empty");
    rdc_queue_free(q);
}

/* Without a usable client, each command completes with the reason. */
static void no_client(const rdc_client *c) {
    rdc_queue *q = rdc_queue_new(NULL);
    check(q && rdc_queue_fd(q) >= 0, "a queue of a NULL client has a descriptor");
    check_quiet(q, "a queue of a NULL client has nothing to do");
    submit(q, 9, "PING", NULL, NULL);
    check(rdc_queue_len(q) == 1, "a queue of a NULL client counts its commands");
    check_refused(q, "a command of a NULL client");
    rdc_queue_free(q);

    rdc_client *invalid = rdc_create("redis://127.0.0.1:7000?nonsense=1");
    q = rdc_queue_new(invalid);
    submit(q, 9, "GET", "k", NULL);
    rdc_reply *reply = wait_next(q, NULL);
    check(same(rdc_reply_str(reply), rdc_client_error(invalid)), "the reply contains the error of the client");
    check_unsent(reply, RDC_ERR_INVALID, "a command of an invalid client");
    rdc_queue_free(q);
    rdc_close(invalid);

    rdc_client *readonly = rdc_readonly(c);
    q = rdc_queue_new(readonly);
    submit(q, 9, "SET", "queue:a", "v");
    check_unsent(wait_next(q, NULL), RDC_ERR_READONLY, "a write in the queue of a read-only handle");
    rdc_queue_free(q);
    rdc_close(readonly);
}

/* ---- States and the descriptor ----------------------------------------------------------------- */

static void states(const rdc_client *c) {
    rdc_queue *q = rdc_queue_new(c);
    int fd = rdc_queue_fd(q);
    check(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC), "the descriptor is closed by exec");
    check(rdc_queue_len(q) == 0, "a new queue is empty");
    check_quiet(q, "new: not readable");
    check(rdc_queue_run(q, -1) == 0, "run without a limit returns at once for an empty queue");

    rdc_reply_free(rdc_del(c, "queue:state", RDC_NTS));
    submit(q, 1, "SET", "queue:state", "v");
    check(readable(q) && rdc_queue_len(q) == 1, "submitted: readable");
    check(rdc_queue_next(q, NULL) == NULL, "nothing is complete before the first run");
    rdc_reply *reply = rdc_get(c, "queue:state", RDC_NTS);
    check(rdc_reply_type(reply) == RDC_NIL, "submitting sends nothing");
    rdc_reply_free(reply);

    while (rdc_queue_run(q, 0) == 0 && readable_within(q, LIMIT_MS))
        ;
    check(readable(q), "complete and not taken: readable");
    check(rdc_queue_run(q, 0) == 1 && rdc_queue_run(q, -1) == 1, "run returns the number of complete replies");
    check(readable(q), "run takes no reply: still readable");
    check(rdc_queue_len(q) == 1, "a complete reply counts until it is taken");
    rdc_reply_free(expect(q, 1, "the reply has its tag"));
    check_quiet(q, "taken: not readable");
    check(rdc_queue_len(q) == 0, "the queue is empty again");

    for (uint64_t tag = 1; tag <= 3; tag++)
        submit(q, tag, "GET", "queue:state", NULL);
    while (rdc_queue_run(q, 0) < 3 && readable_within(q, LIMIT_MS))
        ;
    for (int left = 3; left > 0; left--) {
        check(readable(q) && rdc_queue_run(q, 0) == left, "readable until the last of three replies is taken");
        rdc_reply_free(rdc_queue_next(q, NULL));
    }
    check_quiet(q, "all three taken: not readable");
    check(rdc_queue_fd(q) == fd, "the descriptor never changes");
    rdc_queue_free(q);
}

/* A command that the server answers later: the descriptor is quiet until then. */
static void waiting(const rdc_client *c) {
    rdc_queue *q = rdc_queue_new(c);
    rdc_reply_free(rdc_cmd(c, "DEL", "queue:list", "queue:other"));
    submit(q, 1, "BLPOP", "queue:list", "0");
    int runs = settle(q);
    check(runs > 0 && runs < 100, "a blocked command is sent within a few runs");
    check_quiet(q, "sent, no reply yet: not readable");
    double began = now_ms();
    check(rdc_queue_run(q, 100) == 0 && now_ms() - began >= 99, "run waits for its time limit");
    for (uint64_t tag = 100; tag < 200; tag++)
        submit(q, tag, "GET", "queue:other", NULL);
    int own = 1;
    for (uint64_t tag = 100; tag < 200; tag++) {
        uint64_t found = 0;
        rdc_reply *reply = wait_next(q, &found);
        own = own && reply && rdc_reply_type(reply) == RDC_NIL && found == tag;
        rdc_reply_free(reply);
    }
    check(own && rdc_queue_len(q) == 1, "a blocked command delays no other command");
    check_quiet(q, "only the blocked command is left: not readable");
    rdc_reply_free(rdc_cmd(c, "RPUSH", "queue:list", "element"));
    check(readable_within(q, LIMIT_MS), "its reply makes the descriptor readable");
    rdc_reply *reply = expect(q, 1, "the blocked command completes");
    check(rdc_reply_len(reply) == 2 && is_text(rdc_reply_at(reply, 1), "element", 7), "with the pushed element");
    rdc_reply_free(reply);

    submit(q, 2, "BLPOP", "queue:list", "0");
    submit(q, 3, "RPUSH", "queue:list", "own");
    int popped = 0, pushed = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t tag = 0;
        reply = wait_next(q, &tag);
        popped += tag == 2 && rdc_reply_len(reply) == 2 && is_text(rdc_reply_at(reply, 1), "own", 3);
        pushed += tag == 3 && rdc_reply_error(reply) == RDC_OK;
        rdc_reply_free(reply);
    }
    check(popped == 1 && pushed == 1, "a push in the queue completes a pop in the same queue");
    submit(q, 4, "GET", "queue:other", NULL);
    check(rdc_queue_run(q, -1) == 1, "run without a limit waits for a reply");
    rdc_reply_free(expect(q, 4, "and next returns it"));
    rdc_queue_free(q);
}

static rdc_queue *woken;

static void wake_from_handler(int signal) {
    (void)signal;
    rdc_queue_wake(woken);
}

static void *wake_from_thread(void *queue) {
    const struct timespec pause = {0, 50 * 1000 * 1000};
    nanosleep(&pause, NULL);
    rdc_queue_wake(queue);
    return NULL;
}

static void wake(const rdc_client *c) {
    rdc_queue *q = rdc_queue_new(c);
    pthread_t thread;
    submit(q, 1, "BLPOP", "queue:none", "0");
    settle(q);
    rdc_queue_wake(q);
    rdc_queue_wake(q);
    check(readable(q) && readable(q), "wake: readable");
    double began = now_ms();
    check(rdc_queue_run(q, -1) == 0 && now_ms() - began < LIMIT_MS, "run without a limit returns after a wake");
    settle(q);
    check_quiet(q, "the run consumes all wakes: not readable");
    check(pthread_create(&thread, NULL, wake_from_thread, q) == 0, "a thread starts");
    check(rdc_queue_run(q, -1) == 0, "another thread wakes run");
    pthread_join(thread, NULL);
    settle(q);
    check_quiet(q, "not readable after the wake of a thread");
    check(pthread_create(&thread, NULL, wake_from_thread, q) == 0, "a second thread starts");
    check(readable_within(q, LIMIT_MS), "another thread makes the descriptor readable");
    pthread_join(thread, NULL);
    settle(q);
    woken = q;
    struct sigaction action = {.sa_handler = wake_from_handler};
    sigaction(SIGALRM, &action, NULL);
    alarm(1);
    check(rdc_queue_run(q, -1) == 0 && rdc_queue_len(q) == 1, "a signal handler wakes run");
    settle(q);
    check_quiet(q, "not readable after the wake of a handler");
    rdc_queue_free(q);
    q = rdc_queue_new(c);
    rdc_queue_wake(q);
    check(readable(q) && rdc_queue_run(q, -1) == 0, "wake of an empty queue: readable until it runs");
    check_quiet(q, "an empty queue after a wake");
    rdc_queue_free(q);
}

static void cancel(const rdc_client *c) {
    rdc_queue *q = rdc_queue_new(c);
    submit(q, 1, "SET", "queue:cancelled", "v");
    rdc_queue_cancel(q, 1);
    check(readable(q), "a cancelled command is complete at once");
    uint64_t tag = 0;
    rdc_reply *reply = rdc_queue_next(q, &tag); /* without a run */
    check(tag == 1, "the reply of a cancelled command has its tag");
    check_unsent(reply, RDC_ERR_INTERRUPTED, "cancelled before the first run: not sent");
    settle(q);
    check_quiet(q, "cancelled and taken: not readable");

    submit(q, 2, "BLPOP", "queue:none", "0");
    settle(q);
    rdc_queue_cancel(q, 99);
    check_quiet(q, "cancelling an unknown tag does nothing");
    rdc_queue_cancel(q, 2);
    check(readable(q), "cancelled in flight: readable at once");
    reply = rdc_queue_next(q, &tag);
    check(tag == 2 && rdc_reply_sent(reply) == 1, "cancelled in flight: it may have run");
    check_error(reply, RDC_ERR_INTERRUPTED, "cancelled in flight");
    settle(q);
    check_quiet(q, "not readable after the cancelled command");
    rdc_queue_cancel(q, 2);
    check_quiet(q, "cancelling again does nothing");

    submit(q, 3, "PING", NULL, NULL);
    while (rdc_queue_run(q, -1) < 1)
        ;
    rdc_queue_cancel(q, 3);
    reply = expect(q, 3, "a complete reply survives a late cancel");
    check(rdc_reply_error(reply) == RDC_OK, "a late cancel does not change the reply");
    rdc_reply_free(reply);

    rdc_queue_free(q);
}

static void interrupted(const rdc_client *c) {
    rdc_client *derived = rdc_with(c, "timeout_ms", "4000");
    rdc_queue *q = rdc_queue_new(derived);
    submit(q, 1, "BLPOP", "queue:none", "0");
    settle(q);
    rdc_interrupt(derived);
    check(readable(q), "rdc_interrupt makes the descriptor readable");
    rdc_reply *reply = expect(q, 1, "the interrupted command completes");
    check(rdc_reply_sent(reply) == 1, "it may have run");
    check_error(reply, RDC_ERR_INTERRUPTED, "rdc_interrupt ends the commands of a queue");
    settle(q);
    check_quiet(q, "interrupted and taken: not readable");
    rdc_interrupt(derived); /* nothing is in flight */
    submit(q, 2, "PING", NULL, NULL);
    reply = expect(q, 2, "a command completes that was submitted after rdc_interrupt");
    check(rdc_reply_error(reply) == RDC_OK, "it is not interrupted");
    rdc_reply_free(reply);
    rdc_queue_free(q);
    rdc_close(derived);
}

/* A server that accepts connections and never answers. */
static int silent_server(char *address, size_t size) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&at, len) || listen(fd, 16) || getsockname(fd, (struct sockaddr *)&at, &len))
        return -1;
    snprintf(address, size, "redis://127.0.0.1:%d?lazy=yes&timeout_ms=400&connect_timeout_ms=400", ntohs(at.sin_port));
    return fd;
}

static void deadlines(void) {
    char address[128];
    int server = silent_server(address, sizeof address), wakes = 0;
    check(server >= 0, "a silent server listens");
    rdc_client *c = rdc_create(address);
    rdc_queue *q = rdc_queue_new(c);
    double began = now_ms();
    submit(q, 1, "GET", "k", NULL);
    rdc_queue_run(q, 0);
    check(now_ms() - began < 200, "a queue connects without waiting");
    rdc_reply *reply = NULL;
    while (!(reply = rdc_queue_next(q, NULL)) && readable_within(q, LIMIT_MS) && wakes < 1000) {
        rdc_queue_run(q, 0);
        wakes++;
    }
    double took = now_ms() - began;
    rdc_reply *blocking = rdc_get(c, "k", 1);
    if (!check(took >= 395 && took < 2000, "the deadline makes the descriptor readable"))
        printf("   # after %.0f ms\n", took);
    if (!check(wakes < 50, "a queue that waits for its deadline is quiet"))
        printf("   # readable %d times\n", wakes);
    check(rdc_reply_error(blocking) != RDC_OK && rdc_reply_error(reply) == rdc_reply_error(blocking) &&
              rdc_reply_sent(reply) == rdc_reply_sent(blocking),
          "with the same error as a blocking call");
    printf("   # %s\n   # %s\n", rdc_reply_str(reply), rdc_reply_str(blocking));
    rdc_reply_free(reply);
    rdc_reply_free(blocking);
    submit(q, 2, "GET", "k", NULL);
    rdc_queue_run(q, 0);
    rdc_queue_free(q); /* while it connects */
    rdc_close(c);
    close(server);
}

static void closed_client(void) {
    rdc_client *c = rdc_create(url), *derived = rdc_with(c, "timeout_ms", "4000");
    rdc_queue *q = rdc_queue_new(c), *other = rdc_queue_new(derived);
    submit(q, 1, "BLPOP", "queue:none", "0");
    settle(q);
    submit(q, 2, "GET", "queue:none", NULL);
    rdc_close(c);
    check(readable(q), "closing the client makes the descriptor readable");
    int closed = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t tag = 0;
        rdc_reply *reply = wait_next(q, &tag);
        closed += rdc_reply_error(reply) == RDC_ERR_CLOSED && rdc_reply_sent(reply) == (tag == 1);
        rdc_reply_free(reply);
    }
    check(closed == 2, "commands of a closed client complete with CLOSED");
    submit(q, 3, "PING", NULL, NULL);
    check_unsent(expect(q, 3, "a queue outlives its client"), RDC_ERR_CLOSED, "submitted after the client was closed");
    check_quiet(q, "after the client was closed: not readable");
    submit(other, 4, "PING", NULL, NULL);
    rdc_reply *reply = expect(other, 4, "the queue of a derived handle works on");
    check(rdc_reply_error(reply) == RDC_OK, "when the client it was derived from was closed");
    rdc_reply_free(reply);
    rdc_queue *late = rdc_queue_new(c);
    submit(late, 5, "PING", NULL, NULL);
    check_unsent(expect(late, 5, "a queue of a closed client"), RDC_ERR_CLOSED, "a command of a closed client");
    rdc_queue_free(late);
    rdc_close(derived);
    rdc_queue_free(q);
    rdc_queue_free(other);
}

static void forked(const rdc_client *c) {
    rdc_queue *q = rdc_queue_new(c);
    fill(c, "queue:fork", 100);
    submit(q, 100, "BLPOP", "queue:none", "0");
    settle(q);
    for (int i = 0; i < 100; i++)
        submit_get(q, (uint64_t)i, "queue:fork", i);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int errors = 0;
        uint64_t tag;
        rdc_reply *reply;
        rdc_queue_run(q, 0);
        while ((reply = rdc_queue_next(q, &tag)))
            errors += rdc_reply_free(reply) != RDC_OK;
        int works = rdc_reply_free(rdc_get(c, "queue:fork:1", RDC_NTS)) == RDC_OK;
        rdc_queue *own = rdc_queue_new(c);
        submit_get(own, 5, "queue:fork", 5);
        reply = wait_next(own, &tag);
        works = works && tag == 5 && is_own(reply, "queue:fork", 5);
        rdc_reply_free(reply);
        rdc_queue_free(own);
        rdc_queue_free(q);
        _exit(errors == 101 && works ? 0 : 1);
    }
    int status = 1, own = 0;
    waitpid(child, &status, 0);
    check(status == 0, "in a forked child, the parent's commands complete with an error, and a new queue works");
    for (int i = 0; i < 100; i++) {
        uint64_t tag = 100;
        rdc_reply *reply = wait_next(q, &tag);
        own += is_own(reply, "queue:fork", (int)tag);
        rdc_reply_free(reply);
    }
    check(own == 100 && rdc_queue_len(q) == 1, "the child does not disturb the parent's queue");
    settle(q);
    check_quiet(q, "the parent's descriptor is quiet");
    rdc_reply_free(rdc_cmd(c, "RPUSH", "queue:none", "x"));
    rdc_reply *popped = expect(q, 100, "the parent's blocked command completes");
    check(rdc_reply_len(popped) == 2, "with its element");
    rdc_reply_free(popped);
    rdc_queue_free(q);
}

int main(void) {
    url = getenv("RDC_URL");
    if (!url) {
        fprintf(stderr, "RDC_URL must be the URL of a cluster\n");
        return 2;
    }
    null_arguments();
    rdc_client *client = rdc_create(url);
    check(rdc_client_error(client) == NULL, "create");
    rdc_reply_free(rdc_del(client, "queue:none", RDC_NTS));
    bad_arguments(client);
    no_client(client);
    states(client);
    waiting(client);
    wake(client);
    cancel(client);
    interrupted(client);
    deadlines();
    closed_client();
    forked(client);
    rdc_close(client);
    return check_done();
}
