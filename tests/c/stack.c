/* Everything on a stack of 64 KiB, which is what coroutines and small systems have: nothing in the library recurses by what a
 * peer or a caller says, and nothing keeps large things on the stack.  RDC_URL names a cluster. */
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
    int right = rdc_reply_len(r) == 2 * MANY;
    for (int i = 0; right && i < MANY; i++) {
        snprintf(key, sizeof key, "stack:%d", i);
        right = is_text(rdc_reply_at(r, 2 * (size_t)i + 1), key, strlen(key));
    }
    check(right, "a pipeline of ten thousand");
    rdc_reply_free(r);
    for (int i = 0; i < MANY; i++)
        rdc_pipeline_command(p, 0, NULL, NULL);
    r = rdc_pipeline_execute(p);
    check(rdc_reply_len(r) == MANY && rdc_reply_error(rdc_reply_at(r, MANY - 1)) == RDC_ERR_INVALID,
          "a pipeline of thousands that are wrong");
    rdc_reply_free(r);
    rdc_pipeline_command(p, 2, (const char *const[]){"LPUSH", "stack:k"}, NULL);
    rdc_pipeline_get(p, "stack:k", RDC_NTS);
    rdc_reply_free(rdc_pipeline_execute_atomic(p));
    rdc_pipeline_free(p);
}

static void replies(const rdc_client *client) {
    /* As deep as a reply may be: {{{...}}} */
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
        printf("   # %d: %s\n", depth, rdc_reply_str(at) ? rdc_reply_str(at) : "(no words)");
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
    if (!check(argv && keys, "memory"))
        return;
    argv[0] = "MGET";
    for (int i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], "stack:%d", i);
        argv[i + 1] = keys[i];
    }
    rdc_reply *r = rdc_command(client, MANY + 1, argv, NULL);
    check(rdc_reply_len(r) == MANY, "a command of thousands of keys, split over all slots");
    rdc_reply_free(r);
    r = rdc_explain(client, MANY + 1, argv, NULL);
    check(rdc_reply_type(r) == RDC_MAP, "and explained");
    rdc_reply_free(r);
    free(keys);
    free(argv);
}

static void look(const rdc_client *client) {
    check(rdc_reply_free(rdc_stats(client)) == RDC_OK, "statistics");
    check(rdc_reply_free(rdc_topology(client)) == RDC_OK, "topology");
    check(rdc_reply_free(rdc_refresh(client)) == RDC_OK, "refresh");
    check(rdc_reply_free(rdc_options_list()) == RDC_OK, "options");
    check(rdc_reply_free(rdc_cmd(client, "DBSIZE")) == RDC_OK, "a fan over all nodes");
    check(rdc_reply_free(rdc_cmd(client, "BLPOP", "stack:nothing", "0.02")) == RDC_OK, "a command that waits");
}

static void *everything(void *arg) {
    int logged = 0;
    rdc_set_logger(log_nothing, &logged, 4);
    rdc_client *client = rdc_create(getenv("RDC_URL"));
    check(rdc_client_error(client) == NULL, "create");
    check(rdc_reply_free(rdc_set(client, "stack:k", RDC_NTS, "v", 1)) == RDC_OK, "a write");
    pipelines(client);
    replies(client);
    many_keys(client);
    look(client);
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
    check(rdc_client_error(client) == NULL, "a host with a name");
    rdc_close(client);
    client = rdc_create("redis://127.0.0.1:1?timeout_ms=200");
    check(rdc_client_error(client) != NULL, "nobody there");
    rdc_close(client);
    client = rdc_create("redis://127.0.0.1:1?nonsens=1");
    check(rdc_client_error(client) != NULL, "a wrong option");
    rdc_close(client);
    rdc_set_logger(NULL, NULL, 0);
    check(logged > 0, "and the logger ran there too");
    *(int *)arg = 1;
    return NULL;
}

int main(void) {
    pthread_t thread;
    pthread_attr_t small;
    int done = 0;
    pthread_attr_init(&small);
    check(pthread_attr_setstacksize(&small, STACK) == 0, "a small stack");
    check(pthread_create(&thread, &small, everything, &done) == 0, "a thread on it");
    pthread_join(thread, NULL);
    check(done, "went to its end");
    return check_done();
}
