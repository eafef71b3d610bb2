/* What can go wrong, and how it looks.  An error is a reply: a code, a line of words, and whether
 * the command left this process - if it did not, it may be tried again without a second thought.
 *
 *     errors redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>

static int surprises;

/* Shows an error, checks its code, and frees it. */
static void show(rdc_reply *reply, int32_t expected) {
    const char *words = rdc_reply_error(reply) != RDC_OK ? rdc_reply_str(reply) : "no error at all";
    printf("%-10s %-9s %s\n", rdc_error_name(rdc_reply_error(reply)), rdc_reply_sent(reply) ? "sent" : "not sent", words);
    surprises += rdc_reply_free(reply) != expected; /* free returns the code */
}

int main(int argc, char **argv) {
    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));

    /* The server's own errors come through as they are, and the client goes on. */
    show(rdc_set(client, "errors:text", RDC_NTS, "hello", RDC_NTS), RDC_OK);
    show(rdc_cmd(client, "LPUSH", "errors:text", "x"), RDC_ERR_SERVER); /* WRONGTYPE */

    /* Two keys, two slots, one command: no node could do it. */
    show(rdc_cmd(client, "RENAME", "errors:a", "errors:b"), RDC_ERR_CROSSSLOT);

    /* A handle that only reads says no before anything is sent. */
    rdc_client *readonly = rdc_readonly(client);
    show(rdc_set(readonly, "errors:text", RDC_NTS, "bye", RDC_NTS), RDC_ERR_READONLY);
    rdc_close(readonly);

    /* Every call ends within its timeout, whatever the server does: here it sleeps.  Whether the command ran
       nobody can tell, so the error says "sent". */
    rdc_client *hasty = rdc_with(client, "timeout_ms", "200");
    show(rdc_cmd(hasty, "EVAL", "local t = redis.call('TIME')[1] + 1 "
                                "repeat until redis.call('TIME')[1] + 0 > t", "1", "errors:text"), RDC_ERR_TIMEOUT);
    rdc_close(hasty);

    /* A client that cannot be is a client all the same: it knows why, and so does each of its replies. */
    rdc_client *nobody = rdc_create("redis://127.0.0.1:1?timeot_ms=5");
    printf("%s\n", rdc_client_error(nobody) ? rdc_client_error(nobody) : "no error at all");
    show(rdc_get(nobody, "errors:text", RDC_NTS), RDC_ERR_INVALID);
    rdc_close(nobody);

    rdc_reply_free(rdc_del(client, "errors:text", RDC_NTS));
    rdc_close(client);
    return surprises != 0;
}
