#include "../info.h"
#include "doctor.h"

#include <string.h>

/* More than this is worth a warning. */
enum { MUCH_LAG = 1 << 20 };

/* Returns whether something is wrong with a replica. */
static int check_replica(struct doctor *doctor, const struct node *node) {
    const struct node *primary = nodes_primary(&doctor->nodes, node->shard);
    const rdc_reply *info = answer_of(&doctor->replication, &doctor->nodes, node);
    long long lag = info_lag_bytes(answer_of(&doctor->replication, &doctor->nodes, primary), info);
    char link[32];
    info_field(info, "master_link_status", link, sizeof link);
    if (strcmp(link, "down") == 0) {
        found(&doctor->findings, FAIL, "replicas",
              "look into its log: the primary may be down, or refuse its masteruser and masterauth",
              "%s has no link to its primary %s", node->address, primary != NULL ? primary->address : "");
        return 1;
    }
    if (lag <= MUCH_LAG)
        return 0;
    found(&doctor->findings, WARN, "replicas", "bound the age of reads with max_staleness_ms, and look at its network",
          "%s lacks %lld bytes of its primary's writes", node->address, lag);
    return 1;
}

void check_replicas(struct doctor *doctor) {
    const struct nodes *nodes = &doctor->nodes;
    size_t i, replicas = 0, problems = 0, bare = 0;
    for (i = 0; i < nodes->n; i++) {
        if (!nodes->items[i].is_replica)
            continue;
        replicas++;
        problems += (size_t)check_replica(doctor, &nodes->items[i]);
    }
    for (i = 0; i < nodes->shards; i++)
        bare += rdc_reply_len(rdc_reply_find(rdc_reply_at(nodes->topology, i), "replicas")) == 0;
    if (bare > 0)
        found(&doctor->findings, WARN, "replicas", "add replicas: without one, a dead primary takes its data with it",
              "%lu of %lu shards have none", (unsigned long)bare, (unsigned long)nodes->shards);
    if (problems == 0 && replicas > 0)
        found(&doctor->findings, OK, "replicas", NULL, "%lu have no more lag than 1 MiB, as far as they say",
              (unsigned long)replicas);
}
