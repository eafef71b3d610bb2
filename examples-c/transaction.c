/* Transactions: one that writes what it has read (WATCH), and one that is known beforehand.
 *
 *     transaction redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>

/* Both are in one slot, because of the text in braces. */
#define STOCK "{shop}:stock"
#define SOLD "{shop}:sold"

static int failed(rdc_reply *reply) {
    if (rdc_reply_error(reply))
        fprintf(stderr, "%s\n", rdc_reply_str(reply));
    return rdc_reply_free(reply) != RDC_OK;
}

/* Sells one if there is one.  Returns 1, 0 if there is none, -1 after an error, and -2 if somebody else has changed the
 * stock meanwhile: then nothing was written. */
static int try_to_sell(rdc_client *pinned, rdc_client *somebody_else) {
    if (failed(rdc_cmd(pinned, "WATCH", STOCK)))
        return -1;
    rdc_reply *reply = rdc_get(pinned, STOCK, RDC_NTS);
    int stock = (int)rdc_reply_double(reply); /* of a text */
    if (rdc_reply_free(reply) != RDC_OK || stock < 1)
        return failed(rdc_cmd(pinned, "UNWATCH")) ? -1 : 0;
    if (somebody_else != NULL && failed(rdc_incrby(somebody_else, STOCK, RDC_NTS, -1)))
        return -1;
    /* Errors of these show in the reply to EXEC. */
    rdc_reply_free(rdc_cmd(pinned, "MULTI"));
    rdc_reply_free(rdc_cmd(pinned, "DECR", STOCK));
    rdc_reply_free(rdc_cmd(pinned, "INCR", SOLD));
    reply = rdc_cmd(pinned, "EXEC");
    int result = rdc_reply_type(reply) == RDC_ARRAY ? 1 : rdc_reply_type(reply) == RDC_NIL ? -2 : -1;
    if (result == -1)
        fprintf(stderr, "%s (%s)\n", rdc_reply_str(reply), rdc_reply_sent(reply) ? "may have run" : "has not run");
    rdc_reply_free(reply);
    return result;
}

int main(int argc, char **argv) {
    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));

    /* All or nothing, with no other command between them: one batch of bytes. */
    rdc_pipeline *pipeline = rdc_pipeline_new(client);
    rdc_pipeline_set(pipeline, STOCK, RDC_NTS, "3", RDC_NTS);
    rdc_pipeline_del(pipeline, SOLD, RDC_NTS);
    int is_wrong = failed(rdc_pipeline_execute_atomic(pipeline));
    /* Keys of two slots are refused before a byte is sent. */
    rdc_pipeline_set(pipeline, "stock", RDC_NTS, "3", RDC_NTS);
    rdc_pipeline_set(pipeline, "sold", RDC_NTS, "0", RDC_NTS);
    is_wrong |= rdc_reply_free(rdc_pipeline_execute_atomic(pipeline)) != RDC_ERR_CROSSSLOT;
    rdc_pipeline_free(pipeline);

    /* WATCH belongs to a connection: the pinned handle has one of its own, to the primary of the key. */
    rdc_client *pinned = rdc_pin(client, STOCK, RDC_NTS);
    int sold = 0, conflicts = 0, result;
    while ((result = try_to_sell(pinned, conflicts == 0 ? client : NULL)) != 0 && result != -1) {
        sold += result == 1;
        conflicts += result == -2;
    }
    printf("%d sold, 1 taken by somebody else, %d conflict\n", sold, conflicts);
    is_wrong |= result != 0 || sold != 2 || conflicts != 1;

    rdc_close(pinned);
    rdc_close(client);
    return is_wrong;
}
