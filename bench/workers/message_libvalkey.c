/* libvalkey, blocking: a connection on which SUBSCRIBE was sent, and its replies one by one. */
#include "message_peer.h"

#include <valkey/valkey.h>

#include <stdio.h>
#include <string.h>

static valkeyContext *connection;

static int is_push(size_t at, const char *type, size_t len)
{
    void *got = NULL;
    if (valkeyGetReply(connection, &got) != VALKEY_OK) {
        fprintf(stderr, "libvalkey: %s\n", connection->errstr);
        return 0;
    }
    valkeyReply *reply = got;
    int is_it = (reply->type == VALKEY_REPLY_PUSH || reply->type == VALKEY_REPLY_ARRAY) && reply->elements == 3 &&
                strcmp(reply->element[0]->str, type) == 0 && reply->element[at]->len == len;
    freeReplyObject(reply);
    return is_it;
}

int peer_subscribe(const char *host, int port)
{
    connection = valkeyConnect(host, port);
    if (!connection || connection->err || valkeyAppendCommand(connection, "SUBSCRIBE " CHANNEL) != VALKEY_OK)
        return -1;
    return is_push(1, "subscribe", sizeof CHANNEL - 1) ? 0 : -1;
}

long peer_take(void)
{
    return is_push(2, "message", PAYLOAD) ? 1 : -1;
}
