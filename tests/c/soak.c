/* 64 threads use one handle while the test (tests/faults/soak.rs) breaks and repairs the cluster. A thread reads only
 * the values that it wrote, and the latest of them.  No command runs twice.  A command that is reported as not sent
 * has not run.  Without a fault, no call fails.
 *
 * The test and this program share a file that is mapped into memory, with three words:
 *   word 0: odd while there is a fault;
 *   word 1: odd while acknowledged writes may be lost, as when a replica that lags is promoted;
 *   word 2: not 0 when the run is over.
 * RDC_URL is the URL of the cluster, RDC_SOAK_FILE the path of the file, RDC_SEED the random seed. */
#define _DEFAULT_SOURCE
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 64, KEYS = 4, PIPED = 4, CODES = 16, LATE_MS = 5000, SAMPLES = 100000 };

static rdc_client *client, *reader;
static const uint32_t *state;

static uint32_t state_word(int i) {
    return __atomic_load_n(&state[i], __ATOMIC_ACQUIRE);
}

static double ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* A key that only one thread writes.  When its value becomes uncertain, the thread continues with another key. */
struct string {
    uint32_t epoch;
    long version, written; /* the last acknowledged number; 0 if none */
    int is_uncertain;
};

struct counter {
    uint32_t epoch;
    long done, uncertain; /* acknowledged increments; increments that may have run, or may still run */
};

struct job {
    unsigned id, seed;
    long calls, sequence, errors[CODES], misdelivered, stale, extra_runs, lost, unexplained, unexpected;
    double longest;
    struct string strings[KEYS];
    struct counter counters[KEYS];
    long list;
    char first_failure[300];
};

static unsigned random_below(struct job *job, unsigned sides) {
    job->seed = job->seed * 1664525u + 1013904223u;
    return (job->seed >> 8) % sides;
}

/* The state when a call began. */
struct call_start {
    uint32_t broken, losing;
    double at;
};

static struct call_start call_start(struct job *job) {
    struct call_start now = {state_word(0), state_word(1), ms()};
    job->calls++;
    return now;
}

static int is_fault_free(const struct call_start *start) {
    return start->broken % 2 == 0 && state_word(0) == start->broken;
}

/* Whether writes that were acknowledged since the start of the call cannot have been lost. */
static int is_durable(const struct call_start *start, uint32_t epoch) {
    return epoch % 2 == 0 && epoch == start->losing && state_word(1) == epoch;
}

static void record_failure(struct job *job, const char *what, const rdc_reply *r, long a, long b) {
    if (!job->first_failure[0])
        snprintf(job->first_failure, sizeof job->first_failure, "%s: %.160s (%ld, %ld)", what,
                 rdc_reply_str(r) ? rdc_reply_str(r) : "(no message)", a, b);
}

/* Whether a reply is an error; an error is counted and checked. */
static int is_error(struct job *job, const struct call_start *start, const rdc_reply *r) {
    static const char *const explained[] = {"CLUSTERDOWN", "LOADING", "MASTERDOWN", "TRYAGAIN", "UNBLOCKED", "READONLY"};
    int32_t code = rdc_reply_error(r);
    if (code == RDC_OK)
        return 0;
    const char *message = rdc_reply_str(r);
    int explained_code = code == RDC_ERR_CONNECT || code == RDC_ERR_IO || code == RDC_ERR_TIMEOUT ||
                         code == RDC_ERR_DOWN || code == RDC_ERR_REDIRECTS;
    for (size_t i = 0; code == RDC_ERR_SERVER && i < sizeof explained / sizeof *explained; i++)
        explained_code |= message && strstr(message, explained[i]) != NULL;
    job->errors[code < CODES ? code : 0]++;
    if (!explained_code) {
        job->unexpected++;
        record_failure(job, "an error that no fault explains", r, code, 0);
    } else if (is_fault_free(start)) {
        job->unexplained++;
        record_failure(job, "an error without a fault", r, code, (long)(ms() - start->at));
    }
    return 1;
}

static void record_duration(struct job *job, const struct call_start *start) {
    double duration = ms() - start->at;
    if (duration > job->longest)
        job->longest = duration;
}

/* ---- Strings ----------------------------------------------------------------------------------- */

static struct string *string_of(struct job *job, int k, char *key, size_t size) {
    struct string *s = &job->strings[k];
    uint32_t epoch = state_word(1);
    if (s->is_uncertain || s->epoch != epoch) {
        s->version++;
        s->epoch = epoch;
        s->written = 0;
        s->is_uncertain = 0;
    }
    snprintf(key, size, "soak:s:%u:%d:%u:%ld", job->id, k, (unsigned)s->epoch, s->version);
    return s;
}

