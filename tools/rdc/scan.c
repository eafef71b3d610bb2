#include "client.h"
#include "command.h"
#include "interrupt.h"
#include "json.h"
#include "typed.h"

#include <stdio.h>
#include <string.h>

/* One key a line. */
static void print_keys(const struct settings *settings, const rdc_reply *keys) {
    struct text out = {NULL, 0, 0};
    size_t i;
    for (i = 0; i < rdc_reply_len(keys); i++) {
        const rdc_reply *key = rdc_reply_at(keys, i);
        if (is_json(settings))
            json_reply(&out, key);
        else if (settings->form == FORM_TYPED)
            quoted_string(&out, rdc_reply_str(key), rdc_reply_len(key));
        else
            text_add(&out, rdc_reply_str(key), rdc_reply_len(key));
        text_add_char(&out, '\n');
    }
    text_print(&out);
    text_free(&out);
}

static rdc_reply *scan(const struct settings *settings, const rdc_client *client, const char *cursor) {
    const char *argv[8];
    char count[32];
    size_t argc = 0;
    snprintf(count, sizeof count, "%.0f", settings->batch);
    argv[argc++] = "SCAN";
    argv[argc++] = cursor;
    argv[argc++] = "COUNT";
    argv[argc++] = count;
    if (settings->match != NULL) {
        argv[argc++] = "MATCH";
        argv[argc++] = settings->match;
    }
    if (settings->type != NULL) {
        argv[argc++] = "TYPE";
        argv[argc++] = settings->type;
    }
    return client_command(client, settings, argc, argv, NULL);
}

int run_scan(const struct settings *settings, int argc, char **argv) {
    struct text cursor = {NULL, 0, 0};
    rdc_client *client = client_open(settings);
    int code = DONE;
    (void)argc;
    (void)argv;
    if (client == NULL)
        return MISUSED;
    text_add_string(&cursor, "0");
    do {
        rdc_reply *reply = scan(settings, client, text_string(&cursor));
        const rdc_reply *next = rdc_reply_at(reply, 0);
        if (rdc_reply_error(reply) != RDC_OK)
            code = client_failure(reply);
        cursor.len = 0;
        text_add(&cursor, rdc_reply_str(next) != NULL ? rdc_reply_str(next) : "0",
                 rdc_reply_str(next) != NULL ? rdc_reply_len(next) : 1);
        if (code == DONE)
            print_keys(settings, rdc_reply_at(reply, 1));
        rdc_reply_free(reply);
    } while (code == DONE && strcmp(text_string(&cursor), "0") != 0 && !is_interrupted());
    text_free(&cursor);
    rdc_close(client);
    return is_interrupted() ? INTERRUPTED : code;
}
