#include "doctor.h"

#include <string.h>

/* Whether the node has answered, be it that the user may not run the command. */
static int has_answered(const rdc_reply *reply) {
    int32_t error = rdc_reply_error(reply);
    if (reply == NULL)
        return 0;
    return error == RDC_OK || error == RDC_ERR_SERVER || strncmp(rdc_reply_str(reply), "NOPERM", 6) == 0;
}

void check_nodes(struct doctor *doctor) {
    const struct nodes *nodes = &doctor->nodes;
    struct answers answers = ask_nodes(doctor, "PING");
    size_t i, silent = 0;
    for (i = 0; i < nodes->n; i++) {
        const struct node *node = &nodes->items[i];
        const rdc_reply *reply = answer_of(&answers, nodes, node);
        if (has_answered(reply))
            continue;
        silent++;
        doctor->is_silent[i] = 1;
        found(&doctor->findings, node->is_replica ? WARN : FAIL, "nodes", advice(reply), "%s %s: %s", node_role(node),
              node->address, reply != NULL ? rdc_reply_str(reply) : "it is not in the map any more");
    }
    for (i = 0; i < nodes->shards; i++)
        if (nodes_primary(nodes, i) == NULL)
            found(&doctor->findings, FAIL, "nodes", "promote a replica: CLUSTER FAILOVER TAKEOVER",
                  "shard %lu has no primary", (unsigned long)i + 1);
    if (silent == 0)
        found(&doctor->findings, OK, "nodes", NULL, "all %lu answer", (unsigned long)nodes->n);
    answers_free(&answers);
}