static void record_write(struct job *job, const struct call_start *start, struct string *s, const rdc_reply *r,
                         long number) {
    if (!is_error(job, start, r))
        s->written = number;
    else if (rdc_reply_sent(r))
        s->is_uncertain = 1;
}

/* A value must begin with the name of its key.  A value from a primary must be the last that was written. */
static void check_read(struct job *job, const struct call_start *start, struct string *s, const char *key,
                       const rdc_reply *r, int from_primary) {
    if (is_error(job, start, r))
        return;
    const char *text = rdc_reply_str(r);
    size_t len = strlen(key);
    if (rdc_reply_type(r) != RDC_NIL && !(text && strncmp(text, key, len) == 0 && text[len] == '/')) {
        job->misdelivered++;
        record_failure(job, "a value of another key", r, (long)job->id, 0);
        return;
    }
    long number = text ? atol(text + len + 1) : 0;
    int is_known = from_primary && !s->is_uncertain && is_durable(start, s->epoch);
    if (number > job->sequence || (is_known && number != s->written)) {
        job->stale++;
        record_failure(job, "a value that is not the last that was written", r, number, s->written);
    }
}

static long next_value(struct job *job, const char *key, char *value, size_t size) {
    static const char filler[] = "........................................................................................";
    snprintf(value, size, "%s/%ld/%.*s", key, ++job->sequence, (int)random_below(job, sizeof filler), filler);
    return job->sequence;
}

static void strings(struct job *job) {
    char key[96], value[512];
    struct string *s = string_of(job, (int)random_below(job, KEYS), key, sizeof key);
    struct call_start start = call_start(job);
    long number = next_value(job, key, value, sizeof value);
    rdc_reply *r = rdc_set_px(client, key, RDC_NTS, value, RDC_NTS, 120000);
    record_write(job, &start, s, r, number);
    rdc_reply_free(r);
    record_duration(job, &start);
    int from_primary = random_below(job, 3) != 0;
    start = call_start(job);
    r = rdc_get(from_primary ? client : reader, key, RDC_NTS);
    check_read(job, &start, s, key, r, from_primary);
    rdc_reply_free(r);
    record_duration(job, &start);
}

static void multi_key_reads(struct job *job) {
    char keys[KEYS][96];
    struct string *s[KEYS];
    const char *argv[KEYS + 1] = {"MGET"};
    for (int k = 0; k < KEYS; k++) {
        s[k] = string_of(job, k, keys[k], sizeof keys[k]);
        argv[k + 1] = keys[k];
    }
    struct call_start start = call_start(job);
    rdc_reply *r = rdc_command(client, KEYS + 1, argv, NULL);
    if (!is_error(job, &start, r))
        for (int k = 0; k < KEYS; k++)
            check_read(job, &start, s[k], keys[k], rdc_reply_at(r, (size_t)k), 1);
    rdc_reply_free(r);
    record_duration(job, &start);
}

/* ---- Counters ---------------------------------------------------------------------------------- */

static struct counter *counter_of(struct job *job, int k, char *key, size_t size) {
    struct counter *c = &job->counters[k];
    uint32_t epoch = state_word(1);
    if (c->epoch != epoch) {
        c->epoch = epoch;
        c->done = c->uncertain = 0;
    }
    snprintf(key, size, "soak:c:%u:%d:%u", job->id, k, (unsigned)c->epoch);
    return c;
}

static void check_increment(struct job *job, const struct call_start *start, struct counter *c, const rdc_reply *r) {
    if (is_error(job, start, r)) {
        c->uncertain += rdc_reply_sent(r) != 0;
        return;
    }
    long value = (long)rdc_reply_int(r);
    c->done++;
    if (value > c->done + c->uncertain) {
        job->extra_runs++;
        record_failure(job, "an increment ran more than once", r, value, c->done + c->uncertain);
    } else if (value < c->done && is_durable(start, c->epoch)) {
        job->lost++;
        record_failure(job, "an acknowledged increment is lost", r, value, c->done);
    }
}

static void counters(struct job *job) {
    char key[96];
    struct counter *c = counter_of(job, (int)random_below(job, KEYS), key, sizeof key);
    struct call_start start = call_start(job);
    rdc_reply *r = rdc_incrby(client, key, RDC_NTS, 1);
    check_increment(job, &start, c, r);
    rdc_reply_free(r);
    record_duration(job, &start);
}

