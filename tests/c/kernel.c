/* System calls send and receive only a part of the data, are interrupted, break connections and run out of
 * descriptors, at random.  The reported outcome of each command must stay correct.  RDC_URL is the URL of a
 * cluster.  RDC_SEED sets the random seed; the seed in use is printed.
 *
 * The functions below replace those of the C library, in the library under test too. */
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

static int faults_disabled = 1; /* while 1, no fault is injected */
static unsigned long seed;
static long fault_count[KINDS];
static __thread unsigned long rng_state;

static unsigned long random_below(unsigned long sides) {
    if (!rng_state)
        rng_state = seed ^ ((unsigned long)syscall(SYS_gettid) << 20) ^ 0x9e3779b9ul;
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state % sides;
}

static int inject(int kind, unsigned long of_thousand) {
    if (__atomic_load_n(&faults_disabled, __ATOMIC_RELAXED) || random_below(1000) >= of_thousand)
        return 0;
    __atomic_add_fetch(&fault_count[kind], 1, __ATOMIC_RELAXED);
    return 1;
}

static long fail_with(int number) {
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
        if (inject(INTERRUPTED, 80))
            return fail_with(EINTR);
        if (inject(RESET, 1)) {
            shutdown((int)a[0], SHUT_RDWR);
            return fail_with(ECONNRESET);
        }
        if (a[2] > 1 && inject(number == SYS_sendto ? SHORT_SEND : SHORT_RECEIVE, 250))
            a[2] = 1 + (long)random_below(a[2] < 40 ? (unsigned long)a[2] : 40);
    } else if (number == SYS_ppoll && inject(INTERRUPTED, 80)) {
        return fail_with(EINTR);
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int socket(int domain, int type, int protocol) {
    if (inject(NO_DESCRIPTOR, 100))
        return (int)fail_with(EMFILE);
    return (int)syscall(SYS_socket, domain, type, protocol, 0, 0, 0);
}

static rdc_client *client, *reader;

typedef struct {
    unsigned id;
    long long acknowledged, uncertain; /* increments */
    long succeeded, failed_calls, misdelivered, unexpected, late;
} job;

static double ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void record_error(job *job, const rdc_reply *r) {
    int32_t error = rdc_reply_error(r);
    job->failed_calls++;
    if (error != RDC_ERR_IO && error != RDC_ERR_CONNECT && error != RDC_ERR_TIMEOUT && error != RDC_ERR_DOWN) {
        printf("   # %s\n", rdc_reply_str(r));
        job->unexpected++;
    }
}

/* An increment ran, may have run, or did not run.  No value may be returned twice, or belong to another counter. */
static void check_increment(job *job, const rdc_reply *r) {
    if (rdc_reply_error(r)) {
        job->uncertain += rdc_reply_sent(r);
        record_error(job, r);
        return;
    }
    long long n = rdc_reply_int(r);
    if (rdc_reply_type(r) != RDC_INTEGER || n <= job->acknowledged || n > job->acknowledged + 1 + job->uncertain)
        job->misdelivered++;
    job->acknowledged++;
    job->succeeded++;
}

/* A read must return nil or a value that the same thread wrote. */
static void check_value(job *job, const rdc_reply *r, const char *name) {
    if (rdc_reply_error(r)) {
        record_error(job, r);
        return;
    }
    const char *text = rdc_reply_str(r);
    if (rdc_reply_type(r) != RDC_NIL && (!text || strncmp(text, name, strlen(name))))
        job->misdelivered++;
    job->succeeded++;
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
            record_error(job, r);
        rdc_reply_free(r);
        r = rdc_get(client, key, RDC_NTS);
        if (is_set && !rdc_reply_error(r) && !is_text(r, value, (size_t)len))
            job->misdelivered++;
        check_value(job, r, name);
        rdc_reply_free(r);
        r = rdc_incrby(client, counter, RDC_NTS, 1);
        check_increment(job, r);
        rdc_reply_free(r);
        r = rdc_get(reader, key, RDC_NTS);
        check_value(job, r, name);
        rdc_reply_free(r);
        for (int n = 0; n < 8; n++) {
            const char *incr[] = {"INCR", counter};
            rdc_pipeline_command(p, 2, incr, NULL);
            rdc_pipeline_get(p, key, RDC_NTS);
        }
        r = rdc_pipeline_execute(p);
        if (rdc_reply_len(r) != 16 || rdc_reply_error(r))
            job->unexpected++;
        for (size_t n = 0; n < 16; n += 2) {
            check_increment(job, rdc_reply_at(r, n));
            check_value(job, rdc_reply_at(r, n + 1), name);
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
    __atomic_store_n(&faults_disabled, 0, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, work, &jobs[i]) == 0, "a thread is started");
    job all = {0, 0, 0, 0, 0, 0, 0, 0};
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    __atomic_store_n(&faults_disabled, 1, __ATOMIC_RELAXED);
    int at_most_once = 1;
    for (unsigned i = 0; i < THREADS; i++) {
        char counter[32];
        snprintf(counter, sizeof counter, "kernel:n:%u", i);
        rdc_reply *r = rdc_incrby(client, counter, RDC_NTS, 0);
        long long ran = rdc_reply_int(r);
        at_most_once &= !rdc_reply_error(r) && jobs[i].acknowledged <= ran &&
                        ran <= jobs[i].acknowledged + jobs[i].uncertain;
        rdc_reply_free(r);
        all.acknowledged += jobs[i].acknowledged, all.uncertain += jobs[i].uncertain;
        all.succeeded += jobs[i].succeeded, all.failed_calls += jobs[i].failed_calls;
        all.misdelivered += jobs[i].misdelivered, all.unexpected += jobs[i].unexpected, all.late += jobs[i].late;
    }
    printf("   # %ld calls succeeded, %ld failed; %lld of %lld increments uncertain; %ld short sends, "
           "%ld short receives, %ld interrupts, %ld resets, %ld times no free descriptor\n",
           all.succeeded, all.failed_calls, all.uncertain, all.acknowledged + all.uncertain, fault_count[SHORT_SEND],
           fault_count[SHORT_RECEIVE], fault_count[INTERRUPTED], fault_count[RESET], fault_count[NO_DESCRIPTOR]);
    int all_faults_injected = 1;
    for (int kind = 0; kind < KINDS; kind++)
        all_faults_injected &= fault_count[kind] > 0;
    check(all_faults_injected, "each kind of fault was injected");
    check(all.misdelivered == 0, "every reply reached its own call");
    check(all.unexpected == 0, "every error is explained by a fault");
    check(at_most_once, "each increment ran at most once, or its error says that it may have run");
    check(all.late == 0, "every call ended by its deadline");
    check(all.succeeded > 20 * all.failed_calls, "more than 20 calls succeed for each that fails");
    rdc_close(reader);
    rdc_close(client);
    rdc_close(base);
    return check_done();
}
