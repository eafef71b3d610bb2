/*
 * A subscriber of the library in Node's event loop: a poll handle of libuv watches its descriptor. When
 * it is readable, up to DELIVERED_AT_ONCE pushes are passed to deliverPushes() of lib/subscriber.js, within
 * one callback scope. What is not read then stays readable, so other events of the loop come between.
 *
 * While JavaScript says that it is in use, the poll handle keeps the loop alive, and a strong reference
 * keeps the owner alive.
 */
#include <stdlib.h>

#include "addon.h"

/* It belongs to one object of the class Subscriber, the owner. */
typedef struct {
    napi_env env;
    js_environment *environment;
    rdc_subscriber *native;
    uv_handle_t *poll;
    napi_ref owner;
    napi_async_context context;
    napi_async_cleanup_hook_handle cleanup;
    bool in_use;
    bool torn_down;
    bool closed; /* libuv has given the handle back */
    bool owned;
} subscriber;

/* ---- Lifetime ------------------------------------------------------------------------------- */

static void set_in_use(subscriber *self, bool in_use) {
    if (self->in_use == in_use || self->torn_down) return;
    self->in_use = in_use;
    if (in_use) {
        uv_ref(self->poll);
        napi_reference_ref(self->env, self->owner, NULL);
    } else {
        uv_unref(self->poll);
        napi_reference_unref(self->env, self->owner, NULL);
    }
}

static void free_if_unused(subscriber *self) {
    if (self->closed && !self->owned) free(self);
}

static void on_closed(uv_handle_t *handle) {
    subscriber *self = uv_handle_get_data(handle);
    free(handle);
    self->closed = true;
    if (self->cleanup != NULL) napi_remove_async_cleanup_hook(self->cleanup);
    self->cleanup = NULL;
    free_if_unused(self);
}

/* The descriptor must be out of the loop before the library closes it: uv_close() removes it at once,
   and only its callback comes later. */
static void tear_down(subscriber *self) {
    if (self->torn_down) return;
    set_in_use(self, false);
    self->torn_down = true;
    uv_close(self->poll, on_closed);
    rdc_subscriber_free(self->native);
}

static void on_environment_end(napi_async_cleanup_hook_handle hook, void *data) {
    (void)hook;
    tear_down(data);
}

static void on_collected(napi_env env, void *data, void *hint) {
    subscriber *self = data;
    (void)hint;
    tear_down(self);
    napi_async_destroy(env, self->context);
    napi_delete_reference(env, self->owner);
    self->owned = false;
    free_if_unused(self);
}

/* ---- Pushes --------------------------------------------------------------------------------- */

static napi_value call(napi_env env, napi_ref function, size_t argc, const napi_value *argv) {
    napi_value callee, undefined, exception, value = NULL;
    napi_get_undefined(env, &undefined);
    napi_get_reference_value(env, function, &callee);
    if (napi_call_function(env, undefined, callee, argc, argv, &value) == napi_pending_exception &&
        napi_get_and_clear_last_exception(env, &exception) == napi_ok)
        napi_fatal_exception(env, exception);
    return value;
}

/* The next push as an array, or an error. NULL if there is none. */
static napi_value next_push(subscriber *self, int flags) {
    napi_value value = NULL;
    rdc_reply *reply = rdc_subscriber_next(self->native, 0);
    if (rdc_reply_type(reply) != RDC_NIL) {
        value = reply_value(self->env, self->environment, reply, flags);
        /* Such as a text that is longer than a string may be. */
        if (value == NULL && napi_get_and_clear_last_exception(self->env, &value) != napi_ok)
            napi_get_undefined(self->env, &value);
    }
    rdc_reply_free(reply);
    return value;
}

static void deliver(subscriber *self) {
    napi_env env = self->env;
    napi_value argv[1 + DELIVERED_AT_ONCE], wanted;
    size_t count = 0;
    bool buffers = false;
    napi_get_reference_value(env, self->owner, &argv[0]);
    wanted = call(env, self->environment->wants_buffers, 1, argv);
    if (wanted != NULL) napi_get_value_bool(env, wanted, &buffers);
    while (count < DELIVERED_AT_ONCE && (argv[1 + count] = next_push(self, buffers ? AS_BUFFER : 0)) != NULL) count++;
    if (count > 0) call(env, self->environment->deliver_pushes, 1 + count, argv);
}

