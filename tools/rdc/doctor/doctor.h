/* The checks of rdc doctor. */
#ifndef RDC_TOOL_DOCTOR_H
#define RDC_TOOL_DOCTOR_H

#include "../client.h"
#include "../nodes.h"
#include "../url.h"
#include "answers.h"
#include "findings.h"

struct doctor {
    const struct settings *settings;
    rdc_client *client;
    struct url url;
    /* For each seed, whether it returned a map. */
    unsigned char *is_seed_usable;
    struct nodes nodes;
    /* For each node, whether it does not answer. */
    unsigned char *is_silent;
    /* INFO of each node: sections server and replication. */
    struct answers server, replication;
    struct findings findings;
};

/* Each seed answers, and all know the same cluster.  Returns the number of seeds that returned a map. */
size_t check_seeds(struct doctor *doctor);
/* Where the nodes say that they are. */
void check_names(struct doctor *doctor);
/* Each node of the map answers.  The other checks ask only those that do. */
void check_nodes(struct doctor *doctor);
/* TLS, if the URL asks for it. */
void check_tls(struct doctor *doctor);
/* The user may run the commands that the library sends by itself. */
void check_rights(struct doctor *doctor);
/* Each slot has a node that serves it. */
void check_slots(struct doctor *doctor);
/* All nodes return the same map, and none counts as failed. */
void check_maps(struct doctor *doctor);
/* Replicas: number, link and lag. */
void check_replicas(struct doctor *doctor);
/* The nodes run the same version. */
void check_versions(struct doctor *doctor);
/* The clocks of the nodes, compared with the one of this machine. */
void check_clocks(struct doctor *doctor);

/* What to do about an error, by its code. */
const char *advice(const rdc_reply *error);
/* Asks all nodes that answer. */
#define ask_nodes(doctor, ...) \
    answers_ask(&(doctor)->nodes, (doctor)->is_silent, (doctor)->client, \
                sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})
/* Whether an option of the library is set to yes on the command line or in the URL. */
int is_option_on(const struct doctor *doctor, const char *name);
/* Whether a host is this machine: "127.0.0.1:7000". */
int is_loopback(const char *address);

#endif
