/* Options by name, as a program has them that reads its own configuration file: unknown names and invalid values are
 * reported, and the library says which options there are.
 *
 *     options redis://127.0.0.1:7000 timeout_ms=500 read_from=replica        (or the URL in RDC_URL)
 */
#include <rediscluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text(const rdc_reply *map, const char *key) {
    const char *result = rdc_reply_str(rdc_reply_find(map, key));
    return result ? result : "";
}

/* What a program prints for --help. */
static void help(void) {
    rdc_reply *list = rdc_options_list();
    printf("librediscluster %s has %d options:\n", rdc_version(), (int)rdc_reply_len(list));
    for (size_t i = 0; i < rdc_reply_len(list); i++) {
        const rdc_reply *option = rdc_reply_at(list, i);
        printf("  %s (%s, default %s%s%s): %s\n", text(option, "name"), text(option, "type"), text(option, "default"),
               *text(option, "unit") ? " " : "", text(option, "unit"), text(option, "help"));
    }
    rdc_reply_free(list);
}

/* Sets an option of the form name=value. */
static int set(rdc_options *options, const char *setting) {
    char name[64];
    const char *value = strchr(setting, '=');
    size_t len = value ? (size_t)(value - setting) : strlen(setting);
    if (value == NULL || len >= sizeof name)
        return RDC_ERR_INVALID;
    memcpy(name, setting, len);
    name[len] = '\0';
    return rdc_options_set(options, name, value + 1);
}

int main(int argc, char **argv) {
    if (!rdc_version_matches()) {
        fprintf(stderr, "this program needs a newer librediscluster than %s: install it\n", rdc_version());
        return 1;
    }
    help();
    rdc_options *options = rdc_options_new();
    rdc_options_set(options, "url", argc > 1 ? argv[1] : getenv("RDC_URL"));
    rdc_options_set(options, "timeout_ms", "2000");
    for (int i = 2; i < argc; i++)
        if (set(options, argv[i]) != RDC_OK)
            fprintf(stderr, "%s is no option\n", argv[i]);
    /* The options are copied.  The first error of all of them is the client's. */
    rdc_client *client = rdc_create_with(options);
    rdc_options_free(options);
    if (rdc_client_error(client) != NULL) {
        fprintf(stderr, "%s\n", rdc_client_error(client));
        rdc_close(client);
        return 1;
    }

    /* The same cluster and connections, with another option for some calls. */
    rdc_client *patient = rdc_with(client, "timeout_ms", "10000");
    rdc_client *wrong = rdc_with(client, "timeout_ms", "soon");
    printf("%s\n", rdc_client_error(wrong));
    int failed = rdc_client_error(wrong) == NULL || rdc_client_error(patient) != NULL;
    failed |= rdc_reply_free(rdc_cmd(patient, "PING")) != RDC_OK;
    rdc_close(wrong);
    rdc_close(patient);
    rdc_close(client);
    return failed;
}
