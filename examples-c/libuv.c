/* Commands in a libuv loop: uv_poll_t waits for the queue's descriptor.  Each command has a function for its reply.
 *
 *     libuv redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#define _XOPEN_SOURCE 600
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

struct request { /* a command in flight: its address is the tag */
    void (*done)(struct request *request, const rdc_reply *reply);
    int number;
    int32_t error;
};
enum { N = 100 };
static struct request reads[N], mistake, waiting;
static rdc_queue *queue;
static uv_poll_t readable;
static uv_timer_t timer;
static int correct, ticks;

static void submit(struct request *request, size_t argc, const char *const *argv) {
    rdc_queue_command(queue, (uint64_t)(uintptr_t)request, argc, argv, NULL);
}

static void on_value(struct request *request, const rdc_reply *reply) {
    correct += rdc_reply_type(reply) == RDC_STRING && atoi(rdc_reply_str(reply)) == request->number * request->number;
}

static void on_error(struct request *request, const rdc_reply *reply) {
    request->error = rdc_reply_error(reply);
    printf("%s: %s\n", rdc_error_name(request->error), rdc_reply_str(reply));
}

static void on_written(struct request *request, const rdc_reply *reply) {
    char key[32];
    snprintf(key, sizeof key, "libuv:%d", request->number);
    request->error = rdc_reply_error(reply);
    request->done = on_value;
    submit(request, 2, (const char *[]){"GET", key}); /* the next step of this request; the next run sends it */
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    rdc_reply *reply;
    uint64_t tag;
    (void)status, (void)events;
    rdc_queue_run(queue, 0); /* never waits */
    while ((reply = rdc_queue_next(queue, &tag)) != NULL) {
        struct request *request = (struct request *)(uintptr_t)tag;
        request->done(request, reply);
        rdc_reply_free(reply);
    }
    if (rdc_queue_len(queue) == 0) { /* the last reply is taken: without handles, uv_run() returns */
        uv_close((uv_handle_t *)poll, NULL);
        uv_close((uv_handle_t *)&timer, NULL);
    }
}

static void on_tick(uv_timer_t *handle) {
    (void)handle;
    if (++ticks == 30)
        rdc_queue_cancel(queue, (uint64_t)(uintptr_t)&waiting); /* its reply is complete now: an error */
}

int main(int argc, char **argv) {
    char key[32], value[32];
    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL")); /* epoll.c creates one without waiting */
    queue = rdc_queue_new(client);
    uv_poll_init(uv_default_loop(), &readable, rdc_queue_fd(queue));
    uv_poll_start(&readable, UV_READABLE, on_readable);
    uv_timer_init(uv_default_loop(), &timer);
    uv_timer_start(&timer, on_tick, 10, 10);
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "libuv:%d", i);
        snprintf(value, sizeof value, "%d", i * i);
        reads[i] = (struct request){on_written, i, RDC_OK};
        submit(&reads[i], 3, (const char *[]){"SET", key, value});
    }
    mistake.done = waiting.done = on_error;
    submit(&mistake, 3, (const char *[]){"LPUSH", "libuv:1", "x"});    /* libuv:1 is not a list */
    submit(&waiting, 3, (const char *[]){"BLPOP", "libuv:none", "0"}); /* waits for ever, and delays no other command */

    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    printf("%d of %d values are correct, %d ticks of the timer\n", correct, N, ticks);
    rdc_queue_free(queue); /* after uv_close(): it closes the descriptor */
    rdc_close(client);
    uv_loop_close(uv_default_loop());
    return correct == N && mistake.error == RDC_ERR_SERVER && waiting.error == RDC_ERR_INTERRUPTED ? 0 : 1;
}
