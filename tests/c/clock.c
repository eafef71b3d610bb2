/* The clock on the wall may say what it likes: nobody looks at it.  And where the other one leaps, as in a machine that was
 * asleep, what was under way is late, and what comes next is not.  RDC_URL names a cluster.
 *
 * The functions below are found before those of the C library, by the library under test too. */
#define _POSIX_C_SOURCE 200112L
#define _DEFAULT_SOURCE
#include "check.h"
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long asked[16], wall; /* by which clock; how often for the time of day */
static long leap;            /* seconds */

int clock_gettime(clockid_t clock, struct timespec *now) {
    long result = syscall(SYS_clock_gettime, clock, now);
    if (clock >= 0 && clock < 16)
        __atomic_add_fetch(&asked[clock], 1, __ATOMIC_RELAXED);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += __atomic_add_fetch(&wall, 1, __ATOMIC_RELAXED) % 2 ? 100000000 : -100000000;
    else
        now->tv_sec += __atomic_load_n(&leap, __ATOMIC_RELAXED);
    return (int)result;
}

time_t time(time_t *now) {
    __atomic_add_fetch(&wall, 1, __ATOMIC_RELAXED);
    if (now)
        *now = 0;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    __atomic_add_fetch(&wall, 1, __ATOMIC_RELAXED);
    now->tv_sec = now->tv_usec = 0;
    return 0;
}

static rdc_client *client;

static void go_on(const char *name) {
    rdc_pipeline *p = rdc_pipeline_new(client);
    int right = 1;
    for (int i = 0; i < 50; i++) {
        char key[32];
        snprintf(key, sizeof key, "clock:%d", i);
        right &= rdc_reply_free(rdc_set(client, key, RDC_NTS, key, RDC_NTS)) == RDC_OK;
        rdc_pipeline_get(p, key, RDC_NTS);
    }
    rdc_reply *r = rdc_pipeline_execute(p);
    right &= is_text(rdc_reply_at(r, 49), "clock:49", 8);
    rdc_reply_free(r);
    rdc_pipeline_free(p);
    right &= rdc_reply_free(rdc_refresh(client)) == RDC_OK;
    right &= rdc_reply_type(r = rdc_cmd(client, "BLPOP", "clock:nothing", "0.05")) == RDC_NIL;
    rdc_reply_free(r);
    rdc_client *reader = rdc_readonly(client);
    right &= rdc_reply_free(rdc_get(reader, "clock:1", RDC_NTS)) == RDC_OK;
    rdc_close(reader);
    check(right, name);
}

static void *waits(void *arg) {
    *(rdc_reply **)arg = rdc_cmd(client, "BLPOP", "clock:nothing", "30");
    return NULL;
}

int main(void) {
    pthread_t thread;
    rdc_reply *late = NULL;
    client = rdc_create(getenv("RDC_URL"));
    check(rdc_client_error(client) == NULL, "create");
    go_on("commands of every kind, while the time of day jumps by years");
    check(asked[CLOCK_MONOTONIC] > 0, "the clock that is looked at is this one");
    leap = 3600;
    go_on("an hour has passed between two calls");
    check(pthread_create(&thread, NULL, waits, &late) == 0, "a thread that waits");
    struct timespec a_moment = {0, 100 * 1000 * 1000};
    nanosleep(&a_moment, NULL);
    __atomic_store_n(&leap, 7200, __ATOMIC_RELAXED);
    rdc_interrupt(client);
    pthread_join(thread, NULL);
    int32_t error = rdc_reply_error(late);
    check(error == RDC_ERR_INTERRUPTED || error == RDC_ERR_TIMEOUT, "a call under way meanwhile is late or was ended");
    rdc_reply_free(late);
    go_on("and those behind it are not");
    check(wall == 0 && asked[CLOCK_REALTIME] == 0, "nobody asked for the time of day");
    rdc_close(client);
    return check_done();
}