/* ---- Pipelines --------------------------------------------------------------------------------- */

static void pipelines(struct job *job, rdc_pipeline *p) {
    char keys[PIPED][96], counts[PIPED][96], value[512];
    struct string *s[PIPED];
    struct counter *c[PIPED];
    long numbers[PIPED];
    for (int k = 0; k < PIPED; k++) {
        s[k] = string_of(job, k, keys[k], sizeof keys[k]);
        c[k] = counter_of(job, k, counts[k], sizeof counts[k]);
    }
    struct call_start start = call_start(job);
    for (int k = 0; k < PIPED; k++) {
        const char *const argv[] = {"INCR", counts[k]};
        numbers[k] = next_value(job, keys[k], value, sizeof value);
        rdc_pipeline_set_px(p, keys[k], RDC_NTS, value, RDC_NTS, 120000);
        rdc_pipeline_get(p, keys[k], RDC_NTS);
        rdc_pipeline_command(p, 2, argv, NULL);
    }
    rdc_reply *r = rdc_pipeline_execute(p);
    int is_complete = rdc_reply_len(r) == 3 * PIPED && rdc_reply_error(r) == RDC_OK;
    for (int k = 0; k < PIPED; k++) { /* an error of the whole pipeline is the error of each command */
        record_write(job, &start, s[k], is_complete ? rdc_reply_at(r, 3 * (size_t)k) : r, numbers[k]);
        if (is_complete)
            check_read(job, &start, s[k], keys[k], rdc_reply_at(r, 3 * (size_t)k + 1), 1);
        check_increment(job, &start, c[k], is_complete ? rdc_reply_at(r, 3 * (size_t)k + 2) : r);
    }
    job->calls += 3 * PIPED - 1;
    rdc_reply_free(r);
    record_duration(job, &start);
}

/* ---- Lists ------------------------------------------------------------------------------------- */

static void lists(struct job *job) {
    char key[96], value[64], own[16];
    snprintf(key, sizeof key, "soak:l:%u:%u:%ld", job->id, (unsigned)state_word(1), job->list);
    snprintf(value, sizeof value, "%u/%ld", job->id, ++job->sequence);
    struct call_start start = call_start(job);
    rdc_reply *r = rdc_cmd(client, "RPUSH", key, value);
    int pushed = !is_error(job, &start, r);
    job->list += !pushed;
    rdc_reply_free(r);
    record_duration(job, &start);
    if (!pushed)
        return;
    struct call_start began = start;
    start = call_start(job);
    r = rdc_cmd(client, "BLPOP", key, "1");
    const rdc_reply *got = rdc_reply_at(r, 1);
    if (!is_error(job, &start, r)) {
        /* If the removal of an element can be lost, the element can appear again. */
        snprintf(own, sizeof own, "%u/", job->id);
        const char *text = rdc_reply_str(got);
        int is_own = text && strncmp(text, own, strlen(own)) == 0;
        int is_last = is_own && is_text(got, value, strlen(value));
        if (rdc_reply_type(r) == RDC_ARRAY && !(is_last || (is_own && !is_durable(&began, began.losing)))) {
            job->misdelivered++;
            record_failure(job, "an element of another thread", got, (long)job->id, job->sequence);
        } else if (rdc_reply_type(r) == RDC_NIL && is_durable(&began, began.losing)) {
            job->lost++;
            record_failure(job, "a pushed element is lost", r, (long)job->id, job->sequence);
        }
    }
    if (rdc_reply_type(r) != RDC_ARRAY)
        job->list++;
    rdc_reply_free(r);
    record_duration(job, &start);
}

static void derived_handles(struct job *job) {
    struct call_start start = call_start(job);
    rdc_client *derived = rdc_with(client, "timeout_ms", "2500");
    rdc_reply *r = random_below(job, 2) ? rdc_cmd(derived, "EXISTS", "soak:nothing") : rdc_stats(derived);
    is_error(job, &start, r);
    rdc_reply_free(r);
    rdc_close(derived);
    record_duration(job, &start);
}

static void *work(void *arg) {
    struct job *job = arg;
    rdc_pipeline *p = rdc_pipeline_new(client);
    while (!state_word(2)) {
        unsigned n = random_below(job, 20);
        if (n < 8)
            strings(job);
        else if (n < 12)
            counters(job);
        else if (n < 15)
            pipelines(job, p);
        else if (n < 17)
            multi_key_reads(job);
        else if (n < 19)
            lists(job);
        else
            derived_handles(job);
    }
    rdc_pipeline_free(p);
    return NULL;
}

