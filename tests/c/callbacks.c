/* A logger or a wait callback that uses what its own call uses is refused at once.  The calls that it makes end by the
 * deadline of its own call.  RDC_URL is the URL of a cluster. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COMMANDS = 20 };

static rdc_client *client, *pinned;
static rdc_pipeline *pipeline;
static int runs, wrong;

static double ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

/* Frees the reply. */
static int is_code(rdc_reply *r, int32_t code) {
    int32_t is = rdc_reply_error(r);
    if (is != code)
        printf("   # %s %s\n", rdc_error_name(is), is ? rdc_reply_str(r) : "");
    rdc_reply_free(r);
    return is == code;
}

/* The nodes answer nothing for this time.  So a call waits, and runs the wait callback.  They are paused at once: a node
   that an earlier pause still holds would begin this one at its end, when that of the others is over. */
static void pause_nodes(const char *for_ms) {
    const char *ping[] = {"PING"};
    check(is_code(rdc_command_to(client, "all", 1, ping, NULL), RDC_OK), "no node is paused");
    const char *argv[] = {"CLIENT", "PAUSE", for_ms};
    check(is_code(rdc_command_to(client, "all", 3, argv, NULL), RDC_OK), "the nodes are paused");
}

static void append_gets(rdc_pipeline *to) {
    for (int i = 0; i < COMMANDS; i++) {
        char key[32];
        rdc_pipeline_get(to, key, (size_t)snprintf(key, sizeof key, "callbacks:%d", i));
    }
}

static int errors_in(const rdc_reply *r, int32_t code) {
    int count = 0;
    for (size_t i = 0; i < rdc_reply_len(r); i++)
        count += rdc_reply_error(rdc_reply_at(r, i)) == code;
    return count;
}

static int32_t use_pipeline(void *arg) {
    (void)arg;
    runs++;
    for (int i = 0; i < 100; i++)
        rdc_pipeline_get(pipeline, "callbacks:k", RDC_NTS);
    wrong += rdc_pipeline_len(pipeline) != COMMANDS;
    wrong += !is_code(rdc_pipeline_execute(pipeline), RDC_ERR_INVALID);
    wrong += !is_code(rdc_pipeline_execute_atomic(pipeline), RDC_ERR_INVALID);
    return 1;
}

static int32_t clear_pipeline(void *arg) {
    use_pipeline(arg);
    rdc_pipeline_clear(pipeline);
    return 1;
}

static int32_t free_pipeline(void *arg) {
    (void)arg;
    if (runs++ == 0)
        rdc_pipeline_free(pipeline);
    return 1;
}

static void execute_with(int32_t (*callback)(void *), const char *name) {
    runs = wrong = 0;
    append_gets(pipeline);
    pause_nodes("150");
    rdc_set_wait_callback(callback, NULL);
    rdc_reply *r = rdc_pipeline_execute(pipeline);
    rdc_set_wait_callback(NULL, NULL);
    check(rdc_reply_len(r) == COMMANDS && errors_in(r, RDC_OK) == COMMANDS && runs > 0 && wrong == 0, name);
    rdc_reply_free(r);
}

static void test_pipeline(void) {
    pipeline = rdc_pipeline_new(client);
    execute_with(use_pipeline, "a callback cannot use the pipeline of its call");
    int refused = runs * 100;
    check((int)rdc_pipeline_len(pipeline) == refused, "refused commands count in the length");
    rdc_pipeline_get(pipeline, "callbacks:k", RDC_NTS);
    rdc_reply *r = rdc_pipeline_execute(pipeline);
    check(errors_in(r, RDC_ERR_INVALID) == refused && (int)rdc_reply_len(r) == refused + 1,
          "refused commands are errors at their positions");
    check(rdc_reply_sent(rdc_reply_at(r, 0)) == 0 && rdc_reply_error(rdc_reply_at(r, (size_t)refused)) == RDC_OK,
          "the pipeline is usable after that");
    rdc_reply_free(r);
    execute_with(clear_pipeline, "a callback that clears the pipeline of its call");
    check(rdc_pipeline_len(pipeline) == 0, "a callback can clear what it has appended");
    execute_with(free_pipeline, "a callback that frees the pipeline of its call");
}

static int32_t use_pinned(void *arg) {
    (void)arg;
    runs++;
    wrong += !is_code(rdc_get(pinned, "callbacks:k", RDC_NTS), RDC_ERR_INVALID);
    return 1;
}

