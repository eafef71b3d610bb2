/* The subscriber of librediscluster. With POLL, the program polls its descriptor, as an event loop does. */
#include "message_peer.h"

#include <rediscluster.h>

#include <stdio.h>
#ifdef POLL
#include <poll.h>
#endif

static rdc_subscriber *subscriber;

static int is_push(rdc_reply *reply, size_t at, size_t len)
{
    int is_it = rdc_reply_type(reply) == RDC_PUSH && rdc_reply_len(rdc_reply_at(reply, at)) == len;
    if (!is_it)
        fprintf(stderr, "librediscluster: %s\n", rdc_reply_str(reply));
    rdc_reply_free(reply);
    return is_it;
}

int peer_subscribe(const char *host, int port)
{
    char url[100];
    snprintf(url, sizeof url, "redis://%s:%d", host, port);
    rdc_client *client = rdc_create(url);
    subscriber = rdc_subscriber_new(client);
    rdc_reply_free(rdc_subscriber_command(subscriber, 2, (const char *[]){"SUBSCRIBE", CHANNEL}, NULL));
    return is_push(rdc_subscriber_next(subscriber, 5000), 1, sizeof CHANNEL - 1) ? 0 : -1;
}

long peer_take(void)
{
#ifdef POLL
    static struct pollfd readable;
    if (!readable.events)
        readable = (struct pollfd){rdc_subscriber_fd(subscriber), POLLIN, 0};
    if (poll(&readable, 1, 5000) != 1)
        return -1;
    for (long count = 0;; count++) {
        rdc_reply *reply = rdc_subscriber_next(subscriber, 0);
        if (rdc_reply_type(reply) == RDC_NIL) {
            rdc_reply_free(reply);
            return count;
        }
        if (!is_push(reply, 2, PAYLOAD))
            return -1;
    }
#else
    return is_push(rdc_subscriber_next(subscriber, 5000), 2, PAYLOAD) ? 1 : -1;
#endif
}
