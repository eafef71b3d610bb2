#include "doctor.h"

#include <string.h>

static int has_remote_node(const struct doctor *doctor) {
    size_t i;
    for (i = 0; i < doctor->nodes.n; i++)
        if (!is_loopback(doctor->nodes.items[i].address))
            return 1;
    return 0;
}

static int has_password(const struct doctor *doctor) {
    size_t i;
    for (i = 0; i < doctor->settings->n_options; i++)
        if (strncmp(doctor->settings->options[i], "password", 8) == 0)
            return 1;
    return doctor->url.has_password;
}

void check_tls(struct doctor *doctor) {
    struct findings *findings = &doctor->findings;
    if (!doctor->url.is_tls) {
        if (has_password(doctor) && has_remote_node(doctor))
            found(findings, WARN, "tls", "use rediss:// and TLS ports",
                  "not used: the password and all data cross the network as plain text");
        else
            found(findings, OK, "tls", NULL, "not used");
    } else if (is_option_on(doctor, "tls_insecure_skip_verify")) {
        found(findings, WARN, "tls", "set tls_ca_file instead of tls_insecure_skip_verify",
              "certificates are not verified: whoever is between this machine and the nodes can read everything");
    } else {
        /* A node whose certificate is not accepted does not answer. */
        found(findings, OK, "tls", NULL, "each node that answers has proven its host with its certificate");
    }
}
