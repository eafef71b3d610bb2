/* A kernel that does things by halves: sends and receives a part of what it was given, is interrupted, breaks connections and
 * has no descriptor left, by dice of each thread's own.  What is told of each command stays true.  RDC_URL names a cluster;
 * RDC_SEED is said and may be given.
 *
 * The functions below are found before those of the C library, by the library under test too. */
#define _GNU_SOURCE
#include "check.h"
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 250, SHORT_SEND = 0, SHORT_RECEIVE, INTERRUPTED, RESET, NO_DESCRIPTOR, KINDS };

static int is_whole = 1; /* nothing is done by halves */
static unsigned long seed;
static long done[KINDS];
static __thread unsigned long dice;

static unsigned long roll(unsigned long sides) {
    if (!dice)
        dice = seed ^ ((unsigned long)syscall(SYS_gettid) << 20) ^ 0x9e3779b9ul;
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice % sides;
}

static int happens(int kind, unsigned long of_thousand) {
    if (__atomic_load_n(&is_whole, __ATOMIC_RELAXED) || roll(1000) >= of_thousand)
        return 0;
    __atomic_add_fetch(&done[kind], 1, __ATOMIC_RELAXED);
    return 1;
}

static long fails(int number) {
    errno = number;
    return -1;
}

long syscall(long number, ...) {
    static long (*real)(long, ...);
    long a[6];
    va_list list;
    if (!real) {
        void *found = dlsym(RTLD_NEXT, "syscall");
        memcpy(&real, &found, sizeof real);
    }
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_sendto || number == SYS_recvfrom) {
        if (happens(INTERRUPTED, 80))
            return fails(EINTR);
        if (happens(RESET, 1)) {
            shutdown((int)a[0], SHUT_RDWR);
            return fails(ECONNRESET);
        }
        if (a[2] > 1 && happens(number == SYS_sendto ? SHORT_SEND : SHORT_RECEIVE, 250))
            a[2] = 1 + (long)roll(a[2] < 40 ? (unsigned long)a[2] : 40);
    } else if (number == SYS_ppoll && happens(INTERRUPTED, 80)) {
        return fails(EINTR);
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int socket(int domain, int type, int protocol) {
    if (happens(NO_DESCRIPTOR, 100))
        return (int)fails(EMFILE);
    return (int)syscall(SYS_socket, domain, type, protocol, 0, 0, 0);
}

static rdc_client *client, *reader;

typedef struct {
    unsigned id;
    long long acked, doubtful; /* increments */
    long good, bad, foreign, untrue, late;
} job;

static double ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void erred(job *job, const rdc_reply *r) {
    int32_t error = rdc_reply_error(r);
    job->bad++;
    if (error != RDC_ERR_IO && error != RDC_ERR_CONNECT && error != RDC_ERR_TIMEOUT && error != RDC_ERR_DOWN) {
        printf("   # %s\n", rdc_reply_str(r));
        job->untrue++;
    }
}

/* An increment: it ran, it may have run, or it has not. No number is told twice, nor one that is another's. */
static void counted(job *job, const rdc_reply *r) {
    if (rdc_reply_error(r)) {
        job->doubtful += rdc_reply_sent(r);
        erred(job, r);
        return;
    }
    long long n = rdc_reply_int(r);
    if (rdc_reply_type(r) != RDC_INTEGER || n <= job->acked || n > job->acked + 1 + job->doubtful)
        job->foreign++;
    job->acked++;
    job->good++;
}

/* A value of one's own, or none. */
static void mine(job *job, const rdc_reply *r, const char *name) {
    if (rdc_reply_error(r)) {
        erred(job, r);
        return;
    }
    const char *text = rdc_reply_str(r);
    if (rdc_reply_type(r) != RDC_NIL && (!text || strncmp(text, name, strlen(name))))
        job->foreign++;
    job->good++;
}

static void *work(void *arg) {
    job *job = arg;
    char key[32], counter[32], name[32], value[600];
    snprintf(key, sizeof key, "kernel:%u", job->id);
    snprintf(counter, sizeof counter, "kernel:n:%u", job->id);
    snprintf(name, sizeof name, "value of %u, ", job->id);
    rdc_pipeline *p = rdc_pipeline_new(client);
    for (int i = 0; i < ROUNDS; i++) {
        double began = ms();
        rdc_reply *r;
        int len = snprintf(value, sizeof value, "%s%0*d", name, 1 + (i * 7) % 500, i);
        r = rdc_set(client, key, RDC_NTS, value, (size_t)len);
        int is_set = rdc_reply_error(r) == RDC_OK;
        if (!is_set)
            erred(job, r);
        rdc_reply_free(r);
        r = rdc_get(client, key, RDC_NTS);
        if (is_set && !rdc_reply_error(r) && !is_text(r, value, (size_t)len))
            job->foreign++;
        mine(job, r, name);
        rdc_reply_free(r);
        r = rdc_incrby(client, counter, RDC_NTS, 1);
        counted(job, r);
        rdc_reply_free(r);
        r = rdc_get(reader, key, RDC_NTS);
        mine(job, r, name);
        rdc_reply_free(r);
        for (int n = 0; n < 8; n++) {
            const char *incr[] = {"INCR", counter};
            rdc_pipeline_command(p, 2, incr, NULL);
            rdc_pipeline_get(p, key, RDC_NTS);
        }
        r = rdc_pipeline_execute(p);
        if (rdc_reply_len(r) != 16 || rdc_reply_error(r))
            job->untrue++;
        for (size_t n = 0; n < 16; n += 2) {
            counted(job, rdc_reply_at(r, n));
            mine(job, rdc_reply_at(r, n + 1), name);
        }
        rdc_reply_free(r);
        job->late += ms() - began > 5 * 3050;
    }
    rdc_pipeline_free(p);
    return NULL;
}

int main(void) {
    static job jobs[THREADS];
    pthread_t threads[THREADS];
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    seed = getenv("RDC_SEED") ? strtoul(getenv("RDC_SEED"), NULL, 10) : (unsigned long)t.tv_nsec;
    printf("   # RDC_SEED=%lu\n", seed);
    rdc_client *base = rdc_create(getenv("RDC_URL"));
    client = rdc_with(base, "timeout_ms", "3000");
    reader = rdc_readonly(client);
    check(rdc_client_error(client) == NULL, "create");
    for (unsigned i = 0; i < THREADS; i++) {
        char counter[32];
        snprintf(counter, sizeof counter, "kernel:n:%u", i);
        rdc_reply_free(rdc_cmd(client, "DEL", counter));
        jobs[i].id = i;
    }
    __atomic_store_n(&is_whole, 0, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, work, &jobs[i]) == 0, "a thread");
    job all = {0, 0, 0, 0, 0, 0, 0, 0};
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    __atomic_store_n(&is_whole, 1, __ATOMIC_RELAXED);
    int is_once = 1;
    for (unsigned i = 0; i < THREADS; i++) {
        char counter[32];
        snprintf(counter, sizeof counter, "kernel:n:%u", i);
        rdc_reply *r = rdc_incrby(client, counter, RDC_NTS, 0);
        long long ran = rdc_reply_int(r);
        is_once &= !rdc_reply_error(r) && jobs[i].acked <= ran && ran <= jobs[i].acked + jobs[i].doubtful;
        rdc_reply_free(r);
        all.acked += jobs[i].acked, all.doubtful += jobs[i].doubtful, all.good += jobs[i].good, all.bad += jobs[i].bad;
        all.foreign += jobs[i].foreign, all.untrue += jobs[i].untrue, all.late += jobs[i].late;
    }
    printf("   # %ld good, %ld not; %lld of %lld increments in doubt; %ld short sends, %ld short receives, %ld interrupts, "
           "%ld resets, %ld times no descriptor\n",
           all.good, all.bad, all.doubtful, all.acked + all.doubtful, done[SHORT_SEND], done[SHORT_RECEIVE],
           done[INTERRUPTED], done[RESET], done[NO_DESCRIPTOR]);
    int is_eventful = 1;
    for (int kind = 0; kind < KINDS; kind++)
        is_eventful &= done[kind] > 0;
    check(is_eventful, "everything has happened");
    check(all.foreign == 0, "nobody got another's reply");
    check(all.untrue == 0, "and no error that nothing explains");
    check(is_once, "each increment ran once, or its caller was told");
    check(all.late == 0, "by the deadline");
    check(all.good > 20 * all.bad, "most calls did not notice");
    rdc_close(reader);
    rdc_close(client);
    rdc_close(base);
    return check_done();
}
