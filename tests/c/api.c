/* Every function of the header except those of the subscriber, with valid, missing and invalid arguments.
 * RDC_URL is the URL of a cluster with at least two primaries. */
#include "check.h"

#define HUGE_LEN ((size_t)-1 / 2 + 1) /* half of the address space: no object can be that large */
#define LEN(array) (sizeof(array) / sizeof *(array))

static void null_arguments(void) {
    const char *str = "untouched";
    int64_t num = 7;
    check(rdc_reply_type(NULL) == RDC_NIL, "NULL reads as nil");
    check(rdc_reply_error(NULL) == RDC_OK, "NULL is not an error");
    check(rdc_reply_str(NULL) == NULL && rdc_reply_len(NULL) == 0, "NULL has no text");
    check(rdc_reply_int(NULL) == 0 && rdc_reply_double(NULL) == 0.0, "NULL is the number 0");
    check(rdc_reply_at(NULL, 0) == NULL && rdc_reply_find(NULL, "k") == NULL, "NULL has no elements");
    check(rdc_reply_node(NULL) == NULL && rdc_reply_sent(NULL) == 0, "NULL has no node and was not sent");
    check(rdc_reply_read(NULL, &str, &num) == RDC_NIL && num == 0, "rdc_reply_read of NULL is nil");
    check(rdc_reply_read_array(NULL, 0, 9, NULL, NULL, NULL) == 0, "rdc_reply_read_array of NULL reads no elements");
    check(rdc_reply_free(NULL) == RDC_OK, "freeing NULL is not an error");
    rdc_close(NULL);
    rdc_options_free(NULL);
    rdc_pipeline_free(NULL);
    rdc_interrupt(NULL);
    rdc_pipeline_clear(NULL);
    check(rdc_pipeline_len(NULL) == 0, "a NULL pipeline has no commands");
    rdc_pipeline_command(NULL, 0, NULL, NULL);
    rdc_pipeline_resp(NULL, "x", 1);
    rdc_pipeline_get(NULL, "k", 1);
    rdc_pipeline_set(NULL, "k", 1, "v", 1);
    rdc_pipeline_set_px(NULL, "k", 1, "v", 1, 1);
    rdc_pipeline_del(NULL, "k", 1);
    check_unsent(rdc_pipeline_execute(NULL), RDC_ERR_INVALID, "a NULL pipeline is not executed");
    check_unsent(rdc_pipeline_execute_atomic(NULL), RDC_ERR_INVALID, "a NULL pipeline is not executed atomically");
}

/* A failed create returns a handle that is not NULL.  Each reply of the handle contains the reason of the failure. */
static void check_invalid_client(rdc_client *client, const char *name) {
    const char *message = client ? rdc_client_error(client) : NULL;
    rdc_reply *reply = rdc_get(client, "k", 1);
    check(client && message && *message, name);
    check(same(rdc_reply_str(reply), message), "its replies contain the same message");
    check_unsent(reply, RDC_ERR_INVALID, name);
    rdc_close(client);
}

static void no_client(void) {
    const char *argv[] = {"GET", "k"};
    check_unsent(rdc_command(NULL, 2, argv, NULL), RDC_ERR_INVALID, "command without a client");
    check_unsent(rdc_command_resp(NULL, "*1\r\n$4\r\nPING\r\n", 14), RDC_ERR_INVALID, "RESP without a client");
    check_unsent(rdc_command_to(NULL, "random", 2, argv, NULL), RDC_ERR_INVALID, "command_to without a client");
    check_unsent(rdc_get(NULL, "k", 1), RDC_ERR_INVALID, "get without a client");
    check_unsent(rdc_set(NULL, "k", 1, "v", 1), RDC_ERR_INVALID, "set without a client");
    check_unsent(rdc_set_px(NULL, "k", 1, "v", 1, 5), RDC_ERR_INVALID, "set_px without a client");
    check_unsent(rdc_del(NULL, "k", 1), RDC_ERR_INVALID, "del without a client");
    check_unsent(rdc_exists(NULL, "k", 1), RDC_ERR_INVALID, "exists without a client");
    check_unsent(rdc_incrby(NULL, "k", 1, 1), RDC_ERR_INVALID, "incrby without a client");
    check_unsent(rdc_pexpire(NULL, "k", 1, 1), RDC_ERR_INVALID, "pexpire without a client");
    check_unsent(rdc_topology(NULL), RDC_ERR_INVALID, "topology without a client");
    check_unsent(rdc_stats(NULL), RDC_ERR_INVALID, "stats without a client");
    check_unsent(rdc_refresh(NULL), RDC_ERR_INVALID, "refresh without a client");
    check_unsent(rdc_explain(NULL, 2, argv, NULL), RDC_ERR_INVALID, "explain without a client");
    rdc_client_error(NULL);

    rdc_pipeline *pipeline = rdc_pipeline_new(NULL);
    check(pipeline != NULL, "a pipeline of a NULL client is not NULL");
    rdc_pipeline_get(pipeline, "k", 1);
    check(rdc_pipeline_len(pipeline) == 1, "a pipeline of a NULL client counts its commands");
    rdc_reply *reply = rdc_pipeline_execute(pipeline);
    const rdc_reply *first = rdc_reply_type(reply) == RDC_ARRAY ? rdc_reply_at(reply, 0) : reply;
    check(rdc_reply_error(first) == RDC_ERR_INVALID, "a pipeline of a NULL client returns INVALID");
    rdc_reply_free(reply);
    rdc_pipeline_free(pipeline);
}

