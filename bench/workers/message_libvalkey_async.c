/* libvalkey's asynchronous API: a callback for each message. The program polls the socket. */
#include "message_peer.h"

#include <valkey/async.h>

#include <poll.h>
#include <stdio.h>
#include <string.h>

static valkeyAsyncContext *connection;
static short events;
static long count;
static int is_confirmed, has_failed;

static void add_read(void *arg)
{
    (void)arg;
    events |= POLLIN;
}

static void del_read(void *arg)
{
    (void)arg;
    events &= ~POLLIN;
}

static void add_write(void *arg)
{
    (void)arg;
    events |= POLLOUT;
}

static void del_write(void *arg)
{
    (void)arg;
    events &= ~POLLOUT;
}

static void on_push(valkeyAsyncContext *context, void *got, void *arg)
{
    const valkeyReply *reply = got;
    (void)arg;
    if (!reply || reply->elements != 3)
        has_failed = 1;
    else if (strcmp(reply->element[0]->str, "message") == 0 && reply->element[2]->len == PAYLOAD)
        count++;
    else if (strcmp(reply->element[0]->str, "subscribe") == 0)
        is_confirmed = 1;
    else
        has_failed = 1;
    if (has_failed)
        fprintf(stderr, "libvalkey: %s\n", context->errstr);
}

static int run_once(void)
{
    struct pollfd socket = {connection->c.fd, events, 0};
    if (poll(&socket, 1, 5000) != 1)
        return -1;
    if (socket.revents & POLLOUT)
        valkeyAsyncHandleWrite(connection);
    if (socket.revents & POLLIN)
        valkeyAsyncHandleRead(connection);
    return has_failed ? -1 : 0;
}

int peer_subscribe(const char *host, int port)
{
    connection = valkeyAsyncConnect(host, port);
    if (!connection || connection->err)
        return -1;
    connection->ev.data = connection;
    connection->ev.addRead = add_read;
    connection->ev.delRead = del_read;
    connection->ev.addWrite = add_write;
    connection->ev.delWrite = del_write;
    add_write(NULL);
    if (valkeyAsyncCommand(connection, on_push, NULL, "SUBSCRIBE " CHANNEL) != VALKEY_OK)
        return -1;
    while (!is_confirmed)
        if (run_once() != 0)
            return -1;
    return 0;
}

long peer_take(void)
{
    count = 0;
    return run_once() == 0 ? count : -1;
}
