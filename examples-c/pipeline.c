/* 1000 commands in one pipeline: they are sent to all nodes in parallel, and the replies are in order.
 *
 *     pipeline redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    enum { N = 500 };
    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));
    rdc_pipeline *pipeline = rdc_pipeline_new(client);
    char key[32], value[32];
    long correct = 0;

    /* Each call copies its arguments, so the buffers can be reused at once. */
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "pipeline:%d", i);
        snprintf(value, sizeof value, "%d", i * i);
        rdc_pipeline_set_px(pipeline, key, RDC_NTS, value, RDC_NTS, 60 * 1000);
        rdc_pipeline_get(pipeline, key, RDC_NTS);
    }
    /* Any other command is appended as a list of arguments.  This one fails: pipeline:1 is not a list. */
    rdc_pipeline_command(pipeline, 3, (const char *[]){"LPUSH", "pipeline:1", "x"}, NULL);

    printf("%lu commands\n", (unsigned long)rdc_pipeline_len(pipeline));
    rdc_reply *replies = rdc_pipeline_execute(pipeline); /* this also empties the pipeline */
    if (rdc_reply_error(replies) != RDC_OK)
        fprintf(stderr, "%s\n", rdc_reply_str(replies));

    /* One reply per command.  The elements belong to the array: only the array is freed. */
    for (int i = 0; i < N; i++) {
        const rdc_reply *found = rdc_reply_at(replies, 2 * (size_t)i + 1);
        correct += rdc_reply_type(found) == RDC_STRING && atoi(rdc_reply_str(found)) == i * i;
    }
    printf("%ld of %d values are correct\n", correct, N);

    /* A failed command is an error among the replies.  The other commands run. */
    const rdc_reply *last = rdc_reply_at(replies, 2 * N);
    int refused = rdc_reply_error(last) == RDC_ERR_SERVER;
    if (refused)
        printf("%s\n", rdc_reply_str(last));

    rdc_reply_free(replies);
    rdc_pipeline_free(pipeline);
    rdc_close(client);
    return correct == N && refused ? 0 : 1;
}