static void creation(const char *url) {
    static const char *const bad[] = {"", "127.0.0.1:7000", "http://127.0.0.1", "redis://", "redis://:0",
                                      "redis://127.0.0.1:99999", "redis://127.0.0.1:7000?nonsense=1",
                                      "redis://127.0.0.1:7000?timeout_ms=soon", "redis://127.0.0.1:7000?timeout_ms=-1"};
    for (size_t i = 0; i < LEN(bad); i++)
        check_invalid_client(rdc_create(bad[i]), bad[i]);
    check_invalid_client(rdc_create(NULL), "create without a URL");
    check_invalid_client(rdc_create_with(NULL), "create without options");
    check_invalid_client(rdc_with(NULL, "timeout_ms", "5"), "a handle derived from NULL");
    check_invalid_client(rdc_readonly(NULL), "a read-only handle derived from NULL");
    check_invalid_client(rdc_pin(NULL, "k", 1), "a handle pinned from NULL");

    rdc_client *client = rdc_create("redis://127.0.0.1:1?timeout_ms=500");
    check(rdc_client_error(client) && strstr(rdc_client_error(client), "127.0.0.1:1"), "an error names the node");
    check_unsent(rdc_get(client, "k", 1), RDC_ERR_CONNECT, "no server listens on the port");
    rdc_close(client);

    client = rdc_create(url);
    check(rdc_client_error(client) == NULL, "a connected client has no error");
    check_invalid_client(rdc_with(client, NULL, "5"), "a derived handle with a NULL option");
    check_invalid_client(rdc_with(client, "timeout_ms", NULL), "a derived handle with a NULL value");
    check_invalid_client(rdc_with(client, "timeout_ms", "soon"), "a derived handle with an invalid value");
    check_invalid_client(rdc_pin(client, NULL, 3), "pinned to a NULL key of length 3");
    check_invalid_client(rdc_pin(client, "k", HUGE_LEN), "pinned to a key of impossible length");
    rdc_client *derived = rdc_with(client, "timeot_ms", "5");
    const char *message = rdc_client_error(derived);
    check(message && strstr(message, "did you mean") && strstr(message, "timeout_ms"),
          "the error of an unknown option suggests a known one");
    rdc_close(derived);

    /* Handles can be closed in any order: a derived handle outlives the client it was derived from. */
    derived = rdc_with(client, "timeout_ms", "2500");
    rdc_client *readonly = rdc_readonly(client);
    rdc_close(client);
    check(rdc_client_error(derived) == NULL, "a derived handle has no error");
    check(rdc_reply_free(rdc_set(derived, "api:derived", RDC_NTS, "v", 1)) == RDC_OK,
          "a derived handle outlives its client");
    check_unsent(rdc_set(readonly, "api:derived", RDC_NTS, "v", 1), RDC_ERR_READONLY,
                 "a derived read-only handle outlives its client");
    rdc_close(readonly);
    rdc_close(derived);
}

static void options(const char *url) {
    rdc_options *options = rdc_options_new();
    check(options != NULL, "rdc_options_new");
    check(rdc_options_set(options, "url", url) == RDC_OK, "url is an option");
    check(rdc_options_set(options, "timeout_ms", "3000") == RDC_OK, "timeout_ms is an option");
    check(rdc_options_set(options, "readonly", "yes") == RDC_OK, "readonly is an option");
    rdc_client *client = rdc_create_with(options);
    check(rdc_client_error(client) == NULL, "a client is created from options");
    check_unsent(rdc_set(client, "k", 1, "v", 1), RDC_ERR_READONLY, "the options take effect");
    rdc_close(client);

    check(rdc_options_set(NULL, "timeout_ms", "5") == RDC_ERR_INVALID, "NULL options are INVALID");
    check(rdc_options_set(options, NULL, "5") == RDC_ERR_INVALID, "a NULL option name is INVALID");
    check(rdc_options_set(options, "timeout_ms", NULL) == RDC_ERR_INVALID, "a NULL option value is INVALID");
    check(rdc_options_set(options, "timeout_ms", "soon") == RDC_ERR_INVALID, "a value that is no number is INVALID");
    check(rdc_options_set(options, "readonly", "perhaps") == RDC_ERR_INVALID, "a value that is no boolean is INVALID");
    rdc_options_free(options);

    options = rdc_options_new();
    rdc_options_set(options, "url", url);
    check(rdc_options_set(options, "timeot_ms", "5") == RDC_ERR_INVALID, "an unknown option name is INVALID");
    client = rdc_create_with(options);
    rdc_options_free(options);
    const char *message = rdc_client_error(client);
    check(message && strstr(message, "did you mean") && strstr(message, "timeout_ms"),
          "rdc_create_with reports the unknown option");
    rdc_close(client);

    rdc_reply *list = rdc_options_list();
    int named = rdc_reply_type(list) == RDC_ARRAY && rdc_reply_len(list) > 0, seen = 0;
    for (size_t i = 0; i < rdc_reply_len(list); i++) {
        const rdc_reply *option = rdc_reply_at(list, i);
        const char *name = rdc_reply_str(rdc_reply_find(option, "name"));
        named &= rdc_reply_type(option) == RDC_MAP && name != NULL;
        seen += (same(name, "url") || same(name, "timeout_ms") || same(name, "read_from"));
    }
    check(named, "every option has a name");
    check(seen == 3, "the list contains url, timeout_ms and read_from");
    rdc_reply_free(list);
}

