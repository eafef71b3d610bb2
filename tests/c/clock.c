/* The library never reads the time of day.  When the monotonic clock jumps forward, as on a machine that was
 * suspended, a call in progress times out and later calls do not.  RDC_URL is the URL of a cluster.
 *
 * The functions below replace those of the C library, in the library under test too. */
#define _POSIX_C_SOURCE 200112L
#define _DEFAULT_SOURCE
#include "check.h"
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long clock_reads[16], time_of_day_reads; /* reads of each clock, by its number; reads of the time of day */
static long leap; /* of the monotonic clock, in seconds */

int clock_gettime(clockid_t clock, struct timespec *now) {
    long result = syscall(SYS_clock_gettime, clock, now);
    if (clock >= 0 && clock < 16)
        __atomic_add_fetch(&clock_reads[clock], 1, __ATOMIC_RELAXED);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += __atomic_add_fetch(&time_of_day_reads, 1, __ATOMIC_RELAXED) % 2 ? 100000000 : -100000000;
    else
        now->tv_sec += __atomic_load_n(&leap, __ATOMIC_RELAXED);
    return (int)result;
}

time_t time(time_t *now) {
    __atomic_add_fetch(&time_of_day_reads, 1, __ATOMIC_RELAXED);
    if (now)
        *now = 0;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    __atomic_add_fetch(&time_of_day_reads, 1, __ATOMIC_RELAXED);
    now->tv_sec = now->tv_usec = 0;
    return 0;
}

static rdc_client *client;

static void run_commands(const char *name) {
    rdc_pipeline *p = rdc_pipeline_new(client);
    int correct = 1;
    for (int i = 0; i < 50; i++) {
        char key[32];
        snprintf(key, sizeof key, "clock:%d", i);
        correct &= rdc_reply_free(rdc_set(client, key, RDC_NTS, key, RDC_NTS)) == RDC_OK;
        rdc_pipeline_get(p, key, RDC_NTS);
    }
    rdc_reply *r = rdc_pipeline_execute(p);
    correct &= is_text(rdc_reply_at(r, 49), "clock:49", 8);
    rdc_reply_free(r);
    rdc_pipeline_free(p);
    correct &= rdc_reply_free(rdc_refresh(client)) == RDC_OK;
    correct &= rdc_reply_type(r = rdc_cmd(client, "BLPOP", "clock:nothing", "0.05")) == RDC_NIL;
    rdc_reply_free(r);
    rdc_client *reader = rdc_readonly(client);
    correct &= rdc_reply_free(rdc_get(reader, "clock:1", RDC_NTS)) == RDC_OK;
    rdc_close(reader);
    check(correct, name);
}

static void *blocking_call(void *arg) {
    *(rdc_reply **)arg = rdc_cmd(client, "BLPOP", "clock:nothing", "30");
    return NULL;
}

int main(void) {
    pthread_t thread;
    rdc_reply *late = NULL;
    client = rdc_create(getenv("RDC_URL"));
    check(rdc_client_error(client) == NULL, "create");
    run_commands("commands of every kind succeed while the time of day jumps by years");
    check(clock_reads[CLOCK_MONOTONIC] > 0, "the library reads the monotonic clock");
    leap = 3600;
    run_commands("commands succeed after a jump of one hour");
    check(pthread_create(&thread, NULL, blocking_call, &late) == 0, "a thread is started");
    struct timespec delay = {0, 100 * 1000 * 1000};
    nanosleep(&delay, NULL);
    __atomic_store_n(&leap, 7200, __ATOMIC_RELAXED);
    rdc_interrupt(client);
    pthread_join(thread, NULL);
    int32_t error = rdc_reply_error(late);
    check(error == RDC_ERR_INTERRUPTED || error == RDC_ERR_TIMEOUT,
          "a call in progress at a jump times out or is interrupted");
    rdc_reply_free(late);
    run_commands("later commands succeed");
    check(time_of_day_reads == 0 && clock_reads[CLOCK_REALTIME] == 0, "the time of day is never read");
    rdc_close(client);
    return check_done();
}
