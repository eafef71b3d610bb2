/*
 * A queue of the library in Node's event loop.
 *
 * Two handles of libuv serve it. The prepare handle runs before the loop waits: it submits what
 * was encoded in this iteration, all at once, so that everything leaves as one batch. It is active
 * only then. The poll handle watches the queue's descriptor: it takes all complete replies, and
 * passes them to deliver() of lib/core.js within one callback scope.
 *
 * While commands are in flight, the poll handle keeps the loop alive, and a strong reference keeps
 * the owner alive. Otherwise the process may end, and the garbage collector may free the owner.
 */
#include <stdlib.h>

#include "addon.h"

static void hold(channel *self) {
    if (self->in_use) return;
    self->in_use = true;
    uv_ref(self->poll);
    napi_reference_ref(self->env, self->owner, NULL);
}

static void release(channel *self) {
    if (!self->in_use) return;
    self->in_use = false;
    uv_unref(self->poll);
    napi_reference_unref(self->env, self->owner, NULL);
}

/* The library copies the commands, so the owner may overwrite the outbox at once. */
void channel_flush(channel *self) {
    uint32_t count = self->ends[0], start = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t tag = self->ends[1 + 2 * i], end = self->ends[2 + 2 * i];
        rdc_queue_resp(self->queue, tag, self->outbox + start, end - start);
        start = end;
    }
    self->ends[0] = 0;
}

/* ---- Lifetime ------------------------------------------------------------------------------- */

static void free_if_unused(channel *self) {
    if (self->open_handles == 0 && !self->owned) free(self);
}

static void on_closed(uv_handle_t *handle) {
    channel *self = uv_handle_get_data(handle);
    free(handle);
    if (--self->open_handles > 0) return;
    if (self->cleanup != NULL) napi_remove_async_cleanup_hook(self->cleanup);
    self->cleanup = NULL;
    free_if_unused(self);
}

/* The descriptor must be out of the loop before the queue closes it: uv_close() removes it at once,
   and only its callback comes later. */
static void tear_down(channel *self) {
    if (self->torn_down) return;
    self->torn_down = true;
    release(self);
    uv_close(self->prepare, on_closed);
    uv_close(self->poll, on_closed);
    rdc_queue_free(self->queue);
    rdc_close(self->client);
}

/* The environment ends, such as that of a terminated worker. It waits until the handles are closed. */
static void on_environment_end(napi_async_cleanup_hook_handle hook, void *data) {
    (void)hook;
    tear_down(data);
}

static void on_collected(napi_env env, void *data, void *hint) {
    channel *self = data;
    (void)hint;
    tear_down(self);
    napi_async_destroy(env, self->context);
    napi_delete_reference(env, self->owner);
    self->owned = false;
    free_if_unused(self);
}

static void settle(channel *self) {
    if (self->scheduled || self->torn_down || rdc_queue_len(self->queue) > 0) return;
    if (self->closing)
        tear_down(self);
    else
        release(self);
}

/* Commands in flight complete with RDC_ERR_CLOSED, and are delivered like all others. */
void channel_close(channel *self) {
    if (self->closing || self->torn_down) return;
    self->closing = true;
    channel_flush(self);
    rdc_close(self->client);
    hold(self);
    settle(self);
}

/* ---- Replies -------------------------------------------------------------------------------- */

/* The value for a reply, and in *entry whose it is, and whether it is an error. */
static napi_value take(channel *self, rdc_reply *reply, uint64_t tag, uint32_t *entry) {
    bool failed = rdc_reply_error(reply) != RDC_OK;
    napi_value value = reply_value(self->env, self->environment, reply, (int)(tag & FLAG_MASK));
    rdc_reply_free(reply);
    if (value == NULL) {
        /* Such as a text that is longer than a string may be: the command fails with this error. */
        failed = true;
        if (napi_get_and_clear_last_exception(self->env, &value) != napi_ok) napi_get_undefined(self->env, &value);
    }
    *entry = (uint32_t)(tag >> FLAG_BITS) << 1 | failed;
    return value;
}

