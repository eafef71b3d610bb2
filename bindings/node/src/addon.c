/* The functions of the addon that lib/core.js calls. It passes arguments of the right types. */
#include <stdlib.h>

#include "addon.h"

#define MAX_ARGUMENTS 6

static void get_arguments(napi_env env, napi_callback_info info, napi_value *argv) {
    size_t argc = MAX_ARGUMENTS;
    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
}

/* The channel of an object of the class Core, which lives as long as the object. NULL if the environment is ending: the
   code of a worker that is being terminated runs on for a moment, and Node-API refuses most calls then. */
static channel *channel_of(napi_env env, napi_value core) {
    void *self = NULL;
    napi_unwrap(env, core, &self);
    return self;
}

/* Gets the arguments, and returns the channel of the first one, or NULL. */
static channel *get_channel(napi_env env, napi_callback_info info, napi_value *argv) {
    get_arguments(env, info, argv);
    return channel_of(env, argv[0]);
}

rdc_client *client_of(napi_env env, napi_value core) {
    channel *self = channel_of(env, core);
    return self == NULL ? NULL : self->client;
}

command_words get_words(napi_env env, napi_value array) {
    command_words self = {0};
    napi_value word;
    napi_get_array_length(env, array, &self.count);
    self.words = calloc(self.count + 1, sizeof *self.words);
    self.lengths = calloc(self.count + 1, sizeof *self.lengths);
    if (self.words == NULL || self.lengths == NULL) abort();
    for (uint32_t i = 0; i < self.count; i++) {
        void *bytes = NULL;
        if (napi_get_element(env, array, i, &word) == napi_ok)
            napi_get_buffer_info(env, word, &bytes, &self.lengths[i]);
        self.words[i] = bytes == NULL ? "" : bytes;
    }
    return self;
}

void free_words(command_words *self) {
    free(self->words);
    free(self->lengths);
}

static napi_value string_or_null(napi_env env, const char *string) {
    napi_value value;
    if (string == NULL)
        napi_get_null(env, &value);
    else
        napi_create_string_utf8(env, string, NAPI_AUTO_LENGTH, &value);
    return value;
}

/* The text of a Buffer that ends in a NUL. */
static const char *text_of(napi_env env, napi_value buffer) {
    void *bytes = NULL;
    napi_get_buffer_info(env, buffer, &bytes, NULL);
    return bytes;
}

static const char *text_at(napi_env env, napi_value array, uint32_t index) {
    napi_value element;
    return napi_get_element(env, array, index, &element) == napi_ok ? text_of(env, element) : NULL;
}

static size_t number_of(napi_env env, napi_value value) {
    int64_t number = 0;
    napi_get_value_int64(env, value, &number);
    return (size_t)number;
}

/* A client that failed is closed: its error is final, because lib/options.js makes every client lazy. */
static napi_value attach(napi_env env, const napi_value *argv, rdc_client *client) {
    const char *failure = rdc_client_error(client);
    if (failure == NULL) return string_or_null(env, channel_open(env, argv[0], client, argv[1], argv[2]));
    napi_value message = string_or_null(env, failure);
    rdc_close(client);
    return message;
}

/* open(core, outbox, ends, options): a new client. options are names and values by turns. Returns null or why not. */
static napi_value open_client(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    uint32_t length = 0;
    get_arguments(env, info, argv);
    napi_get_array_length(env, argv[3], &length);
    rdc_options *options = rdc_options_new();
    for (uint32_t i = 0; i + 1 < length; i += 2)
        rdc_options_set(options, text_at(env, argv[3], i), text_at(env, argv[3], i + 1));
    rdc_client *client = rdc_create_with(options);
    rdc_options_free(options);
    return attach(env, argv, client);
}

