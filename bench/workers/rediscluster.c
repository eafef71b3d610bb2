/* librediscluster, through its C ABI. One handle for all threads. */
#include "peer.h"

#include <rediscluster.h>

#include <stdio.h>
#include <string.h>

const int peer_is_shared = 1;

static rdc_client *client_of(peer *p)
{
    return (rdc_client *)(void *)p;
}

peer *peer_open(const char *seeds, int from_replicas, int patience_ms)
{
    char url[512];
    snprintf(url, sizeof url, "redis://%s?timeout_ms=%d&retry_writes=yes&read_from=%s", seeds,
             patience_ms, from_replicas ? "replica" : "primary");
    rdc_client *client = rdc_create(url);
    if (rdc_client_error(client)) {
        fprintf(stderr, "%s\n", rdc_client_error(client));
        rdc_close(client);
        return NULL;
    }
    return (peer *)(void *)client;
}

void peer_close(peer *p)
{
    rdc_close(client_of(p));
}

static int check(rdc_reply *reply, int32_t type, size_t len)
{
    int wrong = rdc_reply_type(reply) != type || rdc_reply_len(reply) != len;
    if (wrong)
        fprintf(stderr, "librediscluster: %d %s\n", (int)rdc_reply_type(reply),
                rdc_reply_error(reply) ? rdc_reply_str(reply) : "");
    rdc_reply_free(reply);
    return wrong;
}

static int walk(rdc_reply *reply, size_t elements)
{
    int wrong = rdc_reply_len(reply) != elements;
    for (size_t i = 0; !wrong && i < elements; i++) {
        const char *text;
        int64_t len;
        wrong = rdc_reply_read(rdc_reply_at(reply, i), &text, &len) != RDC_STRING || len != VALUE;
    }
    rdc_reply_free(reply);
    return wrong;
}

int peer_get(peer *p, size_t key)
{
    return check(rdc_get(client_of(p), peer_keys[key], peer_key_lens[key]), RDC_STRING, VALUE);
}

int peer_set(peer *p, size_t key)
{
    return check(rdc_set(client_of(p), peer_keys[key], peer_key_lens[key], "0123456789abcdef", VALUE),
                 RDC_STATUS, 2);
}

int peer_pipeline(peer *p, const size_t *keys, size_t depth)
{
    static rdc_pipeline *pipeline;
    if (!pipeline)
        pipeline = rdc_pipeline_new(client_of(p));
    for (size_t i = 0; i < depth; i++)
        rdc_pipeline_get(pipeline, peer_keys[keys[i]], peer_key_lens[keys[i]]);
    return walk(rdc_pipeline_execute(pipeline), depth);
}

int peer_mget(peer *p, const size_t *keys)
{
    const char *argv[1 + MANY] = {"MGET"};
    size_t lens[1 + MANY] = {4};
    for (size_t i = 0; i < MANY; i++) {
        argv[1 + i] = peer_keys[keys[i]];
        lens[1 + i] = peer_key_lens[keys[i]];
    }
    return walk(rdc_command(client_of(p), 1 + MANY, argv, lens), MANY);
}

int peer_lrange(peer *p)
{
    return walk(rdc_cmd(client_of(p), "LRANGE", "biglist", "0", "-1"), ELEMENTS);
}

int peer_hgetall(peer *p)
{
    return walk(rdc_cmd(client_of(p), "HGETALL", "bighash"), 2 * ELEMENTS);
}

int peer_big(peer *p)
{
    return check(rdc_get(client_of(p), "bigstr", 6), RDC_STRING, BIG);
}
