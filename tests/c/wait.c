/* A thread that is asked whether its call shall wait on, as Python and Ruby use it.  RDC_URL names a cluster. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <signal.h>
#include <sys/time.h>
#include <time.h>

static volatile sig_atomic_t signals;
static int asked, other_replies, wrong_arg;
static rdc_client *client;

static void on_signal(int number) {
    (void)number;
    signals++;
}

/* Yes, until a signal has been handled: what an interpreter says whose handler has raised an exception. */
static int32_t until_a_signal(void *arg) {
    asked++;
    wrong_arg |= arg != &asked;
    return signals == 0;
}

/* Always yes: the handlers raise nothing.  One of them uses the client. */
static int32_t go_on(void *arg) {
    (void)arg;
    asked++;
    rdc_reply *r = rdc_get(client, "wait:other", RDC_NTS);
    other_replies += is_text(r, "other", 5);
    rdc_reply_free(r);
    return 1;
}

static void alarm_after(long first_us, long every_us) {
    struct itimerval timer = {{0, every_us}, {0, first_us}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static double ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int main(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal; /* and no SA_RESTART */
    sigaction(SIGALRM, &action, NULL);
    client = rdc_create(getenv("RDC_URL"));
    rdc_reply_free(rdc_set(client, "wait:other", RDC_NTS, "other", RDC_NTS));
    rdc_reply_free(rdc_cmd(client, "DEL", "wait:list"));

    rdc_set_wait_callback(until_a_signal, &asked);
    rdc_reply *r;
    double began, took, least = 1e9;
    for (int i = 0; i < 3; i++) { /* a machine that is busy otherwise may be late once */
        signals = 0;
        alarm_after(60000, 0);
        began = ms();
        r = rdc_cmd(client, "BLPOP", "wait:list", "0");
        took = ms() - began;
        least = took < least ? took : least;
        check(took >= 55 && rdc_reply_sent(r) == 1, "a call ends when the signal's handler wants it to");
        check_error(r, RDC_ERR_INTERRUPTED, "and says that it was interrupted");
    }
    check(least < 160, "at once");
    check(asked >= 2 && !wrong_arg, "it was asked before, with what was given for that");

    /* The element goes to whoever waits: it must not go to the call that was ended. */
    rdc_reply_free(rdc_cmd(client, "RPUSH", "wait:list", "x"));
    signals = 0;
    r = rdc_cmd(client, "BLPOP", "wait:list", "0");
    check(is_text(rdc_reply_at(r, 1), "x", 1), "the next call gets its own reply");
    rdc_reply_free(r);

    rdc_set_wait_callback(go_on, NULL);
    asked = other_replies = 0;
    alarm_after(700, 700);
    began = ms();
    r = rdc_cmd(client, "BLPOP", "wait:list", "0.3");
    took = ms() - began;
    alarm_after(0, 0);
    check(rdc_reply_type(r) == RDC_NIL && took >= 290, "a storm of signals does not end a call");
    rdc_reply_free(r);
    check(signals > 20 && asked > 20, "each of them is a reason to ask");
    check(other_replies == asked, "whoever is asked may use the same client");

    rdc_set_wait_callback(NULL, NULL);
    asked = 0;
    alarm_after(20000, 0);
    r = rdc_cmd(client, "BLPOP", "wait:list", "0.1");
    check(rdc_reply_type(r) == RDC_NIL && asked == 0, "and nobody, when that is over");
    rdc_reply_free(r);
    rdc_close(client);
    return check_done();
}
