/* Threads, forked children and signal handlers use one client while the test (tests/faults/chaos) breaks the cluster in
 * many ways at once.  Every write carries a token of its own.  Each thread writes to its journal before a call which
 * tokens it will send, and after the call what the library said about them; the test compares the journals with the
 * append-only files of the servers.
 *
 * A journal has these lines, with times in microseconds since 1970:
 *   B token group operation tag      a write with this token begins; the group is the first token of its call
 *   E token verdict code sent began ended late calm node message
 *                                    a write or a read ended; the verdict is `ran`, `not` or `may`; `late` is the time
 *                                    beyond the limit of the call, without that of a machine without free processors
 *   W replicas token                 WAIT behind the write of this token counted so many replicas
 *   F kind tag began ended text      a finding: something that must not happen
 *
 * The test and this program share a file that is mapped into memory, with three words:
 *   word 0: odd while there are faults;
 *   word 1: not 0 when the run is over;
 *   word 2: the number of journals.
 * RDC_URL is the URL of the cluster, RDC_CHAOS_DIR the folder of the journals and of the file `state`, RDC_SEED the
 * random seed.  The test has stored a value under `static:{TAG}` for each tag: s0 to s11 in slots that do not move, m0
 * to m11 in slots that do; and a large one under `large:{s0}`. */
#define _DEFAULT_SOURCE
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 16, TAGS = 24, MOST = 8, TOKEN = 24, TAG = 16, OWN_FILES = 24, CHILD_CALLS = 25, LIMIT_MS = 3000 };

static rdc_client *client, *reader, *verifier;
static uint32_t *state;
static const char *folder;

struct worker {
    unsigned seed, journal, tokens;
    int file, stalls, is_child;
    pthread_t thread;
    rdc_client *mine, *pinned;
    rdc_client *volatile target; /* what the signal handler interrupts: also a handle that was closed */
    int mine_ms, is_named, is_inherited; /* the last two: what was set on the pinned handle; it is the parent's */
    char pinned_tag[TAG], name[32];
    char out[16384];
    size_t len;
};

static __thread struct worker *current;

static unsigned below(struct worker *w, unsigned sides) {
    w->seed = w->seed * 1664525u + 1013904223u;
    return (w->seed >> 8) % sides;
}

static uint32_t word(int i) {
    return __atomic_load_n(&state[i], __ATOMIC_ACQUIRE);
}

