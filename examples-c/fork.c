/* A server of several processes, which connects once and then forks: each child goes on with the handle of its parent.
 *
 *     fork redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#define _POSIX_C_SOURCE 200112L
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 4, REQUESTS = 100 };

/* A child closes the sockets of its parent and opens its own, with its first command.  It knows the cluster already.
 * Queues, subscribers and pinned handles stay with the parent. */
static int serve(const rdc_client *client) {
    int errors = 0;
    for (int i = 0; i < REQUESTS; i++) {
        rdc_reply *reply = rdc_incrby(client, "fork:requests", RDC_NTS, 1);
        if (rdc_reply_error(reply)) {
            fprintf(stderr, "%s\n", rdc_reply_str(reply));
            errors++;
        }
        rdc_reply_free(reply);
    }
    return errors;
}

int main(int argc, char **argv) {
    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));
    int failures = rdc_reply_free(rdc_del(client, "fork:requests", RDC_NTS)) != RDC_OK;
    int started = 0;

    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0) {
            int errors = serve(client);
            rdc_close(client);
            _exit(errors != 0);
        }
        started += child > 0;
    }
    failures += started < CHILDREN;
    for (int i = 0; i < started; i++) {
        int status = 0;
        wait(&status);
        failures += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }

    rdc_reply *requests = rdc_get(client, "fork:requests", RDC_NTS);
    printf("%d processes counted %s requests\n", started, rdc_reply_str(requests) ? rdc_reply_str(requests) : "no");
    failures += (int)rdc_reply_double(requests) != CHILDREN * REQUESTS;
    rdc_reply_free(requests);
    /* The key goes by itself: a program that is stopped here leaves nothing behind. */
    rdc_reply_free(rdc_pexpire(client, "fork:requests", RDC_NTS, 60000));
    rdc_close(client);
    return failures != 0;
}