static void commands(const rdc_client *c) {
    static const char binary[] = "api:\0\r\n\xff";
    const size_t binary_len = sizeof binary - 1;
    const char *argv[] = {"SET", binary, binary};
    const size_t lens[] = {RDC_NTS, sizeof binary - 1, sizeof binary - 1};
    const size_t impossible[] = {3, HUGE_LEN, 1};
    const char *null_argument[] = {"SET", "k", NULL};
    rdc_reply *r;

    check(rdc_reply_free(rdc_set(c, "api:k", RDC_NTS, "value", RDC_NTS)) == RDC_OK, "RDC_NTS: set measures its strings");
    r = rdc_get(c, "api:k and more", 5);
    check(rdc_reply_type(r) == RDC_STRING && is_text(r, "value", 5), "get uses the given length");
    check(rdc_reply_error(r) == RDC_OK && rdc_reply_sent(r) == 1, "a reply with a value is no error and was sent");
    check(rdc_reply_node(r) && strchr(rdc_reply_node(r), ':'), "the reply names its node as host:port");
    check(rdc_reply_at(r, 0) == NULL && rdc_reply_find(r, "value") == NULL, "a string has no elements");
    rdc_reply_free(r);
    r = rdc_set(c, "api:k", RDC_NTS, "", 0);
    check(rdc_reply_type(r) == RDC_STATUS && is_text(r, "OK", 2), "OK is a status");
    rdc_reply_free(r);
    r = rdc_get(c, "api:k", RDC_NTS);
    check(rdc_reply_type(r) == RDC_STRING && is_text(r, "", 0), "an empty value is not nil");
    rdc_reply_free(r);
    check(rdc_reply_free(rdc_set(c, "api:k", RDC_NTS, NULL, 0)) == RDC_OK, "NULL of length 0 is an empty value");

    check(rdc_reply_free(rdc_command(c, 3, argv, lens)) == RDC_OK, "set of a binary key and value");
    r = rdc_get(c, binary, binary_len);
    check(is_text(r, binary, binary_len), "get returns the same bytes");
    rdc_reply_free(r);
    r = rdc_del(c, binary, binary_len);
    check(rdc_reply_type(r) == RDC_INTEGER && rdc_reply_int(r) == 1, "del returns the number of deleted keys");
    rdc_reply_free(r);
    r = rdc_get(c, binary, binary_len);
    check(rdc_reply_type(r) == RDC_NIL && rdc_reply_str(r) == NULL && rdc_reply_len(r) == 0, "a missing key is nil");
    rdc_reply_free(r);

    rdc_reply_free(rdc_del(c, "api:n", RDC_NTS));
    r = rdc_incrby(c, "api:n", RDC_NTS, INT64_MIN + 1);
    check(rdc_reply_type(r) == RDC_INTEGER && rdc_reply_int(r) == INT64_MIN + 1, "integers have 64 bits");
    rdc_reply_free(r);
    r = rdc_exists(c, "api:n", RDC_NTS);
    check(rdc_reply_int(r) == 1, "exists");
    rdc_reply_free(r);
    r = rdc_pexpire(c, "api:n", RDC_NTS, 60000);
    check(rdc_reply_int(r) == 1, "pexpire");
    rdc_reply_free(r);
    check(rdc_reply_free(rdc_set_px(c, "api:px", RDC_NTS, "v", 1, 60000)) == RDC_OK, "set_px");
    r = rdc_cmd(c, "PTTL", "api:px");
    check(rdc_reply_int(r) > 0 && rdc_reply_int(r) <= 60000, "set_px sets the expiry time");
    rdc_reply_free(r);
    check_error(rdc_set_px(c, "api:px", RDC_NTS, "v", 1, 0), RDC_ERR_SERVER, "the server refuses an expiry of 0");
    check_error(rdc_cmd(c, "LPUSH", "api:px", "x"), RDC_ERR_SERVER, "an error of the server");
    r = rdc_cmd(c, "LPUSH", "api:px", "x");
    check(rdc_reply_str(r) && strncmp(rdc_reply_str(r), "WRONGTYPE ", 10) == 0,
          "the message begins with the code of the server");
    rdc_reply_free(r);
    check_unsent(rdc_cmd(c, "RENAME", "api:a", "api:b"), RDC_ERR_CROSSSLOT, "keys in two slots");

    check_unsent(rdc_get(c, NULL, 3), RDC_ERR_INVALID, "a NULL key of length 3");
    check_unsent(rdc_get(c, NULL, RDC_NTS), RDC_ERR_INVALID, "a NULL key with RDC_NTS");
    check_unsent(rdc_get(c, "k", HUGE_LEN), RDC_ERR_INVALID, "a key length of half the address space");
    check_unsent(rdc_get(c, "k", (size_t)-2), RDC_ERR_INVALID, "a key length of the whole address space");
    check_unsent(rdc_set(c, "k", 1, NULL, 1), RDC_ERR_INVALID, "a NULL value of length 1");
    check_unsent(rdc_set(c, "k", 1, "v", HUGE_LEN), RDC_ERR_INVALID, "a value of impossible length");
    check_unsent(rdc_set_px(c, "k", 1, NULL, 1, 5), RDC_ERR_INVALID, "set_px of a NULL value");
    check_unsent(rdc_del(c, NULL, 1), RDC_ERR_INVALID, "del of a NULL key");
    check_unsent(rdc_exists(c, NULL, 1), RDC_ERR_INVALID, "exists of a NULL key");
    check_unsent(rdc_incrby(c, NULL, 1, 1), RDC_ERR_INVALID, "incrby of a NULL key");
    check_unsent(rdc_pexpire(c, NULL, 1, 1), RDC_ERR_INVALID, "pexpire of a NULL key");
    check_unsent(rdc_command(c, 0, argv, NULL), RDC_ERR_INVALID, "a command of no arguments");
    check_unsent(rdc_command(c, 0, NULL, NULL), RDC_ERR_INVALID, "a command of no arguments at NULL");
    check_unsent(rdc_command(c, 2, NULL, NULL), RDC_ERR_INVALID, "two arguments at NULL");
    check_unsent(rdc_command(c, HUGE_LEN, argv, NULL), RDC_ERR_INVALID, "an impossible number of arguments");
    check_unsent(rdc_command(c, 3, null_argument, NULL), RDC_ERR_INVALID, "a NULL argument");
    check_unsent(rdc_command(c, 3, argv, impossible), RDC_ERR_INVALID, "an argument of impossible length");
}

