/* libvalkey's asynchronous cluster client, with libev. */
#include "loop_peer.h"

#include <ev.h>
#include <valkey/async.h>
#include <valkey/cluster.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

static valkeyClusterAsyncContext *cluster;
static long complete;

/* A connection and its watchers. */
struct watched {
    valkeyAsyncContext *context;
    ev_io readable, writable;
    ev_timer timer;
};

static void on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop, (void)events;
    valkeyAsyncHandleRead(io->data);
}

static void on_writable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop, (void)events;
    valkeyAsyncHandleWrite(io->data);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    valkeyAsyncHandleTimeout(timer->data);
}

static void add_read(void *arg)
{
    ev_io_start(EV_DEFAULT, &((struct watched *)arg)->readable);
}

static void del_read(void *arg)
{
    ev_io_stop(EV_DEFAULT, &((struct watched *)arg)->readable);
}

static void add_write(void *arg)
{
    ev_io_start(EV_DEFAULT, &((struct watched *)arg)->writable);
}

static void del_write(void *arg)
{
    ev_io_stop(EV_DEFAULT, &((struct watched *)arg)->writable);
}

static void set_timer(void *arg, struct timeval after)
{
    ev_timer *timer = &((struct watched *)arg)->timer;
    timer->repeat = (double)after.tv_sec + (double)after.tv_usec / 1e6;
    ev_timer_again(EV_DEFAULT, timer);
}

static void end_watch(void *arg)
{
    struct watched *w = arg;
    del_read(w);
    del_write(w);
    ev_timer_stop(EV_DEFAULT, &w->timer);
    free(w);
}

static int attach(valkeyAsyncContext *context, void *arg)
{
    (void)arg;
    struct watched *w = calloc(1, sizeof *w);
    if (!w)
        return VALKEY_ERR;
    w->context = context;
    ev_io_init(&w->readable, on_readable, context->c.fd, EV_READ);
    ev_io_init(&w->writable, on_writable, context->c.fd, EV_WRITE);
    ev_init(&w->timer, on_timer);
    w->readable.data = w->writable.data = w->timer.data = context;
    context->ev.data = w;
    context->ev.addRead = add_read;
    context->ev.delRead = del_read;
    context->ev.addWrite = add_write;
    context->ev.delWrite = del_write;
    context->ev.scheduleTimer = set_timer;
    context->ev.cleanup = end_watch;
    return VALKEY_OK;
}

static void on_reply(valkeyClusterAsyncContext *context, void *reply, void *arg)
{
    const valkeyReply *r = reply;
    (void)arg;
    if (!r || r->type != VALKEY_REPLY_STRING || r->len != VALUE) {
        fprintf(stderr, "libvalkey: %s\n", r && r->str ? r->str : context->errstr);
        complete = -1;
    } else if (complete >= 0) {
        complete++;
    }
}

int loop_open(const char *seeds, int timeout_ms)
{
    struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    valkeyClusterOptions options = {0};
    options.initial_nodes = seeds;
    options.connect_timeout = &timeout;
    options.command_timeout = &timeout;
    options.options = VALKEY_OPT_BLOCKING_INITIAL_UPDATE;
    options.attach_fn = attach;
    cluster = valkeyClusterAsyncConnectWithOptions(&options);
    return cluster && !cluster->err ? 0 : -1;
}

int loop_get(size_t key)
{
    const char *argv[] = {"GET", peer_keys[key]};
    const size_t lens[] = {3, peer_key_lens[key]};
    return valkeyClusterAsyncCommandArgv(cluster, on_reply, NULL, 2, argv, lens) == VALKEY_OK ? 0 : -1;
}

long loop_run(void)
{
    complete = 0;
    while (complete == 0)
        ev_run(EV_DEFAULT, EVRUN_ONCE);
    return complete;
}

int loop_blocking_get(size_t key)
{
    (void)key;
    return -1;
}
