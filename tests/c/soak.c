/* Sixty-four threads on one handle, for as long as the driver (tests/soak.rs) says, while it breaks the cluster and mends it.
 * What a thread reads is its own and what it last wrote; nothing runs twice; what is said not to have left has not run; and
 * where nothing is broken, nothing fails.
 *
 * A file that both have mapped says how it stands:
 *   word 0: odd while something is broken;
 *   word 1: odd while acknowledged writes may be lost, as they are when a replica that lags is promoted;
 *   word 2: not 0 once it is over.
 * RDC_URL, RDC_SOAK_FILE, RDC_SEED. */
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

static uint32_t word(int i) {
    return __atomic_load_n(&state[i], __ATOMIC_ACQUIRE);
}

static double ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* A string that only one thread writes.  Where it is not known what it holds, another takes its place. */
struct string {
    uint32_t epoch;
    long version, written; /* the last number that was acknowledged; 0 if none was */
    int in_doubt;
};

struct counter {
    uint32_t epoch;
    long done, perhaps; /* increments that were acknowledged; that may have run, or may still */
};

struct job {
    unsigned id, seed;
    long calls, sequence, errors[CODES], foreign, stale, twice, lost, unexplained, odd;
    double longest;
    struct string strings[KEYS];
    struct counter counters[KEYS];
    long list;
    char why[300];
};

static unsigned dice(struct job *job, unsigned sides) {
    job->seed = job->seed * 1664525u + 1013904223u;
    return (job->seed >> 8) % sides;
}

/* What held when a call began. */
struct moment {
    uint32_t broken, losing;
    double at;
};

static struct moment moment(struct job *job) {
    struct moment now = {word(0), word(1), ms()};
    job->calls++;
    return now;
}

static int is_calm(const struct moment *then) {
    return then->broken % 2 == 0 && word(0) == then->broken;
}

/* Whether what was acknowledged since then is still there for certain. */
static int is_kept(const struct moment *then, uint32_t epoch) {
    return epoch % 2 == 0 && epoch == then->losing && word(1) == epoch;
}

static void complain(struct job *job, const char *what, const rdc_reply *r, long a, long b) {
    if (!job->why[0])
        snprintf(job->why, sizeof job->why, "%s: %.160s (%ld, %ld)", what,
                 rdc_reply_str(r) ? rdc_reply_str(r) : "(no words)", a, b);
}

/* Counts an error, and says whether it is one. */
static int is_error(struct job *job, const struct moment *then, const rdc_reply *r) {
    static const char *const explained[] = {"CLUSTERDOWN", "LOADING", "MASTERDOWN", "TRYAGAIN", "UNBLOCKED", "READONLY"};
    int32_t code = rdc_reply_error(r);
    if (code == RDC_OK)
        return 0;
    const char *words = rdc_reply_str(r);
    int known = code == RDC_ERR_CONNECT || code == RDC_ERR_IO || code == RDC_ERR_TIMEOUT || code == RDC_ERR_DOWN ||
                code == RDC_ERR_REDIRECTS;
    for (size_t i = 0; code == RDC_ERR_SERVER && i < sizeof explained / sizeof *explained; i++)
        known |= words && strstr(words, explained[i]) != NULL;
    job->errors[code < CODES ? code : 0]++;
    if (!known) {
        job->odd++;
        complain(job, "an error of a kind that no fault explains", r, code, 0);
    } else if (is_calm(then)) {
        job->unexplained++;
        complain(job, "an error while nothing is broken", r, code, (long)(ms() - then->at));
    }
    return 1;
}

static void ended(struct job *job, const struct moment *then) {
    double took = ms() - then->at;
    if (took > job->longest)
        job->longest = took;
}

/* ---- Strings ----------------------------------------------------------------------------------- */

static struct string *string_of(struct job *job, int k, char *key, size_t size) {
    struct string *s = &job->strings[k];
    uint32_t epoch = word(1);
    if (s->in_doubt || s->epoch != epoch) {
        s->version++;
        s->epoch = epoch;
        s->written = 0;
        s->in_doubt = 0;
    }
    snprintf(key, size, "soak:s:%u:%d:%u:%ld", job->id, k, (unsigned)s->epoch, s->version);
    return s;
}

static void wrote(struct job *job, const struct moment *then, struct string *s, const rdc_reply *r, long number) {
    if (!is_error(job, then, r))
        s->written = number;
    else if (rdc_reply_sent(r))
        s->in_doubt = 1;
}

/* What was read from this key must be in its name, and from a primary it must be the last that was written. */
static void has_read(struct job *job, const struct moment *then, struct string *s, const char *key, const rdc_reply *r,
                     int from_primary) {
    if (is_error(job, then, r))
        return;
    const char *text = rdc_reply_str(r);
    size_t len = strlen(key);
    if (rdc_reply_type(r) != RDC_NIL && !(text && strncmp(text, key, len) == 0 && text[len] == '/')) {
        job->foreign++;
        complain(job, "somebody else's value", r, (long)job->id, 0);
        return;
    }
    long number = text ? atol(text + len + 1) : 0;
    if (number > job->sequence || (from_primary && !s->in_doubt && is_kept(then, s->epoch) && number != s->written)) {
        job->stale++;
        complain(job, "not what was written", r, number, s->written);
    }
}