static void resp(const rdc_client *c) {
    static const char *const bad[] = {
        "",                                 "*",
        "PING\r\n",                         "*0\r\n",
        "*-1\r\n",                          "*1\r\n",
        "*1\r\n$4\r\nPIN",                  "*1\r\n$4\r\nPING",
        "*1\r\n$4\r\nPING\n\n",             "*2\r\n$4\r\nPING\r\n",
        "*1\r\n$-1\r\n",                    "*1\r\n$5\r\nPING\r\n",
        "*1\r\n$3\r\nPING\r\n",             "*1\r\n:1\r\n",
        "*1\r\n+PING\r\n",                  "*1\n$4\nPING\n",
        "*99999999999999999999\r\n",        "*4294967297\r\n$4\r\nPING\r\n",
        "*1\r\n$99999999999999999999\r\nP", "*1\r\n$18446744073709551615\r\nPING\r\n",
        "*1\r\n$4\r\nPING\r\nx",            "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n"};
    char name[64];
    for (size_t i = 0; i < LEN(bad); i++) {
        snprintf(name, sizeof name, "malformed RESP, number %d", (int)i);
        check_unsent(rdc_command_resp(c, bad[i], strlen(bad[i])), RDC_ERR_INVALID, name);
    }
    check_unsent(rdc_command_resp(c, NULL, 0), RDC_ERR_INVALID, "RESP at NULL");
    check_unsent(rdc_command_resp(c, NULL, 14), RDC_ERR_INVALID, "14 bytes of RESP at NULL");
    check_unsent(rdc_command_resp(c, "*", HUGE_LEN), RDC_ERR_INVALID, "RESP of impossible length");
    rdc_reply *r = rdc_command_resp(c, "*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n", RDC_NTS);
    check(is_text(r, "hi", 2), "RESP with RDC_NTS");
    rdc_reply_free(r);
}

