/* A user with few rights, over TLS if the URL says rediss: what the library verifies, what the server refuses, and a
 * new password while the program runs.
 *
 *     tls_acl 'rediss://admin:secret@node1:7000?tls_ca_file=ca.pem'        (or the URL in RDC_URL)
 */
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>

/* What an operator has to do about an error. */
static const char *todo(int error) {
    switch (error) {
    case RDC_ERR_TLS: return "check tls_ca_file, and the names in the node's certificate";
    case RDC_ERR_AUTH: return "check the user, the password and the rights (ACL SETUSER)";
    case RDC_ERR_CONNECT: return "check the hosts and the ports in the URL";
    default: return "see docs/errors.md";
    }
}

/* Prints a reply and frees it.  Returns its error code. */
static int show(const char *what, rdc_reply *reply) {
    int error = rdc_reply_error(reply);
    if (rdc_reply_type(reply) == RDC_INTEGER)
        printf("%-12s %lld\n", what, (long long)rdc_reply_int(reply));
    else if (error == RDC_OK)
        printf("%-12s %s\n", what, rdc_reply_str(reply));
    else
        printf("%-12s %s: %s\n%-12s %s\n", what, rdc_error_name(error), rdc_reply_str(reply), "", todo(error));
    return rdc_reply_free(reply);
}

/* The user may do this with the keys app:*, and nothing else.  The library asks for the slots and for the state of the
 * connection. */
static int make_user(rdc_client *admin, const char *password) {
    rdc_reply *reply = rdc_cmd(admin, "ACL", "SETUSER", "example", "reset", "on", password, "~app:*", "+get", "+set",
                               "+acl|whoami", "+@connection", "+cluster|slots", "+cluster|shards", "+cluster|nodes");
    return show("ACL SETUSER", reply);
}

int main(int argc, char **argv) {
    const char *url = argc > 1 ? argv[1] : getenv("RDC_URL");
    rdc_client *admin = rdc_create(url);
    if (rdc_client_error(admin) != NULL || make_user(admin, ">first") != RDC_OK) {
        fprintf(stderr, "%s\n", rdc_client_error(admin) ? rdc_client_error(admin) : "the URL needs a user who may ACL");
        rdc_close(admin);
        return 1;
    }

    /* The options replace the user in the URL.  A password in an option needs no escapes. */
    rdc_options *options = rdc_options_new();
    rdc_options_set(options, "url", url);
    rdc_options_set(options, "user", "example");
    rdc_options_set(options, "password", "first");
    rdc_client *client = rdc_create_with(options);
    rdc_options_free(options);
    int failed = show("ACL WHOAMI", rdc_cmd(client, "ACL", "WHOAMI")) != RDC_OK;
    failed |= show("SET app:1", rdc_set(client, "app:1", RDC_NTS, "one", RDC_NTS)) != RDC_OK;
    failed |= show("SET other:1", rdc_set(client, "other:1", RDC_NTS, "one", RDC_NTS)) != RDC_ERR_AUTH;

    /* A new password: connections that are open and those to come use it, and no command fails. */
    failed |= make_user(admin, ">second") != RDC_OK || rdc_set_credentials(client, "example", "second") != RDC_OK;
    failed |= show("GET app:1", rdc_get(client, "app:1", RDC_NTS)) != RDC_OK;

    rdc_close(client);
    failed |= show("ACL DELUSER", rdc_cmd(admin, "ACL", "DELUSER", "example")) != RDC_OK;
    rdc_close(admin);
    return failed;
}
