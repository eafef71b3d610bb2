#include "../info.h"
#include "doctor.h"

#include <string.h>

/* The number of nodes that consider the cluster down; `address` becomes one of them. */
static size_t count_down(struct doctor *doctor, const char **address) {
    struct answers answers = ask_nodes(doctor, "CLUSTER", "INFO");
    size_t i, n = 0;
    for (i = 0; i < doctor->nodes.n; i++) {
        const struct node *node = &doctor->nodes.items[i];
        char state[32];
        info_field(answer_of(&answers, &doctor->nodes, node), "cluster_state", state, sizeof state);
        if (*state == '\0' || strcmp(state, "ok") == 0)
            continue;
        n++;
        *address = node->address;
    }
    answers_free(&answers);
    return n;
}

void check_slots(struct doctor *doctor) {
    int first = 0, last = 0, unserved = nodes_unserved(&doctor->nodes, &first, &last);
    const char *address = NULL;
    size_t down = count_down(doctor, &address);
    if (down > 0)
        found(&doctor->findings, FAIL, "slots",
              "start the nodes that are down; with cluster-require-full-coverage no, the other slots stay usable",
              "%lu nodes serve nothing, because they consider the cluster down: %s ...", (unsigned long)down, address);
    if (unserved > 0)
        found(&doctor->findings, FAIL, "slots",
              "assign them (CLUSTER ADDSLOTSRANGE), or restore the node that had them",
              "%d slots have no node, from %d to %d on", unserved, first, last);
    if (unserved == 0 && down == 0)
        found(&doctor->findings, OK, "slots", NULL, "all 16384 have a node");
}
