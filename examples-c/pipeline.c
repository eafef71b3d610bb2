/* A thousand commands in one go: to every node its share, all at once, the replies in order.
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
    long right = 0;

    /* Each command copies what it needs: the buffers are free again at once. */
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "pipeline:%d", i);
        snprintf(value, sizeof value, "%d", i * i);
        rdc_pipeline_set_px(pipeline, key, RDC_NTS, value, RDC_NTS, 60 * 1000);
        rdc_pipeline_get(pipeline, key, RDC_NTS);
    }
    /* Any other command goes in by its words.  This one cannot work: pipeline:1 is not a list. */
    rdc_pipeline_command(pipeline, 3, (const char *[]){"LPUSH", "pipeline:1", "x"}, NULL);

    printf("%lu commands\n", (unsigned long)rdc_pipeline_len(pipeline));
    rdc_reply *replies = rdc_pipeline_execute(pipeline); /* and the pipeline is empty again */
    if (rdc_reply_error(replies) != RDC_OK)
        fprintf(stderr, "%s\n", rdc_reply_str(replies));

    /* One reply per command.  The elements belong to the array: only the array is freed. */
    for (int i = 0; i < N; i++) {
        const rdc_reply *got = rdc_reply_at(replies, 2 * (size_t)i + 1);
        right += rdc_reply_type(got) == RDC_STRING && atoi(rdc_reply_str(got)) == i * i;
    }
    printf("%ld of %d values as written\n", right, N);

    /* A command that failed is an error in its place, and no other's business. */
    const rdc_reply *last = rdc_reply_at(replies, 2 * N);
    int refused = rdc_reply_error(last) == RDC_ERR_SERVER;
    if (refused)
        printf("%s\n", rdc_reply_str(last));

    rdc_reply_free(replies);
    rdc_pipeline_free(pipeline);
    rdc_close(client);
    return right == N && refused ? 0 : 1;
}
