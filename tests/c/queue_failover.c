/* One thread with a libuv loop keeps 10,000 commands in flight while the test (tests/faults/queue_failover.rs) fails
 * over the nodes of a cluster.  Each command completes once, within its timeout, and with its own reply.  An increment
 * runs at most once, and not at all if the library says that it was not sent.
 *
 * The test writes its faults as lines to the standard input, which the loop reads beside the queue:
 *   fault NAME   something is about to happen; errors are allowed
 *   lossy NAME   the same, and acknowledged writes may be lost
 *   calm         the cluster has recovered: from now on, no command may fail
 *   end          submit no more, and check
 * This program prints "ready" when 10,000 commands have completed, and repeats each line when it has read it.
 *
 * RDC_URL is the URL of the cluster, RDC_SEED the random seed. */
#define _XOPEN_SOURCE 700
#include "check.h"
#include <uv.h>

enum { IN_FLIGHT = 10000, KEYS = 2000, TIMEOUT_MS = 4000, LATE_MS = 1500, CODES = 17, MAX_INCREMENTS = 400000 };

enum kind { WRITE, READ, INCREMENT };

/* What is known of a command from its submission until its reply is taken. */
struct request {
    uint64_t generation; /* odd while in flight: the tag is this and the index */
    uint64_t submitted_ms;
    enum kind kind;
    int key;
    long version, faults, loss;  /* of the key, and of the run, at the submission */
    long number, oldest, newest; /* of a write or an increment; of a read: the values that it may return */
};

/* A key is written with ascending numbers.  When its value becomes uncertain, its next version is another key. */
struct key {
    long version, submitted, acknowledged, loss;
    int is_uncertain; /* a write may have run, or may still run */
};

enum outcome { UNKNOWN, ACKNOWLEDGED, NOT_SENT, MAYBE };

static struct request requests[IN_FLIGHT];
static struct key keys[KEYS];
static enum outcome outcomes[MAX_INCREMENTS];
static long loss_at[MAX_INCREMENTS]; /* `loss` when an increment was acknowledged */

static rdc_client *client;
static rdc_queue *queue;
static uv_poll_t readable;
static uv_pipe_t input;
static char line[256];
static size_t line_len;
static int is_over, is_ready, is_below;
static unsigned seed;
static long increments, completed, errors[CODES];
static long faults, loss; /* odd while there is a fault; odd while acknowledged writes may be lost */
static long misdelivered, stale, unknown_tags, late, unexplained, unexpected, extra_runs;
static uint64_t longest_ms;
static char first_failure[400];

static unsigned random_below(unsigned sides) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % sides;
}

static void record_failure(const char *what, const struct request *request, const rdc_reply *reply) {
    if (!first_failure[0])
        snprintf(first_failure, sizeof first_failure, "%s: key %d, number %ld, %ld to %ld: %.200s", what, request->key,
                 request->number, request->oldest, request->newest,
                 rdc_reply_str(reply) ? rdc_reply_str(reply) : "(no text)");
}

/* ---- Submitting -------------------------------------------------------------------------------- */

static void submit(size_t index) {
    struct request *request = &requests[index];
    unsigned choice = random_below(16);
    char name[80], value[128];
    uint64_t tag = (++request->generation << 20) | index;
    request->submitted_ms = uv_now(uv_default_loop());
    request->faults = faults;
    request->key = (int)random_below(KEYS);
    request->kind = choice < 6 ? WRITE : choice < 15 || increments == MAX_INCREMENTS ? READ : INCREMENT;
    struct key *key = &keys[request->key];
    if (key->is_uncertain || key->loss != loss)
        *key = (struct key){key->version + 1, 0, 0, loss, 0};
    request->version = key->version;
    request->loss = loss;
    snprintf(name, sizeof name, "flight:%d.%ld", request->key, key->version);
    if (request->kind == WRITE) {
        request->number = ++key->submitted;
        snprintf(value, sizeof value, "%s/%ld", name, request->number);
        rdc_queue_command(queue, tag, 3, (const char *[]){"SET", name, value}, NULL);
    } else if (request->kind == READ) {
        request->oldest = key->acknowledged;
        request->newest = key->submitted;
        rdc_queue_command(queue, tag, 2, (const char *[]){"GET", name}, NULL);
    } else {
        request->number = increments++;
        snprintf(name, sizeof name, "flight:once:%ld", request->number);
        rdc_queue_command(queue, tag, 2, (const char *[]){"INCR", name}, NULL);
    }
}

/* ---- Replies ----------------------------------------------------------------------------------- */

/* Whether there was no fault between the submission and now. */
static int is_undisturbed(const struct request *request) {
    return request->faults == faults && faults % 2 == 0;
}