static long long now_us(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void pause_us(unsigned us) {
    const struct timespec t = {us / 1000000, (long)(us % 1000000) * 1000};
    nanosleep(&t, NULL);
}

/* ---- The journal ------------------------------------------------------------------------------- */

static void line(struct worker *w, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(w->out + w->len, sizeof w->out - w->len, format, args);
    va_end(args);
    if (n > 0 && w->len + (size_t)n < sizeof w->out)
        w->len += (size_t)n;
}

/* Written with one call, so that a killed process leaves whole lines. */
static void flush(struct worker *w) {
    if (w->len > 0 && write(w->file, w->out, w->len) != (ssize_t)w->len) {
        fprintf(stderr, "journal %u cannot be written: %s\n", w->journal, strerror(errno));
        _exit(3);
    }
    w->len = 0;
}

static void open_journal(struct worker *w) {
    char path[512];
    w->journal = __atomic_add_fetch(&state[2], 1, __ATOMIC_SEQ_CST);
    w->tokens = 0;
    w->len = 0;
    snprintf(path, sizeof path, "%s/journal-%u", folder, w->journal);
    w->file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    w->stalls = open("/proc/pressure/cpu", O_RDONLY);
    if (w->file < 0)
        _exit(2);
}

/* The time in which a thread of this machine waited for a processor: perhaps one that held a lock which a call needs.
 * 0 where the kernel does not tell. */
static long long stalled_us(struct worker *w) {
    char text[256] = "";
    long long total = 0;
    const char *at = pread(w->stalls, text, sizeof text - 1, 0) > 0 ? strstr(text, "total=") : NULL;
    return at && sscanf(at, "total=%lld", &total) == 1 ? total : 0;
}

static void finding(struct worker *w, const char *kind, const char *tag, const char *text) {
    long long now = now_us(CLOCK_REALTIME);
    line(w, "F %s %s %lld %lld %s\n", kind, tag, now, now, text ? text : "(nil)");
    flush(w);
}

/* A call on a handle with this limit. */
struct call {
    int limit_ms;
    uint32_t faults;
    long long began, at, stalled, ended, late;
    int is_calm;
};

static struct call begin(struct worker *w, int limit_ms) {
    flush(w);
    struct call call;
    memset(&call, 0, sizeof call);
    call.limit_ms = limit_ms;
    call.faults = word(0);
    call.stalled = stalled_us(w);
    call.began = now_us(CLOCK_REALTIME);
    call.at = now_us(CLOCK_MONOTONIC);
    return call;
}

static void end(struct worker *w, struct call *call) {
    long long took = now_us(CLOCK_MONOTONIC) - call->at;
    call->ended = now_us(CLOCK_REALTIME);
    call->late = took - call->limit_ms * 1000LL;
    if (call->late > 0)
        call->late -= stalled_us(w) - call->stalled;
    if (call->late < 0)
        call->late = 0;
    call->is_calm = call->faults % 2 == 0 && word(0) == call->faults;
}

static void token(struct worker *w, char *text) {
    snprintf(text, TOKEN, "t%08x-%08x", w->journal, ++w->tokens);
}

/* Its own script errors contain this word. */
#define SCRIPT_WORD "of-the-script"

static const char *verdict(const rdc_reply *r) {
    if (rdc_reply_error(r) == RDC_OK)
        return "ran";
    if (!rdc_reply_sent(r))
        return "not";
    return strstr(rdc_reply_str(r), SCRIPT_WORD) ? "ran" : "may";
}

static void outcome_as(struct worker *w, const struct call *call, const char *text, const char *said,
                       const rdc_reply *r) {
    const char *node = rdc_reply_node(r);
    line(w, "E %s %s %d %d %lld %lld %lld %d %s %.300s\n", text, said, (int)rdc_reply_error(r),
         (int)rdc_reply_sent(r), call->began, call->ended, call->late, call->is_calm, node ? node : "-",
         rdc_reply_error(r) ? rdc_reply_str(r) : "");
}

static void outcome(struct worker *w, const struct call *call, const char *text, const rdc_reply *r) {
    outcome_as(w, call, text, verdict(r), r);
}

/* ---- Operations -------------------------------------------------------------------------------- */

struct handle {
    rdc_client *client;
    int limit_ms;
};

static struct handle handle(struct worker *w) {
    struct handle shared = {client, LIMIT_MS}, own = {w->mine, w->mine_ms};
    return below(w, 3) ? shared : own;
}

static void tag(struct worker *w, char *text) {
    unsigned n = below(w, TAGS);
    snprintf(text, TAG, "%c%u", n % 2 ? 's' : 'm', n / 2);
}

static void key_of(char *key, const char *kind, const char *tag_text) {
    snprintf(key, 32, "%s:{%s}", kind, tag_text);
}

static void single(struct worker *w) {
    char text[TOKEN], where[TAG], key[32];
    struct handle h = handle(w);
    token(w, text);
    tag(w, where);
    line(w, "B %s %s single %s\n", text, text, where);
    struct call call = begin(w, h.limit_ms);
    rdc_reply *r;
    if (below(w, 2)) {
        key_of(key, "stream", where);
        r = rdc_cmd(h.client, "XADD", key, "*", "t", text);
    } else {
        key_of(key, "value", where);
        r = rdc_set_px(h.client, key, RDC_NTS, text, RDC_NTS, 3600000);
    }
    end(w, &call);
    outcome(w, &call, text, r);
    rdc_reply_free(r);
}

enum shape { PLAIN, ONE_SLOT_AND_WAIT, ATOMIC };

/* The timeout of WAIT, which the limit of its call does not contain. */
#define WAIT_MS "50"

static void pipeline(struct worker *w, enum shape shape) {
    char texts[MOST][TOKEN], where[TAG], key[32];
    struct handle h = handle(w);
    rdc_pipeline *p = rdc_pipeline_new(h.client);
    unsigned n = 1 + below(w, MOST);
    tag(w, where);
    for (unsigned i = 0; i < n; i++) {
        if (shape == PLAIN)
            tag(w, where);
        token(w, texts[i]);
        line(w, "B %s %s %s %s\n", texts[i], texts[0], shape == ATOMIC ? "atomic" : "pipeline", where);
        if (shape != PLAIN || below(w, 3)) {
            const char *argv[] = {"XADD", key, "*", "t", texts[i]};
            key_of(key, "stream", where);
            rdc_pipeline_command(p, 5, argv, NULL);
        } else {
            key_of(key, "value", where);
            rdc_pipeline_set_px(p, key, RDC_NTS, texts[i], RDC_NTS, 3600000);
        }
    }
    if (shape == ONE_SLOT_AND_WAIT) {
        const char *argv[] = {"WAIT", "1", WAIT_MS};
        rdc_pipeline_command(p, 3, argv, NULL);
    }
    struct call call = begin(w, h.limit_ms + (shape == ONE_SLOT_AND_WAIT ? atoi(WAIT_MS) : 0));
    rdc_reply *r = shape == ATOMIC ? rdc_pipeline_execute_atomic(p) : rdc_pipeline_execute(p);
    end(w, &call);
    int is_whole = rdc_reply_error(r) == RDC_OK;
    size_t expected = n + (shape == ONE_SLOT_AND_WAIT);
    if (is_whole && (rdc_reply_type(r) != RDC_ARRAY || rdc_reply_len(r) != expected))
        finding(w, "shape", where, "a pipeline does not have one reply for each command");
    else
        for (unsigned i = 0; i < n; i++)
            outcome(w, &call, texts[i], is_whole ? rdc_reply_at(r, i) : r);
    const rdc_reply *counted = rdc_reply_at(r, n);
    if (is_whole && shape == ONE_SLOT_AND_WAIT && rdc_reply_type(counted) == RDC_INTEGER)
        for (unsigned i = 0; i < n; i++)
            if (rdc_reply_error(rdc_reply_at(r, i)) == RDC_OK)
                line(w, "W %lld %s\n", (long long)rdc_reply_int(counted), texts[i]);
    rdc_reply_free(r);
    rdc_pipeline_free(p);
}

/* A script that writes and then returns an error that begins like one of the server's. */
static void script(struct worker *w) {
    static const char *const errors[] = {"TRYAGAIN " SCRIPT_WORD, "LOADING " SCRIPT_WORD,    "CLUSTERDOWN " SCRIPT_WORD,
                                         "READONLY " SCRIPT_WORD, "MASTERDOWN " SCRIPT_WORD, "NOPERM " SCRIPT_WORD};
    static const char one[] = "redis.call('XADD', KEYS[1], '*', 't', ARGV[1]) return redis.error_reply(ARGV[2])";
    static const char two[] = "redis.call('XADD', KEYS[1], '*', 't', ARGV[1]) "
                              "redis.call('XADD', KEYS[1], '*', 't', ARGV[2]) return 1";
    char texts[2][TOKEN], where[TAG], key[32];
    struct handle h = handle(w);
    unsigned n = 1 + below(w, 2);
    tag(w, where);
    key_of(key, "stream", where);
    for (unsigned i = 0; i < n; i++) {
        token(w, texts[i]);
        line(w, "B %s %s %s %s\n", texts[i], texts[0], n == 2 ? "atomic" : "script", where);
    }
    struct call call = begin(w, h.limit_ms);
    rdc_reply *r = rdc_cmd(h.client, "EVAL", n == 2 ? two : one, "1", key, texts[0],
                           n == 2 ? texts[1] : errors[below(w, sizeof errors / sizeof *errors)]);
    end(w, &call);
    for (unsigned i = 0; i < n; i++)
        outcome(w, &call, texts[i], r);
    rdc_reply_free(r);
}

static void check_static(struct worker *w, const struct call *call, const char *where, const rdc_reply *r,
                         const char *handle_name) {
    char key[32];
    key_of(key, "static", where);
    if (rdc_reply_error(r))
        outcome(w, call, "-", r);
    else if (!is_text(r, key, strlen(key)))
        line(w, "F %s %s %lld %lld the %s handle read %s from %s\n", rdc_reply_type(r) == RDC_NIL ? "nil" : "wrong",
             where, call->began, call->ended, handle_name, rdc_reply_str(r) ? rdc_reply_str(r) : "nil",
             rdc_reply_node(r) ? rdc_reply_node(r) : "-");
}

static void read_static(struct worker *w) {
    char where[TAG], key[32];
    unsigned n = below(w, 3);
    rdc_client *handles[] = {client, reader, verifier};
    const char *names[] = {"primary", "read-only", "verifying"};
    do
        tag(w, where);
    while (n == 1 && where[0] == 'm'); /* it accepts a nil of a slot that is not known to be migrating */
    key_of(key, "static", where);
    struct call call = begin(w, LIMIT_MS);
    rdc_reply *r = rdc_get(handles[n], key, RDC_NTS);
    end(w, &call);
    /* It also accepts a nil of a primary that was deposed and has already deleted its keys. */
    if (n != 1 || rdc_reply_type(r) != RDC_NIL || call.is_calm)
        check_static(w, &call, where, r, names[n]);
    rdc_reply_free(r);
}

static void read_many(struct worker *w) {
    char where[MOST][TAG], keys[MOST][32];
    const char *argv[MOST + 1] = {"MGET"};
    for (unsigned i = 0; i < MOST; i++) {
        tag(w, where[i]);
        key_of(keys[i], "static", where[i]);
        argv[i + 1] = keys[i];
    }
    struct call call = begin(w, LIMIT_MS);
    rdc_reply *r = rdc_command(client, MOST + 1, argv, NULL);
    end(w, &call);
    if (rdc_reply_error(r))
        outcome(w, &call, "-", r);
    else
        for (unsigned i = 0; i < MOST; i++)
            check_static(w, &call, where[i], rdc_reply_at(r, i), "primary (MGET)");
    rdc_reply_free(r);
}

static void other_commands(struct worker *w) {
    char where[TAG], key[32];
    tag(w, where);
    key_of(key, "nothing", where);
    struct call call = begin(w, LIMIT_MS);
    rdc_reply *r = below(w, 4) ? rdc_cmd(client, "BLPOP", key, "0.05") : rdc_refresh(client);
    end(w, &call);
    if (rdc_reply_error(r))
        outcome(w, &call, "-", r);
    rdc_reply_free(r);
}

/* The handler may interrupt the old handle while it is closed, and afterwards. */
static void renew_handle(struct worker *w) {
    char limit[16];
    rdc_client *old = w->mine;
    w->mine_ms = 200 + (int)below(w, 1300);
    snprintf(limit, sizeof limit, "%d", w->mine_ms);
    w->mine = rdc_with(client, "timeout_ms", limit);
    rdc_close(old);
    w->target = below(w, 4) ? w->mine : NULL;
}

/* ---- The pinned handle ------------------------------------------------------------------------- */

static void renew_pinned(struct worker *w) {
    rdc_close(w->pinned);
    tag(w, w->pinned_tag);
    w->pinned = rdc_pin(client, w->pinned_tag, RDC_NTS);
    w->is_named = w->is_inherited = 0;
}

/* Sends a command on the pinned handle; an error is journalled. */
static rdc_reply *pinned_command(struct worker *w, size_t argc, const char *const *argv) {
    struct call call = begin(w, LIMIT_MS);
    rdc_reply *r = rdc_command(w->pinned, argc, argv, NULL);
    end(w, &call);
    /* A child has no connection of its parent: the handle says what is lost with it. */
    w->is_inherited &= rdc_reply_error(r) != RDC_OK;
    call.is_calm &= !w->is_inherited;
    if (rdc_reply_error(r) || call.late)
        outcome(w, &call, "-", r);
    return r;
}

static int pinned_ok(struct worker *w, size_t argc, const char *const *argv) {
    return rdc_reply_free(pinned_command(w, argc, argv)) == RDC_OK;
}

#define PINNED(w, ...) \
    pinned_command((w), sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})
