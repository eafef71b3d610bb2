/* The contract of the subscriber: its descriptor is readable if and only if rdc_subscriber_next(0) has something to do;
 * what ends a call that waits; a forked child; arguments; messages that are kept.  With a number as its argument, threads
 * with a subscriber each receive so many messages while they are interrupted.
 *
 * RDC_URL is the URL of a cluster with at least two primaries. */
#define _XOPEN_SOURCE 700
#include "check.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_MS = 20000, THREADS = 4 };

static const char *url;

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int readable_within(const rdc_subscriber *s, int ms) {
    struct pollfd p = {rdc_subscriber_fd(s), POLLIN, 0};
    double end = now_ms() + ms;
    int n;
    while ((n = poll(&p, 1, ms)) < 0 && errno == EINTR)
        ms = end > now_ms() ? (int)(end - now_ms()) : 0;
    return n == 1 && p.revents == POLLIN;
}

static int readable(const rdc_subscriber *s) {
    return readable_within(s, 0);
}

static int32_t command(rdc_subscriber *s, const char *name, const char *channel) {
    return rdc_reply_free(rdc_subscriber_command(s, channel ? 2 : 1, (const char *[]){name, channel}, NULL));
}

static void publish(rdc_client *c, const char *channel, const char *message) {
    rdc_reply_free(rdc_cmd(c, "SPUBLISH", channel, message));
}

/* The next thing, as an event loop takes it: only when the descriptor is readable. */
static rdc_reply *wait_next(rdc_subscriber *s) {
    while (readable_within(s, LIMIT_MS)) {
        rdc_reply *reply = rdc_subscriber_next(s, 0);
        if (rdc_reply_type(reply) != RDC_NIL)
            return reply;
        rdc_reply_free(reply);
    }
    return NULL;
}

static int is_push(const rdc_reply *r, const char *type, const char *channel) {
    return rdc_reply_type(r) == RDC_PUSH && same(rdc_reply_str(rdc_reply_at(r, 0)), type) &&
           same(rdc_reply_str(rdc_reply_at(r, 1)), channel);
}

static void check_push(rdc_reply *r, const char *type, const char *channel, const char *name) {
    if (!check(is_push(r, type, channel), name))
        printf("   # type %d: %s\n", (int)rdc_reply_type(r), rdc_reply_str(r) ? rdc_reply_str(r) : "");
    rdc_reply_free(r);
}

/* Calls until there is nothing to do.  The descriptor must say so. */
static void check_settled(rdc_subscriber *s, const char *name) {
    int calls = 0;
    for (; calls < 1000 && readable_within(s, 50); calls++)
        rdc_reply_free(rdc_subscriber_next(s, 0));
    check(calls < 1000 && !readable(s), name);
}

static void arguments(rdc_client *c) {
    check_error(rdc_subscriber_command(NULL, 1, (const char *[]){"SUBSCRIBE"}, NULL), RDC_ERR_INVALID, "NULL takes no command");
    check_error(rdc_subscriber_next(NULL, -1), RDC_ERR_INVALID, "NULL has no message");
    check(rdc_subscriber_fd(NULL) == -1, "NULL has no descriptor");
    rdc_subscriber_wake(NULL);
    rdc_subscriber_free(NULL);
    rdc_subscriber *s = rdc_subscriber_new(NULL);
    check(s != NULL, "a subscriber of NULL is not NULL");
    check(command(s, "SUBSCRIBE", "a") == RDC_ERR_INVALID, "a subscriber of NULL returns an error");
    check_error(rdc_subscriber_next(s, -1), RDC_ERR_INVALID, "and does not wait");
    rdc_subscriber_free(s);
    s = rdc_subscriber_new(c);
    check(command(s, "GET", "a") == RDC_ERR_INVALID, "GET does not belong on a subscriber");
    check(command(s, "PUBLISH", "a") == RDC_ERR_INVALID, "PUBLISH does not belong on a subscriber");
    check(command(s, "SUBSCRIBE", NULL) == RDC_ERR_INVALID, "SUBSCRIBE needs a channel");
    check_error(rdc_subscriber_command(s, 0, NULL, NULL), RDC_ERR_INVALID, "a command has a name");
    check_error(rdc_subscriber_command(s, 2, NULL, NULL), RDC_ERR_INVALID, "a command has arguments");
    rdc_reply *r = rdc_subscriber_next(s, 0);
    check(rdc_reply_type(r) == RDC_NIL, "a refused command has no confirmation");
    rdc_reply_free(r);
    rdc_subscriber_free(s);
    rdc_client *readonly = rdc_readonly(c);
    check_error(rdc_cmd(readonly, "PUBLISH", "a", "m"), RDC_ERR_READONLY, "a read-only handle refuses PUBLISH");
    check_error(rdc_cmd(readonly, "SPUBLISH", "a", "m"), RDC_ERR_READONLY, "a read-only handle refuses SPUBLISH");
    s = rdc_subscriber_new(readonly);
    check(command(s, "SUBSCRIBE", "a") == RDC_OK, "a read-only handle subscribes");
    check_push(wait_next(s), "subscribe", "a", "and gets its confirmation");
    rdc_subscriber_free(s);
    rdc_close(readonly);
}