/* Long lists of short values are stored in another form than short lists. */
static void long_lists(const rdc_client *c) {
    enum { COUNT = 100000, PART = 1000 };
    static const char script[] = "local t = {} for i = 0, 99999 do local k = i % 7 "
                                 "if k == 0 then t[i + 1] = i elseif k == 1 then t[i + 1] = 'v' .. i "
                                 "elseif k == 2 then t[i + 1] = {i % 100, false} elseif k == 3 then "
                                 "t[i + 1] = redis.status_reply('OK') else t[i + 1] = false end end return t";
    static int32_t types[PART];
    static const char *strs[PART];
    static int64_t nums[PART];
    char text[16];
    rdc_reply *r = rdc_cmd(c, "EVAL", script, "1", "api:long");
    int correct = rdc_reply_type(r) == RDC_ARRAY && rdc_reply_len(r) == COUNT;
    for (int i = 0; correct && i < COUNT; i++) {
        const rdc_reply *e = rdc_reply_at(r, (size_t)i);
        snprintf(text, sizeof text, "v%d", i);
        if (i % PART == 0)
            correct = rdc_reply_read_array(r, (size_t)i, PART, types, strs, nums) == PART;
        correct = correct && types[i % PART] == rdc_reply_type(e) && strs[i % PART] == rdc_reply_str(e) &&
                  e == rdc_reply_at(r, (size_t)i) && rdc_reply_node(e) == NULL && rdc_reply_sent(e) == 1;
        if (i % 7 == 0)
            correct = correct && rdc_reply_type(e) == RDC_INTEGER && rdc_reply_int(e) == i && nums[i % PART] == i;
        else if (i % 7 == 1)
            correct = correct && is_text(e, text, strlen(text));
        else if (i % 7 == 2)
            correct = correct && rdc_reply_len(e) == 2 && rdc_reply_int(rdc_reply_at(e, 0)) == i % 100 &&
                      rdc_reply_type(rdc_reply_at(e, 1)) == RDC_NIL && rdc_reply_at(e, 2) == NULL;
        else if (i % 7 == 3)
            correct = correct && rdc_reply_type(e) == RDC_STATUS && is_text(e, "OK", 2);
        else
            correct = correct && rdc_reply_type(e) == RDC_NIL && rdc_reply_str(e) == NULL;
        rdc_reply_free((rdc_reply *)e); /* does nothing */
        if (!correct)
            printf("   # element %d\n", i);
    }
    check(correct, "a long list of short values");
    check(rdc_reply_at(r, COUNT) == NULL, "no element after its end");
    rdc_reply_free(r);
}

static void destinations(const rdc_client *c) {
    const char *ping[] = {"PING"};
    static const char *const bad[] = {"", "nowhere", "slot:", "slot:-1", "slot:16384", "slot:x", "127.0.0.1:", ":7000"};
    static const char *const good[] = {"random", "slot:0", "slot:16383"};
    static const char *const many[] = {"all", "primaries"};
    for (size_t i = 0; i < LEN(bad); i++)
        check_unsent(rdc_command_to(c, bad[i], 1, ping, NULL), RDC_ERR_INVALID, bad[i]);
    check_unsent(rdc_command_to(c, NULL, 1, ping, NULL), RDC_ERR_INVALID, "command_to with a NULL destination");
    check_unsent(rdc_command_to(c, "random", 0, ping, NULL), RDC_ERR_INVALID, "command_to of no arguments");
    check_unsent(rdc_command_to(c, "random", 1, NULL, NULL), RDC_ERR_INVALID, "command_to of arguments at NULL");
    for (size_t i = 0; i < LEN(good); i++) {
        rdc_reply *r = rdc_command_to(c, good[i], 1, ping, NULL);
        check(is_text(r, "PONG", 4), good[i]);
        /* The node of a reply is itself a valid destination. */
        rdc_reply *again = rdc_command_to(c, rdc_reply_node(r), 1, ping, NULL);
        check(is_text(again, "PONG", 4) && same(rdc_reply_node(r), rdc_reply_node(again)),
              "a command to host:port is executed by that node");
        rdc_reply_free(r);
        rdc_reply_free(again);
    }
    for (size_t i = 0; i < LEN(many); i++) {
        rdc_reply *r = rdc_command_to(c, many[i], 1, ping, NULL);
        const char *node = rdc_reply_str(rdc_reply_at(r, 0));
        check(rdc_reply_type(r) == RDC_MAP && rdc_reply_len(r) >= 4 && rdc_reply_len(r) % 2 == 0, many[i]);
        check(node && strchr(node, ':') && is_text(rdc_reply_find(r, node), "PONG", 4),
              "the map contains the reply of each node");
        rdc_reply_free(r);
    }
}

