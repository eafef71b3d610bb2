/* The wait callback decides whether a waiting call continues, as Python and Ruby use it.  RDC_URL is the URL of a
 * cluster. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <signal.h>
#include <sys/time.h>
#include <time.h>

static volatile sig_atomic_t signals;
static int callback_runs, other_replies, wrong_arg;
static rdc_client *client;

static void on_signal(int number) {
    (void)number;
    signals++;
}

/* Continues until a signal was handled, like an interpreter whose signal handler has raised an exception. */
static int32_t continue_until_signal(void *arg) {
    callback_runs++;
    wrong_arg |= arg != &callback_runs;
    return signals == 0;
}

/* Always continues, and uses the same client. */
static int32_t continue_always(void *arg) {
    (void)arg;
    callback_runs++;
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
    action.sa_handler = on_signal; /* without SA_RESTART */
    sigaction(SIGALRM, &action, NULL);
    client = rdc_create(getenv("RDC_URL"));
    rdc_reply_free(rdc_set(client, "wait:other", RDC_NTS, "other", RDC_NTS));
    rdc_reply_free(rdc_cmd(client, "DEL", "wait:list"));

    rdc_set_wait_callback(continue_until_signal, &callback_runs);
    rdc_reply *r;
    double start, elapsed, shortest = 1e9;
    for (int i = 0; i < 3; i++) { /* on a busy machine, one of the three may be late */
        signals = 0;
        alarm_after(60000, 0);
        start = ms();
        r = rdc_cmd(client, "BLPOP", "wait:list", "0");
        elapsed = ms() - start;
        shortest = elapsed < shortest ? elapsed : shortest;
        check(elapsed >= 55 && rdc_reply_sent(r) == 1, "a call ends when the callback returns 0");
        check_error(r, RDC_ERR_INTERRUPTED, "the ended call returns INTERRUPTED");
    }
    check(shortest < 160, "a call ends within 100 ms of the signal");
    check(callback_runs >= 2 && !wrong_arg, "the callback ran several times, with the given argument");

    /* The element goes to a waiting call: it must not go to the call that was ended. */
    rdc_reply_free(rdc_cmd(client, "RPUSH", "wait:list", "x"));
    signals = 0;
    r = rdc_cmd(client, "BLPOP", "wait:list", "0");
    check(is_text(rdc_reply_at(r, 1), "x", 1), "the next call gets its own reply");
    rdc_reply_free(r);

    rdc_set_wait_callback(continue_always, NULL);
    callback_runs = other_replies = 0;
    alarm_after(700, 700);
    start = ms();
    r = rdc_cmd(client, "BLPOP", "wait:list", "0.3");
    elapsed = ms() - start;
    alarm_after(0, 0);
    check(rdc_reply_type(r) == RDC_NIL && elapsed >= 290, "many signals do not end a call");
    rdc_reply_free(r);
    check(signals > 20 && callback_runs > 20, "the callback ran more than 20 times for more than 20 signals");
    check(other_replies == callback_runs, "the callback may use the same client");

    rdc_set_wait_callback(NULL, NULL);
    callback_runs = 0;
    alarm_after(20000, 0);
    r = rdc_cmd(client, "BLPOP", "wait:list", "0.1");
    check(rdc_reply_type(r) == RDC_NIL && callback_runs == 0, "the callback does not run after it was removed");
    rdc_reply_free(r);
    rdc_close(client);
    return check_done();
}