/* An error says in a number what it is about. */
static void marks(rdc_client *c) {
    rdc_subscriber *s = rdc_subscriber_new(c);
    check(command(s, "SUBSCRIBE", "a") == RDC_OK, "subscribe");
    check_push(wait_next(s), "subscribe", "a", "a subscription that will be lost");
    rdc_reply_free(rdc_command_to(c, "all", 4, (const char *[]){"CLIENT", "KILL", "TYPE", "pubsub"}, NULL));
    rdc_reply *r = wait_next(s);
    check(rdc_reply_type(r) == RDC_ERROR && rdc_reply_int(r) == 1, "the error of a lost connection has the number 1");
    rdc_reply_free(r);
    check_push(wait_next(s), "gap", "message", "and the gap follows");
    rdc_interrupt(c);
    r = rdc_subscriber_next(s, LIMIT_MS);
    check(rdc_reply_type(r) != RDC_ERROR || rdc_reply_int(r) == 0, "another error has none");
    rdc_reply_free(r);
    rdc_subscriber_free(s);
}

static void descriptor(rdc_client *c) {
    rdc_subscriber *s = rdc_subscriber_new(c);
    int fd = rdc_subscriber_fd(s);
    check(fd >= 0 && !readable(s), "an unused subscriber has nothing to do");
    check(command(s, "SSUBSCRIBE", "a") == RDC_OK, "a command is taken at once");
    check_push(wait_next(s), "ssubscribe", "a", "the confirmation makes the descriptor readable");
    check_settled(s, "nothing to do after the confirmation");
    check(command(s, "SSUBSCRIBE", "a") == RDC_OK && readable(s), "a second confirmation is there at once");
    check_push(wait_next(s), "ssubscribe", "a", "and is taken");
    check_settled(s, "nothing to do after it");
    for (int i = 0; i < 3; i++)
        publish(c, "a", "m");
    for (int i = 0; i < 3; i++)
        check_push(wait_next(s), "smessage", "a", "each message makes the descriptor readable");
    check_settled(s, "nothing to do after the messages");
    for (int i = 0; i < 3; i++)
        publish(c, "a", "m");
    for (int i = 0; i < 3; i++)
        rdc_reply_free(rdc_subscriber_next(s, LIMIT_MS));
    check_settled(s, "nothing to do after messages that a blocking call has taken");
    rdc_subscriber_wake(s);
    check(readable(s), "a wake makes the descriptor readable");
    rdc_reply *r = rdc_subscriber_next(s, 0);
    check(rdc_reply_type(r) == RDC_NIL && !readable(s), "until a call has returned nil");
    rdc_reply_free(r);
    publish(c, "a", "m");
    check(readable_within(s, LIMIT_MS), "a message is there");
    r = rdc_subscriber_next(s, 0);
    rdc_reply_free(r);
    publish(c, "a", "late");
    readable_within(s, LIMIT_MS);
    check(command(s, "SUNSUBSCRIBE", "a") == RDC_OK, "unsubscribes");
    check_push(wait_next(s), "sunsubscribe", "a", "no message comes after the channel is given up");
    check_settled(s, "nothing to do after that");
    check(rdc_subscriber_fd(s) == fd, "the descriptor is always the same");
    rdc_subscriber_free(s);
}

static void *wake_later(void *s) {
    poll(NULL, 0, 30);
    rdc_subscriber_wake(s);
    return NULL;
}

static void *interrupt_later(void *c) {
    poll(NULL, 0, 30);
    rdc_interrupt(c);
    return NULL;
}

static void *close_later(void *c) {
    poll(NULL, 0, 30);
    rdc_close(c);
    return NULL;
}

static rdc_subscriber *of_signal;

static void on_signal(int number) {
    (void)number;
    rdc_subscriber_wake(of_signal);
}