static long next_value(struct job *job, const char *key, char *value, size_t size) {
    static const char filler[] = "........................................................................................";
    snprintf(value, size, "%s/%ld/%.*s", key, ++job->sequence, (int)dice(job, sizeof filler), filler);
    return job->sequence;
}

static void strings(struct job *job) {
    char key[96], value[512];
    struct string *s = string_of(job, (int)dice(job, KEYS), key, sizeof key);
    struct moment then = moment(job);
    long number = next_value(job, key, value, sizeof value);
    rdc_reply *r = rdc_set_px(client, key, RDC_NTS, value, RDC_NTS, 120000);
    wrote(job, &then, s, r, number);
    rdc_reply_free(r);
    ended(job, &then);
    int from_primary = dice(job, 3) != 0;
    then = moment(job);
    r = rdc_get(from_primary ? client : reader, key, RDC_NTS);
    has_read(job, &then, s, key, r, from_primary);
    rdc_reply_free(r);
    ended(job, &then);
}

static void several(struct job *job) {
    char keys[KEYS][96];
    struct string *s[KEYS];
    const char *argv[KEYS + 1] = {"MGET"};
    for (int k = 0; k < KEYS; k++) {
        s[k] = string_of(job, k, keys[k], sizeof keys[k]);
        argv[k + 1] = keys[k];
    }
    struct moment then = moment(job);
    rdc_reply *r = rdc_command(client, KEYS + 1, argv, NULL);
    if (!is_error(job, &then, r))
        for (int k = 0; k < KEYS; k++)
            has_read(job, &then, s[k], keys[k], rdc_reply_at(r, (size_t)k), 1);
    rdc_reply_free(r);
    ended(job, &then);
}

/* ---- Counters ---------------------------------------------------------------------------------- */

static struct counter *counter_of(struct job *job, int k, char *key, size_t size) {
    struct counter *c = &job->counters[k];
    uint32_t epoch = word(1);
    if (c->epoch != epoch) {
        c->epoch = epoch;
        c->done = c->perhaps = 0;
    }
    snprintf(key, size, "soak:c:%u:%d:%u", job->id, k, (unsigned)c->epoch);
    return c;
}

static void counted(struct job *job, const struct moment *then, struct counter *c, const rdc_reply *r) {
    if (is_error(job, then, r)) {
        c->perhaps += rdc_reply_sent(r) != 0;
        return;
    }
    long value = (long)rdc_reply_int(r);
    c->done++;
    if (value > c->done + c->perhaps) {
        job->twice++;
        complain(job, "counted more often than asked", r, value, c->done + c->perhaps);
    } else if (value < c->done && is_kept(then, c->epoch)) {
        job->lost++;
        complain(job, "what was acknowledged is lost", r, value, c->done);
    }
}

static void counters(struct job *job) {
    char key[96];
    struct counter *c = counter_of(job, (int)dice(job, KEYS), key, sizeof key);
    struct moment then = moment(job);
    rdc_reply *r = rdc_incrby(client, key, RDC_NTS, 1);
    counted(job, &then, c, r);
    rdc_reply_free(r);
    ended(job, &then);
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
    struct moment then = moment(job);
    for (int k = 0; k < PIPED; k++) {
        const char *const argv[] = {"INCR", counts[k]};
        numbers[k] = next_value(job, keys[k], value, sizeof value);
        rdc_pipeline_set_px(p, keys[k], RDC_NTS, value, RDC_NTS, 120000);
        rdc_pipeline_get(p, keys[k], RDC_NTS);
        rdc_pipeline_command(p, 2, argv, NULL);
    }
    rdc_reply *r = rdc_pipeline_execute(p);
    int whole = rdc_reply_len(r) == 3 * PIPED && rdc_reply_error(r) == RDC_OK;
    for (int k = 0; k < PIPED; k++) { /* where all failed as one, each did */
        wrote(job, &then, s[k], whole ? rdc_reply_at(r, 3 * (size_t)k) : r, numbers[k]);
        if (whole)
            has_read(job, &then, s[k], keys[k], rdc_reply_at(r, 3 * (size_t)k + 1), 1);
        counted(job, &then, c[k], whole ? rdc_reply_at(r, 3 * (size_t)k + 2) : r);
    }
    job->calls += 3 * PIPED - 1;
    rdc_reply_free(r);
    ended(job, &then);
}

/* ---- Lists ------------------------------------------------------------------------------------- */