static void pipelines(rdc_client *c) {
    const char *incr[] = {"INCR", "api:p:n"}, *hello[] = {"LPUSH", "api:p", "x"};
    int32_t types[8] = {0};
    const char *strs[8] = {NULL};
    int64_t nums[8] = {0};
    rdc_pipeline *p = rdc_pipeline_new(c);
    rdc_reply *r = rdc_pipeline_execute(p);
    check(rdc_reply_type(r) == RDC_ARRAY && rdc_reply_len(r) == 0, "an empty pipeline returns an empty array");
    rdc_reply_free(r);
    r = rdc_pipeline_execute_atomic(p);
    check(rdc_reply_type(r) == RDC_ARRAY && rdc_reply_len(r) == 0, "an empty atomic pipeline returns an empty array");
    rdc_reply_free(r);

    rdc_reply_free(rdc_del(c, "api:p:n", RDC_NTS));
    rdc_reply_free(rdc_del(c, "api:p:none", RDC_NTS));
    rdc_pipeline_set(p, "api:p", RDC_NTS, "one", RDC_NTS);
    rdc_pipeline_command(p, LEN(hello), hello, NULL);
    rdc_pipeline_command(p, LEN(incr), incr, NULL);
    rdc_pipeline_get(p, "api:p", RDC_NTS);
    rdc_pipeline_get(p, "api:p:none", RDC_NTS);
    rdc_pipeline_resp(p, "*2\r\n$3\r\nGET\r\n$5\r\napi:p\r\n*2\r\n$3\r\nDEL\r\n$5\r\napi:p\r\n", RDC_NTS);
    check(rdc_pipeline_len(p) == 7, "RESP of two commands counts as two");
    r = rdc_pipeline_execute(p);
    check(rdc_pipeline_len(p) == 0, "executing a pipeline empties it");
    check(rdc_reply_type(r) == RDC_ARRAY && rdc_reply_len(r) == 7, "one reply per command");
    check(rdc_reply_type(rdc_reply_at(r, 0)) == RDC_STATUS, "the first reply is a status");
    const char *message = rdc_reply_str(rdc_reply_at(r, 1));
    check(rdc_reply_error(rdc_reply_at(r, 1)) == RDC_ERR_SERVER, "an element may be an error");
    static const char prefix[] = "Command # 2 (LPUSH api:p) of pipeline: WRONGTYPE ";
    check(message && strncmp(message, prefix, sizeof prefix - 1) == 0, "its message names the command");
    if (message)
        printf("   # %s\n", message);
    check(rdc_reply_at(r, 7) == NULL && rdc_reply_at(r, (size_t)-1) == NULL, "no elements after the end");

    check(rdc_reply_read_array(r, 0, 8, types, strs, nums) == 7, "read_array stops at the end");
    check(types[2] == RDC_INTEGER && nums[2] == 1 && strs[2] == NULL, "read_array of an integer");
    check(types[3] == RDC_STRING && nums[3] == 3 && same(strs[3], "one"), "read_array of a string");
    check(types[4] == RDC_NIL && strs[4] == NULL && nums[4] == 0, "read_array of nil");
    check(types[1] == RDC_ERROR && strs[1] == message && nums[1] == (int64_t)strlen(message ? message : ""),
          "read_array of an error");
    check(rdc_reply_read_array(r, 5, 1, NULL, strs, NULL) == 1 && same(strs[0], "one"),
          "read_array of one element in the middle");
    check(rdc_reply_read_array(r, 7, 1, types, strs, nums) == 0, "read_array at the end");
    check(rdc_reply_read_array(r, (size_t)-1, (size_t)-1, types, strs, nums) == 0, "read_array far after the end");
    check(rdc_reply_read_array(r, 6, (size_t)-1, NULL, NULL, NULL) == 1, "read_array of all remaining elements");
    check(rdc_reply_read(r, &strs[0], &nums[0]) == RDC_ARRAY && nums[0] == 7 && !strs[0], "read of an array");
    check(rdc_reply_read(rdc_reply_at(r, 3), &strs[0], NULL) == RDC_STRING && same(strs[0], "one"), "read of a string");
    check(rdc_reply_read(rdc_reply_at(r, 2), NULL, &nums[0]) == RDC_INTEGER && nums[0] == 1, "read of an integer");
    rdc_reply_free(r);

    /* The reply of a malformed command is an error.  The other commands run. */
    rdc_pipeline_set(p, "api:p", RDC_NTS, "two", RDC_NTS);
    rdc_pipeline_command(p, 0, NULL, NULL);
    rdc_pipeline_get(p, NULL, 3);
    rdc_pipeline_set(p, "api:p", HUGE_LEN, "v", 1);
    rdc_pipeline_set_px(p, "api:p", RDC_NTS, NULL, 1, 5);
    rdc_pipeline_del(p, NULL, 1);
    rdc_pipeline_resp(p, "*1\r\n$4\r\nPIN", RDC_NTS);
    rdc_pipeline_get(p, "api:p", RDC_NTS);
    check(rdc_pipeline_len(p) == 8, "malformed commands are counted");
    r = rdc_pipeline_execute(p);
    check(rdc_reply_len(r) == 8 && is_text(rdc_reply_at(r, 7), "two", 3), "malformed commands do not affect the others");
    for (size_t i = 1; i < 7; i++) {
        char name[64];
        const rdc_reply *e = rdc_reply_at(r, i);
        snprintf(name, sizeof name, "Command # %d ", (int)i + 1);
        check(rdc_reply_error(e) == RDC_ERR_INVALID && !rdc_reply_sent(e), name);
        check(rdc_reply_str(e) && !strncmp(rdc_reply_str(e), name, strlen(name)), "the message names the command");
    }
    rdc_reply_free(r);

    rdc_pipeline_get(p, "api:p", RDC_NTS);
    rdc_pipeline_clear(p);
    check(rdc_pipeline_len(p) == 0, "clear empties the pipeline");
    rdc_pipeline_set(p, "{api}:a", RDC_NTS, "1", 1);
    rdc_pipeline_command(p, 2, (const char *[]){"INCR", "{api}:a"}, NULL);
    rdc_pipeline_get(p, "{api}:a", RDC_NTS);
    r = rdc_pipeline_execute_atomic(p);
    check(rdc_reply_len(r) == 3 && rdc_reply_int(rdc_reply_at(r, 1)) == 2 && is_text(rdc_reply_at(r, 2), "2", 1),
          "an atomic pipeline returns all replies");
    rdc_reply_free(r);
    rdc_pipeline_set(p, "api:a", RDC_NTS, "1", 1);
    rdc_pipeline_set(p, "api:b", RDC_NTS, "1", 1);
    check_unsent(rdc_pipeline_execute_atomic(p), RDC_ERR_CROSSSLOT, "an atomic pipeline of two slots");
    check(rdc_pipeline_len(p) == 0, "a failed execution also empties the pipeline");
    rdc_pipeline_free(p);
}

