/* All the harness there is: `ok - name` or `not ok - name` for each check, a closing line, an exit code. */
#ifndef CHECK_H
#define CHECK_H
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;

static inline int check(int is_true, const char *name) {
    printf("%s - %s\n", is_true ? "ok" : "not ok", name);
    fflush(stdout); /* should the next call crash, this shows where */
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

/* Whether a reply is this text, to the last byte and the NUL after it. */
static inline int is_text(const rdc_reply *reply, const char *text, size_t len) {
    const char *str = rdc_reply_str(reply);
    return str && rdc_reply_len(reply) == len && memcmp(str, text, len) == 0 && str[len] == '\0';
}

/* Checks an error's code, that its words are one line, and frees it. */
static inline void check_error(rdc_reply *reply, int32_t code, const char *name) {
    const char *words = rdc_reply_str(reply);
    int right = reply && rdc_reply_type(reply) == RDC_ERROR && rdc_reply_error(reply) == code && words &&
                *words && !strpbrk(words, "\r\n") && strlen(words) == rdc_reply_len(reply);
    if (!check(right, name))
        printf("   # type %d, error %s: %s\n", (int)rdc_reply_type(reply), rdc_error_name(rdc_reply_error(reply)),
               words ? words : "(no words)");
    rdc_reply_free(reply);
}

/* The same, for what was refused before it was sent. */
static inline void check_unsent(rdc_reply *reply, int32_t code, const char *name) {
    if (rdc_reply_sent(reply))
        printf("   # sent!\n");
    check(!rdc_reply_sent(reply), name);
    check_error(reply, code, name);
}
#endif
