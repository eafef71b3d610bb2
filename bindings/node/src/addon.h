/* The Node-API addon of the package rediscluster: what its files share. */
#ifndef REDISCLUSTER_ADDON_H
#define REDISCLUSTER_ADDON_H

#define NAPI_VERSION 8
#include <node_api.h>
#include <rediscluster.h>
#include <stdbool.h>

#include "uv_api.h"

/* How the reply to a command becomes a value. The lowest bits of a tag; the other bits are the
   number by which lib/core.js finds the promise. */
enum { AS_BUFFER = 1, NUMBERS_AS_TEXT = 2, FLAG_BITS = 2, FLAG_MASK = 3 };

/* Replies that one call of the function deliver() of lib/core.js passes. */
#define DELIVERED_AT_ONCE 128

/* What one JavaScript environment (the main thread, or a worker) has: the functions of lib/ that
   the addon calls, and the array in which it tells deliver() whose replies it passes. */
typedef struct {
    uv_loop_t *loop;
    napi_ref deliver;
    napi_ref make_error;
    napi_ref append;
    napi_ref to_object;
    napi_ref to_bigint;
    napi_ref inbox_array;
    uint32_t *inbox;
    napi_ref deliver_pushes; /* of lib/subscriber.js, as is wants_buffers */
    napi_ref wants_buffers;
} js_environment;

/* A client with its queue in the event loop of one environment. It belongs to one object of the
   class Core, the owner. */
typedef struct {
    napi_env env;
    js_environment *environment;
    rdc_client *client;
    rdc_queue *queue;
    uv_handle_t *poll;
    uv_handle_t *prepare;
    int open_handles;
    napi_ref owner;
    napi_async_context context;
    napi_async_cleanup_hook_handle cleanup;
    /* Commands that were encoded in this iteration of the loop: their bytes, and an array of their
       count and, for each, its tag and where its bytes end. The owner keeps both alive. */
    const char *outbox;
    uint32_t *ends;
    bool scheduled; /* the prepare handle is active: run() is due before the loop waits */
    bool in_use;    /* commands are in flight: the loop and the owner are kept alive */
    bool closing;
    bool torn_down;
    bool owned;
} channel;

/* addon.c */
/* The words of a command: an array of Buffers, which must outlive this. */
typedef struct {
    uint32_t count;
    const char **words;
    size_t *lengths;
} command_words;

command_words get_words(napi_env env, napi_value array);
void free_words(command_words *self);
void export_function(napi_env env, napi_value exports, const char *name, napi_callback function);
/* The client of an object of the class Core; NULL if the environment is ending. */
rdc_client *client_of(napi_env env, napi_value core);

/* subscriber.c */
void export_subscriber(napi_env env, napi_value exports);

/* channel.c */
/* Returns NULL, or an error message. The channel owns the client; `owner` owns the channel. */
const char *channel_open(napi_env env, napi_value owner, rdc_client *client, napi_value outbox, napi_value ends);
void channel_flush(channel *self);
void channel_schedule(channel *self);
void channel_close(channel *self);

/* reply.c. The value of a reply; NULL with a pending exception if it cannot be created. */
napi_value reply_value(napi_env env, js_environment *environment, const rdc_reply *reply, int flags);

#endif
