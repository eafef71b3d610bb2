/* A forked child goes on with connections of its own, and its parent never notices.  RDC_URL names a cluster. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <sys/wait.h>
#include <unistd.h>

static int right(const rdc_client *client, const char *key, const char *value) {
    int set = rdc_reply_free(rdc_set(client, key, RDC_NTS, value, RDC_NTS)) == RDC_OK;
    rdc_reply *r = rdc_get(client, key, RDC_NTS);
    int same = is_text(r, value, strlen(value));
    rdc_reply_free(r);
    return set && same;
}

int main(void) {
    enum { ROUNDS = 100 };
    rdc_client *client = rdc_create(getenv("RDC_URL"));
    rdc_pipeline *pipeline = rdc_pipeline_new(client);
    char value[32];
    check(right(client, "fork:parent", "before"), "the parent's connections are in use");
    fflush(stdout);

    pid_t child = fork();
    const char *key = child == 0 ? "fork:child" : "fork:parent";
    int all = 1;
    for (int i = 0; i < ROUNDS; i++) { /* both at once: on one connection their replies would mix */
        snprintf(value, sizeof value, "%s %d", child == 0 ? "child" : "parent", i);
        all &= right(client, key, value);
        rdc_pipeline_get(pipeline, key, RDC_NTS);
        rdc_reply *r = rdc_pipeline_execute(pipeline);
        all &= is_text(rdc_reply_at(r, 0), value, strlen(value));
        rdc_reply_free(r);
    }
    rdc_pipeline_free(pipeline);
    rdc_close(client);
    if (child == 0)
        _exit(all ? 0 : 1);

    int status = -1;
    waitpid(child, &status, 0);
    check(all, "the parent reads what it wrote");
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "and so does the child");
    return check_done();
}