static void *signal_later(void *thread) {
    poll(NULL, 0, 30);
    pthread_kill(*(pthread_t *)thread, SIGUSR1);
    return NULL;
}

static void waiting(void) {
    rdc_client *c = rdc_create(url);
    rdc_subscriber *s = rdc_subscriber_new(c);
    pthread_t thread, self = pthread_self();
    command(s, "SSUBSCRIBE", "a");
    rdc_reply_free(rdc_subscriber_next(s, LIMIT_MS));
    double began = now_ms();
    rdc_reply *r = rdc_subscriber_next(s, 50);
    check(rdc_reply_type(r) == RDC_NIL && now_ms() - began >= 49, "nil after the time");
    rdc_reply_free(r);
    pthread_create(&thread, NULL, wake_later, s);
    r = rdc_subscriber_next(s, -1);
    check(rdc_reply_type(r) == RDC_NIL, "a wake from a thread ends the call");
    rdc_reply_free(r);
    pthread_join(thread, NULL);
    struct sigaction action = {.sa_handler = on_signal};
    of_signal = s;
    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&thread, NULL, signal_later, &self);
    r = rdc_subscriber_next(s, -1);
    check(rdc_reply_type(r) == RDC_NIL, "a wake from a signal handler ends the call");
    rdc_reply_free(r);
    pthread_join(thread, NULL);
    pthread_create(&thread, NULL, interrupt_later, c);
    check_error(rdc_subscriber_next(s, -1), RDC_ERR_INTERRUPTED, "an interrupt ends the call");
    pthread_join(thread, NULL);
    rdc_client *other = rdc_create(url);
    publish(other, "a", "m");
    check_push(rdc_subscriber_next(s, LIMIT_MS), "smessage", "a", "the subscriber goes on after an interrupt");
    pthread_create(&thread, NULL, close_later, c);
    check_error(rdc_subscriber_next(s, -1), RDC_ERR_CLOSED, "closing the client ends the call");
    pthread_join(thread, NULL);
    check_error(rdc_subscriber_next(s, -1), RDC_ERR_CLOSED, "and every later one");
    check(command(s, "SSUBSCRIBE", "b") == RDC_ERR_CLOSED, "and every command");
    rdc_subscriber_free(s);
    rdc_close(other);
}

static void unreachable(void) {
    rdc_client *c = rdc_create("redis://127.0.0.1:1?lazy=yes&timeout_ms=200");
    rdc_subscriber *s = rdc_subscriber_new(c);
    check(command(s, "SUBSCRIBE", "a") == RDC_OK, "a command needs no server");
    rdc_reply *r = wait_next(s);
    check(rdc_reply_type(r) == RDC_ERROR && rdc_reply_error(r) != RDC_ERR_INTERNAL, "an error tells that no server is there");
    rdc_reply_free(r);
    r = wait_next(s);
    check(rdc_reply_type(r) == RDC_ERROR, "and again");
    rdc_reply_free(r);
    rdc_subscriber_free(s);
    rdc_close(c);
}

