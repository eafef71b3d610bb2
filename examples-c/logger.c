/* The library's messages in the log of the program.
 *
 *     logger redis://127.0.0.1:7000        (or the URL in RDC_URL)
 *
 * A program that sets no logger prints nothing, unless the environment says RDC_LOG=info.
 */
#include <pthread.h>
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct log {
    pthread_mutex_t lock;
    FILE *file;
    int lines;
};

/* Several threads may call it at once.  The message is one line, without passwords and values. */
static void write_line(void *arg, int32_t level, const char *message) {
    static const char *const names[] = {"", "ERROR", "WARN", "INFO", "DEBUG"};
    struct log *log = arg;
    char when[32] = "";
    time_t now = time(NULL);
    pthread_mutex_lock(&log->lock);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    fprintf(log->file, "%s %s rediscluster: %s\n", when, names[level], message);
    log->lines++;
    pthread_mutex_unlock(&log->lock);
}

int main(int argc, char **argv) {
    static struct log log = {PTHREAD_MUTEX_INITIALIZER, NULL, 0};
    log.file = stdout;
    rdc_set_logger(write_line, &log, 4); /* 1 error, 2 warning, 3 information, 4 debug */

    rdc_client *client = rdc_create(argc > 1 ? argv[1] : getenv("RDC_URL"));
    rdc_reply *reply = rdc_refresh(client); /* something to log */
    int failed = rdc_reply_error(reply) != RDC_OK;
    rdc_reply_free(reply);
    rdc_close(client);

    /* A logger that uses memory of its own must stay: another thread may be inside it when this returns. */
    rdc_set_logger(NULL, NULL, 0);
    printf("%d lines\n", log.lines);
    return failed || log.lines == 0;
}
