/* All functions run on a stack of 64 KiB, as coroutines and small systems have.  The depth of recursion in the library
 * must not depend on the input, and no large object may be on the stack.  RDC_URL is the URL of a cluster. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <pthread.h>

enum { STACK = 64 * 1024, MANY = 5000, DEPTH = 31 };

static void log_nothing(void *arg, int32_t level, const char *message) {
    *(int *)arg += level > 0 && *message;
}

static void pipelines(const rdc_client *client) {
    char key[32];
    rdc_pipeline *p = rdc_pipeline_new(client);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "stack:%d", i);
        rdc_pipeline_set_px(p, key, RDC_NTS, key, RDC_NTS, 60000);
        rdc_pipeline_get(p, key, RDC_NTS);
    }
    rdc_reply *r = rdc_pipeline_execute(p);
    int correct = rdc_reply_len(r) == 2 * MANY;
    for (int i = 0; correct && i < MANY; i++) {
        snprintf(key, sizeof key, "stack:%d", i);
        correct = is_text(rdc_reply_at(r, 2 * (size_t)i + 1), key, strlen(key));
    }
    check(correct, "a pipeline of 10,000 commands");
    rdc_reply_free(r);
    for (int i = 0; i < MANY; i++)
        rdc_pipeline_command(p, 0, NULL, NULL);
    r = rdc_pipeline_execute(p);
    check(rdc_reply_len(r) == MANY && rdc_reply_error(rdc_reply_at(r, MANY - 1)) == RDC_ERR_INVALID,
          "a pipeline of 5,000 malformed commands");
    rdc_reply_free(r);
    rdc_pipeline_command(p, 2, (const char *const[]){"LPUSH", "stack:k"}, NULL);
    rdc_pipeline_get(p, "stack:k", RDC_NTS);
    rdc_reply_free(rdc_pipeline_execute_atomic(p));
    rdc_pipeline_free(p);
}

static void replies(const rdc_client *client) {
    /* The maximum depth of a reply: {{{...}}} */
    char script[256] = "return ";
    for (int i = 0; i < DEPTH; i++)
        strcat(script, "{");
    strcat(script, "7");
    for (int i = 0; i < DEPTH; i++)
        strcat(script, "}");
    rdc_reply *r = rdc_cmd(client, "EVAL", script, "1", "stack:k");
    const rdc_reply *at = r;
    int depth = 0;
    while (rdc_reply_type(at) == RDC_ARRAY) {
        at = rdc_reply_at(at, 0);
        depth++;
    }
    if (!check(depth == DEPTH && rdc_reply_int(at) == 7, "a deep reply"))
        printf("   # %d: %s\n", depth, rdc_reply_str(at) ? rdc_reply_str(at) : "(no message)");
    rdc_reply_free(r);
    r = rdc_cmd(client, "EVAL", "local t = {} for i = 1, 100000 do t[i] = i end return t", "1", "stack:k");
    check(rdc_reply_len(r) == 100000, "a long reply");
    rdc_reply_free(r);
    r = rdc_cmd(client, "EVAL", "return string.rep('x', 5000000)", "1", "stack:k");
    check(rdc_reply_len(r) == 5000000, "a large reply");
    rdc_reply_free(r);
    r = rdc_cmd(client, "EVAL", "return redis.error_reply('ERR ' .. string.rep('e', 20000))", "1", "stack:k");
    check(rdc_reply_error(r) == RDC_ERR_SERVER, "a long error");
    rdc_reply_free(r);
}

static void many_keys(const rdc_client *client) {
    const char **argv = malloc((MANY + 1) * sizeof *argv);
    char(*keys)[16] = malloc(MANY * sizeof *keys);
    if (!check(argv && keys, "memory is allocated"))
        return;
    argv[0] = "MGET";
    for (int i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], "stack:%d", i);
        argv[i + 1] = keys[i];
    }
    rdc_reply *r = rdc_command(client, MANY + 1, argv, NULL);
    check(rdc_reply_len(r) == MANY, "a command with 5,000 keys in all slots");
    rdc_reply_free(r);
    r = rdc_explain(client, MANY + 1, argv, NULL);
    check(rdc_reply_type(r) == RDC_MAP, "explain a command with 5,000 keys");
    rdc_reply_free(r);
    free(keys);
    free(argv);
}

static void introspection(const rdc_client *client) {
    check(rdc_reply_free(rdc_stats(client)) == RDC_OK, "statistics");
    check(rdc_reply_free(rdc_topology(client)) == RDC_OK, "topology");
    check(rdc_reply_free(rdc_refresh(client)) == RDC_OK, "refresh");
    check(rdc_reply_free(rdc_options_list()) == RDC_OK, "options");
    check(rdc_reply_free(rdc_cmd(client, "DBSIZE")) == RDC_OK, "a command to all nodes");
    check(rdc_reply_free(rdc_cmd(client, "BLPOP", "stack:nothing", "0.02")) == RDC_OK, "a blocking command");
}

static void *run_all(void *arg) {
    int logged = 0;
    rdc_set_logger(log_nothing, &logged, 4);
    rdc_client *client = rdc_create(getenv("RDC_URL"));
    check(rdc_client_error(client) == NULL, "create");
    check(rdc_reply_free(rdc_set(client, "stack:k", RDC_NTS, "v", 1)) == RDC_OK, "a write");
    pipelines(client);
    replies(client);
    many_keys(client);
    introspection(client);
    rdc_client *reader = rdc_readonly(client);
    check(rdc_reply_free(rdc_get(reader, "stack:k", RDC_NTS)) == RDC_OK, "a read from any replica");
    rdc_client *pinned = rdc_pin(client, "stack:k", RDC_NTS);
    check(rdc_reply_free(rdc_cmd(pinned, "MULTI")) == RDC_OK, "multi");
    check(rdc_reply_free(rdc_cmd(pinned, "EXEC")) == RDC_OK, "exec");
    rdc_close(pinned);
    rdc_close(reader);
    rdc_close(client);

    char url[512];
    const char *rest = strrchr(getenv("RDC_URL"), ':');
    snprintf(url, sizeof url, "redis://localhost%s", rest ? rest : "");
    client = rdc_create(url);
    check(rdc_client_error(client) == NULL, "a host name instead of an address");
    rdc_close(client);
    client = rdc_create("redis://127.0.0.1:1?timeout_ms=200");
    check(rdc_client_error(client) != NULL, "no server listens on the port");
    rdc_close(client);
    client = rdc_create("redis://127.0.0.1:1?nonsens=1");
    check(rdc_client_error(client) != NULL, "an unknown option");
    rdc_close(client);
    rdc_set_logger(NULL, NULL, 0);
    check(logged > 0, "the logger ran on the same stack");
    *(int *)arg = 1;
    return NULL;
}

int main(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    int done = 0;
    pthread_attr_init(&attributes);
    check(pthread_attr_setstacksize(&attributes, STACK) == 0, "the stack size is set");
    check(pthread_create(&thread, &attributes, run_all, &done) == 0, "a thread with that stack is started");
    pthread_join(thread, NULL);
    check(done, "the thread ran to its end");
    return check_done();
}
