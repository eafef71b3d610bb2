/* libvalkey's blocking cluster client. Its handles are for one thread each. */
#include "peer.h"

#include <valkey/cluster.h>

#include <string.h>
#include <sys/time.h>

const int peer_is_shared = 0;

static valkeyClusterContext *context_of(peer *p)
{
    return (valkeyClusterContext *)(void *)p;
}

peer *peer_open(const char *seeds, int from_replicas, int patience_ms)
{
    if (from_replicas)
        return NULL; /* it routes to primaries alone */
    struct timeval timeout = {patience_ms / 1000, patience_ms % 1000 * 1000};
    valkeyClusterOptions options = {0};
    options.initial_nodes = seeds;
    options.connect_timeout = &timeout;
    options.command_timeout = &timeout;
    options.options = VALKEY_OPT_BLOCKING_INITIAL_UPDATE;
    valkeyClusterContext *context = valkeyClusterConnectWithOptions(&options);
    if (context && context->err) {
        valkeyClusterFree(context);
        return NULL;
    }
    return (peer *)(void *)context;
}

void peer_close(peer *p)
{
    valkeyClusterFree(context_of(p));
}

static valkeyReply *command(peer *p, int argc, const char **argv, const size_t *lens)
{
    return valkeyClusterCommandArgv(context_of(p), argc, argv, lens);
}

static int check(valkeyReply *reply, int type, size_t len)
{
    int wrong = !reply || reply->type != type || reply->len != len;
    freeReplyObject(reply);
    return wrong;
}

static int walk(valkeyReply *reply, size_t elements)
{
    int wrong = !reply || reply->elements != elements;
    for (size_t i = 0; !wrong && i < elements; i++) {
        const valkeyReply *element = reply->element[i];
        wrong = element->type != VALKEY_REPLY_STRING || element->len != VALUE;
    }
    freeReplyObject(reply);
    return wrong;
}

int peer_get(peer *p, size_t key)
{
    const char *argv[] = {"GET", peer_keys[key]};
    const size_t lens[] = {3, peer_key_lens[key]};
    return check(command(p, 2, argv, lens), VALKEY_REPLY_STRING, VALUE);
}

int peer_set(peer *p, size_t key)
{
    const char *argv[] = {"SET", peer_keys[key], "0123456789abcdef"};
    const size_t lens[] = {3, peer_key_lens[key], VALUE};
    return check(command(p, 3, argv, lens), VALKEY_REPLY_STATUS, 2);
}

int peer_pipeline(peer *p, const size_t *keys, size_t depth)
{
    int wrong = 0;
    for (size_t i = 0; i < depth; i++) {
        const char *argv[] = {"GET", peer_keys[keys[i]]};
        const size_t lens[] = {3, peer_key_lens[keys[i]]};
        wrong |= valkeyClusterAppendCommandArgv(context_of(p), 2, argv, lens) != VALKEY_OK;
    }
    for (size_t i = 0; !wrong && i < depth; i++) {
        void *reply = NULL;
        if (valkeyClusterGetReply(context_of(p), &reply) != VALKEY_OK)
            reply = NULL;
        wrong = check(reply, VALKEY_REPLY_STRING, VALUE);
    }
    valkeyClusterReset(context_of(p));
    return wrong;
}

int peer_mget(peer *p, const size_t *keys)
{
    (void)p, (void)keys;
    return 1; /* it refuses keys of several slots */
}

int peer_lrange(peer *p)
{
    const char *argv[] = {"LRANGE", "biglist", "0", "-1"};
    const size_t lens[] = {6, 7, 1, 2};
    return walk(command(p, 4, argv, lens), ELEMENTS);
}

int peer_hgetall(peer *p)
{
    const char *argv[] = {"HGETALL", "bighash"};
    const size_t lens[] = {7, 7};
    return walk(command(p, 2, argv, lens), 2 * ELEMENTS);
}

int peer_big(peer *p)
{
    const char *argv[] = {"GET", "bigstr"};
    const size_t lens[] = {3, 6};
    return check(command(p, 2, argv, lens), VALKEY_REPLY_STRING, BIG);
}
