/* A queue of librediscluster. With LIBEV, libev polls its descriptor; else rdc_queue_run() waits. */
#include "loop_peer.h"

#include <rediscluster.h>

#include <stdio.h>

static rdc_client *client;
static rdc_queue *queue;
static long complete;

static void take_replies(void)
{
    rdc_reply *reply;
    while ((reply = rdc_queue_next(queue, NULL)) != NULL) {
        if (rdc_reply_type(reply) != RDC_STRING || rdc_reply_len(reply) != VALUE) {
            fprintf(stderr, "librediscluster: %d %s\n", (int)rdc_reply_type(reply),
                    rdc_reply_error(reply) ? rdc_reply_str(reply) : "");
            complete = -1;
        } else if (complete >= 0) {
            complete++;
        }
        rdc_reply_free(reply);
    }
}

#ifdef LIBEV
#include <ev.h>

static ev_io readable;

static void on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop, (void)io, (void)events;
    rdc_queue_run(queue, 0);
    take_replies();
}

static void watch(void)
{
    ev_io_init(&readable, on_readable, rdc_queue_fd(queue), EV_READ);
    ev_io_start(EV_DEFAULT, &readable);
}

static void run_loop(void)
{
    ev_run(EV_DEFAULT, EVRUN_ONCE);
}
#else
static void watch(void)
{
}

static void run_loop(void)
{
    rdc_queue_run(queue, -1);
    take_replies();
}
#endif

int loop_open(const char *seeds, int timeout_ms)
{
    char url[512];
    snprintf(url, sizeof url, "redis://%s?timeout_ms=%d", seeds, timeout_ms);
    client = rdc_create(url);
    if (rdc_client_error(client)) {
        fprintf(stderr, "%s\n", rdc_client_error(client));
        return -1;
    }
    queue = rdc_queue_new(client);
    watch();
    return 0;
}

int loop_get(size_t key)
{
    const char *argv[] = {"GET", peer_keys[key]};
    const size_t lens[] = {3, peer_key_lens[key]};
    rdc_queue_command(queue, key, 2, argv, lens);
    return 0;
}

long loop_run(void)
{
    complete = 0;
    while (complete == 0)
        run_loop();
    return complete;
}

int loop_blocking_get(size_t key)
{
    rdc_reply *reply = rdc_get(client, peer_keys[key], peer_key_lens[key]);
    int wrong = rdc_reply_type(reply) != RDC_STRING || rdc_reply_len(reply) != VALUE;
    rdc_reply_free(reply);
    return wrong;
}