/* Passes some replies, beginning with this one. Returns the next one. */
static rdc_reply *deliver_some(channel *self, rdc_reply *reply, uint64_t *tag) {
    napi_env env = self->env;
    napi_value argv[1 + DELIVERED_AT_ONCE], deliver, undefined, exception;
    napi_handle_scope scope;
    size_t count = 0;
    napi_open_handle_scope(env, &scope);
    for (; reply != NULL && count < DELIVERED_AT_ONCE; count++) {
        argv[1 + count] = take(self, reply, *tag, &self->environment->inbox[count]);
        reply = rdc_queue_next(self->queue, tag);
    }
    napi_get_undefined(env, &undefined);
    napi_get_reference_value(env, self->owner, &argv[0]);
    napi_get_reference_value(env, self->environment->deliver, &deliver);
    if (napi_call_function(env, undefined, deliver, 1 + count, argv, NULL) == napi_pending_exception &&
        napi_get_and_clear_last_exception(env, &exception) == napi_ok)
        napi_fatal_exception(env, exception);
    napi_close_handle_scope(env, scope);
    return reply;
}

/* The code that waits for the promises runs when the callback scope is closed: once for all. */
static void deliver_all(channel *self) {
    uint64_t tag;
    napi_handle_scope scope;
    napi_callback_scope callbacks;
    napi_value owner;
    rdc_reply *reply = rdc_queue_next(self->queue, &tag);
    if (reply == NULL) return;
    napi_open_handle_scope(self->env, &scope);
    napi_get_reference_value(self->env, self->owner, &owner);
    napi_status opened = napi_open_callback_scope(self->env, owner, self->context, &callbacks);
    while (reply != NULL) reply = deliver_some(self, reply, &tag);
    if (opened == napi_ok) napi_close_callback_scope(self->env, callbacks);
    napi_close_handle_scope(self->env, scope);
}

/* ---- The loop ------------------------------------------------------------------------------- */

static void on_readable(uv_poll_t *handle, int status, int events) {
    channel *self = uv_handle_get_data((uv_handle_t *)handle);
    (void)status;
    (void)events;
    rdc_queue_run(self->queue, 0);
    deliver_all(self);
    settle(self);
}

static void on_prepare(uv_prepare_t *handle) {
    channel *self = uv_handle_get_data((uv_handle_t *)handle);
    self->scheduled = false;
    uv_prepare_stop(handle);
    channel_flush(self);
    rdc_queue_run(self->queue, 0);
}

void channel_schedule(channel *self) {
    if (self->scheduled) return;
    self->scheduled = true;
    hold(self);
    uv_prepare_start((uv_prepare_t *)self->prepare, on_prepare);
}

/* ---- Creation ------------------------------------------------------------------------------- */

static uv_handle_t *new_handle(channel *self, uv_handle_type type) {
    uv_handle_t *handle = calloc(1, uv_handle_size(type));
    if (handle == NULL) abort();
    uv_handle_set_data(handle, self);
    return handle;
}

/* Returns whether the loop can watch the queue. It cannot if no descriptor was left for the queue. */
static bool watch(channel *self) {
    uv_loop_t *loop = self->environment->loop;
    self->poll = new_handle(self, UV_POLL);
    self->prepare = new_handle(self, UV_PREPARE);
    if (uv_poll_init(loop, (uv_poll_t *)self->poll, rdc_queue_fd(self->queue)) != 0) {
        free(self->poll);
        free(self->prepare);
        return false;
    }
    uv_prepare_init(loop, (uv_prepare_t *)self->prepare);
    uv_poll_start((uv_poll_t *)self->poll, UV_READABLE, on_readable);
    uv_unref(self->poll);
    self->open_handles = 2;
    return true;
}

const char *channel_open(napi_env env, napi_value owner, rdc_client *client, napi_value outbox, napi_value ends) {
    channel *self = calloc(1, sizeof *self);
    if (self == NULL) abort();
    napi_value name;
    void *bytes, *numbers;
    self->env = env;
    self->client = client;
    self->queue = rdc_queue_new(client);
    napi_get_instance_data(env, (void **)&self->environment);
    napi_get_buffer_info(env, outbox, &bytes, NULL);
    napi_get_typedarray_info(env, ends, NULL, NULL, &numbers, NULL, NULL);
    self->outbox = bytes;
    self->ends = numbers;
    if (!watch(self)) {
        rdc_queue_free(self->queue);
        rdc_close(client);
        free(self);
        return "IO no descriptor is left for the client's queue: raise the limit of open files (ulimit -n)";
    }
    napi_create_string_utf8(env, "rediscluster", NAPI_AUTO_LENGTH, &name);
    napi_async_init(env, owner, name, &self->context);
    self->owned = napi_wrap(env, owner, self, on_collected, NULL, &self->owner) == napi_ok;
    napi_add_async_cleanup_hook(env, on_environment_end, self, &self->cleanup);
    return NULL;
}