/* derive(core, outbox, ends, options, parent): a handle derived from the client of another core. */
static napi_value derive(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    uint32_t length = 0;
    get_arguments(env, info, argv);
    napi_get_array_length(env, argv[3], &length);
    channel *origin = channel_of(env, argv[4]);
    if (origin == NULL || length == 0) return NULL;
    rdc_client *parent = origin->client, *client = parent;
    for (uint32_t i = 0; i + 1 < length; i += 2) {
        rdc_client *derived = rdc_with(client, text_at(env, argv[3], i), text_at(env, argv[3], i + 1));
        if (client != parent) rdc_close(client);
        client = derived;
    }
    return attach(env, argv, client);
}

/* pin(core, outbox, ends, key, parent): a handle with a connection of its own, to the primary of this key. */
static napi_value pin(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    void *key = NULL;
    size_t length = 0;
    get_arguments(env, info, argv);
    channel *origin = channel_of(env, argv[4]);
    if (origin == NULL || napi_get_buffer_info(env, argv[3], &key, &length) != napi_ok) return NULL;
    return attach(env, argv, rdc_pin(origin->client, key == NULL ? "" : key, length));
}

/* schedule(core): the outbox has commands. */
static napi_value schedule(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    channel *self = get_channel(env, info, argv);
    if (self != NULL) channel_schedule(self);
    return NULL;
}

/* flush(core): the outbox is full. */
static napi_value flush(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    channel *self = get_channel(env, info, argv);
    if (self != NULL) channel_flush(self);
    return NULL;
}

/* submit(core, tag, bytes, length): one command that does not fit into the outbox. */
static napi_value submit(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    void *bytes = NULL;
    channel *self = get_channel(env, info, argv);
    if (self == NULL || napi_get_buffer_info(env, argv[2], &bytes, NULL) != napi_ok) return NULL;
    channel_flush(self);
    rdc_queue_resp(self->queue, number_of(env, argv[1]), bytes, number_of(env, argv[3]));
    channel_schedule(self);
    return NULL;
}

/* submitTo(core, tag, where, words): a command at nodes that the caller selects. */
static napi_value submit_to(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    channel *self = get_channel(env, info, argv);
    if (self == NULL) return NULL;
    command_words command = get_words(env, argv[3]);
    channel_flush(self);
    rdc_queue_command_to(self->queue, number_of(env, argv[1]), text_of(env, argv[2]), command.count, command.words,
                         command.lengths);
    free_words(&command);
    channel_schedule(self);
    return NULL;
}

/* pipeline(core, tag, bytes, length, atomic): the commands of a pipeline or of a transaction. */
static napi_value pipeline(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    void *bytes = NULL;
    bool atomic = false;
    channel *self = get_channel(env, info, argv);
    if (self == NULL || napi_get_buffer_info(env, argv[2], &bytes, NULL) != napi_ok) return NULL;
    napi_get_value_bool(env, argv[4], &atomic);
    channel_flush(self);
    rdc_pipeline *commands = rdc_pipeline_new(self->client);
    rdc_pipeline_resp(commands, bytes, number_of(env, argv[3]));
    (atomic ? rdc_queue_pipeline_atomic : rdc_queue_pipeline)(self->queue, number_of(env, argv[1]), commands);
    rdc_pipeline_free(commands);
    channel_schedule(self);
    return NULL;
}

/* cancel(core, tag) */
static napi_value cancel(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    channel *self = get_channel(env, info, argv);
    if (self == NULL || self->torn_down) return NULL;
    channel_flush(self);
    rdc_queue_cancel(self->queue, number_of(env, argv[1]));
    return NULL;
}

/* close(core) */
static napi_value close_client(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    channel *self = get_channel(env, info, argv);
    if (self != NULL) channel_close(self);
    return NULL;
}

static napi_value value_and_free(napi_env env, rdc_reply *reply) {
    js_environment *environment;
    napi_get_instance_data(env, (void **)&environment);
    napi_value value = reply_value(env, environment, reply, 0);
    rdc_reply_free(reply);
    return value;
}

/* topology(core), stats(core), explain(core, words): as of the library. An error is returned as a value. */
static napi_value topology(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    channel *self = get_channel(env, info, argv);
    return self == NULL ? NULL : value_and_free(env, rdc_topology(self->client));
}