static void lists(struct job *job) {
    char key[96], value[64], own[16];
    snprintf(key, sizeof key, "soak:l:%u:%u:%ld", job->id, (unsigned)word(1), job->list);
    snprintf(value, sizeof value, "%u/%ld", job->id, ++job->sequence);
    struct moment then = moment(job);
    rdc_reply *r = rdc_cmd(client, "RPUSH", key, value);
    int pushed = !is_error(job, &then, r);
    job->list += !pushed;
    rdc_reply_free(r);
    ended(job, &then);
    if (!pushed)
        return;
    struct moment began = then;
    then = moment(job);
    r = rdc_cmd(client, "BLPOP", key, "1");
    const rdc_reply *got = rdc_reply_at(r, 1);
    if (!is_error(job, &then, r)) {
        /* Where a pop may be lost, the element that it took is there again. */
        snprintf(own, sizeof own, "%u/", job->id);
        const char *text = rdc_reply_str(got);
        int is_own = text && strncmp(text, own, strlen(own)) == 0;
        int is_last = is_own && is_text(got, value, strlen(value));
        if (rdc_reply_type(r) == RDC_ARRAY && !(is_last || (is_own && !is_kept(&began, began.losing)))) {
            job->foreign++;
            complain(job, "somebody else's element", got, (long)job->id, job->sequence);
        } else if (rdc_reply_type(r) == RDC_NIL && is_kept(&began, began.losing)) {
            job->lost++;
            complain(job, "a pushed element is lost", r, (long)job->id, job->sequence);
        }
    }
    if (rdc_reply_type(r) != RDC_ARRAY)
        job->list++;
    rdc_reply_free(r);
    ended(job, &then);
}

static void others(struct job *job) {
    struct moment then = moment(job);
    rdc_client *twin = rdc_with(client, "timeout_ms", "2500");
    rdc_reply *r = dice(job, 2) ? rdc_cmd(twin, "EXISTS", "soak:nothing") : rdc_stats(twin);
    is_error(job, &then, r);
    rdc_reply_free(r);
    rdc_close(twin);
    ended(job, &then);
}

static void *work(void *arg) {
    struct job *job = arg;
    rdc_pipeline *p = rdc_pipeline_new(client);
    while (!word(2)) {
        unsigned n = dice(job, 20);
        if (n < 8)
            strings(job);
        else if (n < 12)
            counters(job);
        else if (n < 15)
            pipelines(job, p);
        else if (n < 17)
            several(job);
        else if (n < 19)
            lists(job);
        else
            others(job);
    }
    rdc_pipeline_free(p);
    return NULL;
}

/* ---- What it takes ----------------------------------------------------------------------------- */

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

static long most(const long *samples, int from, int to) {
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
        return fprintf(stderr, "no file to share\n"), 1;
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
    while (!word(2)) {
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
        sum.calls += job->calls, sum.foreign += job->foreign, sum.stale += job->stale, sum.twice += job->twice;
        sum.lost += job->lost, sum.unexplained += job->unexplained, sum.odd += job->odd;
        sum.longest = job->longest > sum.longest ? job->longest : sum.longest;
        for (int code = 0; code < CODES; code++)
            sum.errors[code] += job->errors[code];
        if (job->why[0])
            printf("   # thread %d: %s\n", i, job->why);
    }
    printf("   # %ld commands in %.0f s; errors:", sum.calls, (ms() - began) / 1e3);
    for (int code = 0; code < CODES; code++)
        if (sum.errors[code])
            printf(" %s %ld", rdc_error_name(code), sum.errors[code]);
    printf("; longest call %.0f ms\n", sum.longest);
    printf("   # resident KiB, by eighths of the time:");
    for (int i = 0; i < 8; i++)
        printf(" %ld", most(memory, samples * i / 8, samples * (i + 1) / 8));
    printf("\n");
    /* What threads and connections need for the first time comes early; from then on nothing may grow. */
    int quarter = samples / 4;
    long memory_then = most(memory, quarter, 2 * quarter), memory_now = most(memory, samples - quarter, samples);
    long files_then = most(files, 0, 2 * quarter), files_now = most(files, samples - quarter, samples);
    printf("   # resident %ld KiB, then %ld KiB; descriptors %ld, then %ld\n", memory_then, memory_now, files_then,
           files_now);
    check(started == THREADS, "threads started");
    check(sum.calls > 1000, "and worked");
    check(sum.foreign == 0, "no reply reached another call");
    check(sum.stale == 0, "what was read is what was written");
    check(sum.twice == 0, "nothing ran twice, and nothing that is said not to have left");
    check(sum.lost == 0, "what was acknowledged is there");
    check(sum.unexplained == 0, "nothing fails while nothing is broken");
    check(sum.odd == 0, "and what fails then is what a fault explains");
    check(sum.longest < LATE_MS, "no call outlives its timeout by much");
    check(memory_now <= memory_then + memory_then / 5 + 2048, "memory is flat");
    check(files_now <= files_then + 64, "descriptors are flat");
    rdc_close(reader);
    rdc_close(client);
    return check_done();
}
