/* The nodes and slots of the cluster, the slot of a key, and the statistics of the client.
 *
 *     topology redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>

/* Prints any reply: maps, arrays and scalar values, including nil. */
static void print(const rdc_reply *reply, int depth) {
    size_t n = rdc_reply_len(reply), i;
    switch (rdc_reply_type(reply)) {
    case RDC_MAP: /* key, value, key, value, ... */
        for (i = 0; i + 1 < n; i += 2) {
            printf("\n%*s%s:", 2 * depth, "", rdc_reply_str(rdc_reply_at(reply, i)));
            print(rdc_reply_at(reply, i + 1), depth + 1);
        }
        break;
    case RDC_ARRAY:
    case RDC_SET:
        for (i = 0; i < n; i++)
            print(rdc_reply_at(reply, i), depth);
        break;
    case RDC_INTEGER:
    case RDC_BOOL:
        printf(" %lld", (long long)rdc_reply_int(reply));
        break;
    default:
        printf(" %s", rdc_reply_str(reply) ? rdc_reply_str(reply) : "-");
    }
}

int main(int argc, char **argv) {
    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));

    /* An array with one map per shard: its slots, its primary, its replicas. */
    rdc_reply *topology = rdc_topology(client);
    size_t shards = rdc_reply_type(topology) == RDC_ARRAY ? rdc_reply_len(topology) : 0;
    for (size_t i = 0; i < shards; i++) {
        printf("shard %lu", (unsigned long)i + 1);
        print(rdc_reply_at(topology, i), 1);
        printf("\n");
    }
    if (rdc_reply_error(topology) != RDC_OK)
        fprintf(stderr, "%s\n", rdc_reply_str(topology));
    rdc_reply_free(topology);

    /* Keys with the same {tag} are in one slot, so one command may use them together. */
    printf("foo is in slot %d, {foo}bar in %d\n", (int)rdc_key_slot("foo", RDC_NTS), (int)rdc_key_slot("{foo}bar", RDC_NTS));
    rdc_reply *reply = rdc_get(client, "foo", RDC_NTS);
    printf("%s sent the reply for it\n", rdc_reply_node(reply) ? rdc_reply_node(reply) : "no node");
    int correct = rdc_reply_free(reply) == RDC_OK && shards > 0;

    rdc_reply *stats = rdc_stats(client);
    printf("statistics:");
    print(stats, 1);
    printf("\n");
    rdc_reply_free(stats);
    rdc_close(client);
    return correct ? 0 : 1;
}
