#include "client.h"
#include "interrupt.h"
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set_option(rdc_options *options, const char *name_and_value) {
    size_t len = strcspn(name_and_value, "=");
    char *name = allocate(len + 1, 1);
    memcpy(name, name_and_value, len);
    rdc_options_set(options, name, name_and_value + len + 1);
    free(name);
}

rdc_client *client_open_at(const struct settings *settings, const char *url, const char *name, const char *value) {
    rdc_options *options = rdc_options_new();
    rdc_client *client;
    size_t i;
    /* The first invalid option is the error of the client. */
    if (settings->is_probe)
        rdc_options_set(options, "timeout_ms", "2000");
    rdc_options_set(options, "url", url);
    rdc_options_set(options, "lazy", "yes");
    for (i = 0; i < settings->n_options; i++)
        set_option(options, settings->options[i]);
    if (settings->read_from != NULL)
        rdc_options_set(options, "read_from", settings->read_from);
    if (name != NULL)
        rdc_options_set(options, name, value);
    client = rdc_create_with(options);
    rdc_options_free(options);
    interrupt_calls_of(client);
    return client;
}

rdc_client *client_open(const struct settings *settings) {
    rdc_client *client = client_open_at(settings, settings->url, NULL, NULL);
    if (rdc_client_error(client) == NULL)
        return client;
    fprintf(stderr, "rdc: %s\n", rdc_client_error(client));
    rdc_close(client);
    return NULL;
}

int client_failure(const rdc_reply *error) {
    fflush(stdout);
    fprintf(stderr, "%s\n", rdc_reply_str(error));
    /* The message is for programs. */
    if (rdc_reply_error(error) == RDC_ERR_INVALID && strstr(rdc_reply_str(error), "rdc_command_to") != NULL)
        fputs("rdc: the option --node in front of the command selects a node\n", stderr);
    return rdc_reply_error(error) == RDC_ERR_INTERRUPTED ? INTERRUPTED : FAILED;
}

int client_connect(rdc_client *client) {
    rdc_reply *reply = rdc_refresh(client), *topology = rdc_topology(client);
    int code = DONE;
    /* An error only says that a node did not answer, if others did. */
    if (rdc_reply_error(reply) != RDC_OK &&
        (rdc_reply_len(topology) == 0 || rdc_reply_error(reply) == RDC_ERR_INTERRUPTED))
        code = client_failure(reply);
    rdc_reply_free(topology);
    rdc_reply_free(reply);
    return code;
}

rdc_reply *client_command(const rdc_client *client, const struct settings *settings, size_t argc,
                          const char *const *argv, const size_t *lens) {
    if (settings->node != NULL)
        return rdc_command_to(client, settings->node, argc, argv, lens);
    return rdc_command(client, argc, argv, lens);
}