/* Whether a reply is an error; an error is counted, and explained by a fault. */
static int is_error(const struct request *request, const rdc_reply *reply) {
    static const char *const explained[] = {"CLUSTERDOWN", "LOADING", "MASTERDOWN", "TRYAGAIN", "READONLY"};
    int32_t code = rdc_reply_error(reply);
    if (code == RDC_OK)
        return 0;
    const char *message = rdc_reply_str(reply);
    int is_explained = code == RDC_ERR_CONNECT || code == RDC_ERR_IO || code == RDC_ERR_TIMEOUT ||
                       code == RDC_ERR_DOWN || code == RDC_ERR_REDIRECTS;
    for (size_t i = 0; code == RDC_ERR_SERVER && i < sizeof explained / sizeof *explained; i++)
        is_explained |= message && strstr(message, explained[i]) != NULL;
    errors[code < CODES ? code : 0]++;
    if (!is_explained) {
        unexpected++;
        record_failure("an error that no fault explains", request, reply);
    } else if (is_undisturbed(request)) {
        unexplained++;
        record_failure("an error without a fault", request, reply);
    }
    return 1;
}

static void check_write(struct request *request, const rdc_reply *reply) {
    struct key *key = &keys[request->key];
    int is_current = request->version == key->version;
    if (is_error(request, reply)) {
        key->is_uncertain |= is_current && rdc_reply_sent(reply);
    } else if (rdc_reply_type(reply) != RDC_STATUS || !is_text(reply, "OK", 2)) {
        misdelivered++;
        record_failure("the reply of another command", request, reply);
    } else if (is_current && request->number > key->acknowledged) {
        key->acknowledged = request->number;
    }
}

/* A value names its key, and is not older than the last write that was acknowledged before the read was submitted.
 * Commands of one slot run in their order, so no later write has run, unless a fault made the client repeat the read.
 */
static void check_read(struct request *request, const rdc_reply *reply) {
    char name[80];
    if (is_error(request, reply))
        return;
    int len = snprintf(name, sizeof name, "flight:%d.%ld/", request->key, request->version);
    const char *text = rdc_reply_str(reply);
    int is_nil = rdc_reply_type(reply) == RDC_NIL;
    if (!is_nil && !(rdc_reply_type(reply) == RDC_STRING && text && strncmp(text, name, (size_t)len) == 0)) {
        misdelivered++;
        record_failure("a value of another key", request, reply);
        return;
    }
    long number = is_nil ? 0 : atol(text + len);
    int is_durable = request->loss == loss && loss % 2 == 0;
    if ((number > request->newest && is_undisturbed(request)) || (number < request->oldest && is_durable)) {
        stale++;
        record_failure("a value that was never current", request, reply);
    }
}

static void check_increment(const struct request *request, const rdc_reply *reply) {
    enum outcome *outcome = &outcomes[request->number];
    if (is_error(request, reply)) {
        *outcome = rdc_reply_sent(reply) ? MAYBE : NOT_SENT;
        return;
    }
    *outcome = ACKNOWLEDGED;
    loss_at[request->number] = loss;
    if (rdc_reply_type(reply) != RDC_INTEGER) {
        misdelivered++;
        record_failure("the reply of another command", request, reply);
    } else if (rdc_reply_int(reply) != 1) {
        extra_runs++;
        record_failure("an increment ran twice", request, reply);
    }
}

static void take(uint64_t tag, const rdc_reply *reply) {
    size_t index = tag & ((1 << 20) - 1);
    struct request *request = index < IN_FLIGHT ? &requests[index] : NULL;
    if (!request || request->generation != tag >> 20 || request->generation % 2 == 0) {
        unknown_tags++;
        return;
    }
    uint64_t took = uv_now(uv_default_loop()) - request->submitted_ms;
    longest_ms = took > longest_ms ? took : longest_ms;
    late += took > TIMEOUT_MS + LATE_MS;
    completed++;
    request->generation++;
    if (request->kind == WRITE)
        check_write(request, reply);
    else if (request->kind == READ)
        check_read(request, reply);
    else
        check_increment(request, reply);
    if (!is_over)
        submit(index);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    rdc_reply *reply;
    uint64_t tag;
    (void)status, (void)events;
    rdc_queue_run(queue, 0);
    uv_update_time(uv_default_loop());
    while ((reply = rdc_queue_next(queue, &tag)) != NULL) {
        take(tag, reply);
        rdc_reply_free(reply);
        is_below |= !is_over && rdc_queue_len(queue) != IN_FLIGHT;
    }
    if (!is_ready && completed >= IN_FLIGHT) {
        is_ready = 1;
        printf("ready\n");
        fflush(stdout);
    }
    if (is_over && rdc_queue_len(queue) == 0)
        uv_close((uv_handle_t *)poll, NULL);
}

/* ---- Faults ------------------------------------------------------------------------------------ */

