#include "../interrupt.h"
#include "doctor.h"

#include <stdlib.h>
#include <string.h>

/* Whether two views have a node in common. */
static int is_same_cluster(const struct nodes *a, const struct nodes *b) {
    size_t i, j;
    for (i = 0; i < a->n; i++)
        for (j = 0; j < b->n; j++)
            if (*a->items[i].id != '\0' ? strcmp(a->items[i].id, b->items[j].id) == 0
                                        : strcmp(a->items[i].address, b->items[j].address) == 0)
                return 1;
    return 0;
}

/* Reads the map of one seed alone.  Returns whether it has one. */
static int read_map(struct doctor *doctor, size_t i, struct nodes *nodes) {
    char *url = url_with_seed(&doctor->url, i);
    rdc_client *client = client_open_at(doctor->settings, url, NULL, NULL);
    rdc_reply *reply = rdc_refresh(client);
    nodes_read(nodes, client);
    if (nodes->n == 0 && rdc_reply_error(reply) != RDC_OK)
        found(&doctor->findings, doctor->url.n > 1 ? WARN : FAIL, "seeds", advice(reply), "%s",
              rdc_reply_str(reply));
    rdc_reply_free(reply);
    rdc_close(client);
    free(url);
    return nodes->n > 0;
}

size_t check_seeds(struct doctor *doctor) {
    const char *first_seed = "";
    struct nodes first, nodes;
    size_t i, n = 0, others = 0;
    memset(&first, 0, sizeof first);
    for (i = 0; i < doctor->url.n && !is_interrupted(); i++) {
        if (!read_map(doctor, i, &nodes)) {
            nodes_free(&nodes);
            continue;
        }
        doctor->is_seed_usable[i] = 1;
        if (n++ == 0) {
            first = nodes;
            first_seed = doctor->url.seeds[i];
            continue;
        }
        if (!is_same_cluster(&first, &nodes)) {
            others++;
            found(&doctor->findings, FAIL, "seeds", "remove the seeds of other clusters from the URL",
                  "%s and %s belong to different clusters", first_seed, doctor->url.seeds[i]);
        }
        nodes_free(&nodes);
    }
    nodes_free(&first);
    if (n == 0 && doctor->url.n > 1)
        found(&doctor->findings, FAIL, "seeds", "see the seeds above, and the hosts and ports of the URL",
              "no seed returned the map");
    else if (n > 0 && others == 0)
        found(&doctor->findings, OK, "seeds", NULL, "%lu of %lu returned the map%s", (unsigned long)n,
              (unsigned long)doctor->url.n, n > 1 ? ", of the same cluster" : "");
    return n;
}
