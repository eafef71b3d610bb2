/* All keys of a cluster that match a pattern: SCAN, and what to do with them.
 *
 *     scan redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 1000, BATCH = 256 };

static int failed(rdc_reply *reply) {
    if (rdc_reply_error(reply))
        fprintf(stderr, "%s\n", rdc_reply_str(reply));
    return rdc_reply_free(reply) != RDC_OK;
}

static int fill(rdc_client *client) {
    rdc_pipeline *pipeline = rdc_pipeline_new(client);
    for (int i = 0; i < KEYS; i++) {
        char key[32];
        snprintf(key, sizeof key, "scan:%d", i);
        rdc_pipeline_set_px(pipeline, key, RDC_NTS, "x", 1, 60000);
    }
    int result = failed(rdc_pipeline_execute(pipeline));
    rdc_pipeline_free(pipeline);
    return result;
}

/* Deletes the keys that SCAN has returned.  UNLINK takes keys of any slots, and sends to each node its own. */
static long long delete(rdc_client *client, const rdc_reply *keys) {
    const char *argv[BATCH + 1] = {"UNLINK"};
    size_t lens[BATCH + 1] = {6};
    long long deleted = 0;
    for (size_t first = 0; first < rdc_reply_len(keys); first += BATCH) {
        int64_t lengths[BATCH];
        /* One call for all elements: a key may contain any bytes, so its length counts. */
        size_t count = rdc_reply_read_array(keys, first, BATCH, NULL, argv + 1, lengths);
        for (size_t i = 0; i < count; i++)
            lens[i + 1] = (size_t)lengths[i];
        rdc_reply *reply = rdc_command(client, count + 1, argv, lens);
        deleted += rdc_reply_int(reply);
        failed(reply);
    }
    return deleted;
}

/* The number of keys on each primary: a map from its address to its reply. */
static void count(rdc_client *client) {
    const char *dbsize[] = {"DBSIZE"};
    rdc_reply *sizes = rdc_command_to(client, "primaries", 1, dbsize, NULL);
    for (size_t i = 0; i + 1 < rdc_reply_len(sizes); i += 2)
        printf("%s has %lld keys\n", rdc_reply_str(rdc_reply_at(sizes, i)),
               (long long)rdc_reply_int(rdc_reply_at(sizes, i + 1)));
    failed(sizes);
}

int main(int argc, char **argv) {
    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));
    int is_wrong = fill(client);
    long long deleted = 0;
    char cursor[32] = "0"; /* of the library: it leads from one primary to the next */

    count(client);
    do {
        rdc_reply *page = rdc_cmd(client, "SCAN", cursor, "MATCH", "scan:*", "COUNT", "500");
        if (rdc_reply_error(page) != RDC_OK || strlen(rdc_reply_str(rdc_reply_at(page, 0))) >= sizeof cursor) {
            is_wrong |= failed(page);
            break;
        }
        strcpy(cursor, rdc_reply_str(rdc_reply_at(page, 0)));
        deleted += delete(client, rdc_reply_at(page, 1));
        rdc_reply_free(page);
    } while (strcmp(cursor, "0") != 0);

    rdc_reply *left = rdc_exists(client, "scan:1", RDC_NTS);
    is_wrong |= rdc_reply_type(left) != RDC_INTEGER || rdc_reply_int(left) != 0;
    rdc_reply_free(left);
    printf("%lld keys deleted\n", deleted);
    rdc_close(client);
    return is_wrong || deleted != KEYS;
}