static void values(const rdc_client *c) {
    const char *map[] = {"HGETALL", "api:h"};
    rdc_reply_free(rdc_cmd(c, "DEL", "api:h"));
    rdc_reply_free(rdc_cmd(c, "HSET", "api:h", "name", "Ada", "born", "1815"));
    rdc_reply *r = rdc_command(c, 2, map, NULL);
    check(rdc_reply_type(r) == RDC_MAP && rdc_reply_len(r) == 4, "a map has two elements per pair");
    check(is_text(rdc_reply_find(r, "born"), "1815", 4), "find returns the value of a key");
    check(!rdc_reply_find(r, "1815") && !rdc_reply_find(r, "bor") && !rdc_reply_find(r, ""),
          "find compares complete keys");
    check(!rdc_reply_find(r, NULL), "find of a NULL key");
    rdc_reply_free(r);
    rdc_reply_free(rdc_cmd(c, "DEL", "api:z"));
    rdc_reply_free(rdc_cmd(c, "ZADD", "api:z", "1.5", "m"));
    r = rdc_cmd(c, "ZSCORE", "api:z", "m");
    check(rdc_reply_type(r) == RDC_DOUBLE && rdc_reply_double(r) == 1.5 && is_text(r, "1.5", 3),
          "a double as a number and as text");
    rdc_reply_free(r);
}

static void introspection(const rdc_client *c) {
    static const char *const fields[] = {"command", "keys", "slots", "access", "nodes", "policy"};
    const char *set[] = {"SET", "foo", "bar"};
    rdc_reply *r = rdc_topology(c);
    int complete = rdc_reply_type(r) == RDC_ARRAY && rdc_reply_len(r) >= 2;
    for (size_t i = 0; i < rdc_reply_len(r); i++) {
        const rdc_reply *shard = rdc_reply_at(r, i);
        complete &= rdc_reply_find(shard, "slots") && rdc_reply_find(shard, "primary") &&
                    rdc_reply_find(shard, "replicas");
    }
    check(complete, "topology: slots, primary and replicas of every shard");
    rdc_reply_free(r);
    r = rdc_stats(c);
    check(rdc_reply_type(r) == RDC_MAP && rdc_reply_len(r) > 0, "stats returns a map");
    rdc_reply_free(r);
    check(rdc_reply_free(rdc_refresh(c)) == RDC_OK, "refresh");

    r = rdc_explain(c, 3, set, NULL);
    for (size_t i = 0; i < LEN(fields); i++)
        check(rdc_reply_find(r, fields[i]) != NULL, fields[i]);
    check(is_text(rdc_reply_find(r, "access"), "write", 5) && !rdc_reply_find(r, "error"), "explain a write");
    rdc_reply_free(r);
    rdc_client *readonly = rdc_readonly(c);
    r = rdc_explain(readonly, 3, set, NULL);
    check(rdc_reply_find(r, "error") != NULL, "explain a refused write");
    rdc_reply_free(r);
    rdc_close(readonly);
    check_unsent(rdc_explain(c, 0, NULL, NULL), RDC_ERR_INVALID, "explain no command");

    check(rdc_key_slot("123456789", 9) == 12739, "the slot of the specification's example");
    check(rdc_key_slot("foo", RDC_NTS) == 12182 && rdc_key_slot("x{foo}y{bar}", RDC_NTS) == 12182,
          "the first hash tag determines the slot");
    check(rdc_key_slot("{}foo", 5) != rdc_key_slot("{}bar", 5), "an empty hash tag is ignored");
    check(rdc_key_slot("", 0) == 0 && rdc_key_slot(NULL, 0) == 0, "the slot of the empty key");
    check(rdc_key_slot(NULL, 3) < 0 && rdc_key_slot("k", HUGE_LEN) < 0, "an invalid key has no slot");

    for (int32_t code = RDC_OK; code <= RDC_ERR_TLS; code++)
        check(rdc_error_name(code) && *rdc_error_name(code), "every error code has a name");
    check(same(rdc_error_name(RDC_ERR_TIMEOUT), "TIMEOUT"), "the name is the one of the constant");
    check(rdc_error_name(-1) != NULL && rdc_error_name(INT32_MAX) != NULL, "an unknown code has a name");
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", RDC_VERSION_MAJOR, RDC_VERSION_MINOR, RDC_VERSION_PATCH);
    check(same(rdc_version(), version), "header and library have the same version");
    check(rdc_version_number() == 1000000 * RDC_VERSION_MAJOR + 1000 * RDC_VERSION_MINOR + RDC_VERSION_PATCH,
          "the version number matches the header");
}

