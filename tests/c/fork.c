/* A forked child continues with its own connections; the parent is not affected.  RDC_URL is the URL of a cluster. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <sys/wait.h>
#include <unistd.h>

static int writes_and_reads_back(const rdc_client *client, const char *key, const char *value) {
    int set = rdc_reply_free(rdc_set(client, key, RDC_NTS, value, RDC_NTS)) == RDC_OK;
    rdc_reply *r = rdc_get(client, key, RDC_NTS);
    int is_same = is_text(r, value, strlen(value));
    rdc_reply_free(r);
    return set && is_same;
}

int main(void) {
    enum { ROUNDS = 100 };
    rdc_client *client = rdc_create(getenv("RDC_URL"));
    rdc_pipeline *pipeline = rdc_pipeline_new(client);
    char value[32];
    check(writes_and_reads_back(client, "fork:parent", "before"), "the parent has connections before the fork");
    fflush(stdout);

    pid_t child = fork();
    const char *key = child == 0 ? "fork:child" : "fork:parent";
    int correct = 1;
    /* Parent and child run at the same time: replies would mix on a shared connection. */
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(value, sizeof value, "%s %d", child == 0 ? "child" : "parent", i);
        correct &= writes_and_reads_back(client, key, value);
        rdc_pipeline_get(pipeline, key, RDC_NTS);
        rdc_reply *r = rdc_pipeline_execute(pipeline);
        correct &= is_text(rdc_reply_at(r, 0), value, strlen(value));
        rdc_reply_free(r);
    }
    rdc_pipeline_free(pipeline);
    rdc_close(client);
    if (child == 0)
        _exit(correct ? 0 : 1);

    int status = -1;
    waitpid(child, &status, 0);
    check(correct, "the parent reads the values that it wrote");
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child reads the values that it wrote");
    return check_done();
}
