/* One program for every kind of server: only the URL differs.
 *
 *     anywhere redis://127.0.0.1:7000        (or the URL in RDC_URL)
 *     anywhere unix:///run/redis.sock        (docs/endpoints.md has more)
 */
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>

/* Prints the elements of an array from one on, or a single reply, and frees it. */
static void show(rdc_reply *reply, size_t first) {
    size_t count = rdc_reply_type(reply) == RDC_ARRAY ? rdc_reply_len(reply) : first + 1;
    for (size_t i = first; i < count; i++) {
        const rdc_reply *one = rdc_reply_type(reply) == RDC_ARRAY ? rdc_reply_at(reply, i) : reply;
        if (rdc_reply_type(one) == RDC_INTEGER)
            printf("%lld%c", (long long)rdc_reply_int(one), i + 1 < count ? ' ' : '\n');
        else
            printf("%s%c", rdc_reply_str(one), i + 1 < count ? ' ' : '\n');
    }
    rdc_reply_free(reply);
}

int main(int argc, char **argv) {
    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));
    rdc_client *fresh = rdc_with(client, "read_your_writes", "yes");
    rdc_client *readonly = rdc_readonly(fresh); /* reads from replicas that have what this program wrote */
    rdc_pipeline *pipeline = rdc_pipeline_new(client);

    /* Keys with the same text in braces are in the same slot of a cluster. */
    show(rdc_command(client, 5, (const char *[]){"MSET", "{fruit}:apples", "3", "{fruit}:pears", "4"}, NULL), 0);
    rdc_pipeline_command(pipeline, 3, (const char *[]){"INCRBY", "{fruit}:apples", "2"}, NULL);
    rdc_pipeline_command(pipeline, 3, (const char *[]){"DECRBY", "{fruit}:pears", "1"}, NULL);
    show(rdc_pipeline_execute_atomic(pipeline), 0);
    rdc_pipeline_set(pipeline, "anywhere:a", RDC_NTS, "one", RDC_NTS);
    rdc_pipeline_set(pipeline, "anywhere:b", RDC_NTS, "two", RDC_NTS);
    rdc_pipeline_get(pipeline, "anywhere:a", RDC_NTS);
    rdc_pipeline_get(pipeline, "anywhere:b", RDC_NTS);
    show(rdc_pipeline_execute(pipeline), 2);
    show(rdc_get(readonly, "{fruit}:apples", RDC_NTS), 0);

    rdc_pipeline_free(pipeline);
    rdc_close(readonly);
    rdc_close(fresh);
    rdc_close(client);
    return 0;
}