static void test_pinned(void) {
    pinned = rdc_pin(client, "callbacks:k", RDC_NTS);
    runs = wrong = 0;
    pause_nodes("150");
    rdc_set_wait_callback(use_pinned, NULL);
    check(is_code(rdc_set(pinned, "callbacks:k", RDC_NTS, "v", 1), RDC_OK), "the call on a pinned handle");
    rdc_set_wait_callback(NULL, NULL);
    check(runs > 0 && wrong == 0, "a callback cannot use the pinned handle of its call");
    rdc_close(pinned);
}

static void refresh_again(void *arg, int32_t level, const char *message) {
    (void)arg, (void)level;
    if (runs++ == 0 && strstr(message, "topology")) {
        double start = ms();
        wrong += !is_code(rdc_refresh(client), RDC_ERR_INVALID);
        wrong += ms() - start > 500;
        wrong += !is_code(rdc_get(client, "callbacks:k", RDC_NTS), RDC_OK);
    }
}

static void test_refresh(void) {
    runs = wrong = 0;
    rdc_set_logger(refresh_again, NULL, 4);
    check(is_code(rdc_refresh(client), RDC_OK), "a refresh");
    rdc_set_logger(NULL, NULL, 0);
    check(runs > 0 && wrong == 0, "a refresh in the logger of a refresh does not wait for itself");
}

static int32_t get_something(void *arg) {
    runs++;
    rdc_reply_free(rdc_get(arg, "callbacks:k", RDC_NTS));
    return 1;
}

static void get_in_logger(void *arg, int32_t level, const char *message) {
    static int inside;
    (void)level, (void)message;
    if (!inside) {
        inside = 1;
        get_something(arg);
        inside = 0;
    }
}

static void test_deadline(void) {
    rdc_client *hasty = rdc_with(client, "timeout_ms", "400");
    rdc_client *patient = rdc_with(client, "attempt_timeout_ms", "5000");
    for (int in_logger = 0; in_logger <= 1; in_logger++) {
        rdc_client *outer = in_logger ? rdc_with(hasty, "attempt_timeout_ms", "100") : hasty;
        runs = 0;
        pause_nodes("1500");
        if (in_logger)
            rdc_set_logger(get_in_logger, patient, 4);
        else
            rdc_set_wait_callback(get_something, patient);
        double start = ms();
        check_error(rdc_cmd(outer, "MGET", "callbacks:k"), RDC_ERR_TIMEOUT, "the outer call times out");
        double took = ms() - start;
        rdc_set_logger(NULL, NULL, 0);
        rdc_set_wait_callback(NULL, NULL);
        printf("   # %.0f ms, %d nested calls\n", took, runs);
        check(runs > 0 && took < 900, in_logger ? "a call in the logger ends by the outer deadline"
                                                : "a call in the wait callback ends by the outer deadline");
        while (rdc_reply_free(rdc_get(client, "callbacks:k", RDC_NTS)) != RDC_OK) {
        }
        if (in_logger)
            rdc_close(outer);
    }
    rdc_close(patient);
    rdc_close(hasty);
}

static pid_t child = -1;

static int32_t fork_once(void *arg) {
    (void)arg;
    if (runs++ == 0)
        child = fork();
    return 1;
}

/* Otherwise parent and child would share a connection, and read each other's replies. */
static void test_fork(void) {
    runs = 0;
    pause_nodes("150");
    rdc_set_wait_callback(fork_once, NULL);
    rdc_reply *r = rdc_get(client, "callbacks:k", RDC_NTS);
    if (child == 0)
        _exit(rdc_reply_error(r) == RDC_ERR_INTERRUPTED ? 0 : 1);
    rdc_set_wait_callback(NULL, NULL);
    check(is_text(r, "v", 1), "the call goes on in the parent of a callback that forks");
    rdc_reply_free(r);
    int status = -1;
    waitpid(child, &status, 0);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the call ends in the child");
}

int main(void) {
    client = rdc_create(getenv("RDC_URL"));
    check(is_code(rdc_set(client, "callbacks:k", RDC_NTS, "v", 1), RDC_OK), "connected");
    test_pipeline();
    test_pinned();
    test_refresh();
    test_deadline();
    test_fork();
    rdc_close(client);
    return check_done();
}
