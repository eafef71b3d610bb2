/* Messages of channels, patterns and sharded channels, in a loop that blocks.
 *
 *     subscribe redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void publish(rdc_client *client, const char *command, const char *channel, const char *message) {
    rdc_reply *reply = rdc_cmd(client, command, channel, message);
    if (rdc_reply_error(reply))
        fprintf(stderr, "%s\n", rdc_reply_str(reply));
    rdc_reply_free(reply);
}

static int is(const rdc_reply *reply, const char *text) {
    return rdc_reply_str(reply) && strcmp(rdc_reply_str(reply), text) == 0;
}

/* Prints what has come.  Returns whether it is the message "bye". */
static int handle(rdc_client *client, const rdc_reply *reply) {
    static int confirmed;
    const rdc_reply *type = rdc_reply_at(reply, 0), *channel = rdc_reply_at(reply, 1);
    const rdc_reply *last = rdc_reply_at(reply, rdc_reply_len(reply) - 1);
    if (rdc_reply_type(reply) == RDC_ERROR) {
        /* A connection was lost, for example.  The subscriber goes on. */
        printf("%s\n", rdc_reply_str(reply));
    } else if (is(type, "gap")) {
        printf("messages of %s may have been missed: %s\n", rdc_reply_str(rdc_reply_at(reply, 2)),
               rdc_reply_str(rdc_reply_at(reply, 3)));
    } else if (is(type, "message") || is(type, "pmessage") || is(type, "smessage")) {
        printf("%s %s: %s (from %s)\n", rdc_reply_str(type), rdc_reply_str(channel), rdc_reply_str(last),
               rdc_reply_node(reply));
        return is(last, "bye");
    } else {
        printf("%s %s, %d in all\n", rdc_reply_str(type), rdc_reply_str(channel), (int)rdc_reply_int(last));
        /* All are subscribed: another program would publish now. */
        if (++confirmed == 4) {
            publish(client, "PUBLISH", "news", "hello");
            publish(client, "SPUBLISH", "orders:1", "hello, shard");
            publish(client, "SPUBLISH", "orders:2", "bye");
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));
    rdc_subscriber *subscriber = rdc_subscriber_new(client);
    const char *const commands[][3] = {
        {"SUBSCRIBE", "news", NULL}, {"PSUBSCRIBE", "news:*", NULL}, {"SSUBSCRIBE", "orders:1", "orders:2"}};
    for (size_t i = 0; i < 3; i++) {
        rdc_reply *reply = rdc_subscriber_command(subscriber, commands[i][2] ? 3 : 2, commands[i], NULL);
        if (rdc_reply_error(reply))
            fprintf(stderr, "%s\n", rdc_reply_str(reply));
        rdc_reply_free(reply);
    }
    for (int done = 0; !done;) {
        rdc_reply *reply = rdc_subscriber_next(subscriber, 10000);
        if (rdc_reply_type(reply) == RDC_NIL || rdc_reply_error(reply) == RDC_ERR_CLOSED) {
            fprintf(stderr, "nothing comes\n");
            return 1;
        }
        done = handle(client, reply);
        rdc_reply_free(reply);
    }
    rdc_subscriber_free(subscriber);
    rdc_close(client);
    return 0;
}
