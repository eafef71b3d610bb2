/* The kinds of errors.  An error is a reply with a code, a message of one line, and a flag that tells whether the
 * command may have run.  If the flag is "not sent", sending the command again is safe.
 *
 *     errors redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>

static int unexpected;

/* Prints an error, checks its code, and frees the reply. */
static void show(rdc_reply *reply, int32_t expected) {
    const char *message = rdc_reply_error(reply) != RDC_OK ? rdc_reply_str(reply) : "no error";
    const char *sent = rdc_reply_sent(reply) ? "sent" : "not sent";
    printf("%-10s %-9s %s\n", rdc_error_name(rdc_reply_error(reply)), sent, message);
    unexpected += rdc_reply_free(reply) != expected; /* rdc_reply_free returns the code */
}

int main(int argc, char **argv) {
    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));

    /* Errors of the server are passed through unchanged.  The client keeps working. */
    show(rdc_set(client, "errors:text", RDC_NTS, "hello", RDC_NTS), RDC_OK);
    show(rdc_cmd(client, "LPUSH", "errors:text", "x"), RDC_ERR_SERVER); /* WRONGTYPE */

    /* One command with keys in two slots: no node can run it. */
    show(rdc_cmd(client, "RENAME", "errors:a", "errors:b"), RDC_ERR_CROSSSLOT);

    /* A read-only handle refuses a write before anything is sent. */
    rdc_client *readonly = rdc_readonly(client);
    show(rdc_set(readonly, "errors:text", RDC_NTS, "bye", RDC_NTS), RDC_ERR_READONLY);
    rdc_close(readonly);

    /* Every call ends within its timeout.  Here the server is busy for longer.  The command may have run or not,
       so the error says "sent". */
    rdc_client *short_timeout = rdc_with(client, "timeout_ms", "200");
    show(rdc_cmd(short_timeout, "EVAL", "local t = redis.call('TIME')[1] + 1 "
                                        "repeat until redis.call('TIME')[1] + 0 > t", "1", "errors:text"), RDC_ERR_TIMEOUT);
    rdc_close(short_timeout);

    /* With an invalid option, rdc_create still returns a handle.  Each of its calls returns the error. */
    rdc_client *invalid = rdc_create("redis://127.0.0.1:1?timeot_ms=5");
    printf("%s\n", rdc_client_error(invalid) ? rdc_client_error(invalid) : "no error");
    show(rdc_get(invalid, "errors:text", RDC_NTS), RDC_ERR_INVALID);
    rdc_close(invalid);

    rdc_reply_free(rdc_del(client, "errors:text", RDC_NTS));
    rdc_close(client);
    return unexpected != 0;
}