static void on_readable(uv_poll_t *handle, int status, int events) {
    subscriber *self = uv_handle_get_data((uv_handle_t *)handle);
    napi_handle_scope scope;
    napi_callback_scope callbacks;
    napi_value owner;
    (void)status;
    (void)events;
    napi_open_handle_scope(self->env, &scope);
    napi_get_reference_value(self->env, self->owner, &owner);
    napi_status opened = napi_open_callback_scope(self->env, owner, self->context, &callbacks);
    if (opened == napi_ok) {
        deliver(self);
        napi_close_callback_scope(self->env, callbacks);
    }
    napi_close_handle_scope(self->env, scope);
}

/* ---- Functions of the addon ----------------------------------------------------------------- */

static subscriber *get_subscriber(napi_env env, napi_callback_info info, size_t argc, napi_value *argv) {
    void *self = NULL;
    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
    napi_unwrap(env, argv[0], &self);
    return self == NULL || ((subscriber *)self)->torn_down ? NULL : self;
}

/* openSubscriber(subscriber, core): null, or the message of an error. */
static napi_value open_subscriber(napi_env env, napi_callback_info info) {
    napi_value argv[2], name, result;
    size_t argc = 2;
    subscriber *self = calloc(1, sizeof *self);
    if (self == NULL) abort();
    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
    self->env = env;
    self->native = rdc_subscriber_new(client_of(env, argv[1]));
    self->poll = calloc(1, uv_handle_size(UV_POLL));
    if (self->poll == NULL) abort();
    uv_handle_set_data(self->poll, self);
    napi_get_instance_data(env, (void **)&self->environment);
    if (uv_poll_init(self->environment->loop, (uv_poll_t *)self->poll, rdc_subscriber_fd(self->native)) != 0) {
        rdc_subscriber_free(self->native);
        free(self->poll);
        free(self);
        napi_create_string_utf8(
            env, "IO no descriptor is left for a subscriber: raise the limit of open files (ulimit -n)",
            NAPI_AUTO_LENGTH, &result);
        return result;
    }
    uv_poll_start((uv_poll_t *)self->poll, UV_READABLE, on_readable);
    uv_unref(self->poll);
    napi_create_string_utf8(env, "rediscluster", NAPI_AUTO_LENGTH, &name);
    napi_async_init(env, argv[0], name, &self->context);
    self->owned = napi_wrap(env, argv[0], self, on_collected, NULL, &self->owner) == napi_ok;
    napi_add_async_cleanup_hook(env, on_environment_end, self, &self->cleanup);
    napi_get_null(env, &result);
    return result;
}

/* subscriberCommand(subscriber, words): null, or the error. */
static napi_value subscriber_command(napi_env env, napi_callback_info info) {
    napi_value argv[2], result;
    subscriber *self = get_subscriber(env, info, 2, argv);
    napi_get_null(env, &result);
    if (self == NULL) return result;
    command_words command = get_words(env, argv[1]);
    rdc_reply *reply = rdc_subscriber_command(self->native, command.count, command.words, command.lengths);
    free_words(&command);
    if (rdc_reply_error(reply) != RDC_OK) result = reply_value(env, self->environment, reply, 0);
    rdc_reply_free(reply);
    return result;
}

/* setSubscriberInUse(subscriber, whether) */
static napi_value set_subscriber_in_use(napi_env env, napi_callback_info info) {
    napi_value argv[2];
    bool in_use = false;
    subscriber *self = get_subscriber(env, info, 2, argv);
    if (self == NULL) return NULL;
    napi_get_value_bool(env, argv[1], &in_use);
    set_in_use(self, in_use);
    return NULL;
}

/* closeSubscriber(subscriber) */
static napi_value close_subscriber(napi_env env, napi_callback_info info) {
    napi_value argv[1];
    subscriber *self = get_subscriber(env, info, 1, argv);
    if (self != NULL) tear_down(self);
    return NULL;
}

/* setUpSubscriber(deliverPushes, wantsBuffers): once for each environment. */
static napi_value set_up_subscriber(napi_env env, napi_callback_info info) {
    napi_value argv[2];
    size_t argc = 2;
    js_environment *environment;
    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
    napi_get_instance_data(env, (void **)&environment);
    napi_create_reference(env, argv[0], 1, &environment->deliver_pushes);
    napi_create_reference(env, argv[1], 1, &environment->wants_buffers);
    return NULL;
}

void export_subscriber(napi_env env, napi_value exports) {
    export_function(env, exports, "setUpSubscriber", set_up_subscriber);
    export_function(env, exports, "openSubscriber", open_subscriber);
    export_function(env, exports, "subscriberCommand", subscriber_command);
    export_function(env, exports, "setSubscriberInUse", set_subscriber_in_use);
    export_function(env, exports, "closeSubscriber", close_subscriber);
}
