/* Commands in an event loop: epoll waits for the queue's descriptor and for a timer of the program.  Nothing blocks.
 *
 *     epoll redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#define _POSIX_C_SOURCE 200809L
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* The tags.  A read has the number of its key. */
enum { N = 100, WRITE = N, MISTAKE, WAITING };

static int correct, written, wrong_type, cancelled;

static void submit(rdc_queue *queue, uint64_t tag, const char *name, const char *key, const char *value) {
    rdc_queue_command(queue, tag, value ? 3 : 2, (const char *[]){name, key, value}, NULL);
}

/* Takes all complete replies.  An error is a reply too. */
static void take_replies(rdc_queue *queue) {
    rdc_reply *reply;
    uint64_t tag;
    while ((reply = rdc_queue_next(queue, &tag)) != NULL) {
        const char *text = rdc_reply_str(reply);
        int32_t error = rdc_reply_error(reply);
        if (error != RDC_OK)
            printf("%s, %s: %s\n", rdc_error_name(error), rdc_reply_sent(reply) ? "sent" : "not sent", text);
        correct += tag < N && rdc_reply_type(reply) == RDC_STRING && atoi(text) == (int)(tag * tag);
        written += tag == WRITE && error == RDC_OK;
        wrong_type += tag == MISTAKE && error == RDC_ERR_SERVER;
        cancelled += tag == WAITING && error == RDC_ERR_INTERRUPTED;
        rdc_reply_free(reply);
    }
}

int main(int argc, char **argv) {
    rdc_options *options = rdc_options_new();
    rdc_options_set(options, "url", argc > 1 ? argv[1] : getenv("RDC_URL"));
    rdc_options_set(options, "lazy", "yes"); /* creation does not wait: the queue connects */
    rdc_client *client = rdc_create_with(options);
    rdc_queue *queue = rdc_queue_new(client);
    rdc_options_free(options);

    /* Submitting sends nothing yet.  Commands with keys of one slot keep their order: each GET follows its SET. */
    char key[32], value[32];
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "epoll:%d", i);
        snprintf(value, sizeof value, "%d", i * i);
        submit(queue, WRITE, "SET", key, value);
        submit(queue, (uint64_t)i, "GET", key, NULL);
    }
    submit(queue, MISTAKE, "LPUSH", "epoll:1", "x");    /* epoll:1 is not a list */
    submit(queue, WAITING, "BLPOP", "epoll:none", "0"); /* waits for ever, and delays no other command */

    int poller = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), ticks = 0;
    const struct itimerspec every_10_ms = {{0, 10000000}, {0, 10000000}};
    timerfd_settime(timer, 0, &every_10_ms, NULL);
    const int descriptors[] = {rdc_queue_fd(queue), timer};
    for (int i = 0; i < 2; i++)
        epoll_ctl(poller, EPOLL_CTL_ADD, descriptors[i], &(struct epoll_event){EPOLLIN, {.fd = descriptors[i]}});

    while (rdc_queue_len(queue) > 0) { /* until every reply is taken */
        struct epoll_event event;
        if (epoll_wait(poller, &event, 1, -1) != 1)
            continue;
        if (event.data.fd == timer) {
            uint64_t expired;
            if (read(timer, &expired, sizeof expired) == sizeof expired && (ticks += (int)expired) >= 30)
                rdc_queue_cancel(queue, WAITING); /* its reply is complete now: an error */
        } else {
            rdc_queue_run(queue, 0); /* sends and receives what it can, without waiting */
            take_replies(queue);
        }
    }
    printf("%d keys written, %d values are correct, %d ticks of the timer\n", written, correct, ticks);

    epoll_ctl(poller, EPOLL_CTL_DEL, rdc_queue_fd(queue), NULL); /* before rdc_queue_free() closes the descriptor */
    rdc_queue_free(queue);
    rdc_close(client);
    close(timer);
    close(poller);
    return written == N && correct == N && wrong_type == 1 && cancelled == 1 && ticks >= 30 ? 0 : 1;
}
