/* The test harness: prints `ok - name` or `not ok - name` for each check and a summary line at the end.  The exit code
 * is 1 if a check failed. */
#ifndef CHECK_H
#define CHECK_H
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;

static inline int check(int is_true, const char *name) {
    printf("%s - %s\n", is_true ? "ok" : "not ok", name);
    fflush(stdout); /* if the next call crashes, the output shows the last completed check */
    passed += is_true != 0;
    failed += is_true == 0;
    return is_true;
}

static inline int check_done(void) {
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

static inline int same(const char *a, const char *b) {
    return a && b && strcmp(a, b) == 0;
}

/* Whether a reply is exactly this text, followed by a NUL. */
static inline int is_text(const rdc_reply *reply, const char *text, size_t len) {
    const char *str = rdc_reply_str(reply);
    return str && rdc_reply_len(reply) == len && memcmp(str, text, len) == 0 && str[len] == '\0';
}

/* Checks the code of an error and that its message is one line.  Frees the reply. */
static inline void check_error(rdc_reply *reply, int32_t code, const char *name) {
    const char *message = rdc_reply_str(reply);
    int correct = reply && rdc_reply_type(reply) == RDC_ERROR && rdc_reply_error(reply) == code && message &&
                  *message && !strpbrk(message, "\r\n") && strlen(message) == rdc_reply_len(reply);
    if (!check(correct, name))
        printf("   # type %d, error %s: %s\n", (int)rdc_reply_type(reply), rdc_error_name(rdc_reply_error(reply)),
               message ? message : "(no message)");
    rdc_reply_free(reply);
}

/* The same, for a command that was refused before it was sent. */
static inline void check_unsent(rdc_reply *reply, int32_t code, const char *name) {
    if (rdc_reply_sent(reply))
        printf("   # it was sent\n");
    check(!rdc_reply_sent(reply), name);
    check_error(reply, code, name);
}
#endif
