/* A client as the command line asks for it. */
#ifndef RDC_TOOL_CLIENT_H
#define RDC_TOOL_CLIENT_H

#include "settings.h"

#include <rediscluster.h>

/* A client for the URL of the settings; it connects with its first call, so that Ctrl-C ends connecting too.  NULL
   after a message if an option is invalid. */
rdc_client *client_open(const struct settings *settings);
/* The same for another URL, with one more option.  Never NULL: rdc_client_error() says what is invalid. */
rdc_client *client_open_at(const struct settings *settings, const char *url, const char *name, const char *value);
/* Connects, so that the functions that do no I/O know the cluster.  Returns DONE, or an exit code after a message. */
int client_connect(rdc_client *client);
/* Sends a command where --node says, or where it belongs. */
rdc_reply *client_command(const rdc_client *client, const struct settings *settings, size_t argc,
                          const char *const *argv, const size_t *lens);
/* rdc_command_to() with C strings. */
#define client_command_to(client, where, ...) \
    rdc_command_to((client), (where), sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), \
                   (const char *[]){__VA_ARGS__}, NULL)
/* Prints the message of an error reply to standard error.  Returns the exit code: FAILED or INTERRUPTED. */
int client_failure(const rdc_reply *error);

#endif