static void count_lines(void *lines, int32_t level, const char *message) {
    *(int *)lines += level >= 1 && level <= 4 && message && *message;
}

static void logger(const rdc_client *c) {
    int lines = 0;
    rdc_set_logger(count_lines, &lines, 4);
    rdc_reply_free(rdc_refresh(c));
    check(lines > 0, "a refresh is logged");
    rdc_set_logger(NULL, NULL, 4);
    int before = lines;
    rdc_reply_free(rdc_refresh(c));
    check(lines == before, "nothing is logged after the logger was removed");
}

static void credentials(const char *url) {
    check(rdc_set_credentials(NULL, NULL, "p") == RDC_ERR_INVALID, "credentials of NULL");
    rdc_client *c = rdc_create("redis://");
    check(rdc_set_credentials(c, NULL, "p") == RDC_ERR_INVALID, "credentials of a client that has no cluster");
    rdc_close(c);
    check(rdc_set_credentials(c, NULL, "p") == RDC_ERR_INVALID, "credentials of a closed client");
    c = rdc_create(url);
    static char large[64 * 1024 + 2];
    memset(large, 'p', sizeof large - 1);
    check(rdc_set_credentials(c, NULL, large) == RDC_ERR_INVALID, "a password of more than 64 KiB");
    check(rdc_set_credentials(c, large, "p") == RDC_ERR_INVALID, "a user of more than 64 KiB");
    check(rdc_set_credentials(c, "a\nb", "p") == RDC_ERR_INVALID, "a user with a control character");
    check(rdc_set_credentials(c, "\xff", "p") == RDC_ERR_INVALID, "a user that is not UTF-8");
    check(rdc_set_credentials(c, "u", NULL) == RDC_ERR_INVALID, "a user without a password");
    check(rdc_set_credentials(c, "u", "") == RDC_ERR_INVALID, "a user with an empty password");
    /* A server without this user refuses it, and the open connection goes on. */
    check(rdc_set_credentials(c, "nobody", "wrong") == RDC_OK, "valid credentials");
    check(rdc_reply_free(rdc_set(c, "api:user", RDC_NTS, "v", 1)) == RDC_OK, "an open connection keeps its user");
    check(rdc_set_credentials(c, NULL, NULL) == RDC_OK, "no credentials");
    check(rdc_set_credentials(c, "", "") == RDC_OK, "no credentials as empty texts");
    check(rdc_reply_free(rdc_set(c, "api:user", RDC_NTS, "v", 1)) == RDC_OK, "a connection without credentials");
    rdc_close(c);
}

static void use_after_close(const char *url) {
    rdc_client *c = rdc_create(url);
    rdc_pipeline *p = rdc_pipeline_new(c);
    rdc_reply_free(rdc_set(c, "api:last", RDC_NTS, "kept", RDC_NTS));
    rdc_reply *kept = rdc_get(c, "api:last", RDC_NTS);
    rdc_client *pinned = rdc_pin(c, "api:last", RDC_NTS);
    rdc_interrupt(c); /* no call is running */
    rdc_close(c);
    check(is_text(kept, "kept", 4) && rdc_reply_node(kept), "a reply outlives its client");
    rdc_reply_free(kept);
    check(rdc_reply_free(rdc_cmd(pinned, "GET", "api:last")) == RDC_OK, "a pinned handle outlives its client");
    rdc_close(pinned);
    rdc_pipeline_get(p, "api:last", RDC_NTS);
    rdc_reply *reply = rdc_pipeline_execute(p);
    check(reply != NULL, "a pipeline may be used and freed after its client");
    rdc_reply_free(reply);
    rdc_pipeline_free(p);

    check_unsent(rdc_get(c, "api:last", RDC_NTS), RDC_ERR_CLOSED, "get after close");
    check_unsent(rdc_cmd(c, "PING"), RDC_ERR_CLOSED, "command after close");
    check_unsent(rdc_topology(c), RDC_ERR_CLOSED, "topology after close");
    check_unsent(rdc_refresh(c), RDC_ERR_CLOSED, "refresh after close");
    rdc_client *derived = rdc_readonly(c);
    check_unsent(rdc_get(derived, "k", 1), RDC_ERR_CLOSED, "a handle derived after close");
    rdc_close(derived);
    rdc_interrupt(c);
    rdc_close(c); /* a second close has no effect */
}

int main(void) {
    const char *url = getenv("RDC_URL");
    if (!url) {
        fprintf(stderr, "RDC_URL must be the URL of a cluster\n");
        return 2;
    }
    null_arguments();
    no_client();
    creation(url);
    options(url);
    rdc_client *client = rdc_create(url);
    check(rdc_client_error(client) == NULL, "create");
    commands(client);
    resp(client);
    long_lists(client);
    destinations(client);
    pipelines(client);
    values(client);
    introspection(client);
    logger(client);
    rdc_close(client);
    credentials(url);
    use_after_close(url);
    return check_done();
}