#define PINNED_OK(w, ...) \
    pinned_ok((w), sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

/* The connection keeps the name that it was given, or every command fails. */
static void check_name(struct worker *w) {
    if (!w->is_named) {
        snprintf(w->name, sizeof w->name, "n%u-%u", w->journal, below(w, 1000));
        w->is_named = PINNED_OK(w, "CLIENT", "SETNAME", w->name);
        return;
    }
    rdc_reply *r = PINNED(w, "CLIENT", "GETNAME");
    if (rdc_reply_error(r)) {
        if (rdc_reply_error(r) == RDC_ERR_INTERRUPTED || !below(w, 3) || !PINNED_OK(w, "RESET"))
            renew_pinned(w);
        w->is_named = 0;
    } else if (!is_text(r, w->name, strlen(w->name))) {
        finding(w, "state", w->pinned_tag, "a pinned connection was replaced and its name is lost in silence");
        w->is_named = 0;
    }
    rdc_reply_free(r);
}

static void pinned_transaction(struct worker *w) {
    char texts[2][TOKEN], key[32];
    if (!below(w, 8))
        renew_pinned(w);
    check_name(w);
    key_of(key, "stream", w->pinned_tag);
    if (below(w, 2) && !PINNED_OK(w, "WATCH", key))
        return;
    if (!PINNED_OK(w, "MULTI")) {
        if (!PINNED_OK(w, "UNWATCH"))
            renew_pinned(w);
        return;
    }
    for (int i = 0; i < 2; i++) {
        token(w, texts[i]);
        line(w, "B %s %s atomic %s\n", texts[i], texts[0], w->pinned_tag);
        rdc_reply *r = PINNED(w, "XADD", key, "*", "t", texts[i]);
        if (!rdc_reply_error(r) && !is_text(r, "QUEUED", 6))
            finding(w, "state", w->pinned_tag, "a command of a transaction was not queued");
        rdc_reply_free(r);
    }
    int is_discarded = !below(w, 4);
    struct call call = begin(w, LIMIT_MS);
    rdc_reply *r = rdc_cmd(w->pinned, is_discarded ? "DISCARD" : "EXEC");
    end(w, &call);
    for (size_t i = 0; i < 2; i++) {
        if (is_discarded || rdc_reply_type(r) == RDC_NIL)
            outcome_as(w, &call, texts[i], "not", r);
        else
            outcome(w, &call, texts[i], rdc_reply_error(r) ? r : rdc_reply_at(r, i));
    }
    /* A server leaves the transaction open when it refuses DISCARD. */
    if (rdc_reply_error(r) == RDC_ERR_AUTH)
        renew_pinned(w);
    rdc_reply_free(r);
}

/* ---- Children ---------------------------------------------------------------------------------- */

static void operation(struct worker *w);

/* Fills the free descriptors with the child's own: all are the writing end of a pipe. */
static int open_own_files(int own[OWN_FILES], struct stat *is) {
    int ends[2];
    if (pipe(ends) || fcntl(ends[0], F_SETFL, O_NONBLOCK))
        _exit(2);
    for (int i = 0; i < OWN_FILES; i++)
        own[i] = dup(ends[1]);
    fstat(ends[1], is);
    close(ends[1]);
    return ends[0];
}

static void check_own_files(struct worker *w, const int own[OWN_FILES], const struct stat *is, int reading) {
    struct stat now;
    char byte;
    for (int i = 0; i < OWN_FILES; i++)
        if (fstat(own[i], &now) || now.st_ino != is->st_ino || now.st_dev != is->st_dev)
            finding(w, "descriptor", "-", "a child's own descriptor was closed");
    if (read(reading, &byte, 1) == 1)
        finding(w, "descriptor", "-", "bytes were written to a child's own descriptor");
}

static void run_child(struct worker *w, rdc_reply *inherited) {
    struct stat is;
    int own[OWN_FILES], reading = -1, is_daemon = (int)below(w, 2);
    w->is_child = w->is_inherited = 1;
    if (is_daemon)
        for (int fd = 3; fd < 1024; fd++)
            close(fd);
    open_journal(w);
    if (is_daemon)
        reading = open_own_files(own, &is);
    rdc_reply_free(inherited);
    for (unsigned n = 5 + below(w, CHILD_CALLS); n > 0 && !word(1); n--)
        operation(w);
    if (is_daemon)
        check_own_files(w, own, &is, reading);
    if (below(w, 2)) {
        rdc_close(w->pinned);
        rdc_close(w->mine);
        rdc_close(verifier);
        rdc_close(reader);
        rdc_close(client);
    }
    flush(w);
    _exit(0);
}

static void fork_child(struct worker *w) {
    char key[32];
    int status = 0, ended = 0;
    key_of(key, "large", "s0");
    rdc_reply *r = rdc_get(client, key, RDC_NTS);
    flush(w);
    pid_t child = fork();
    if (child == 0)
        run_child(w, r);
    rdc_reply_free(r);
    if (child < 0)
        return;
    if (!below(w, 5)) {
        pause_us(below(w, 100000));
        kill(child, SIGKILL);
    }
    /* Some of its calls may take their whole limit. */
    for (int waited = 0; !ended && waited < 20 * LIMIT_MS; waited += 5) {
        ended = waitpid(child, &status, WNOHANG) == child;
        pause_us(5000);
    }
    if (!ended) {
        finding(w, "child", "-", "a child hangs");
        kill(child, SIGABRT);
        waitpid(child, &status, 0);
    } else if (WIFEXITED(status) ? WEXITSTATUS(status) != 0 : WTERMSIG(status) != SIGKILL) {
        char text[64];
        snprintf(text, sizeof text, "a child ended with the status %d", status);
        finding(w, "child", "-", text);
    }
}

/* ---- The run ----------------------------------------------------------------------------------- */

static void operation(struct worker *w) {
    unsigned n = below(w, 200);
    if (n < 60)
        single(w);
    else if (n < 85)
        pipeline(w, PLAIN);
    else if (n < 95)
        pipeline(w, ONE_SLOT_AND_WAIT);
    else if (n < 115)
        pipeline(w, ATOMIC);
    else if (n < 135)
        pinned_transaction(w);
    else if (n < 150)
        script(w);
    else if (n < 180)
        read_static(w);
    else if (n < 190)
        read_many(w);
    else if (n < 194)
        other_commands(w);
    else if (n < 198)
        renew_handle(w);
    else if (!w->is_child || !below(w, 4))
        fork_child(w);
    flush(w);
}

static void *work(void *arg) {
    struct worker *w = arg;
    current = w;
    open_journal(w);
    while (!word(1)) {
        operation(w);
        pause_us(below(w, 8000));
    }
    return NULL;
}

static void signal_handler(int number) {
    int saved = errno;
    if (number == SIGUSR2 && current)
        rdc_interrupt(current->target);
    errno = saved;
}

static void install(int number, int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = signal_handler;
    action.sa_flags = flags;
    sigaction(number, &action, NULL);
}

int main(void) {
    static struct worker workers[THREADS];
    char path[512];
    unsigned seed = (unsigned)strtoul(getenv("RDC_SEED"), NULL, 10);
    folder = getenv("RDC_CHAOS_DIR");
    snprintf(path, sizeof path, "%s/state", folder);
    int fd = open(path, O_RDWR);
    void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || map == MAP_FAILED)
        return fprintf(stderr, "%s cannot be mapped\n", path), 1;
    close(fd);
    state = map;
    client = rdc_create(getenv("RDC_URL"));
    reader = rdc_readonly(client);
    verifier = rdc_with(reader, "nil", "verify");
    if (rdc_client_error(client) || rdc_client_error(verifier))
        return fprintf(stderr, "%s\n", rdc_client_error(client)), 1;
    install(SIGUSR1, SA_RESTART);
    install(SIGUSR2, 0);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].seed = seed * 7919u + i;
        renew_handle(&workers[i]);
        renew_pinned(&workers[i]);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            return fprintf(stderr, "a thread cannot be created\n"), 1;
    }
    for (unsigned n = seed; !word(1); n = n * 1664525u + 1013904223u) {
        pause_us(10000);
        pthread_kill(workers[(n >> 8) % THREADS].thread, (n >> 16) % 4 ? SIGUSR1 : SIGUSR2);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        rdc_close(workers[i].pinned);
        rdc_close(workers[i].mine);
    }
    rdc_close(verifier);
    rdc_close(reader);
    rdc_close(client);
    return 0;
}