static void on_line(const char *text) {
    if (strncmp(text, "fault", 5) == 0) {
        faults++;
    } else if (strncmp(text, "lossy", 5) == 0) {
        faults++;
        loss++;
    } else if (strcmp(text, "calm") == 0) {
        faults++;
        loss += loss % 2;
    } else if (strcmp(text, "end") == 0) {
        is_over = 1;
        uv_close((uv_handle_t *)&input, NULL);
    }
    printf("   # %s: %ld commands completed, the longest took %lu ms\n", text, completed, (unsigned long)longest_ms);
    fflush(stdout);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(line + line_len, (unsigned)(sizeof line - line_len));
}

static void on_input(uv_stream_t *stream, ssize_t len, const uv_buf_t *buffer) {
    char *end;
    (void)stream, (void)buffer;
    if (len < 0)
        exit(2); /* the test has ended */
    line_len += (size_t)len;
    while ((end = memchr(line, '\n', line_len)) != NULL) {
        *end = '\0';
        on_line(line);
        line_len -= (size_t)(end + 1 - line);
        memmove(line, end + 1, line_len);
    }
}

/* Reads all increments.  None may have run twice, or after the library said that it was not sent. */
static void check_counters(void) {
    enum { BATCH = 1000 };
    long twice = 0, unsent = 0, lost = 0, vanished = 0, missing = 0;
    rdc_pipeline *pipeline = rdc_pipeline_new(client);
    for (long first = 0; first < increments; first += BATCH) {
        long count = increments - first < BATCH ? increments - first : BATCH;
        for (long i = 0; i < count; i++) {
            char name[80];
            snprintf(name, sizeof name, "flight:once:%ld", first + i);
            rdc_pipeline_get(pipeline, name, RDC_NTS);
        }
        rdc_reply *replies = rdc_pipeline_execute(pipeline);
        for (long i = 0; i < count; i++) {
            const rdc_reply *reply = rdc_reply_at(replies, (size_t)i);
            enum outcome outcome = outcomes[first + i];
            int is_nil = rdc_reply_type(reply) == RDC_NIL;
            missing += outcome == UNKNOWN || (!is_nil && rdc_reply_type(reply) != RDC_STRING);
            twice += !is_nil && !is_text(reply, "1", 1);
            unsent += !is_nil && outcome == NOT_SENT;
            vanished += is_nil && outcome == ACKNOWLEDGED && loss_at[first + i] != loss;
            lost += is_nil && outcome == ACKNOWLEDGED && loss_at[first + i] == loss;
        }
        rdc_reply_free(replies);
    }
    rdc_pipeline_free(pipeline);
    printf("   # %ld increments; %ld acknowledged ones were lost with their primary\n", increments, vanished);
    check(missing == 0, "every increment has completed and can be read");
    check(twice == 0 && extra_runs == 0, "no increment ran twice");
    check(unsent == 0, "no increment ran that was reported as not sent");
    check(lost == 0, "no increment is lost that was acknowledged after the last fault that loses writes");
}

int main(void) {
    rdc_client *created = rdc_create(getenv("RDC_URL"));
    char timeout[16];
    snprintf(timeout, sizeof timeout, "%d", (int)TIMEOUT_MS);
    client = rdc_with(created, "timeout_ms", timeout);
    if (rdc_client_error(client))
        return fprintf(stderr, "%s\n", rdc_client_error(client)), 1;
    seed = (unsigned)strtoul(getenv("RDC_SEED") ? getenv("RDC_SEED") : "1", NULL, 10);
    queue = rdc_queue_new(client);
    uv_loop_t *loop = uv_default_loop();
    uv_poll_init(loop, &readable, rdc_queue_fd(queue));
    uv_poll_start(&readable, UV_READABLE, on_readable);
    uv_pipe_init(loop, &input, 0);
    uv_pipe_open(&input, 0);
    uv_read_start((uv_stream_t *)&input, allocate, on_input);
    for (size_t i = 0; i < IN_FLIGHT; i++)
        submit(i);
    uv_run(loop, UV_RUN_DEFAULT);

    size_t in_flight = 0;
    for (size_t i = 0; i < IN_FLIGHT; i++)
        in_flight += requests[i].generation % 2;
    printf("   # %ld commands; errors:", completed);
    for (int code = 0; code < CODES; code++)
        if (errors[code])
            printf(" %s %ld", rdc_error_name(code), errors[code]);
    printf("; the longest took %lu ms\n", (unsigned long)longest_ms);
    if (first_failure[0])
        printf("   # %s\n", first_failure);
    check(completed > 10 * IN_FLIGHT, "more than 100,000 commands completed");
    check(!is_below, "10,000 commands are in flight at all times");
    check(in_flight == 0 && unknown_tags == 0 && rdc_queue_next(queue, NULL) == NULL, "each completed exactly once");
    check(late == 0, "each completed within its timeout");
    check(misdelivered == 0, "no reply reached another command");
    check(stale == 0, "every read returned a value that was current");
    check(unexplained == 0, "no command fails without a fault");
    check(unexpected == 0, "every error is explained by a fault");
    rdc_queue_free(queue);
    check_counters();
    rdc_close(client);
    rdc_close(created);
    return check_done();
}
