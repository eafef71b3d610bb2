/* Reads from primaries and replicas, through a handle that refuses writes.
 *
 *     readonly redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#define _POSIX_C_SOURCE 199309L /* nanosleep */
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Prints a check and counts it if it fails.  The exit status is 1 if a check failed. */
static int failures;
static void expect(int is_true, const char *what) {
    printf("%s %s\n", is_true ? "  ok:" : "WRONG:", what);
    failures += !is_true;
}

static int is(const rdc_reply *reply, const char *text) {
    return rdc_reply_type(reply) == RDC_STRING && strcmp(rdc_reply_str(reply), text) == 0;
}

/* A replica may lag behind its primary and then returns nil.  Repeat until it has the key. */
static void get(const rdc_client *client, const char *key, const char *expected) {
    const struct timespec interval = {0, 20 * 1000 * 1000};
    rdc_reply *reply = rdc_get(client, key, RDC_NTS);
    for (int i = 0; i < 100 && rdc_reply_type(reply) == RDC_NIL; i++) {
        rdc_reply_free(reply);
        nanosleep(&interval, NULL);
        reply = rdc_get(client, key, RDC_NTS);
    }
    printf("      %s from %s\n", key, rdc_reply_node(reply) ? rdc_reply_node(reply) : "no node");
    expect(is(reply, expected), expected);
    rdc_reply_free(reply);
}

static void refused(const rdc_reply *reply, const char *what) {
    printf("      %s\n", rdc_reply_error(reply) != RDC_OK ? rdc_reply_str(reply) : "no error");
    expect(rdc_reply_error(reply) == RDC_ERR_READONLY && !rdc_reply_sent(reply), what);
}

int main(int argc, char **argv) {
    rdc_client *rc = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));
    if (rdc_client_error(rc) != NULL)
        fprintf(stderr, "%s\n", rdc_client_error(rc));
    expect(rdc_reply_free(rdc_set(rc, "foo16706", RDC_NTS, "bar", RDC_NTS)) == RDC_OK, "set foo16706 bar");
    expect(rdc_reply_free(rdc_set(rc, "foo81", RDC_NTS, "foo", RDC_NTS)) == RDC_OK, "set foo81 foo");
    expect(rdc_reply_free(rdc_del(rc, "foo", RDC_NTS)) == RDC_OK, "no foo");

    /* Another handle on the same cluster: each read goes to the slot's primary or one of its replicas. */
    rdc_client *readonly = rdc_readonly(rc);
    for (int i = 0; i < 8; i++) {
        get(readonly, "foo16706", "bar");
        get(readonly, "foo81", "foo");
    }
    rdc_pipeline *pipeline = rdc_pipeline_new(readonly);
    rdc_pipeline_get(pipeline, "foo81", RDC_NTS);
    rdc_pipeline_get(pipeline, "foo16706", RDC_NTS);
    rdc_reply *replies = rdc_pipeline_execute(pipeline);
    expect(is(rdc_reply_at(replies, 0), "foo") && is(rdc_reply_at(replies, 1), "bar"), "foo and bar in a pipeline");
    rdc_reply_free(replies);

    /* Writes are refused before a byte is sent, also in a pipeline. */
    rdc_reply *reply = rdc_set(readonly, "foo", RDC_NTS, "bar", RDC_NTS);
    refused(reply, "a write is refused");
    rdc_reply_free(reply);
    rdc_pipeline_get(pipeline, "foo81", RDC_NTS);
    rdc_pipeline_set(pipeline, "foo", RDC_NTS, "bar", RDC_NTS);
    replies = rdc_pipeline_execute(pipeline);
    refused(rdc_reply_at(replies, 1), "a write in a pipeline is refused");
    rdc_reply_free(replies);
    reply = rdc_get(rc, "foo", RDC_NTS);
    expect(rdc_reply_type(reply) == RDC_NIL && rdc_reply_error(reply) == RDC_OK, "nothing was written");
    rdc_reply_free(reply);

    rdc_pipeline_free(pipeline);
    rdc_close(readonly);
    rdc_close(rc);
    return failures != 0;
}
