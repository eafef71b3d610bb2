/* One client shared by many threads, without a lock or a pool of your own.
 *
 *     threads redis://127.0.0.1:7000        (or the URL in RDC_URL)
 */
#include <pthread.h>
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 8, ROUNDS = 200 };

static rdc_client *client; /* shared by all threads */

static void *count(void *failures) {
    for (int i = 0; i < ROUNDS; i++) {
        rdc_reply *reply = rdc_incrby(client, "threads:counter", RDC_NTS, 1);
        if (rdc_reply_error(reply) != RDC_OK) {
            fprintf(stderr, "%s\n", rdc_reply_str(reply));
            ++*(int *)failures;
        }
        rdc_reply_free(reply);
    }
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS];
    int failures[THREADS] = {0}, started = 0, failed = 0;

    client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));
    if (rdc_client_error(client) != NULL)
        fprintf(stderr, "%s\n", rdc_client_error(client));
    rdc_reply_free(rdc_del(client, "threads:counter", RDC_NTS));

    while (started < THREADS && pthread_create(&threads[started], NULL, count, &failures[started]) == 0)
        started++;
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        failed += failures[i];
    }

    /* GET returns the counter as text. */
    rdc_reply *reply = rdc_get(client, "threads:counter", RDC_NTS);
    const char *value = rdc_reply_str(reply);
    printf("%d threads, counter value %s\n", started, value ? value : "none");
    int correct = failed == 0 && started == THREADS && value && atoi(value) == THREADS * ROUNDS;

    rdc_reply_free(reply);
    rdc_close(client); /* after the last use by any thread */
    return correct ? 0 : 1;
}
