#define _POSIX_C_SOURCE 200809L
#include "client.h"
#include "command.h"
#include "input.h"
#include "memory.h"
#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sends a command and prints its reply. */
static int call(const struct settings *settings, size_t argc, const char *const *argv, const size_t *lens) {
    rdc_client *client = client_open(settings);
    rdc_reply *reply;
    int code;
    if (client == NULL)
        return MISUSED;
    reply = client_command(client, settings, argc, argv, lens);
    code = output_reply(settings, reply);
    if (settings->node != NULL && has_failed_node(reply))
        code = FAILED;
    rdc_reply_free(reply);
    rdc_close(client);
    return code;
}

int run_call(const struct settings *settings, int argc, char **argv) {
    struct text last = {NULL, 0, 0};
    size_t n = (size_t)argc, i;
    const char **args = allocate(n + 1, sizeof *args);
    size_t *lens = allocate(n + 1, sizeof *lens);
    int code = DONE;
    for (i = 0; i < n; i++) {
        args[i] = argv[i];
        lens[i] = strlen(argv[i]);
    }
    if (settings->is_last_from_stdin) {
        code = input_read_all(&last) == 0 ? DONE : FAILED;
        args[n] = text_string(&last);
        lens[n++] = last.len;
    }
    if (code == DONE)
        code = call(settings, n, args, lens);
    text_free(&last);
    free(args);
    free(lens);
    return code;
}
