/* Messages in an event loop: poll(2) waits for the descriptor of a subscriber, beside others.  Nothing blocks.
 *
 *     subscribe_poll redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#define _POSIX_C_SOURCE 200809L
#include <poll.h>
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES = 1000 };

static int received, gaps;

/* Takes all that is there.  Returns whether the channel has just been confirmed. */
static int take(rdc_subscriber *subscriber) {
    int confirmed = 0;
    for (;;) {
        rdc_reply *reply = rdc_subscriber_next(subscriber, 0);
        const char *type = rdc_reply_str(rdc_reply_at(reply, 0));
        int is_nil = rdc_reply_type(reply) == RDC_NIL;
        if (rdc_reply_error(reply))
            printf("%s\n", rdc_reply_str(reply));
        else if (!is_nil && strcmp(type, "smessage") == 0)
            received++;
        else if (!is_nil && strcmp(type, "gap") == 0)
            gaps++;
        else if (!is_nil && strcmp(type, "ssubscribe") == 0)
            confirmed = 1;
        rdc_reply_free(reply);
        if (is_nil)
            return confirmed;
    }
}

static int publish(rdc_client *client) {
    rdc_pipeline *pipeline = rdc_pipeline_new(client);
    for (int i = 0; i < MESSAGES; i++)
        rdc_pipeline_command(pipeline, 3, (const char *[]){"SPUBLISH", "example", "message"}, NULL);
    int32_t error = rdc_reply_free(rdc_pipeline_execute(pipeline));
    rdc_pipeline_free(pipeline);
    return error == RDC_OK;
}

int main(int argc, char **argv) {
    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));
    rdc_subscriber *subscriber = rdc_subscriber_new(client);
    rdc_reply *reply = rdc_subscriber_command(subscriber, 2, (const char *[]){"SSUBSCRIBE", "example"}, NULL);
    if (rdc_reply_error(reply))
        fprintf(stderr, "%s\n", rdc_reply_str(reply));
    rdc_reply_free(reply);

    struct pollfd fds[] = {{rdc_subscriber_fd(subscriber), POLLIN, 0}};
    while (received < MESSAGES && gaps == 0) {
        if (poll(fds, 1, 10000) != 1)
            return 1;
        if (take(subscriber) && !publish(client))
            return 1;
    }
    printf("%d messages, %d gaps\n", received, gaps);
    rdc_subscriber_free(subscriber);
    rdc_close(client);
    return received == MESSAGES ? 0 : 1;
}
