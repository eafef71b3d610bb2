#include "doctor.h"

#include <string.h>

void check_names(struct doctor *doctor) {
    const struct nodes *nodes = &doctor->nodes;
    const char *loopback = NULL, *unknown = NULL;
    int is_remote = 0;
    size_t i;
    for (i = 0; i < doctor->url.n; i++) {
        const char *seed = doctor->url.seeds[i];
        is_remote |= !is_loopback(seed);
        if (doctor->is_seed_usable[i] && nodes_find(nodes, seed) == NULL)
            unknown = seed;
    }
    for (i = 0; i < nodes->n; i++)
        if (is_loopback(nodes->items[i].address))
            loopback = nodes->items[i].address;
    if (is_remote && loopback != NULL)
        found(&doctor->findings, FAIL, "names",
              "set cluster-announce-ip or cluster-announce-hostname on the nodes, or the option address_map",
              "%s is announced, which leads to this machine", loopback);
    else if (unknown != NULL)
        found(&doctor->findings, OK, "names", NULL,
              "the nodes announce other addresses (%s ...) than the seed %s, which is used to find them",
              nodes->n > 0 ? nodes->items[0].address : "none", unknown);
    else
        found(&doctor->findings, OK, "names", NULL, "the nodes announce the addresses that the URL has");
}
