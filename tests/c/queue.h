/* What the tests of the queue share.  Replies are taken by a loop that runs the queue only when the descriptor is
 * readable (wait_next()).  So a descriptor that is not readable although there is something to do fails the checks. */
#ifndef QUEUE_H
#define QUEUE_H
#include "check.h"
#include <errno.h>
#include <poll.h>
#include <time.h>

enum { LIMIT_MS = 20000, QUIET_MS = 50 };

static inline double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static inline int readable_within(const rdc_queue *q, int ms) {
    struct pollfd p = {rdc_queue_fd(q), POLLIN, 0};
    double end = now_ms() + ms;
    int n;
    while ((n = poll(&p, 1, ms)) < 0 && errno == EINTR)
        ms = end > now_ms() ? (int)(end - now_ms()) : 0;
    return n == 1 && p.revents == POLLIN;
}

static inline int readable(const rdc_queue *q) {
    return readable_within(q, 0);
}

/* The next reply, as an event loop takes it; NULL if the descriptor is not readable for LIMIT_MS. */
static inline rdc_reply *wait_next(rdc_queue *q, uint64_t *tag) {
    rdc_reply *reply;
    while (!(reply = rdc_queue_next(q, tag)) && readable_within(q, LIMIT_MS))
        rdc_queue_run(q, 0);
    return reply;
}

/* Runs the queue until it waits for a server.  Returns how often the descriptor was readable. */
static inline int settle(rdc_queue *q) {
    int runs = 0;
    while (readable_within(q, QUIET_MS) && runs < 10000 && rdc_queue_run(q, 0) == 0)
        runs++;
    return runs;
}

/* Nothing to do: the descriptor says so, and run and next agree. */
static inline void check_quiet(rdc_queue *q, const char *name) {
    uint64_t tag = 77;
    int before = readable(q), complete = rdc_queue_run(q, 0);
    rdc_reply *reply = rdc_queue_next(q, &tag);
    int after = readable(q);
    if (!check(!before && !complete && !reply && tag == 77 && !after, name))
        printf("   # readable %d, run %d, next %s, readable %d\n", before, complete, reply ? "a reply" : "NULL", after);
    rdc_reply_free(reply);
}

static inline void submit(rdc_queue *q, uint64_t tag, const char *a, const char *b, const char *c) {
    rdc_queue_command(q, tag, c ? 3 : b ? 2 : 1, (const char *[]){a, b, c}, NULL);
}

static inline void submit_get(rdc_queue *q, uint64_t tag, const char *prefix, int number) {
    char key[64];
    snprintf(key, sizeof key, "%s:%d", prefix, number);
    submit(q, tag, "GET", key, NULL);
}

/* Writes PREFIX:0 ... with their own names as values. */
static inline void fill(const rdc_client *c, const char *prefix, int count) {
    rdc_pipeline *p = rdc_pipeline_new(c);
    char key[64];
    for (int i = 0; i < count; i++) {
        snprintf(key, sizeof key, "%s:%d", prefix, i);
        rdc_pipeline_set_px(p, key, RDC_NTS, key, RDC_NTS, 300000);
    }
    check(rdc_reply_free(rdc_pipeline_execute(p)) == RDC_OK, "the keys are written");
    rdc_pipeline_free(p);
}

static inline int is_own(const rdc_reply *reply, const char *prefix, int number) {
    char key[64];
    int len = snprintf(key, sizeof key, "%s:%d", prefix, number);
    return is_text(reply, key, (size_t)len);
}

/* Takes the next reply and checks its tag. */
static inline rdc_reply *expect(rdc_queue *q, uint64_t tag, const char *name) {
    uint64_t found = ~tag;
    rdc_reply *reply = wait_next(q, &found);
    check(reply && found == tag, name);
    return reply;
}
#endif
