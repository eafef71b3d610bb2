/* Commands in a libev loop: 10,000 increments, at most 64 in flight, a transaction, and a command that is cancelled.
 *
 *     libev redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#include <ev.h>
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>

/* The tags; how many increments, and how many of them in flight. */
enum { INCREMENT, TRANSACTION, MISTAKE, WAITING, INCREMENTS = 10000, WINDOW = 64 };

static int submitted, counted, failed, transaction, wrong_type, cancelled, ticks;

/* Back-pressure is the program's: it submits as many commands as it wants in flight. */
static void increment(rdc_queue *queue) {
    rdc_queue_command(queue, INCREMENT, 2, (const char *[]){"INCR", "libev:counter"}, NULL);
    submitted++;
}

static void take(rdc_queue *queue, uint64_t tag, const rdc_reply *reply) {
    int32_t error = rdc_reply_error(reply);
    if (error != RDC_OK)
        printf("%s\n", rdc_reply_str(reply));
    if (tag == INCREMENT) { /* commands of one slot keep their order, so the replies are 1, 2, 3 ... */
        failed += error != RDC_OK || rdc_reply_int(reply) != ++counted;
        if (submitted < INCREMENTS)
            increment(queue);
    } else if (tag == TRANSACTION) { /* one array for the whole pipeline */
        transaction = rdc_reply_len(reply) == 2 && rdc_reply_int(rdc_reply_at(reply, 1)) == 1;
    } else if (tag == MISTAKE) {
        wrong_type = error == RDC_ERR_SERVER;
    } else {
        cancelled = error == RDC_ERR_INTERRUPTED;
    }
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events) {
    rdc_queue *queue = watcher->data;
    rdc_reply *reply;
    uint64_t tag;
    (void)events;
    rdc_queue_run(queue, 0); /* sends and receives what it can, without waiting */
    while ((reply = rdc_queue_next(queue, &tag)) != NULL) {
        take(queue, tag, reply);
        rdc_reply_free(reply);
    }
    if (rdc_queue_len(queue) == 0)
        ev_break(loop, EVBREAK_ALL);
}

static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events) {
    (void)loop, (void)events;
    if (++ticks == 30)
        rdc_queue_cancel(watcher->data, WAITING);
}

int main(int argc, char **argv) {
    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));
    rdc_queue *queue = rdc_queue_new(client);
    rdc_pipeline *pipeline = rdc_pipeline_new(client);
    struct ev_loop *loop = ev_default_loop(0);
    ev_io readable;
    ev_timer timer;

    rdc_reply_free(rdc_del(client, "libev:counter", RDC_NTS));
    while (submitted < WINDOW)
        increment(queue);
    rdc_pipeline_set(pipeline, "{libev}:text", RDC_NTS, "hello", RDC_NTS);
    rdc_pipeline_del(pipeline, "{libev}:text", RDC_NTS);
    rdc_queue_pipeline_atomic(queue, TRANSACTION, pipeline); /* takes the commands: the pipeline is empty again */
    rdc_queue_command(queue, MISTAKE, 2, (const char *[]){"LLEN", "libev:counter"}, NULL);
    rdc_queue_command(queue, WAITING, 3, (const char *[]){"BLPOP", "libev:none", "0"}, NULL);

    ev_io_init(&readable, on_readable, rdc_queue_fd(queue), EV_READ);
    readable.data = queue;
    ev_io_start(loop, &readable);
    ev_timer_init(&timer, on_tick, 0.01, 0.01); /* a timer of the program, beside the commands */
    timer.data = queue;
    ev_timer_start(loop, &timer);
    ev_run(loop, 0);
    printf("%d increments, %d failed, %d ticks\n", counted, failed, ticks);

    ev_io_stop(loop, &readable); /* before rdc_queue_free() closes the descriptor */
    ev_loop_destroy(loop);
    rdc_pipeline_free(pipeline);
    rdc_queue_free(queue);
    rdc_close(client);
    return counted == INCREMENTS && !failed && transaction && wrong_type && cancelled && ticks >= 30 ? 0 : 1;
}