static napi_value stats(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    channel *self = get_channel(env, info, argv);
    return self == NULL ? NULL : value_and_free(env, rdc_stats(self->client));
}

static napi_value explain(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    channel *self = get_channel(env, info, argv);
    if (self == NULL) return NULL;
    command_words command = get_words(env, argv[1]);
    rdc_reply *reply = rdc_explain(self->client, command.count, command.words, command.lengths);
    free_words(&command);
    return value_and_free(env, reply);
}

/* setCredentials(core, user, password): whether they were accepted. */
static napi_value set_credentials(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS], accepted;
    channel *self = get_channel(env, info, argv);
    if (self == NULL) return NULL;
    int32_t code = rdc_set_credentials(self->client, text_of(env, argv[1]), text_of(env, argv[2]));
    napi_get_boolean(env, code == RDC_OK, &accepted);
    return accepted;
}

/* keySlot(key) */
static napi_value key_slot(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS], slot;
    void *bytes = NULL;
    size_t length = 0;
    get_arguments(env, info, argv);
    napi_get_buffer_info(env, argv[0], &bytes, &length);
    napi_create_int32(env, rdc_key_slot(bytes == NULL ? "" : bytes, length), &slot);
    return slot;
}

/* setUp(deliver, makeError, append, toObject, BigInt, inbox): once for each environment. */
static napi_value set_up(napi_env env, napi_callback_info info) {
    napi_value argv[MAX_ARGUMENTS];
    js_environment *environment;
    void *numbers;
    get_arguments(env, info, argv);
    napi_get_instance_data(env, (void **)&environment);
    napi_create_reference(env, argv[0], 1, &environment->deliver);
    napi_create_reference(env, argv[1], 1, &environment->make_error);
    napi_create_reference(env, argv[2], 1, &environment->append);
    napi_create_reference(env, argv[3], 1, &environment->to_object);
    napi_create_reference(env, argv[4], 1, &environment->to_bigint);
    napi_create_reference(env, argv[5], 1, &environment->inbox_array);
    napi_get_typedarray_info(env, argv[5], NULL, NULL, &numbers, NULL, NULL);
    environment->inbox = numbers;
    return NULL;
}

static void free_environment(napi_env env, void *data, void *hint) {
    (void)env;
    (void)hint;
    free(data);
}

void export_function(napi_env env, napi_value exports, const char *name, napi_callback function) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, NULL, &value);
    napi_set_named_property(env, exports, name, value);
}

NAPI_MODULE_INIT() {
    napi_value version, delivered_at_once;
    js_environment *environment = calloc(1, sizeof *environment);
    if (environment == NULL) abort();
    napi_get_uv_event_loop(env, &environment->loop);
    napi_set_instance_data(env, environment, free_environment, NULL);
    export_function(env, exports, "setUp", set_up);
    export_function(env, exports, "open", open_client);
    export_function(env, exports, "derive", derive);
    export_function(env, exports, "pin", pin);
    export_function(env, exports, "schedule", schedule);
    export_function(env, exports, "flush", flush);
    export_function(env, exports, "submit", submit);
    export_function(env, exports, "submitTo", submit_to);
    export_function(env, exports, "pipeline", pipeline);
    export_function(env, exports, "cancel", cancel);
    export_function(env, exports, "close", close_client);
    export_function(env, exports, "topology", topology);
    export_function(env, exports, "stats", stats);
    export_function(env, exports, "explain", explain);
    export_function(env, exports, "setCredentials", set_credentials);
    export_function(env, exports, "keySlot", key_slot);
    export_subscriber(env, exports);
    napi_create_string_utf8(env, rdc_version(), NAPI_AUTO_LENGTH, &version);
    napi_set_named_property(env, exports, "version", version);
    napi_create_uint32(env, DELIVERED_AT_ONCE, &delivered_at_once);
    napi_set_named_property(env, exports, "deliveredAtOnce", delivered_at_once);
    return exports;
}
