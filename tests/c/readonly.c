/* A read-only handle spreads its reads over primaries and replicas and refuses writes.
 * RDC_URL is the URL of a cluster with a replica for every primary. */
#define _POSIX_C_SOURCE 199309L
#include "check.h"
#include <time.h>

#define LEN(array) (sizeof(array) / sizeof *(array))
#define MAX_ARGS 8

/* None of these is provably a read, so none may be sent. */
static const char *const refused[][MAX_ARGS] = {
    {"SET", "ro:k", "x"},
    {"set", "ro:k", "x"},
    {"SeT", "ro:k", "x", "NX"},
    {"DEL", "ro:k"},
    {"UNLINK", "ro:k"},
    {"GETSET", "ro:k", "x"},
    {"GETDEL", "ro:k"},
    {"GETEX", "ro:k", "PERSIST"},
    {"INCR", "ro:n"},
    {"EXPIRE", "ro:k", "1"},
    {"LPUSH", "ro:l", "x"},
    {"BLPOP", "ro:l", "1"},
    {"SORT", "ro:l", "STORE", "ro:l"},
    {"BITFIELD", "ro:k", "SET", "u8", "0", "1"},
    {"GEORADIUS", "ro:g", "0", "0", "1", "km", "STORE", "ro:g"},
    {"XREADGROUP", "GROUP", "g", "c", "STREAMS", "ro:x", ">"},
    {"EVAL", "return redis.call('set', KEYS[1], 'x')", "1", "ro:k"},
    {"EVALSHA", "0000000000000000000000000000000000000000", "1", "ro:k"},
    {"FCALL", "f", "1", "ro:k"},
    {"PUBLISH", "ro:channel", "x"},
    {"SPUBLISH", "ro:channel", "x"},
    {"FLUSHALL"},
    {"FLUSHDB"},
    {"MIGRATE", "127.0.0.1", "1", "ro:k", "0", "1"},
    {"RESTORE", "ro:k", "0", "x"},
    {"MULTI"},
    {"EXEC"},
    {"READWRITE"},
    {"CONFIG", "SET", "maxmemory", "1"},
    {"CLUSTER", "RESET"},
    {"FUNCTION", "FLUSH"},
    {"SHUTDOWN"},
    {"NOSUCHCOMMAND", "ro:k"},
};

static size_t count(const char *const *argv) {
    size_t n = 0;
    while (n < MAX_ARGS && argv[n])
        n++;
    return n;
}

static size_t encode(char *out, size_t size, const char *const *argv) {
    size_t n = count(argv), at = (size_t)snprintf(out, size, "*%d\r\n", (int)n);
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(out + at, size - at, "$%d\r\n%s\r\n", (int)strlen(argv[i]), argv[i]);
    return at;
}

static void check_refusals(const rdc_client *client, const char *origin) {
    char name[128], resp[512];
    for (size_t i = 0; i < LEN(refused); i++) {
        const char *const *argv = refused[i];
        snprintf(name, sizeof name, "%s %s: refused", origin, argv[0]);
        check_unsent(rdc_command(client, count(argv), argv, NULL), RDC_ERR_READONLY, name);
        snprintf(name, sizeof name, "%s %s as RESP: refused", origin, argv[0]);
        check_unsent(rdc_command_resp(client, resp, encode(resp, sizeof resp, argv)), RDC_ERR_READONLY, name);
        snprintf(name, sizeof name, "%s %s to all nodes: refused", origin, argv[0]);
        check_unsent(rdc_command_to(client, "all", count(argv), argv, NULL), RDC_ERR_READONLY, name);
    }
    check_unsent(rdc_set(client, "ro:k", RDC_NTS, "x", 1), RDC_ERR_READONLY, "rdc_set: refused");
    check_unsent(rdc_set_px(client, "ro:k", RDC_NTS, "x", 1, 5), RDC_ERR_READONLY, "rdc_set_px: refused");
    check_unsent(rdc_del(client, "ro:k", RDC_NTS), RDC_ERR_READONLY, "rdc_del: refused");
    check_unsent(rdc_incrby(client, "ro:k", RDC_NTS, 1), RDC_ERR_READONLY, "rdc_incrby: refused");
    check_unsent(rdc_pexpire(client, "ro:k", RDC_NTS, 1), RDC_ERR_READONLY, "rdc_pexpire: refused");
}

/* If a pipeline contains a write at any position, no command of it is sent. */
static void check_pipeline_refusals(const rdc_client *client) {
    char name[64];
    rdc_pipeline *p = rdc_pipeline_new(client);
    for (size_t at = 0; at < 5; at++) {
        for (size_t i = 0; i < 5; i++)
            if (i == at)
                rdc_pipeline_set(p, "foo", RDC_NTS, "bar", RDC_NTS);
            else
                rdc_pipeline_get(p, "ro:k", RDC_NTS);
        rdc_reply *r = rdc_pipeline_execute(p);
        check(rdc_reply_type(r) == RDC_ARRAY && rdc_reply_len(r) == 5, "five replies for five commands");
        for (size_t i = 0; i < 5; i++) {
            const rdc_reply *e = rdc_reply_at(r, i);
            check(rdc_reply_type(e) == RDC_ERROR && !rdc_reply_sent(e), "no command of the pipeline was sent");
        }
        const rdc_reply *write = rdc_reply_at(r, at);
        snprintf(name, sizeof name, "Command # %d (SET foo) of pipeline: ", (int)at + 1);
        check(rdc_reply_error(write) == RDC_ERR_READONLY, "the write is refused");
        check(rdc_reply_str(write) && !strncmp(rdc_reply_str(write), name, strlen(name)), name);
        rdc_reply_free(r);
    }
    rdc_pipeline_get(p, "ro:k", RDC_NTS);
    rdc_reply *r = rdc_pipeline_execute(p);
    check(is_text(rdc_reply_at(r, 0), "v", 1), "a refused pipeline can be used again");
    rdc_reply_free(r);
    rdc_pipeline_free(p);
}

