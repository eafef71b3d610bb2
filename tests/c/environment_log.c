/* RDC_LOG: read once, for programs that set no logger.  Each case is a child process, because the logger is global. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[256], value[300];
static int calls;

static void count(void *arg, int32_t level, const char *message) {
    (void)arg;
    (void)level;
    (void)message;
    calls++;
}

static void no_logger(void) {
}

static void own_logger(void) {
    rdc_set_logger(count, NULL, 4);
}

static void logging_off(void) {
    rdc_set_logger(NULL, NULL, 0);
}

/* Creates a client that cannot connect, which is worth a message. */
static void create(void) {
    rdc_close(rdc_create("redis://:s3cret@127.0.0.1:1?timeout_ms=50"));
}

/* Runs `before` and creates a client, in a child.  Returns its exit status: whether `count` was called. */
static int run_child(void (*before)(void)) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        before();
        create();
        _exit(calls > 0);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The content of the file, and removes it.  NULL if there is none. */
static const char *take_file(void) {
    static char text[65536];
    FILE *file = fopen(path, "r");
    size_t n;
    if (file == NULL)
        return NULL;
    n = fread(text, 1, sizeof text - 1, file);
    text[n] = '\0';
    fclose(file);
    remove(path);
    return text;
}

int main(void) {
    const char *text;
    snprintf(path, sizeof path, "%s/rdc-log-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
    snprintf(value, sizeof value, "debug:%s", path);
    setenv("RDC_LOG", value, 1);

    check(run_child(no_logger) == 0, "a program without a logger");
    text = take_file();
    check(text != NULL && strstr(text, "rediscluster[") != NULL, "its messages are in the file");
    check(text != NULL && strstr(text, "s3cret") == NULL, "without a password");
    check(text != NULL && *text != '\0' && text[strlen(text) - 1] == '\n', "the last line is complete");

    check(run_child(own_logger) == 1, "a logger of the program gets the messages");
    check(take_file() == NULL, "and the file is not opened");
    check(run_child(logging_off) == 0, "a program that has turned logging off");
    check(take_file() == NULL, "gets no file either");

    unsetenv("RDC_LOG");
    check(run_child(no_logger) == 0, "without the variable");
    check(take_file() == NULL, "there is no file");
    return check_done();
}