static void forked(rdc_client *c) {
    rdc_subscriber *s = rdc_subscriber_new(c);
    command(s, "SSUBSCRIBE", "fork");
    rdc_reply_free(rdc_subscriber_next(s, LIMIT_MS));
    for (int children = 0; children < 2; children++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            rdc_reply *r = rdc_subscriber_next(s, -1);
            int correct = rdc_reply_error(r) == RDC_ERR_INTERRUPTED && command(s, "SSUBSCRIBE", "x") == RDC_ERR_INTERRUPTED;
            rdc_reply_free(r);
            rdc_subscriber_wake(s);
            rdc_subscriber_free(s);
            rdc_subscriber *own = rdc_subscriber_new(c);
            command(own, "SSUBSCRIBE", "child");
            r = rdc_subscriber_next(own, LIMIT_MS);
            correct = correct && is_push(r, "ssubscribe", "child");
            rdc_reply_free(r);
            rdc_subscriber_free(own);
            _exit(correct ? 0 : 1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        check(status == 0, "a child cannot use the subscriber of its parent, and makes its own");
        publish(c, "fork", "m");
        check_push(rdc_subscriber_next(s, LIMIT_MS), "smessage", "fork", "the parent's goes on");
    }
    rdc_subscriber_free(s);
}

enum { BURST = 300, KEEP_EVERY = 3, KEPT = BURST / KEEP_EVERY };

static size_t len_of(int number) {
    return number % 50 == 48 ? 70000 : number % 10 == 9 ? 3000 : 16;
}

static void publish_burst(rdc_client *c, int first) {
    static char text[70001];
    for (int number = first; number < first + BURST; number++) {
        memset(text, 'x', len_of(number));
        text[len_of(number)] = '\0';
        text[snprintf(text, 12, "%d", number)] = ' ';
        publish(c, "kept", text);
    }
}

static int is_number(const rdc_reply *r, int number) {
    const rdc_reply *payload = rdc_reply_at(r, 2);
    const char *text = rdc_reply_str(payload);
    return is_push(r, "smessage", "kept") && text && atoi(text) == number && rdc_reply_node(r) != NULL &&
           rdc_reply_len(payload) == len_of(number) && strlen(text) == len_of(number);
}

static void *free_replies(void *replies) {
    for (rdc_reply **r = replies; *r; r++)
        rdc_reply_free(*r);
    return NULL;
}

/* A message that is kept outlives those that came with it, and its subscriber. Two threads may free messages that came
 * together. */
static void kept(rdc_client *c) {
    rdc_reply *replies[2][KEPT / 2 + 1] = {{NULL}};
    int correct = 1;
    rdc_subscriber *s = rdc_subscriber_new(c);
    command(s, "SSUBSCRIBE", "kept");
    rdc_reply_free(rdc_subscriber_next(s, LIMIT_MS));
    for (int number = 0; number < 2 * BURST; number++) {
        if (number % BURST == 0)
            publish_burst(c, number);
        rdc_reply *r = rdc_subscriber_next(s, LIMIT_MS);
        correct &= is_number(r, number);
        int n = number / KEEP_EVERY;
        if (number < BURST && number % KEEP_EVERY == 0)
            replies[n % 2][n / 2] = r;
        else
            rdc_reply_free(r);
    }
    check(correct, "every message of two bursts is received");
    rdc_subscriber_free(s);
    for (int n = 0; n < KEPT; n++)
        correct &= is_number(replies[n % 2][n / 2], n * KEEP_EVERY);
    check(correct, "messages that are kept stay as they are");
    pthread_t thread;
    pthread_create(&thread, NULL, free_replies, replies[0]);
    free_replies(replies[1]);
    pthread_join(thread, NULL);
}

static int stress_messages, finished;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int count_finished(int more) {
    pthread_mutex_lock(&lock);
    int count = finished += more;
    pthread_mutex_unlock(&lock);
    return count;
}

/* Returns how many messages are missing, or -1 after an error. */
static void *receive(void *client) {
    rdc_subscriber *s = rdc_subscriber_new(client);
    int received = 0, errors = 0;
    double end = now_ms() + 60000;
    command(s, "SUBSCRIBE", "stress");
    command(s, "SSUBSCRIBE", "stress");
    while (received < stress_messages && !errors && now_ms() < end) {
        rdc_reply *r = rdc_subscriber_next(s, 100);
        int is_message = is_push(r, "message", "stress") || is_push(r, "smessage", "stress");
        received += is_message;
        errors += rdc_reply_error(r) != RDC_OK && rdc_reply_error(r) != RDC_ERR_INTERRUPTED;
        if (is_message && received % 100 == 50)
            command(s, received % 200 == 50 ? "SUNSUBSCRIBE" : "SSUBSCRIBE", "stress");
        rdc_reply_free(r);
    }
    rdc_subscriber_free(s);
    count_finished(1);
    return (void *)(intptr_t)(errors ? -1 : stress_messages - received);
}

static void stress(void) {
    rdc_client *c = rdc_create(url);
    kept(c);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, receive, c);
    for (int i = 0; count_finished(0) < THREADS; i++) {
        rdc_reply_free(rdc_cmd(c, "PUBLISH", "stress", "m"));
        publish(c, "stress", "m");
        if (i % 50 == 0)
            rdc_interrupt(c);
    }
    for (int i = 0; i < THREADS; i++) {
        void *missing;
        pthread_join(threads[i], &missing);
        check((intptr_t)missing == 0, "a thread with a subscriber of its own receives all messages");
    }
    rdc_close(c);
}

int main(int argc, char **argv) {
    url = getenv("RDC_URL");
    if (argc > 1) {
        stress_messages = atoi(argv[1]);
        stress();
        return check_done();
    }
    rdc_client *c = rdc_create(url);
    arguments(c);
    marks(c);
    descriptor(c);
    waiting();
    unreachable();
    forked(c);
    kept(c);
    rdc_close(c);
    return check_done();
}