/* Counts the reads of ro:k by the node that replied.  A nil is from a replica that lags. */
struct tally {
    char node[8][64];
    int reads[8], nodes, incorrect;
};

static void count_read(struct tally *tally, const rdc_reply *reply) {
    const char *node = rdc_reply_node(reply);
    int i = 0;
    tally->incorrect += !is_text(reply, "v", 1) || !node;
    if (!node)
        return;
    while (i < tally->nodes && strcmp(tally->node[i], node))
        i++;
    if (i == 8)
        return;
    if (i == tally->nodes)
        snprintf(tally->node[tally->nodes++], 64, "%s", node);
    tally->reads[i]++;
}

static void check_spread(const struct tally *tally, const char *name) {
    int is_even = tally->nodes >= 2;
    for (int i = 0; i < tally->nodes; i++) {
        printf("   # %s: %d\n", tally->node[i], tally->reads[i]);
        is_even &= tally->reads[i] > 400 / tally->nodes / 2; /* an even choice fails this in 1 of 10^23 runs */
    }
    check(is_even, name);
    check(tally->incorrect == 0, "every value is correct");
}

/* Reads until two nodes have replied and no replica lags.  In the first seconds of a cluster, CLUSTER SLOTS of Redis
 * 7.0 omits replicas whose offset it considers to be 0. */
static void wait_for_replicas(const rdc_client *client) {
    const struct timespec delay = {0, 100 * 1000 * 1000};
    for (int i = 0; i < 150; i++) {
        struct tally tally = {{{0}}, {0}, 0, 0};
        for (int k = 0; k < 40; k++) {
            rdc_reply *r = rdc_get(client, "ro:k", RDC_NTS);
            count_read(&tally, r);
            rdc_reply_free(r);
        }
        if (tally.nodes >= 2 && tally.incorrect == 0)
            return;
        nanosleep(&delay, NULL);
        rdc_reply_free(rdc_refresh(client));
    }
}

static void check_read_spread(const rdc_client *client) {
    struct tally single = {{{0}}, {0}, 0, 0}, piped = single;
    wait_for_replicas(client);
    for (int i = 0; i < 400; i++) {
        rdc_reply *r = rdc_get(client, "ro:k", RDC_NTS);
        count_read(&single, r);
        rdc_reply_free(r);
    }
    check_spread(&single, "reads are spread over primary and replicas");
    rdc_pipeline *p = rdc_pipeline_new(client);
    for (int i = 0; i < 400; i++) {
        rdc_pipeline_get(p, "ro:k", RDC_NTS);
        if (i % 4 == 3) {
            rdc_reply *r = rdc_pipeline_execute(p);
            for (size_t k = 0; k < 4; k++)
                count_read(&piped, rdc_reply_at(r, k));
            rdc_reply_free(r);
        }
    }
    check_spread(&piped, "reads of pipelines are spread, too");
    rdc_pipeline_free(p);
}

int main(void) {
    rdc_client *writer = rdc_create(getenv("RDC_URL"));
    if (rdc_client_error(writer))
        fprintf(stderr, "%s\n", rdc_client_error(writer));
    rdc_reply_free(rdc_del(writer, "foo", RDC_NTS));
    check(rdc_reply_free(rdc_set(writer, "ro:k", RDC_NTS, "v", 1)) == RDC_OK, "a value to read");

    rdc_client *readonly = rdc_readonly(writer), *option = rdc_with(writer, "readonly", "yes");
    check(!rdc_client_error(readonly) && !rdc_client_error(option),
          "rdc_readonly and the option readonly create a handle");
    check_read_spread(readonly);
    check_refusals(readonly, "rdc_readonly");
    check_refusals(option, "rdc_with");
    check_pipeline_refusals(readonly);

    rdc_reply *r = rdc_cmd(readonly, "TYPE", "ro:k");
    check(is_text(r, "string", 6), "other reads are allowed");
    rdc_reply_free(r);
    r = rdc_cmd(readonly, "MGET", "{ro:k}1", "ro:k");
    check(rdc_reply_len(r) == 2 && is_text(rdc_reply_at(r, 1), "v", 1), "reads of several keys are allowed");
    rdc_reply_free(r);
    r = rdc_get(writer, "foo", RDC_NTS);
    check(rdc_reply_type(r) == RDC_NIL, "nothing was written");
    rdc_reply_free(r);
    check(rdc_reply_free(rdc_set(writer, "ro:k", RDC_NTS, "v", 1)) == RDC_OK,
          "the client they were derived from can still write");
    rdc_close(option);
    rdc_close(readonly);
    rdc_close(writer);
    return check_done();
}