/* ---- Resources --------------------------------------------------------------------------------- */

static long resident_kb(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*s %ld", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static long descriptors(void) {
    long count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

static long maximum(const long *samples, int from, int to) {
    long found = 0;
    for (int i = from; i < to; i++)
        found = samples[i] > found ? samples[i] : found;
    return found;
}

int main(void) {
    static struct job jobs[THREADS];
    static long memory[SAMPLES], files[SAMPLES];
    pthread_t threads[THREADS];
    struct job sum;
    int samples = 0, started = 0;
    int fd = open(getenv("RDC_SOAK_FILE"), O_RDONLY);
    void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    unsigned seed = (unsigned)strtoul(getenv("RDC_SEED") ? getenv("RDC_SEED") : "1", NULL, 10);
    if (fd < 0 || map == MAP_FAILED)
        return fprintf(stderr, "RDC_SOAK_FILE cannot be mapped\n"), 1;
    state = map;
    memset(&sum, 0, sizeof sum);
    client = rdc_create(getenv("RDC_URL"));
    reader = rdc_readonly(client);
    if (rdc_client_error(client))
        return fprintf(stderr, "%s\n", rdc_client_error(client)), 1;
    for (; started < THREADS; started++) {
        jobs[started].id = (unsigned)started;
        jobs[started].seed = seed * 7919u + (unsigned)started;
        if (pthread_create(&threads[started], NULL, work, &jobs[started]))
            break;
    }
    double began = ms();
    while (!state_word(2)) {
        const struct timespec pause = {0, 250 * 1000 * 1000};
        nanosleep(&pause, NULL);
        if (samples < SAMPLES) {
            memory[samples] = resident_kb();
            files[samples++] = descriptors();
        }
    }
    for (int i = 0; i < started; i++) {
        struct job *job = &jobs[i];
        pthread_join(threads[i], NULL);
        sum.calls += job->calls, sum.misdelivered += job->misdelivered, sum.stale += job->stale;
        sum.extra_runs += job->extra_runs, sum.lost += job->lost;
        sum.unexplained += job->unexplained, sum.unexpected += job->unexpected;
        sum.longest = job->longest > sum.longest ? job->longest : sum.longest;
        for (int code = 0; code < CODES; code++)
            sum.errors[code] += job->errors[code];
        if (job->first_failure[0])
            printf("   # thread %d: %s\n", i, job->first_failure);
    }
    printf("   # %ld commands in %.0f s; errors:", sum.calls, (ms() - began) / 1e3);
    for (int code = 0; code < CODES; code++)
        if (sum.errors[code])
            printf(" %s %ld", rdc_error_name(code), sum.errors[code]);
    printf("; longest call %.0f ms\n", sum.longest);
    printf("   # resident KiB, maximum in each eighth of the run:");
    for (int i = 0; i < 8; i++)
        printf(" %ld", maximum(memory, samples * i / 8, samples * (i + 1) / 8));
    printf("\n");
    /* First allocations of threads and connections happen in the first quarter.  After it, nothing may grow. */
    int quarter = samples / 4;
    long memory_then = maximum(memory, quarter, 2 * quarter), memory_now = maximum(memory, samples - quarter, samples);
    long files_then = maximum(files, 0, 2 * quarter), files_now = maximum(files, samples - quarter, samples);
    printf("   # resident: %ld KiB in the second quarter, %ld KiB in the last; descriptors: %ld in the first half, "
           "%ld in the last quarter\n",
           memory_then, memory_now, files_then, files_now);
    check(started == THREADS, "threads started");
    check(sum.calls > 1000, "more than 1,000 calls were made");
    check(sum.misdelivered == 0, "no reply reached another call");
    check(sum.stale == 0, "every read returned the last write");
    check(sum.extra_runs == 0, "no command ran twice, or after it was reported as not sent");
    check(sum.lost == 0, "no acknowledged write is lost");
    check(sum.unexplained == 0, "no call fails without a fault");
    check(sum.unexpected == 0, "every error is explained by a fault");
    check(sum.longest < LATE_MS, "no call takes 5 s or more");
    check(memory_now <= memory_then + memory_then / 5 + 2048, "memory does not grow");
    check(files_now <= files_then + 64, "the number of descriptors does not grow");
    rdc_close(reader);
    rdc_close(client);
    return check_done();
}
