#include "doctor.h"
#include "../command.h"
#include "../interrupt.h"
#include "../memory.h"

#include <stdlib.h>
#include <string.h>

const char *advice(const rdc_reply *error) {
    switch (rdc_reply_error(error)) {
    case RDC_ERR_CONNECT:
        return "start the server, or let its port through the firewall; behind NAT, set the option address_map";
    case RDC_ERR_TIMEOUT:
        return "look whether the server hangs (SLOWLOG, a slow disk, swap) or a firewall drops packets";
    case RDC_ERR_AUTH:
        if (strstr(rdc_reply_str(error), "NOPERM") != NULL)
            return "ACL SETUSER ... +cluster|slots on each node; docs/rdc.md lists all rights that a client needs";
        return "correct user and password, or the ACL of this node: ACL GETUSER on each node shows differences";
    case RDC_ERR_TLS:
        return "tls_ca_file needs the authority of the certificate; the certificate needs the node's host, or the "
               "option tls_server_name the name that it has";
    case RDC_ERR_IO:
        return "look into the log of the server, and use rediss:// if its port expects TLS";
    case RDC_ERR_DOWN:
        return "wait for the failover, or start the nodes that are down";
    default:
        return "look into the log of the server; docs/errors.md explains the error";
    }
}

/* Whether "NAME=yes" is at this place, in one of the spellings of yes. */
static int says_yes(const char *at, const char *name) {
    size_t len = strlen(name);
    if (strncmp(at, name, len) != 0 || at[len] != '=')
        return 0;
    at += len + 1;
    return strncmp(at, "yes", 3) == 0 || strncmp(at, "true", 4) == 0 || *at == '1';
}

int is_option_on(const struct doctor *doctor, const char *name) {
    const char *at = doctor->url.suffix;
    size_t i;
    for (i = 0; i < doctor->settings->n_options; i++)
        if (says_yes(doctor->settings->options[i], name))
            return 1;
    while ((at = strpbrk(at, "?&")) != NULL)
        if (says_yes(++at, name))
            return 1;
    return 0;
}

int is_loopback(const char *address) {
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "localhost", 9) == 0 || *address == '/' ||
           strncmp(address, "::1", 3) == 0 || strncmp(address, "[::1]", 5) == 0;
}

/* With all seeds and options, as a program connects.  Returns whether it has a map. */
static int connect_all(struct doctor *doctor) {
    rdc_reply *reply;
    interrupt_calls_of(doctor->client);
    reply = rdc_refresh(doctor->client);
    nodes_read(&doctor->nodes, doctor->client);
    if (doctor->nodes.n == 0)
        found(&doctor->findings, FAIL, "connect", advice(reply), "the other checks were left out: %s",
              rdc_reply_error(reply) != RDC_OK ? rdc_reply_str(reply) : "the map is empty");
    rdc_reply_free(reply);
    return doctor->nodes.n > 0;
}

/* What several checks look at is asked for once. */
static void examine(struct doctor *doctor) {
    static void (*const checks[])(struct doctor *) = {
        check_names, check_tls, check_rights, check_slots, check_maps, check_replicas, check_versions, check_clocks,
    };
    size_t i;
    doctor->is_silent = allocate(doctor->nodes.n, 1);
    check_nodes(doctor);
    doctor->server = ask_nodes(doctor, "INFO", "server");
    doctor->replication = ask_nodes(doctor, "INFO", "replication");
    for (i = 0; i < sizeof checks / sizeof *checks && !is_interrupted(); i++)
        checks[i](doctor);
    answers_free(&doctor->server);
    answers_free(&doctor->replication);
    free(doctor->is_silent);
}

int run_doctor(const struct settings *settings, int argc, char **argv) {
    struct doctor doctor;
    rdc_client *client = client_open(settings);
    (void)argc;
    (void)argv;
    if (client == NULL)
        return MISUSED;
    memset(&doctor, 0, sizeof doctor);
    doctor.settings = settings;
    doctor.findings.is_json = is_json(settings);
    /* A read-only handle would refuse some of the commands that are tried; none of them writes. */
    doctor.client = rdc_with(client, "readonly", "no");
    rdc_close(client);
    url_split(&doctor.url, settings->url);
    doctor.is_seed_usable = allocate(doctor.url.n, 1);
    if (check_seeds(&doctor) > 0 && connect_all(&doctor))
        examine(&doctor);
    nodes_free(&doctor.nodes);
    findings_end(&doctor.findings);
    free(doctor.is_seed_usable);
    url_free(&doctor.url);
    rdc_close(doctor.client);
    if (is_interrupted())
        return INTERRUPTED;
    return doctor.findings.n[FAIL] > 0 ? FAILED : DONE;
}
